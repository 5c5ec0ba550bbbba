//! Values as Ruby prints them, which is how they stand in GitLab's messages.

use crate::yaml::{Node, Value};

/// Returns a value as `to_s` prints it: texts plain, lists and maps as code.
pub(super) fn printed(node: &Node) -> String {
    node.scalar_text().unwrap_or_else(|| code(node))
}

fn code(node: &Node) -> String {
    match &node.value {
        Value::Null => "nil".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Sequence(items) | Value::Reference(items) => {
            let items: Vec<String> = items.iter().take(20).map(code).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Mapping(map) => {
            let pairs = map.iter().take(20);
            let pairs: Vec<String> = pairs
                .map(|(key, value)| format!(":{}=>{}", key.text, code(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        _ => node.scalar_text().unwrap_or_default(),
    }
}
