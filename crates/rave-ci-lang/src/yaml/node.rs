//! The tree that all later steps work on. Maps keep the order in which they were written.
//!
//! Aliases, `extends` and references bring one part of a file into many places, so a copy of a node shares what is below it.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::scalar::float_text;

/// So many bytes of text weigh as much as a node.
pub(crate) const TEXT_PER_NODE: usize = 64;

/// A place in a file; line and column are 1-based.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(Integer),
    Float(f64),
    Text(SmolStr),
    Sequence(Items),
    Mapping(Mapping),
    /// `!reference`, with its path.
    Reference(Items),
}

/// Nodes in their order.
pub(crate) type Items = Arc<[Node]>;

/// A whole number. Nodes are many and numbers are few, so it is not aligned as it would like to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(8))]
pub(crate) struct Integer(i128);

impl Integer {
    pub(crate) fn get(self) -> i128 {
        self.0
    }
}

impl From<i128> for Integer {
    fn from(value: i128) -> Self {
        Self(value)
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn as_integer(&self) -> Option<i128> {
        match self.value {
            Value::Integer(value) => Some(value.get()),
            _ => None,
        }
    }

    pub(crate) fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn as_mapping(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// Returns the text of a scalar as Ruby prints it: `1.10` is `1.1`, null is empty.
    pub(crate) fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Null => Some(String::new()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Integer(value) => Some(value.get().to_string()),
            Value::Float(value) => Some(float_text(*value)),
            Value::Text(text) => Some(text.as_str().to_owned()),
            Value::Sequence(_) | Value::Mapping(_) | Value::Reference(_) => None,
        }
    }

    /// Returns how many collections lie inside each other.
    pub(crate) fn depth(&self) -> usize {
        match &self.value {
            Value::Sequence(items) | Value::Reference(items) => {
                1 + items.iter().map(Node::depth).max().unwrap_or(0)
            }
            Value::Mapping(mapping) => {
                let depths = mapping.iter().map(|(_, value)| value.depth());
                1 + depths.max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Returns how many nodes the tree has; long texts count as several.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Text(text) => text.len() / TEXT_PER_NODE,
            Value::Sequence(items) | Value::Reference(items) => items.iter().map(Node::count).sum(),
            Value::Mapping(mapping) => mapping
                .iter()
                .map(|(key, value)| value.count() + key.text.len() / TEXT_PER_NODE)
                .sum(),
            _ => 0,
        }
    }
}

/// A key of a map. Keys that are no text keep their text form: `ON:` is `true`, which is no name for anything.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: SmolStr,
    pub(crate) kind: KeyKind,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Text,
    Integer,
    Other,
}

impl Key {
    pub(crate) fn is_text(&self) -> bool {
        self.kind == KeyKind::Text
    }

    /// Returns whether the key may name a variable.
    pub(crate) fn is_alphanumeric(&self) -> bool {
        matches!(self.kind, KeyKind::Text | KeyKind::Integer)
    }
}

/// Maps of this size and more are found by hash.
const INDEXED_FROM: usize = 16;

#[derive(Clone, Debug, Default)]
pub(crate) struct Mapping(Arc<Entries>);

#[derive(Clone, Debug, Default)]
struct Entries {
    list: Vec<(Key, Node)>,
    /// Only large maps have one, and it stays out of the way: most are small.
    #[expect(
        clippy::box_collection,
        reason = "a map without one would be twice as large"
    )]
    index: Option<Box<HashMap<SmolStr, usize>>>,
}

impl Entries {
    fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            None => self.list.iter().position(|it| it.0.text == key),
            Some(index) => index.get(key).copied(),
        }
    }

    fn insert(&mut self, key: Key, value: Node) -> bool {
        if let Some(at) = self.position(&key.text) {
            self.list[at] = (key, value);
            return true;
        }
        if let Some(index) = &mut self.index {
            index.insert(key.text.clone(), self.list.len());
        }
        self.list.push((key, value));
        if self.list.len() == INDEXED_FROM {
            let positions = self.list.iter().enumerate();
            let index = positions.map(|(at, it)| (it.0.text.clone(), at)).collect();
            self.index = Some(Box::new(index));
        }
        false
    }
}

impl Mapping {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (Key, Node)> {
        self.0.list.iter()
    }

    /// Returns the values, to be changed where they are.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        let list = Arc::make_mut(&mut self.0).list.iter_mut();
        list.map(|it| &mut it.1)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|it| &it.1)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&(Key, Node)> {
        self.0.position(key).map(|it| &self.0.list[it])
    }

    /// Returns the value unless it is null: a null keyword counts as not given.
    pub(crate) fn given(&self, key: &str) -> Option<&Node> {
        self.get(key).filter(|it| !it.is_null())
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let at = self.0.position(key)?;
        Some(&mut Arc::make_mut(&mut self.0).list[at].1)
    }

    /// Sets a key, which keeps its place if it was there. Returns whether it was.
    pub(crate) fn insert(&mut self, key: Key, value: Node) -> bool {
        Arc::make_mut(&mut self.0).insert(key, value)
    }

    /// Returns the map without one key.
    pub(crate) fn without(self, key: &str) -> Self {
        match self.get(key) {
            None => self,
            Some(_) => self.into_iter().filter(|it| it.0.text != key).collect(),
        }
    }
}

impl FromIterator<(Key, Node)> for Mapping {
    fn from_iter<T: IntoIterator<Item = (Key, Node)>>(entries: T) -> Self {
        let entries = entries.into_iter();
        let mut found = Entries::default();
        found.list.reserve(entries.size_hint().0);
        for (key, value) in entries {
            found.insert(key, value);
        }
        Self(Arc::new(found))
    }
}

impl IntoIterator for Mapping {
    type Item = (Key, Node);
    type IntoIter = std::vec::IntoIter<(Key, Node)>;
    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).list.into_iter()
    }
}
