//! Where the keys of a merged job come from: places are kept while files are merged, and tell by the entry they lie in.

use std::collections::HashMap;

use super::{KeyOrigin, Origin};
use crate::entry::{DEFAULT_KEYS, Job};
use crate::report::Report;
use crate::yaml::{Loader, Mapping, Node, Span, Value};
use crate::{Limits, Place};

/// Generations of parents that are looked at.
const GENERATIONS: usize = 11;
/// Parts of one value that are told apart.
const MAX_PARTS: usize = 20;

/// The entries of all files, in the order of their places.
pub(super) struct Origins {
    files: Vec<Vec<(u32, String)>>,
    /// The parents of an entry, as the last file that has it says.
    parents: HashMap<String, Vec<String>>,
}

impl Origins {
    /// Reads the files again, one by one.
    pub(super) fn new(report: &Report, limits: &Limits) -> Self {
        let mut origins = Self {
            files: Vec::new(),
            parents: HashMap::new(),
        };
        for (number, (_, text)) in (0..).zip(report.files()) {
            // What is wrong with the file has been said when it was read first.
            let mut unheard = Report::default();
            let document = Loader::new(limits).load(number, text, &mut unheard);
            let content = document.map(|it| it.content).unwrap_or_default();
            origins.add(&content);
        }
        origins
    }

    fn add(&mut self, content: &Mapping) {
        let entries = content.iter();
        self.files.push(
            entries
                .map(|it| (it.0.span.line, it.0.text.to_string()))
                .collect(),
        );
        for (key, node) in content.iter() {
            let extends = node.as_mapping().and_then(|it| it.given("extends"));
            let parents: Vec<String> = match extends.map(|it| &it.value) {
                Some(Value::Text(parent)) => vec![parent.to_string()],
                Some(Value::Sequence(items)) => {
                    let names = items.iter().filter_map(Node::as_text);
                    names.map(str::to_owned).collect()
                }
                _ => continue,
            };
            self.parents.insert(key.text.to_string(), parents);
        }
    }

    /// Returns the name of the entry in which a place lies.
    fn owner(&self, span: Span) -> Option<&str> {
        let entries = self.files.get(span.file as usize)?;
        let mut before = entries.iter().rev();
        before.find(|it| it.0 <= span.line).map(|it| it.1.as_str())
    }

    fn ancestors<'s>(&'s self, name: &'s str) -> Vec<&'s str> {
        let parents = |name: &str| self.parents.get(name).into_iter().flatten();
        let mut all: Vec<&str> = Vec::new();
        let mut generation: Vec<&str> = vec![name];
        for _ in 0..GENERATIONS {
            let next = generation.iter().flat_map(|it| parents(it));
            generation = next
                .map(String::as_str)
                .filter(|it| !all.contains(it))
                .collect();
            all.extend(&generation);
        }
        all
    }

    fn classify(&self, span: Span, job: &str, ancestors: &[&str]) -> Origin {
        match self.owner(span) {
            None => Origin::Job,
            Some(owner) if owner == job => Origin::Job,
            Some("default") => Origin::Default,
            Some(owner) if ancestors.contains(&owner) => Origin::Extends(owner.to_owned()),
            Some(owner) => Origin::Reference(owner.to_owned()),
        }
    }

    /// Returns the keys of a job, those that `default` fills in last.
    pub(super) fn keys(&self, job: &Job, root: &Mapping, report: &Report) -> Vec<KeyOrigin> {
        let ancestors = self.ancestors(&job.name);
        let own = root.get(&job.name).and_then(Node::as_mapping);
        let mut keys: Vec<KeyOrigin> = own
            .into_iter()
            .flat_map(Mapping::iter)
            .filter(|it| !it.1.is_null())
            .map(|(key, node)| {
                let origin = self.classify(key.span, &job.name, &ancestors);
                let mut parts = Vec::new();
                self.parts(node, &job.name, &ancestors, report, &mut parts);
                parts.retain(|it| it.0 != origin);
                KeyOrigin {
                    key: key.text.to_string(),
                    place: report.place(key.span),
                    origin,
                    parts,
                }
            })
            .collect();
        let default = root.given("default").and_then(Node::as_mapping);
        let missing = DEFAULT_KEYS.iter().filter(|it| {
            own.and_then(|own| own.given(it)).is_none() && job.inherit.has_default(it)
        });
        for key in missing {
            let of_default = default
                .and_then(|it| it.entry(key))
                .map(|it| (Origin::Default, it));
            let of_root = || root.entry(key).map(|it| (Origin::Root, it));
            let found = of_default.or_else(of_root).filter(|it| !it.1.1.is_null());
            keys.extend(found.map(|(origin, (key, _))| KeyOrigin {
                key: key.text.to_string(),
                origin,
                place: report.place(key.span),
                parts: Vec::new(),
            }));
        }
        keys
    }

    /// Collects from where the parts of a value come, each origin once.
    fn parts(
        &self,
        node: &Node,
        job: &str,
        ancestors: &[&str],
        report: &Report,
        parts: &mut Vec<(Origin, Place)>,
    ) {
        let mut note = |span: Span| {
            let origin = self.classify(span, job, ancestors);
            if parts.len() < MAX_PARTS && !parts.iter().any(|it| it.0 == origin) {
                parts.push((origin, report.place(span)));
            }
        };
        match &node.value {
            Value::Sequence(items) => {
                for item in items.iter() {
                    self.parts(item, job, ancestors, report, parts);
                }
            }
            Value::Mapping(map) => {
                for (key, _) in map.iter() {
                    note(key.span);
                }
                for (_, value) in map.iter() {
                    self.parts(value, job, ancestors, report, parts);
                }
            }
            _ => note(node.span),
        }
    }
}
