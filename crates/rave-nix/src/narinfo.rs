//! The `.narinfo` files of binary caches.
//!
//! Reading is as tolerant as Nix is: unknown fields are passed over, of a field that stands twice the last counts (but for
//! references and the content address, which may stand once), and signatures that are none are left out, since they
//! could not be verified.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::compression::Compression;
use crate::hash::{NixHash, Sha256};
use crate::path_info::PathInfo;
use crate::store_path::{StoreDir, StorePath};

/// A path, and how a cache has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    pub info: PathInfo,
    /// Where the NAR is, relative to the cache or absolute.
    pub url: String,
    pub compression: Compression,
    /// The hash of the file at `url`, which Nix does not check.
    pub file_hash: Option<NixHash>,
    pub file_size: Option<u64>,
}

impl NarInfo {
    /// Reads a narinfo of a store.
    pub fn parse(store: &StoreDir, text: &str) -> Result<Self, NarInfoError> {
        let mut fields = Fields::default();
        let mut rest = text;
        let mut line = 0;
        while !rest.is_empty() {
            line += 1;
            let at = |problem| NarInfoError {
                line: Some(line),
                problem,
            };
            let (one, after) = rest
                .split_once('\n')
                .ok_or_else(|| at(NarInfoProblem::NoLineEnd))?;
            let (name, value) = one
                .split_once(':')
                .ok_or_else(|| at(NarInfoProblem::NoColon))?;
            let value = value.strip_prefix(' ').unwrap_or(value);
            fields.take(store, name, value).map_err(at)?;
            rest = after;
        }
        let missing = |problem| NarInfoError {
            line: None,
            problem,
        };
        fields.finish().map_err(missing)
    }

    /// Writes the fields in Nix's order.
    pub fn to_text(&self, store: &StoreDir) -> String {
        let info = &self.info;
        let mut text = format!(
            "StorePath: {store}/{}\nURL: {}\nCompression: {}\n",
            info.path, self.url, self.compression
        );
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{name}: {value}").expect("a text takes everything");
        };
        if let Some(hash) = &self.file_hash {
            line("FileHash", hash);
        }
        if let Some(size) = &self.file_size {
            line("FileSize", size);
        }
        line("NarHash", &info.nar_hash);
        line("NarSize", &info.nar_size);
        let references: Vec<String> = info.references.iter().map(StorePath::to_string).collect();
        line("References", &references.join(" "));
        if let Some(deriver) = &info.deriver {
            line("Deriver", deriver);
        }
        info.signatures.iter().for_each(|it| line("Sig", it));
        if let Some(address) = &info.content_address {
            line("CA", address);
        }
        text
    }
}

/// The fields as far as they were read.
#[derive(Default)]
struct Fields {
    path: Option<StorePath>,
    url: String,
    compression: Option<Compression>,
    file_hash: Option<NixHash>,
    file_size: Option<u64>,
    nar_hash: Option<Sha256>,
    nar_size: u64,
    references: Vec<StorePath>,
    deriver: Option<StorePath>,
    signatures: Vec<crate::Signature>,
    content_address: Option<crate::ContentAddress>,
}

impl Fields {
    fn take(&mut self, store: &StoreDir, name: &str, value: &str) -> Result<(), NarInfoProblem> {
        match name {
            "StorePath" => self.path = Some(store.parse(value).map_err(wrong("StorePath"))?),
            "URL" => self.url = value.to_owned(),
            "Compression" if value.is_empty() => self.compression = None,
            "Compression" => self.compression = Some(read("Compression", value)?),
            "FileHash" => self.file_hash = Some(read("FileHash", value)?),
            "FileSize" => self.file_size = Some(read("FileSize", value)?),
            "NarHash" => self.nar_hash = Some(read("NarHash", value)?),
            "NarSize" => self.nar_size = read("NarSize", value)?,
            "References" if !self.references.is_empty() => {
                return Err(NarInfoProblem::Twice("References"));
            }
            "References" => {
                let paths = value.split(' ').filter(|it| !it.is_empty());
                let paths = paths
                    .map(|it| read("References", it))
                    .collect::<Result<_, _>>()?;
                self.references = PathInfo::sorted(paths);
            }
            "Deriver" if value == "unknown-deriver" => {}
            "Deriver" => self.deriver = Some(read("Deriver", value)?),
            "Sig" => self.signatures.extend(value.parse().ok()),
            "CA" if value.is_empty() => {}
            "CA" if self.content_address.is_some() => return Err(NarInfoProblem::Twice("CA")),
            "CA" => self.content_address = Some(read("CA", value)?),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<NarInfo, NarInfoProblem> {
        let nar_size = match self.nar_size {
            0 => return Err(NarInfoProblem::Missing("NarSize")),
            size => size,
        };
        if self.url.is_empty() {
            return Err(NarInfoProblem::Missing("URL"));
        }
        let info = PathInfo {
            path: self.path.ok_or(NarInfoProblem::Missing("StorePath"))?,
            nar_hash: self.nar_hash.ok_or(NarInfoProblem::Missing("NarHash"))?,
            nar_size,
            references: self.references,
            deriver: self.deriver,
            signatures: self.signatures,
            content_address: self.content_address,
        };
        Ok(NarInfo {
            info,
            url: self.url,
            compression: self.compression.unwrap_or(Compression::Bzip2),
            file_hash: self.file_hash,
            file_size: self.file_size,
        })
    }
}

fn read<T: FromStr>(field: &'static str, value: &str) -> Result<T, NarInfoProblem>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(wrong(field))
}

fn wrong<E: std::fmt::Display>(field: &'static str) -> impl FnOnce(E) -> NarInfoProblem {
    move |error| NarInfoProblem::Value {
        field,
        why: error.to_string(),
    }
}

/// What is wrong with a narinfo, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", .line.map(|it| format!("line {it} of the narinfo: ")).unwrap_or_else(|| "the narinfo ".to_owned()))]
pub struct NarInfoError {
    pub line: Option<usize>,
    pub problem: NarInfoProblem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarInfoProblem {
    #[error("there is no colon")]
    NoColon,
    #[error("the line does not end")]
    NoLineEnd,
    #[error("{field}: {why}")]
    Value { field: &'static str, why: String },
    #[error("{0} stands there for the second time")]
    Twice(&'static str),
    #[error("has no {0}")]
    Missing(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;
    use proptest::prelude::*;

    /// Written by `nix copy --to file://…?secret-key=…` of Nix 2.8.
    const NIX: &str = "\
StorePath: /nix/store/9rhz257rrgnma72vkldpvj8b165d6msi-ca-self
URL: nar/1l4vbwx9cbqjd08amilqrgv5gs84psyh3x1vwg6hk83ln9czfm71.nar.xz
Compression: xz
FileHash: sha256:1l4vbwx9cbqjd08amilqrgv5gs84psyh3x1vwg6hk83ln9czfm71
FileSize: 216
NarHash: sha256:11dxgr6ccnv6g0gnhl1lid5vr8lsgzm49yqazbd2qn7x74ajh1d4
NarSize: 272
References: 9rhz257rrgnma72vkldpvj8b165d6msi-ca-self z5klf56pmifb1fp9as5gn99b7f4plkfj-b
Deriver: 38vwqaq2q6prpg45qqrdncn5rcg227ib-ca-self.drv
Sig: vectors-1:J0i6DQyGKzWWiCEszZJ200W1WzSwwK81/lsRiIHuji4nv8W+LFei8Fei8seZHQeNSB9FCUPtcfzJCSkvE+AzBQ==
CA: fixed:r:sha256:1iyxcf7k4rl3baj9icf65c4bsx3pwgskirfcy18l93dvifs2i753
";
    const KEY: &str = "vectors-1:nLevsApRwbvmn6bJdejHOHMRtit58jxeP4IYjhTLr20=";
    const SECRET: &str = "vectors-1:jLt9tqqqELBAQ/OWfRlXtygUwmqHCPoBdhPop1S0UjWct6+wClHBu+afpsl16Mc4cxG2K3nyPF4/ghiOFMuvbQ==";

    fn parse(text: &str) -> Result<NarInfo, NarInfoError> {
        NarInfo::parse(&StoreDir::default(), text)
    }

    #[test]
    fn what_nix_wrote_is_read_and_written_alike() {
        let store = StoreDir::default();
        let narinfo = parse(NIX).unwrap();
        assert_eq!(narinfo.to_text(&store), NIX);
        let key: crate::PublicKey = KEY.parse().unwrap();
        assert_eq!(
            narinfo.info.signed_by(&store, std::slice::from_ref(&key)),
            Some(&key)
        );
        let secret: SecretKey = SECRET.parse().unwrap();
        assert_eq!(
            narinfo.info.sign(&store, &secret),
            narinfo.info.signatures[0],
            "the signature is Nix's own"
        );
        assert!(narinfo.info.is_content_addressed(&store));
        let mut other = narinfo;
        other.info.nar_size += 1;
        assert_eq!(other.info.signed_by(&store, &[key]), None);
    }

    #[test]
    fn another_form_means_the_same() {
        let narinfo = parse(NIX).unwrap();
        let base16 = format!("sha256:{}", narinfo.info.nar_hash.to_base16());
        let other = NIX.replace(&narinfo.info.nar_hash.to_string(), &base16);
        let other = format!("Unknown: x:y\nSig: nonsense\nCA: \n{other}");
        assert_eq!(parse(&other).unwrap(), narinfo);
        let narinfo = parse(&NIX.replace("Compression: xz\n", "Compression: \n")).unwrap();
        assert_eq!(narinfo.compression, Compression::Bzip2);
    }

    #[test]
    fn no_references_are_a_line_of_their_own() {
        let line = NIX.lines().find(|it| it.starts_with("References")).unwrap();
        // Without the space Nix takes the next line for the references.
        let text = NIX.replace(line, "References: ");
        let narinfo = parse(&text).unwrap();
        assert_eq!(narinfo.info.references, []);
        assert_eq!(narinfo.to_text(&StoreDir::default()), text);
        assert_eq!(parse(&NIX.replace(line, "References:")).unwrap(), narinfo);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |from: &str, to: &str, message: &str| {
            assert!(NIX.contains(from), "{from}");
            assert_eq!(
                parse(&NIX.replacen(from, to, 1)).unwrap_err().to_string(),
                message
            );
        };
        check("URL: ", "URL ", "line 2 of the narinfo: there is no colon");
        check(
            "NarSize: ",
            "NarSize: x",
            "line 7 of the narinfo: NarSize: invalid digit found in string",
        );
        check(
            "Compression: xz",
            "Compression: zip",
            "line 3 of the narinfo: Compression: `zip` is not a compression that Nix knows",
        );
        check(
            "CA: ",
            "CA: text:sha256:13m0c4a596fdhhdhprz0xdgj7jvqbk7vmdhvf81qz9fap1j7p4x7\nCA: ",
            "line 12 of the narinfo: CA stands there for the second time",
        );
        check("NarHash", "Nothing", "the narinfo has no NarHash");
        check("StorePath", "Nothing", "the narinfo has no StorePath");
        check("URL", "Nothing", "the narinfo has no URL");
        check("NarSize", "Nothing", "the narinfo has no NarSize");
        let twice = NIX.replace("Deriver: ", "References: ");
        assert_eq!(
            parse(&twice).unwrap_err().to_string(),
            "line 9 of the narinfo: References stands there for the second time"
        );
        assert_eq!(
            parse(NIX.trim_end()).unwrap_err().problem,
            NarInfoProblem::NoLineEnd
        );
    }

    proptest! {
        #[test]
        fn changed_texts_are_read_or_refused(at in 0..400_usize, byte: u8) {
            let mut bytes = NIX.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(narinfo) = parse(&String::from_utf8_lossy(&bytes)) {
                let text = narinfo.to_text(&StoreDir::default());
                prop_assert_eq!(parse(&text).expect("what was written"), narinfo);
            }
        }
    }
}
