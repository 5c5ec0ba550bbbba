//! Nodes as JSON, for keywords whose content is handed on as it was written.

use serde_json::{Map, Number, Value as Json};

use crate::InputValue;
use crate::yaml::{Node, Value};

/// Returns the node as JSON. What JSON has no number for becomes text.
pub(super) fn json(node: &Node) -> Json {
    let text = || Json::String(node.scalar_text().unwrap_or_default());
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Integer(value) => i64::try_from(value.get()).map_or_else(|_| text(), Json::from),
        Value::Float(value) => Number::from_f64(*value).map_or_else(text, Json::Number),
        Value::Text(text) => Json::String(text.as_str().to_owned()),
        Value::Sequence(items) | Value::Reference(items) => items.iter().map(json).collect(),
        Value::Mapping(map) => Json::Object(
            map.iter()
                .map(|(key, value)| (key.text.to_string(), json(value)))
                .collect::<Map<_, _>>(),
        ),
    }
}

/// Returns the node as the value of an input.
pub(super) fn input_value(node: &Node) -> InputValue {
    match json(node) {
        Json::Bool(value) => InputValue::Boolean(value),
        Json::Number(value) => InputValue::Number(value),
        Json::String(value) => InputValue::Text(value),
        other => InputValue::Other(other),
    }
}
