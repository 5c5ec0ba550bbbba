//! Filling in `$NAME`, `${NAME}` and `%NAME%`.
//!
//! There are two ways, and both are visible to users. [`expand`] is one pass over a text: what it inserts is not looked
//! at again, and `$$A` gives `$` and the value of `A`. [`expand_all`] resolves variables among themselves in the order
//! they depend on each other, and leaves `$$` and `%%` to the shell.

use std::collections::HashMap;

use crate::Variable;
use crate::graph::sort;

/// What becomes of a reference to a variable that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    Empty,
    /// The reference stays as text, for the runner or the shell.
    Keep,
}

/// Who is going to read expanded variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Unknown references become empty; a reference to a file variable inserts its content.
    Server,
    /// Unknown references stay; so do references to file variables, which are paths there.
    Runner,
}

/// The result of [`expand_all`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// In the order given, one for each given.
    pub variables: Vec<Variable>,
    /// Keys that refer to each other in a circle, each once. Their values are as given.
    pub cycle: Vec<String>,
}

/// Fills variables into a text in one pass. Of several variables with one key the last counts. Once the text has grown to
/// 1 MiB, further references stay.
pub fn expand(text: &str, variables: &[Variable], unknown: Unknown) -> String {
    let values: HashMap<&str, &str> = variables
        .iter()
        .map(|it| (it.key.as_str(), it.value.as_str()))
        .collect();
    expand_with(text, unknown, |name| values.get(name).copied())
}

/// Returns the names that a text refers to, in order.
pub(crate) fn names_in(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '%']) {
        rest = &rest[at..];
        match reference(rest) {
            Some((name, length)) => {
                names.push(name);
                rest = &rest[length..];
            }
            None => rest = &rest[1..],
        }
    }
    names
}

/// Like [`expand`], with any way to find a value.
pub(crate) fn expand_with<'a>(
    text: &str,
    unknown: Unknown,
    find: impl Fn(&str) -> Option<&'a str>,
) -> String {
    substitute(text, false, |name, _| match (find(name), unknown) {
        (Some(value), _) => Some(value.to_owned()),
        (None, Unknown::Empty) => Some(String::new()),
        (None, Unknown::Keep) => None,
    })
}

/// Fills variables into each other. Of several variables with one key the last counts, except that a variable which
/// refers to its own key gets the one before it: `PATH: "$PATH:/x"` extends.
///
/// Growth is bounded: a value that would exceed 1 MiB, or with the others 8 MiB, stays as given.
pub fn expand_all(variables: &[Variable], reader: Reader) -> Expanded {
    let references: Vec<&Variable> = variables.iter().collect();
    let resolved = resolve(&references, reader);
    let values = variables.iter().zip(resolved.values);
    Expanded {
        variables: values
            .map(|(variable, value)| Variable {
                value,
                ..variable.clone()
            })
            .collect(),
        cycle: resolved.circle,
    }
}

/// Variables filled into each other.
pub(crate) struct Resolved {
    /// In the order of the variables.
    pub(crate) values: Vec<String>,
    /// As [`Expanded::cycle`].
    pub(crate) circle: Vec<String>,
}

/// Does the work of [`expand_all`].
pub(crate) fn resolve(variables: &[&Variable], reader: Reader) -> Resolved {
    let mut last = HashMap::new();
    let mut before = vec![None; variables.len()];
    for (index, variable) in variables.iter().enumerate() {
        before[index] = last.insert(variable.key.as_str(), index);
    }
    let target = |from: usize, name: &str| match name == variables[from].key {
        true => before[from],
        false => last.get(name).copied(),
    };
    let edges: Vec<Vec<usize>> = variables
        .iter()
        .enumerate()
        .map(|(index, it)| {
            if it.raw {
                Vec::new()
            } else {
                references(&it.value, |name| target(index, name))
            }
        })
        .collect();
    let (order, on_cycle) = sort(&edges);

    let mut values: Vec<String> = variables.iter().map(|it| it.value.clone()).collect();
    let mut total = 0;
    for index in order {
        if variables[index].raw || on_cycle[index] {
            continue;
        }
        let mut size = variables[index].value.len();
        let value = substitute(&variables[index].value, true, |name, _| {
            let found = target(index, name);
            let inserted = match (found, reader) {
                (Some(it), Reader::Runner) if variables[it].file => None,
                (Some(it), _) => Some(values[it].as_str()),
                (None, Reader::Server) => Some(""),
                (None, Reader::Runner) => None,
            }?;
            size += inserted.len();
            (size <= MAX_VALUE_BYTES).then(|| inserted.to_owned())
        });
        if size <= MAX_VALUE_BYTES && total + size <= MAX_TOTAL_BYTES {
            total += size;
            values[index] = value;
        }
    }
    let mut circle: Vec<String> = Vec::new();
    let on_circle = variables.iter().zip(&on_cycle).filter(|it| *it.1);
    for (variable, _) in on_circle {
        if !circle.contains(&variable.key) {
            circle.push(variable.key.clone());
        }
    }
    Resolved { values, circle }
}

const MAX_VALUE_BYTES: usize = 1024 * 1024;
const MAX_TOTAL_BYTES: usize = 8 * MAX_VALUE_BYTES;

/// Returns the indexes a value refers to, each once.
fn references(value: &str, target: impl Fn(&str) -> Option<usize>) -> Vec<usize> {
    let mut found = Vec::new();
    substitute(value, true, |name, _| {
        found.extend(target(name));
        None
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// Copies `text`, asking `replace` for each reference; `None` keeps it. With `escapes`, `$$` and `%%` stand for themselves.
fn substitute(
    text: &str,
    escapes: bool,
    mut replace: impl FnMut(&str, &str) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '%']) {
        out += &rest[..at];
        rest = &rest[at..];
        if escapes && (rest.starts_with("$$") || rest.starts_with("%%")) {
            out += &rest[..2];
            rest = &rest[2..];
            continue;
        }
        let Some((name, length)) = reference(rest) else {
            out += &rest[..1];
            rest = &rest[1..];
            continue;
        };
        let written = &rest[..length];
        let replacement =
            replace(name, written).filter(|it| out.len() + it.len() <= MAX_VALUE_BYTES);
        out += replacement.as_deref().unwrap_or(written);
        rest = &rest[length..];
    }
    out + rest
}

/// Reads a reference at the start of `text`: its name and the length of the whole.
fn reference(text: &str) -> Option<(&str, usize)> {
    let (open, close) = match text.as_bytes() {
        [b'$', b'{', ..] => (2, "}"),
        [b'$', ..] => (1, ""),
        _ => (1, "%"),
    };
    let inner = &text[open..];
    let length = inner
        .bytes()
        .take_while(|it| it.is_ascii_alphanumeric() || *it == b'_')
        .count();
    let name = &inner[..length];
    let valid = !name.is_empty() && !name.starts_with(|it: char| it.is_ascii_digit());
    (valid && inner[length..].starts_with(close)).then_some((name, open + length + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> Vec<Variable> {
        pairs
            .iter()
            .map(|(key, value)| Variable::public(*key, *value))
            .collect()
    }

    fn all(pairs: &[(&str, &str)], reader: Reader) -> Vec<(String, String)> {
        expand_all(&list(pairs), reader)
            .variables
            .into_iter()
            .map(|it| (it.key, it.value))
            .collect()
    }

    fn value(pairs: &[(&str, &str)], reader: Reader) -> String {
        all(pairs, reader).pop().unwrap().1
    }

    #[test]
    fn one_pass_does_not_look_at_what_it_inserted() {
        let variables = list(&[("A", "1"), ("B", "$A")]);
        let check = |text: &str, unknown, expected: &str| {
            assert_eq!(expand(text, &variables, unknown), expected)
        };
        check("$A-$U-$$A", Unknown::Empty, "1--$1");
        check("$A-$U-$$A", Unknown::Keep, "1-$U-$1");
        check("${B}%A%", Unknown::Keep, "$A1");
        check(
            "%U% 100% $ ${ ${} ${A $1 é$A",
            Unknown::Keep,
            "%U% 100% $ ${ ${} ${A $1 é1",
        );
    }

    #[test]
    fn a_collection_resolves_in_order_of_dependence() {
        let given = [
            ("A", "x"),
            ("B", "$A-${A}-%A%"),
            ("C", "$$A"),
            ("D", "$UNDEF!"),
            ("E", "%%A%%"),
            ("F", "$ A $"),
            ("G", "${A"),
            ("H", "$A_B"),
            ("I", "${A}_B"),
        ];
        let shown = |reader| {
            all(&given, reader)
                .into_iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            shown(Reader::Server),
            "A=x B=x-x-x C=$$A D=! E=%%A%% F=$ A $ G=${A H= I=x_B"
        );
        assert_eq!(
            shown(Reader::Runner),
            "A=x B=x-x-x C=$$A D=$UNDEF! E=%%A%% F=$ A $ G=${A H=$A_B I=x_B"
        );
    }

    #[test]
    fn own_key_means_the_value_below() {
        assert_eq!(value(&[("PATH", "$PATH:/x")], Reader::Server), ":/x");
        assert_eq!(value(&[("PATH", "$PATH:/x")], Reader::Runner), "$PATH:/x");
        assert_eq!(value(&[("A", "1"), ("A", "$A:2")], Reader::Server), "1:2");
        assert_eq!(
            value(&[("A", "1"), ("A", "$A:2"), ("B", "$A!")], Reader::Server),
            "1:2!"
        );
    }

    #[test]
    fn circles_stay_and_are_named() {
        let done = expand_all(
            &list(&[("A", "$B"), ("B", "$A"), ("C", "$A")]),
            Reader::Server,
        );
        assert_eq!(done.cycle, ["A", "B"]);
        assert_eq!(
            done.variables,
            list(&[("A", "$B"), ("B", "$A"), ("C", "$B")])
        );
    }

    #[test]
    fn raw_and_file_variables() {
        let mut variables = list(&[("R", "$B"), ("B", "1"), ("X", "$R/y")]);
        variables[0].raw = true;
        let done = expand_all(&variables, Reader::Server).variables;
        assert_eq!(
            (done[0].value.as_str(), done[2].value.as_str()),
            ("$B", "$B/y")
        );

        let mut variables = list(&[("F", "content"), ("X", "$F")]);
        variables[0].file = true;
        assert_eq!(
            expand_all(&variables, Reader::Server).variables[1].value,
            "content"
        );
        assert_eq!(
            expand_all(&variables, Reader::Runner).variables[1].value,
            "$F"
        );
    }

    #[test]
    fn doubling_does_not_fill_the_memory() {
        let pairs: Vec<(String, String)> = (0..200)
            .map(|it| (format!("A{}", it + 1), format!("$A{it}$A{it}")))
            .chain([("A0".into(), "xx".into())])
            .collect();
        let variables: Vec<Variable> = pairs.iter().map(|(k, v)| Variable::public(k, v)).collect();
        let done = expand_all(&variables, Reader::Server);
        assert!(
            done.variables
                .iter()
                .all(|it| it.value.len() <= MAX_VALUE_BYTES)
        );
        assert!(done.cycle.is_empty());
    }
}
