//! Realisations: which path a content-addressed derivation's output turned out to be.
//!
//! Nix 2.4 to 2.34 name them by the derivation's hash ([`Realisation`]), 2.35 and later by its path ([`BuildTrace`]).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::key::{PublicKey, SecretKey, Signature};
use crate::store_path::StorePath;

/// An output of a derivation by the derivation's hash, `sha256:<base 16>!<output>` as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrvOutput {
    pub drv_hash: Sha256,
    pub output: String,
}

impl fmt::Display for DrvOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}!{}", self.drv_hash.to_base16(), self.output)
    }
}

impl FromStr for DrvOutput {
    type Err = NotARealisation;

    fn from_str(text: &str) -> Result<Self, NotARealisation> {
        let (hash, output) = text.split_once('!').ok_or_else(|| wrong("id", text))?;
        Ok(Self {
            drv_hash: hash.parse().map_err(|_| wrong("id", text))?,
            output: output_name(output)?,
        })
    }
}

/// Checks the name of an output, which becomes part of file names.
fn output_name(name: &str) -> Result<String, NotARealisation> {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b"+-._?=".contains(&it);
    let fine = !name.is_empty()
        && name.len() <= 211
        && !name.starts_with('.')
        && name.bytes().all(allowed);
    fine.then(|| name.to_owned())
        .ok_or_else(|| wrong("output", name))
}

/// The older form, the file `realisations/<id>.doi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realisation {
    pub id: DrvOutput,
    pub out_path: StorePath,
    pub signatures: Vec<Signature>,
    pub dependent: BTreeMap<DrvOutput, StorePath>,
}

/// Its JSON, the keys sorted as Nix sorts them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RealisationJson {
    #[serde(default)]
    dependent_realisations: BTreeMap<String, String>,
    id: String,
    out_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<String>>,
}

impl Realisation {
    pub fn parse(json: &str) -> Result<Self, NotARealisation> {
        let json: RealisationJson = serde_json::from_str(json)?;
        let dependent = json.dependent_realisations.iter();
        Ok(Self {
            id: json.id.parse()?,
            out_path: path("outPath", &json.out_path)?,
            signatures: json
                .signatures
                .iter()
                .flatten()
                .filter_map(|it| it.parse().ok())
                .collect(),
            dependent: dependent
                .map(|(id, to)| Ok((id.parse()?, path("dependentRealisations", to)?)))
                .collect::<Result<_, NotARealisation>>()?,
        })
    }

    pub fn to_json(&self) -> String {
        self.json(Some(
            self.signatures.iter().map(Signature::to_string).collect(),
        ))
    }

    /// Returns the message that its signatures sign.
    pub fn fingerprint(&self) -> String {
        self.json(None)
    }

    fn json(&self, signatures: Option<Vec<String>>) -> String {
        let dependent = self.dependent.iter();
        let json = RealisationJson {
            dependent_realisations: dependent
                .map(|(id, to)| (id.to_string(), to.to_string()))
                .collect(),
            id: self.id.to_string(),
            out_path: self.out_path.to_string(),
            signatures,
        };
        serde_json::to_string(&json).expect("texts are JSON")
    }

    pub fn sign(&self, key: &SecretKey) -> Signature {
        key.sign(&self.fingerprint())
    }

    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let fingerprint = self.fingerprint();
        self.signatures
            .iter()
            .any(|it| key.verifies(&fingerprint, it))
    }
}

/// What names a [`BuildTrace`]: the file `build-trace-v2/<derivation>/<output>.doi`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildTraceKey {
    pub drv_path: StorePath,
    pub output: String,
}

impl BuildTraceKey {
    pub fn new(drv_path: StorePath, output: &str) -> Result<Self, NotARealisation> {
        if !drv_path.name().ends_with(".drv") {
            return Err(wrong("drvPath", drv_path.name()));
        }
        Ok(Self {
            drv_path,
            output: output_name(output)?,
        })
    }
}

/// The newer form. Its file has the value only; what is signed has the key as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildTrace {
    pub out_path: StorePath,
    pub signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueJson {
    out_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<SignatureJson>>,
}

/// A signature, which older servers write as one text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SignatureJson {
    #[serde(rename_all = "camelCase")]
    Parts {
        key_name: String,
        sig: String,
    },
    Text(String),
}

#[derive(Serialize)]
struct KeyedJson<'a> {
    key: KeyJson<'a>,
    value: ValueJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyJson<'a> {
    drv_path: String,
    output_name: &'a str,
}

impl BuildTrace {
    pub fn parse(json: &str) -> Result<Self, NotARealisation> {
        let json: ValueJson = serde_json::from_str(json)?;
        let read = |it: &SignatureJson| match it {
            SignatureJson::Parts { key_name, sig } => format!("{key_name}:{sig}").parse().ok(),
            SignatureJson::Text(text) => text.parse().ok(),
        };
        Ok(Self {
            out_path: path("outPath", &json.out_path)?,
            signatures: json.signatures.iter().flatten().filter_map(read).collect(),
        })
    }

    pub fn to_json(&self) -> String {
        let part = |it: &Signature| SignatureJson::Parts {
            key_name: it.key_name().to_owned(),
            sig: it.to_base64(),
        };
        let json = ValueJson {
            out_path: self.out_path.to_string(),
            signatures: Some(self.signatures.iter().map(part).collect()),
        };
        serde_json::to_string(&json).expect("texts are JSON")
    }

    /// Returns the message that its signatures sign.
    pub fn fingerprint(&self, key: &BuildTraceKey) -> String {
        let json = KeyedJson {
            key: KeyJson {
                drv_path: key.drv_path.to_string(),
                output_name: &key.output,
            },
            value: ValueJson {
                out_path: self.out_path.to_string(),
                signatures: None,
            },
        };
        serde_json::to_string(&json).expect("texts are JSON")
    }

    pub fn sign(&self, named: &BuildTraceKey, key: &SecretKey) -> Signature {
        key.sign(&self.fingerprint(named))
    }

    pub fn is_signed_by(&self, named: &BuildTraceKey, key: &PublicKey) -> bool {
        let fingerprint = self.fingerprint(named);
        self.signatures
            .iter()
            .any(|it| key.verifies(&fingerprint, it))
    }
}

fn path(field: &'static str, text: &str) -> Result<StorePath, NotARealisation> {
    text.parse().map_err(|_| wrong(field, text))
}

fn wrong(field: &'static str, text: &str) -> NotARealisation {
    let text = text.chars().take(200).collect();
    NotARealisation::Value { field, text }
}

/// Why some JSON is no realisation.
#[derive(Debug, thiserror::Error)]
pub enum NotARealisation {
    #[error("not the JSON of a realisation")]
    Json(#[from] serde_json::Error),
    #[error("`{text}` cannot be the {field} of a realisation")]
    Value { field: &'static str, text: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nix_wrote_is_read_and_written_alike() {
        // nix copy of Nix 2.8.
        let json = r#"{"dependentRealisations":{},"id":"sha256:83c0477a5cf729846858924b356432ea270883be96d7f1ab0c0f1d76ef43763d!out","outPath":"9rhz257rrgnma72vkldpvj8b165d6msi-ca-self","signatures":[]}"#;
        let mut realisation = Realisation::parse(json).unwrap();
        assert_eq!(realisation.to_json(), json);
        assert_eq!(
            realisation.fingerprint(),
            json.replace(r#","signatures":[]"#, "")
        );
        realisation.signatures.push(realisation.sign(&key()));
        assert!(realisation.is_signed_by(&key().public_key()));
        assert_eq!(
            Realisation::parse(&realisation.to_json()).unwrap(),
            realisation
        );
        realisation.out_path = "00bgd045z0d4icpbc2yyz4gx48ak44la-x".parse().unwrap();
        assert!(!realisation.is_signed_by(&key().public_key()));
    }

    fn key() -> SecretKey {
        SecretKey::from_seed("cache-1", [7; 32]).expect("a key")
    }

    #[test]
    fn signatures_of_the_newer_form_hold_for_their_derivation() {
        let drv: StorePath = "00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv".parse().unwrap();
        let named = BuildTraceKey::new(drv.clone(), "out").unwrap();
        let mut trace =
            BuildTrace::parse(r#"{"outPath":"00bgd045z0d4icpbc2yyz4gx48ak44la-x"}"#).unwrap();
        assert_eq!(
            trace.fingerprint(&named),
            r#"{"key":{"drvPath":"00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv","outputName":"out"},"value":{"outPath":"00bgd045z0d4icpbc2yyz4gx48ak44la-x"}}"#
        );
        trace.signatures.push(trace.sign(&named, &key()));
        assert_eq!(BuildTrace::parse(&trace.to_json()).unwrap(), trace);
        assert!(trace.is_signed_by(&named, &key().public_key()));
        let other = BuildTraceKey::new(drv, "dev").unwrap();
        assert!(!trace.is_signed_by(&other, &key().public_key()));
        let text = format!(
            r#"{{"outPath":"00bgd045z0d4icpbc2yyz4gx48ak44la-x","signatures":["{}"]}}"#,
            trace.signatures[0]
        );
        assert_eq!(BuildTrace::parse(&text).unwrap(), trace);
    }

    #[test]
    fn names_that_would_leave_a_directory_are_refused() {
        let drv: StorePath = "00bgd045z0d4icpbc2yyz4gx48ak44la-x.drv".parse().unwrap();
        for wrong in ["", ".", "../x", "a/b", ".hidden"] {
            assert!(BuildTraceKey::new(drv.clone(), wrong).is_err(), "{wrong}");
        }
        let path: StorePath = "00bgd045z0d4icpbc2yyz4gx48ak44la-x".parse().unwrap();
        assert!(BuildTraceKey::new(path, "out").is_err());
        assert!("sha256:00!out".parse::<DrvOutput>().is_err());
    }
}
