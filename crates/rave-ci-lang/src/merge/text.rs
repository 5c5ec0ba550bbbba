//! Values as GitLab prints them: inside texts, in messages, as JSON.

use serde_json::Value as Json;

use crate::InputValue;
use crate::yaml::{Key, KeyKind, Mapping, Node, Span, Value};

/// What a message shows of a value; the rest is cut.
const SHOWN: usize = 300;

/// Returns a value as text in a text: a scalar bare, a list as `[1, "a"]`.
pub(super) fn printed(node: &Node) -> String {
    node.scalar_text().unwrap_or_else(|| inspected(node))
}

/// Returns a value as Ruby shows it: texts in quotes, null as `nil`.
pub(super) fn inspected(node: &Node) -> String {
    match &node.value {
        Value::Null => "nil".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Sequence(items) | Value::Reference(items) => {
            let items: Vec<String> = items.iter().map(inspected).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(map) => {
            let pair = |(key, value): &(Key, Node)| format!("{:?}=>{}", key.text, inspected(value));
            let pairs: Vec<String> = map.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        _ => node.scalar_text().unwrap_or_default(),
    }
}

/// Returns a value as JSON.
pub(super) fn json(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => Json::from(text.as_str()).to_string(),
        Value::Sequence(items) | Value::Reference(items) => {
            let items: Vec<String> = items.iter().map(json).collect();
            format!("[{}]", items.join(","))
        }
        Value::Mapping(map) => {
            let pair = |(key, value): &(Key, Node)| {
                format!("{}:{}", Json::from(key.text.as_str()), json(value))
            };
            let pairs: Vec<String> = map.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(","))
        }
        _ => node.scalar_text().unwrap_or_default(),
    }
}

/// Cuts a text to what a message shows.
pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Returns the value of an input as a node that is at `span`.
pub(super) fn node_of_input(value: &InputValue, span: Span) -> Node {
    let value = match value {
        InputValue::Boolean(value) => Value::Bool(*value),
        InputValue::Number(number) => number_value(number),
        InputValue::Text(text) => Value::Text(text.into()),
        InputValue::Other(json) => return node_of_json(json, span),
    };
    Node { value, span }
}

pub(super) fn node_of_json(json: &Json, span: Span) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number_value(number),
        Json::String(text) => Value::Text(text.into()),
        Json::Array(items) => {
            Value::Sequence(items.iter().map(|it| node_of_json(it, span)).collect())
        }
        Json::Object(map) => {
            let entries = map.iter().map(|(key, value)| {
                let key = Key {
                    text: key.into(),
                    kind: KeyKind::Text,
                    span,
                };
                (key, node_of_json(value, span))
            });
            Value::Mapping(entries.collect::<Mapping>())
        }
    };
    Node { value, span }
}

fn number_value(number: &serde_json::Number) -> Value {
    match number.as_i128() {
        Some(value) => Value::Integer(value.into()),
        None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_ruby_and_as_json() {
        let value = serde_json::json!([1, "a", null, 1.0, true, {"k": ["v"]}]);
        let node = node_of_json(&value, Span::default());
        assert_eq!(printed(&node), r#"[1, "a", nil, 1.0, true, {"k"=>["v"]}]"#);
        assert_eq!(json(&node), r#"[1,"a",null,1.0,true,{"k":["v"]}]"#);
        assert_eq!(cut("é".repeat(301)), "é".repeat(300) + "…");
    }
}
