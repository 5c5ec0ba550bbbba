//! What is written down of an image that is here.

use serde::{Deserialize, Serialize};

use super::super::manifest::Settings;
use super::super::reference::{Digest, Reference};

/// What is known of an image that is here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its name, for people who look into the directory.
    pub(super) name: String,
    /// The digest of its manifest.
    pub(crate) digest: String,
    pub(crate) settings: Settings,
    /// From the lowest.
    pub(super) layers: Vec<LayerRecord>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) digest: String,
    pub(super) bytes: u64,
}

impl Record {
    pub(crate) fn new(
        image: &Reference,
        digest: &Digest,
        settings: Settings,
        layers: &[(Digest, u64)],
    ) -> Self {
        let layers = layers.iter().map(|(digest, bytes)| LayerRecord {
            digest: digest.to_string(),
            bytes: *bytes,
        });
        Self {
            name: image.to_string(),
            digest: digest.to_string(),
            settings,
            layers: layers.collect(),
        }
    }

    pub(crate) fn layers(&self) -> Vec<Digest> {
        self.layers
            .iter()
            .filter_map(|it| Digest::parse(&it.digest))
            .collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.layers.iter().map(|it| it.bytes).sum()
    }
}
