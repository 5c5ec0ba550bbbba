//! What a plan was made from, kept with its pipeline so that it can be explained and made again later.
//!
//! The row of the pipeline has the file and the variables given with the event; the commit has its files. Here is the
//! rest: what the event was, what the outside world answered, and the names of the project's variables. Their values
//! stay where they are sealed.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use rave_ci_lang::{Answers, EventContext, InputValue};
use serde::{Deserialize, Serialize};

/// Longer lists of files are asked of the commit again.
const LISTED_PATHS: usize = 20_000;
/// Larger origins are not kept: the explanation then asks the present world.
const PACKED_BYTES: usize = 4 << 20;
const UNPACKED_BYTES: u64 = 128 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    source: String,
    ref_name: String,
    tag: bool,
    project_path: String,
    server_fqdn: String,
    child: bool,
    inputs: Vec<(String, InputValue)>,
    /// Names only.
    pub(crate) project_variables: Vec<String>,
    pub(crate) answers: Answers,
}

impl Origin {
    pub(crate) fn new(event: &EventContext, answers: Answers) -> Self {
        let mut names: Vec<String> = event
            .project_variables
            .iter()
            .map(|it| it.key.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            source: event.source.clone(),
            ref_name: event.ref_name.clone(),
            tag: event.tag,
            project_path: event.project_path.clone(),
            server_fqdn: event.server_fqdn.clone(),
            child: event.child,
            inputs: event.inputs.clone(),
            project_variables: names,
            answers: answers.without_long_lists(LISTED_PATHS),
        }
    }

    /// Fills in what the event was, variables excepted.
    pub(crate) fn event(&self) -> EventContext {
        EventContext {
            source: self.source.clone(),
            ref_name: self.ref_name.clone(),
            tag: self.tag,
            project_path: self.project_path.clone(),
            server_fqdn: self.server_fqdn.clone(),
            child: self.child,
            inputs: self.inputs.clone(),
            ..EventContext::default()
        }
    }

    /// Returns the compressed form. `None`: it is too large to keep.
    pub(crate) fn pack(&self) -> Option<Vec<u8>> {
        let json = serde_json::to_vec(self).ok()?;
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&json).ok()?;
        let packed = encoder.finish().ok()?;
        (packed.len() <= PACKED_BYTES).then_some(packed)
    }

    /// Reads the compressed form. `None`: this program cannot read it.
    pub(crate) fn unpack(packed: &[u8]) -> Option<Self> {
        let mut json = Vec::new();
        let decoder = DeflateDecoder::new(packed);
        decoder.take(UNPACKED_BYTES).read_to_end(&mut json).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use rave_ci_lang::Variable;

    use super::*;

    #[test]
    fn an_origin_survives_packing_without_values() {
        let event = EventContext {
            source: "push".to_owned(),
            ref_name: "main".to_owned(),
            project_variables: vec![Variable {
                key: "TOKEN".to_owned(),
                value: "glpat-secret".to_owned(),
                masked: true,
                ..Variable::default()
            }],
            inputs: vec![("size".to_owned(), InputValue::Text("small".to_owned()))],
            ..EventContext::default()
        };
        let origin = Origin::new(&event, Answers::default());
        let json = serde_json::to_string(&origin).unwrap();
        assert!(json.contains("TOKEN") && !json.contains("glpat-secret"));
        let packed = origin.pack().unwrap();
        assert_eq!(Origin::unpack(&packed), Some(origin));
        assert_eq!(Origin::unpack(b"nothing of ours"), None);
    }
}
