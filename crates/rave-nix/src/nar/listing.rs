//! Listings: what a NAR contains and where, as the JSON of a cache's `.ls` files.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Event;

/// Writes a listing while the NAR streams by, within a limit.
#[derive(Debug)]
pub struct ListingWriter {
    json: String,
    limit: usize,
    /// For each open node whether it is a directory, and whether that has an entry already.
    open: Vec<(bool, bool)>,
    lost: bool,
}

impl ListingWriter {
    /// Begins a listing of at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            json: r#"{"version":1,"root":"#.to_owned(),
            limit,
            open: Vec::new(),
            lost: false,
        }
    }

    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Directory => self.node(true, r#"{"type":"directory","entries":{"#),
            Event::Regular {
                executable,
                size,
                offset,
            } => {
                let executable = if *executable {
                    r#","executable":true"#
                } else {
                    ""
                };
                let node =
                    format!(r#"{{"type":"regular","size":{size}{executable},"narOffset":{offset}"#);
                self.node(false, &node);
            }
            Event::Symlink { target } => {
                self.node(false, r#"{"type":"symlink","target":"#);
                self.text(target);
            }
            Event::Contents(_) => {}
            Event::Entry(name) => {
                if let Some((_, another)) = self.open.last_mut()
                    && std::mem::replace(another, true)
                {
                    self.push(",");
                }
                self.text(name);
                self.push(":");
            }
            Event::End => {
                let is_directory = self.open.pop().is_some_and(|it| it.0);
                self.push(if is_directory { "}}" } else { "}" });
            }
        }
    }

    /// Returns the JSON. `None`: it would be longer than the limit, or a name or target is no UTF-8, which JSON cannot hold.
    pub fn finish(mut self) -> Option<String> {
        self.push("}");
        (!self.lost).then_some(self.json)
    }

    fn node(&mut self, is_directory: bool, json: &str) {
        self.open.push((is_directory, false));
        self.push(json);
    }

    fn text(&mut self, bytes: &[u8]) {
        match str::from_utf8(bytes) {
            Ok(text) => {
                let json = serde_json::to_string(text).expect("a text is JSON");
                self.push(&json);
            }
            Err(_) => self.lose(),
        }
    }

    fn push(&mut self, json: &str) {
        if self.json.len() + json.len() > self.limit {
            self.lose();
        }
        if !self.lost {
            self.json.push_str(json);
        }
    }

    fn lose(&mut self) {
        self.lost = true;
        self.json = String::new();
    }
}

/// A listing that was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NarListing {
    pub version: u32,
    pub root: NarNode,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum NarNode {
    #[serde(rename_all = "camelCase")]
    Regular {
        size: u64,
        #[serde(default)]
        executable: bool,
        nar_offset: Option<u64>,
    },
    Directory {
        entries: BTreeMap<String, NarNode>,
    },
    Symlink {
        target: String,
    },
}

impl NarListing {
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Returns what is at a path below the root, such as `bin/hello`.
    pub fn find(&self, path: &str) -> Option<&NarNode> {
        let mut parts = path.split('/').filter(|it| !it.is_empty());
        parts.try_fold(&self.root, |node, name| match node {
            NarNode::Directory { entries } => entries.get(name),
            NarNode::Regular { .. } | NarNode::Symlink { .. } => None,
        })
    }
}
