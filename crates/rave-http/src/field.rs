//! The names of form fields: brackets make lists and maps, as Rack reads them, since GitLab's clients rely on it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// How deep names nest; what is deeper is dropped.
const DEPTH: usize = 8;

/// Adds a field such as `a`, `b[]`, `c[d]` or `e[][f]` to what other fields have made.
pub(crate) fn add(values: &mut BTreeMap<String, Value>, name: &str, value: String) {
    let (root, rest) = match name.find('[') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    };
    let keys: Vec<&str> = rest
        .split('[')
        .skip(1)
        .map(|it| it.strip_suffix(']').unwrap_or(it))
        .collect();
    if keys.len() <= DEPTH {
        let slot = values.entry(root.to_owned()).or_insert(Value::Null);
        put(slot, &keys, value);
    }
}

fn put(slot: &mut Value, keys: &[&str], value: String) {
    let Some((key, rest)) = keys.split_first() else {
        *slot = Value::String(value);
        return;
    };
    let index = key.parse::<usize>().ok();
    if key.is_empty() || index.is_some() {
        let list = as_list(slot);
        // A number that was not seen yet, or a map that has the key already, begins the next element.
        let at = match index {
            Some(index) if index < list.len() => index,
            None if !rest.is_empty() && list.last().is_some_and(|it| !has(it, rest)) => {
                list.len() - 1
            }
            _ => {
                list.push(Value::Null);
                list.len() - 1
            }
        };
        put(&mut list[at], rest, value);
    } else {
        let map = as_map(slot);
        put(
            map.entry((*key).to_owned()).or_insert(Value::Null),
            rest,
            value,
        );
    }
}

fn as_list(slot: &mut Value) -> &mut Vec<Value> {
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().expect("made so")
}

fn as_map(slot: &mut Value) -> &mut Map<String, Value> {
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made so")
}

/// Whether a value already holds what the keys lead to. Lists take any number.
fn has(value: &Value, keys: &[&str]) -> bool {
    match keys {
        [] => true,
        ["", ..] => false,
        [key, rest @ ..] => value.get(key).is_some_and(|it| has(it, rest)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn brackets_make_lists_and_maps() {
        let check = |fields: &[(&str, &str)], expected: Value| {
            let mut values = BTreeMap::new();
            for (name, value) in fields {
                add(&mut values, name, (*value).to_owned());
            }
            assert_eq!(json!(values), expected, "{fields:?}");
        };
        check(&[("a", "1"), ("a", "2")], json!({"a": "2"}));
        check(&[("a[]", "1"), ("a[]", "2")], json!({"a": ["1", "2"]}));
        check(&[("a[0]", "1"), ("a[1]", "2")], json!({"a": ["1", "2"]}));
        check(
            &[("a[K]", "1"), ("a[L]", "2")],
            json!({"a": {"K": "1", "L": "2"}}),
        );
        check(&[("a[b][c]", "1")], json!({"a": {"b": {"c": "1"}}}));
        let pairs = [
            ("v[][key]", "A"),
            ("v[][value]", "1"),
            ("v[][key]", "B"),
            ("v[][value]", "2"),
        ];
        let expected = json!({"v": [{"key": "A", "value": "1"}, {"key": "B", "value": "2"}]});
        check(&pairs, expected.clone());
        let pairs = [
            ("v[0][key]", "A"),
            ("v[0][value]", "1"),
            ("v[7][key]", "B"),
            ("v[1][value]", "2"),
        ];
        check(&pairs, expected);
        check(
            &[("a[][b][]", "1"), ("a[][b][]", "2")],
            json!({"a": [{"b": ["1", "2"]}]}),
        );
        check(&[("a", "1"), ("a[b]", "2")], json!({"a": {"b": "2"}}));
        check(
            &[("[a]", "1"), ("a[", "2")],
            json!({"[a]": "1", "a": ["2"]}),
        );
        check(&[(&format!("a{}", "[b]".repeat(9)), "1")], json!({}));
    }
}
