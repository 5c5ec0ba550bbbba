//! The path of a block: `inputs.name`, `inputs.list[0].key`.

use std::sync::LazyLock;

use regex::Regex;

use crate::yaml::Node;

const MAX_PARTS: usize = 5;
const MAX_BYTES: usize = 1024;
const MAX_INDEXES: usize = 5;

static INDEXED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([A-Za-z0-9_]*)((?:\[[0-9]+\])+)$").expect("the pattern is valid")
});

/// Finds what a path leads to.
pub(super) fn value<'a>(path: &str, data: &'a Node) -> Result<&'a Node, String> {
    if path.len() > MAX_BYTES {
        return Err("maximum interpolation expression size exceeded".to_owned());
    }
    if !path.contains('.') {
        return Err(
            "invalid pattern used for interpolation. valid pattern is $[[ inputs.input ]]"
                .to_owned(),
        );
    }
    path.splitn(MAX_PARTS, '.').try_fold(data, |at, part| {
        if part.contains('[') {
            indexed(at, part, path)
        } else {
            keyed(at, part, path)
        }
    })
}

fn keyed<'a>(at: &'a Node, key: &str, path: &str) -> Result<&'a Node, String> {
    at.as_mapping()
        .and_then(|it| it.get(key))
        .ok_or_else(|| format!("unknown interpolation provided: `{key}` in `{path}`"))
}

fn indexed<'a>(at: &'a Node, part: &str, path: &str) -> Result<&'a Node, String> {
    let Some(found) = INDEXED.captures(part) else {
        return Err(misplaced_brackets(part, path));
    };
    let (key, indexes) = (&found[1], &found[2]);
    if key.is_empty() {
        return Err(format!("invalid indexed access without a key in `{path}`"));
    }
    let indexes: Vec<&str> = indexes
        .split(['[', ']'])
        .filter(|it| !it.is_empty())
        .collect();
    if indexes.len() > MAX_INDEXES {
        return Err(format!(
            "too many array indices in `{path}` (maximum depth: {MAX_INDEXES})"
        ));
    }
    let list = keyed(at, key, path)?;
    indexes.into_iter().try_fold(list, |at, index| {
        let items = at
            .as_sequence()
            .ok_or_else(|| format!("cannot index into non-array value at [{index}] in `{path}`"))?;
        let item = index.parse().ok().and_then(|it: usize| items.get(it));
        item.ok_or_else(|| {
            let size = items.len();
            format!("array index {index} out of bounds (size: {size}) in `{path}`")
        })
    })
}

fn misplaced_brackets(part: &str, path: &str) -> String {
    if part.matches('[').count() != part.matches(']').count() {
        return format!("invalid array index in `{path}`: missing closing bracket");
    }
    let insides = part
        .split('[')
        .skip(1)
        .filter_map(|it| Some(it.split_once(']')?.0));
    let wrong = insides
        .into_iter()
        .find(|it| it.is_empty() || !it.bytes().all(|it| it.is_ascii_digit()));
    match wrong {
        Some(wrong) => {
            format!("invalid array index in `{path}`: `{wrong}` is not a valid index")
        }
        None => format!("invalid array index syntax in `{path}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::text::{node_of_json, printed};
    use crate::yaml::Span;

    fn found(path: &str) -> String {
        let data =
            serde_json::json!({"inputs": {"a": "x", "list": [[1, 2], {"k": "v"}], "n-1": true}});
        let data = node_of_json(&data, Span::default());
        match value(path, &data) {
            Ok(node) => printed(node),
            Err(message) => message,
        }
    }

    #[test]
    fn paths_reach_into_lists_and_maps() {
        assert_eq!(found("inputs.a"), "x");
        assert_eq!(found("inputs.n-1"), "true");
        assert_eq!(found("inputs.list[0][1]"), "2");
        assert_eq!(found("inputs.list[1].k"), "v");
        assert_eq!(found("inputs.list"), r#"[[1, 2], {"k"=>"v"}]"#);
    }

    #[test]
    fn wrong_paths_are_named() {
        let check = |path: &str, expected: &str| assert_eq!(found(path), expected, "{path}");
        check(
            "inputs",
            "invalid pattern used for interpolation. valid pattern is $[[ inputs.input ]]",
        );
        check(
            "inputs.b",
            "unknown interpolation provided: `b` in `inputs.b`",
        );
        check(
            "other.b",
            "unknown interpolation provided: `other` in `other.b`",
        );
        check(
            "inputs.a.b",
            "unknown interpolation provided: `b` in `inputs.a.b`",
        );
        check(
            "inputs.a[0]",
            "cannot index into non-array value at [0] in `inputs.a[0]`",
        );
        check(
            "inputs.list[2]",
            "array index 2 out of bounds (size: 2) in `inputs.list[2]`",
        );
        check(
            "inputs.[2]",
            "invalid indexed access without a key in `inputs.[2]`",
        );
        check(
            "inputs.list[x]",
            "invalid array index in `inputs.list[x]`: `x` is not a valid index",
        );
        check(
            "inputs.list[1",
            "invalid array index in `inputs.list[1`: missing closing bracket",
        );
        check(
            "inputs.list[1]x",
            "invalid array index syntax in `inputs.list[1]x`",
        );
        check(
            "inputs.list[0][0][0][0][0][0]",
            "too many array indices in `inputs.list[0][0][0][0][0][0]` (maximum depth: 5)",
        );
        check(
            &format!("inputs.{}", "x".repeat(1024)),
            "maximum interpolation expression size exceeded",
        );
    }
}
