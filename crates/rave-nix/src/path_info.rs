//! What a store knows of a path, and what signatures vouch for.

use crate::content_address::ContentAddress;
use crate::hash::Sha256;
use crate::key::{PublicKey, SecretKey, Signature};
use crate::store_path::{StoreDir, StorePath};

/// What is known of a path whatever store or cache has it.
///
/// Invariant of `references`, kept by whoever makes one: sorted and without repetition, as [`PathInfo::sorted`] makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    pub path: StorePath,
    pub nar_hash: Sha256,
    pub nar_size: u64,
    pub references: Vec<StorePath>,
    pub deriver: Option<StorePath>,
    pub signatures: Vec<Signature>,
    pub content_address: Option<ContentAddress>,
}

impl PathInfo {
    /// Returns references in the order they are written and signed in.
    pub fn sorted(mut references: Vec<StorePath>) -> Vec<StorePath> {
        references.sort();
        references.dedup();
        references
    }

    /// Returns the message that signatures of the path sign.
    pub fn fingerprint(&self, store: &StoreDir) -> String {
        let mut text = format!(
            "1;{store}/{};{};{};",
            self.path, self.nar_hash, self.nar_size
        );
        for (n, reference) in self.references.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            text.push_str(&store.join(reference));
        }
        text
    }

    pub fn sign(&self, store: &StoreDir, key: &SecretKey) -> Signature {
        key.sign(&self.fingerprint(store))
    }

    /// Returns the first of some keys that signed the path.
    pub fn signed_by<'k>(&self, store: &StoreDir, keys: &'k [PublicKey]) -> Option<&'k PublicKey> {
        let fingerprint = self.fingerprint(store);
        let verifies = |key: &&PublicKey| {
            self.signatures
                .iter()
                .any(|it| key.verifies(&fingerprint, it))
        };
        keys.iter().find(verifies)
    }

    /// Whether the path is named by its content, so that it needs no signature.
    ///
    /// That the content is what the address says is another matter: see [`crate::ContentCheck`].
    pub fn is_content_addressed(&self, store: &StoreDir) -> bool {
        let explains = |it: &ContentAddress| it.explains(store, &self.path, &self.references);
        self.content_address.as_ref().is_some_and(explains)
    }
}
