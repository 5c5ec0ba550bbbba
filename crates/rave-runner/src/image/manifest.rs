//! The documents of a registry: indexes that list platforms, manifests that list layers, and what an image says of how
//! it is run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reference::Digest;

pub(crate) const INDEX: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
pub(crate) const MANIFEST: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// An operating system and processor, such as `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Returns the platform of this machine.
    pub(crate) fn of_this_machine() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            variant: None,
        }
    }

    /// Reads `linux/arm64`, `linux/arm/v7` or an architecture alone.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let word = |it: &&str| {
            !it.is_empty() && it.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return None;
        }
        let (os, machine, variant) = match parts[..] {
            [machine] => ("linux", machine, None),
            [os, machine] => (os, machine, None),
            [os, machine, variant] => (os, machine, Some(variant.to_owned())),
            _ => return None,
        };
        Some(Self {
            os: os.to_owned(),
            architecture: architecture(machine).to_owned(),
            variant,
        })
    }

    fn fits(&self, entry: &WirePlatform) -> bool {
        let variant = |it: &String| entry.variant.is_empty() || entry.variant == *it;
        self.os == entry.os
            && self.architecture == architecture(&entry.architecture)
            && self.variant.as_ref().is_none_or(variant)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Returns a processor's name as registries have it.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" | "i686" => "386",
        other => other,
    }
}

/// What a registry answers for a name: a manifest, or an index of some.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    #[serde(default, rename = "mediaType")]
    pub(crate) media_type: String,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

/// Something in the registry, by digest.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Descriptor {
    digest: String,
    pub(crate) size: u64,
    platform: Option<WirePlatform>,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Option<Digest> {
        Digest::parse(&self.digest)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct WirePlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Document {
    /// Says whether this lists manifests for platforms. Old ones do not say what they are.
    pub(crate) fn is_index(&self) -> bool {
        INDEX.contains(&self.media_type.as_str())
            || (self.config.is_none() && !self.manifests.is_empty())
    }

    /// Returns the manifest for a platform.
    pub(crate) fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let fits = |it: &&Descriptor| it.platform.as_ref().is_some_and(|it| platform.fits(it));
        self.manifests.iter().find(fits)
    }

    /// Returns the platforms of an index, to say what there is.
    pub(crate) fn platforms(&self) -> String {
        let shown = self.manifests.iter().filter_map(|it| it.platform.as_ref());
        let shown = shown.filter(|it| it.os != "unknown").take(20);
        let shown: Vec<String> = shown
            .map(|it| format!("{}/{}", it.os, it.architecture))
            .collect();
        shown.join(", ")
    }
}

/// The blob that describes an image.
#[derive(Debug, Deserialize)]
pub(crate) struct ConfigBlob {
    config: Option<Settings>,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl ConfigBlob {
    /// Returns the digests of the layers when unpacked, from the lowest, as far as they are digests.
    pub(crate) fn layers(&self) -> Option<Vec<Digest>> {
        self.rootfs
            .diff_ids
            .iter()
            .map(|it| Digest::parse(it))
            .collect()
    }

    pub(crate) fn settings(self) -> Settings {
        self.config.unwrap_or_default()
    }
}

/// How an image wants to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Settings {
    #[serde(default, deserialize_with = "crate::wire::or_default")]
    pub(crate) env: Vec<String>,
    #[serde(default, deserialize_with = "crate::wire::or_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "crate::wire::or_default")]
    pub(crate) cmd: Vec<String>,
    #[serde(default, deserialize_with = "crate::wire::or_default")]
    pub(crate) user: String,
    #[serde(default, deserialize_with = "crate::wire::or_default")]
    pub(crate) working_dir: String,
    #[serde(default, deserialize_with = "crate::wire::or_default")]
    pub(crate) exposed_ports: BTreeMap<String, serde_json::Value>,
}

impl Settings {
    /// Returns the environment as pairs.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let pair = |it: &String| {
            let (key, value) = it.split_once('=')?;
            let valid = !key.is_empty() && !it.contains('\0');
            valid.then(|| (key.to_owned(), value.to_owned()))
        };
        self.env.iter().filter_map(pair)
    }

    /// Returns the TCP ports that the image says it listens on, from the lowest.
    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        let port = |it: &String| {
            let (port, protocol) = it.split_once('/').unwrap_or((it, "tcp"));
            port.parse().ok().filter(|_| protocol == "tcp")
        };
        let mut ports: Vec<u16> = self.exposed_ports.keys().filter_map(port).collect();
        ports.sort_unstable();
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_chosen_by_platform() {
        let text = r#"{"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"digest": "sha256:aa", "size": 1, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}},
            {"digest": "sha256:bb", "size": 2, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"digest": "sha256:cc", "size": 3, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": "sha256:dd", "size": 4, "platform": {"os": "unknown", "architecture": "unknown"}}]}"#;
        let index: Document = serde_json::from_str(text).expect("an index");
        let check = |platform: &str, size| {
            let platform = Platform::parse(platform).expect("a platform");
            assert_eq!(
                index.choose(&platform).map(|it| it.size),
                size,
                "{platform}"
            );
        };
        assert!(index.is_index());
        check("linux/arm/v7", Some(2));
        check("arm", Some(1));
        check("linux/x86_64", Some(3));
        check("linux/s390x", None);
        assert_eq!(index.platforms(), "linux/arm, linux/arm, linux/amd64");
        for text in ["", "a/b/c/d", "linux//x", "li nux/x"] {
            assert_eq!(Platform::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_an_image_says_may_be_null() {
        let text = r#"{"config": {"Env": ["A=1=2", "nonsense", "=x"], "Entrypoint": null, "Cmd": ["sh"], "User": null,
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "80": {}}}, "rootfs": {"diff_ids": []}}"#;
        let blob: ConfigBlob = serde_json::from_str(text).expect("a configuration");
        assert_eq!(blob.layers(), Some(Vec::new()));
        let settings = blob.settings();
        assert_eq!(
            settings.environment().collect::<Vec<_>>(),
            [("A".to_owned(), "1=2".to_owned())]
        );
        assert_eq!(settings.tcp_ports(), [80, 8080]);
        let kept = serde_json::to_string(&settings).expect("written");
        assert_eq!(
            serde_json::from_str::<Settings>(&kept).expect("read"),
            settings
        );
    }
}
