//! A tree as text, in the style in which GitLab shows a merged file: block style, lists not indented below their key.
//!
//! What is written reads back as the same tree.

use super::scalar::{float_text, resolve};
use super::{Key, Mapping, Node, Value};

const STEP: usize = 2;
/// Longer keys need a mark of their own.
const MAX_KEY: usize = 128;

/// Returns a map as a YAML document.
pub(crate) fn emit(root: &Mapping) -> String {
    let mut out = "---\n".to_owned();
    if root.is_empty() {
        out += "{}\n";
    }
    mapping(root, 0, &mut out);
    out
}

fn mapping(map: &Mapping, indent: usize, out: &mut String) {
    for (index, (key, node)) in map.iter().enumerate() {
        // The first key of a list's item stands behind its dash.
        if index > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        let text = key_text(key);
        if text.len() > MAX_KEY {
            *out += &format!("? {text}\n{:indent$}:", "");
        } else {
            *out += &format!("{text}:");
        }
        value(node, indent, false, out);
    }
}

/// Writes what follows a key or a dash, up to the end of the line.
fn value(node: &Node, indent: usize, in_list: bool, out: &mut String) {
    match &node.value {
        Value::Mapping(map) if map.is_empty() => *out += " {}\n",
        Value::Sequence(items) if items.is_empty() => *out += " []\n",
        Value::Mapping(map) if in_list => {
            out.push(' ');
            mapping(map, indent + STEP, out);
        }
        Value::Mapping(map) => {
            out.push('\n');
            mapping(map, indent + STEP, out);
        }
        Value::Sequence(items) if in_list => {
            out.push(' ');
            sequence(items, indent + STEP, out);
        }
        Value::Sequence(items) => {
            out.push('\n');
            sequence(items, indent, out);
        }
        Value::Text(text) => {
            out.push(' ');
            *out += &string(text, indent + STEP);
            out.push('\n');
        }
        Value::Null => out.push('\n'),
        scalar => {
            out.push(' ');
            *out += &plain(scalar);
            out.push('\n');
        }
    }
}

fn sequence(items: &[Node], indent: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push('-');
        value(item, indent, true, out);
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.get().to_string(),
        Value::Float(value) if value.is_nan() => ".nan".to_owned(),
        Value::Float(value) if value.is_infinite() && *value > 0.0 => ".inf".to_owned(),
        Value::Float(value) if value.is_infinite() => "-.inf".to_owned(),
        Value::Float(value) => float_text(*value),
        Value::Reference(path) => {
            let names: Vec<String> = path.iter().map(flow).collect();
            format!("!reference [{}]", names.join(", "))
        }
        Value::Null | Value::Text(_) | Value::Sequence(_) | Value::Mapping(_) => String::new(),
    }
}

/// Writes a part of a reference's path.
fn flow(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => quoted(text),
        Value::Null => "~".to_owned(),
        scalar => plain(scalar),
    }
}

fn key_text(key: &Key) -> String {
    match key.is_text() {
        true if key.text.contains('\n') => escaped(&key.text),
        true => string(&key.text, 0),
        false => key.text.to_string(),
    }
}

/// Writes a string in the form that is easiest to read: plain, as a block, or in quotes.
fn string(text: &str, indent: usize) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    if text.contains('\n') && is_block(text) {
        return block(text, indent);
    }
    quoted(text)
}

/// Whether a string means itself without quotes.
fn is_plain(text: &str) -> bool {
    let starts_well = |it: char| it.is_alphanumeric() || "_./$(<+=".contains(it);
    let first = text.chars().next();
    first.is_some_and(starts_well)
        && !text.starts_with("...")
        && !text.starts_with("<<")
        && text != "="
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(is_printable)
        && matches!(resolve(text), Ok(Value::Text(same)) if same == text)
}

fn is_printable(it: char) -> bool {
    !it.is_control()
        && !matches!(
            it,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Whether a string of several lines can stand as a block.
fn is_block(text: &str) -> bool {
    let lines_fit = text
        .split('\n')
        .all(|it| it.chars().all(|it| it == '\t' || is_printable(it)));
    lines_fit && !text.trim_matches(['\n', ' ', '\t']).is_empty() && !text.starts_with('\t')
}

fn block(text: &str, indent: usize) -> String {
    let mut out = "|".to_owned();
    // An indented first line would be taken for the indentation of all.
    if text.starts_with([' ', '\n']) {
        out += &STEP.to_string();
    }
    let body = text.strip_suffix('\n');
    out += match body {
        None => "-",
        Some(body) if body.ends_with('\n') => "+",
        Some(_) => "",
    };
    let body = body.unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out += line;
        }
    }
    out
}

fn quoted(text: &str) -> String {
    if text.chars().all(is_printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    escaped(text)
}

fn escaped(text: &str) -> String {
    let mut out = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            '\r' => out += "\\r",
            it if is_printable(it) => out.push(it),
            it if u32::from(it) <= 0xff => out += &format!("\\x{:02X}", u32::from(it)),
            it if u32::from(it) <= 0xffff => out += &format!("\\u{:04X}", u32::from(it)),
            it => out += &format!("\\U{:08X}", u32::from(it)),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::Limits;
    use crate::report::Report;
    use crate::yaml::{KeyKind, Loader, Span};

    fn load(text: &str) -> Mapping {
        let limits = Limits::default();
        let loaded = Loader::new(&limits).load(0, text, &mut Report::default());
        match loaded {
            Ok(document) => document.content,
            Err(error) => panic!("{error:?} in\n{text}"),
        }
    }

    /// Shows a tree without its places.
    fn shown(map: &Mapping) -> String {
        fn node(it: &Node) -> String {
            match &it.value {
                Value::Sequence(items) => {
                    format!("{:?}", items.iter().map(node).collect::<Vec<_>>())
                }
                Value::Mapping(map) => shown(map),
                Value::Reference(path) => {
                    format!("!{:?}", path.iter().map(node).collect::<Vec<_>>())
                }
                scalar => format!("{scalar:?}"),
            }
        }
        let entries = map.iter().map(|it| (&it.0.text, node(&it.1)));
        format!("{:?}", entries.collect::<Vec<_>>())
    }

    #[test]
    fn a_file_reads_well() {
        let text = r#"
a: {script: [make, "a: b", 'true', "1.10", 'x # y', 1.5, yes, ~], empty: [], none: , map: {}}
b:
  script:
    - |
      first
        second

      third
    - "no end\nof line"
    - [nested, [deep]]
    - name: x
      value: "it's"
  "odd key: here": !reference [.a, script]
  bell: "\a"
12: number
"#;
        assert_snapshot!(emit(&load(text)), @r#"
        ---
        a:
          script:
          - make
          - 'a: b'
          - 'true'
          - '1.10'
          - 'x # y'
          - 1.5
          - true
          -
          empty: []
          none:
          map: {}
        b:
          script:
          - |
            first
              second

            third
          - |-
            no end
            of line
          - - nested
            - - deep
          - name: x
            value: it's
          'odd key: here': !reference ['.a', 'script']
          bell: "\x07"
        12: number
        "#);
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{0,12}",
            "[a-z :#\n\t'\"|>&*!%@`{}\\[\\],?-]{0,16}",
            "[0-9.:eE+_-]{1,10}",
            any::<String>(),
        ]
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let span = Span::default();
        let leaf = prop_oneof![
            texts().prop_map(|it| Value::Text(it.into())),
            any::<i64>().prop_map(|it| Value::Integer(i128::from(it).into())),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
        ];
        let leaf = leaf.prop_map(move |value| Node { value, span });
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let map = prop::collection::vec((texts(), inner.clone()), 0..4).prop_map(entries);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|it| Value::Sequence(it.into())),
                map.prop_map(Value::Mapping),
            ]
            .prop_map(move |value| Node { value, span })
        })
    }

    fn entries(pairs: Vec<(String, Node)>) -> Mapping {
        let key = |text: String| Key {
            kind: KeyKind::Text,
            span: Span::default(),
            text: text.into(),
        };
        pairs.into_iter().map(|it| (key(it.0), it.1)).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(pairs in prop::collection::vec((texts(), nodes()), 1..4)) {
            let tree = entries(pairs);
            prop_assert_eq!(shown(&load(&emit(&tree))), shown(&tree));
        }
    }
}
