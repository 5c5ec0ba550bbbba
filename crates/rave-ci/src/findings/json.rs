//! What readers of JSON share: lists that keep only so many items, and fields that take what tools really write.

use std::fmt;
use std::io::BufRead;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Parsed, Unreadable};

/// Most items of one list that are looked at.
const ITEMS: usize = 20_000;

/// A list of which only the first items are held. `null` is an empty one.
#[derive(Debug)]
pub(super) struct Items<T> {
    pub(super) kept: Vec<T>,
    more: usize,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            more: 0,
        }
    }
}

impl<T> Items<T> {
    /// Returns the items, and notes how many are left out.
    pub(super) fn take(self, into: &mut Parsed) -> Vec<T> {
        into.left_out += self.more;
        self.kept
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor(PhantomData))
    }
}

struct ItemsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemsVisitor<T> {
    type Value = Items<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Items::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Items::default();
        while items.kept.len() < ITEMS {
            match list.next_element()? {
                Some(item) => items.kept.push(item),
                None => return Ok(items),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            items.more += 1;
        }
        Ok(items)
    }
}

/// Reads one document, after which nothing may come.
pub(super) fn document<T: DeserializeOwned>(input: &mut dyn BufRead) -> Result<T, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let document = T::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(document)
}

/// Reads a text, a number as its digits, and anything else as nothing.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(it) => it,
        Value::Number(it) => it.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    })
}

/// Reads a whole number, also out of a text, and anything else as nothing.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(it) => it.as_i64(),
        Value::String(it) => it.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// Reads a value of a type, and anything else as its default: a field that one tool fills differently spoils no report.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}
