//! The functions of a block: each takes a text and returns one.

use std::cell::Cell;
use std::sync::LazyLock;

use regex::Regex;

use super::Context;
use crate::expand::{Unknown, expand_with};
use crate::yaml::{Node, Value};

static TRUNCATE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^truncate\([\t\n\x0C\r ]*([0-9]+)[\t\n\x0C\r ]*,[\t\n\x0C\r ]*([0-9]+)[\t\n\x0C\r ]*\)?$",
    )
    .expect("the pattern is valid")
});

enum Function {
    ExpandVars,
    PosixEscape,
    Truncate { offset: usize, length: usize },
}

impl Function {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "expand_vars" => Some(Self::ExpandVars),
            "posix_escape" => Some(Self::PosixEscape),
            _ => {
                let found = TRUNCATE.captures(text)?;
                let number = |it: &str| it.parse().unwrap_or(usize::MAX);
                Some(Self::Truncate {
                    offset: number(&found[1]),
                    length: number(&found[2]),
                })
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::ExpandVars => "expand_vars",
            Self::PosixEscape => "posix_escape",
            Self::Truncate { .. } => "truncate",
        }
    }
}

/// Applies functions from left to right.
pub(super) fn apply(names: &[&str], value: Node, context: &Context<'_>) -> Result<Node, String> {
    let mut functions = Vec::new();
    for name in names {
        functions.push(Function::parse(name).ok_or_else(|| {
            format!(
                "no function matching `{name}`: check that the function name, arguments, and types are correct"
            )
        })?);
    }
    functions.iter().try_fold(value, |node, function| {
        let name = function.name();
        let error = |problem: &str| format!("error in `{name}` function: {problem}");
        let text = node.as_text().ok_or_else(|| {
            error(&format!(
                "invalid input type: {name} can only be used with string inputs"
            ))
        })?;
        let text = match function {
            Function::ExpandVars => expanded(text, context).ok_or_else(|| {
                error("variable expansion error: masked variables cannot be expanded")
            })?,
            Function::PosixEscape => escaped(text),
            Function::Truncate { offset, length } => {
                text.chars().skip(*offset).take(*length).collect()
            }
        };
        Ok(Node {
            value: Value::Text(text.into()),
            span: node.span,
        })
    })
}

/// Fills variables in; unknown ones stay. `None`: one of them is masked, and what it holds must not get into the file.
fn expanded(text: &str, context: &Context<'_>) -> Option<String> {
    let masked = Cell::new(false);
    let text = expand_with(text, Unknown::Keep, |name| {
        let variable = (context.variable)(name)?;
        masked.set(masked.get() || variable.masked);
        Some(variable.value.as_str())
    });
    (!masked.get()).then_some(text)
}

/// Makes a text one word of a shell, as Ruby's library does.
fn escaped(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => out += "'\n'",
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' | '.' | ',' | ':' | '+' | '/' | '@' => {
                out.push(char);
            }
            _ => out.extend(['\\', char]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variable;
    use crate::merge::text::{node_of_json, printed};
    use crate::yaml::Span;

    fn applied(functions: &[&str], value: serde_json::Value) -> String {
        let secret = Variable {
            masked: true,
            ..Variable::public("SECRET", "hunter2")
        };
        let known = [
            Variable::public("A", "$B"),
            Variable::public("B", "b"),
            secret,
        ];
        let context = Context {
            data: node_of_json(&serde_json::json!({}), Span::default()),
            variable: &|name| known.iter().find(|it| it.key == name),
        };
        match apply(functions, node_of_json(&value, Span::default()), &context) {
            Ok(node) => printed(&node),
            Err(message) => message,
        }
    }

    #[test]
    fn functions_change_texts() {
        let check = |functions: &[&str], text: &str, expected: &str| {
            assert_eq!(applied(functions, text.into()), expected, "{functions:?}");
        };
        check(&["truncate(1,3)"], "aébcd", "ébc");
        check(&["truncate( 2 , 9 "], "abc", "c");
        check(&["truncate(9,9)"], "abc", "");
        check(&["truncate(0,99999999999999999999999)"], "abc", "abc");
        check(&["expand_vars"], "$A-${B}-$NO", "$B-b-$NO");
        check(&["expand_vars", "expand_vars", "truncate(0,1)"], "$A", "b");
        check(&["posix_escape"], "", "''");
        check(&["posix_escape"], "a b'c$\né", "a\\ b\\'c\\$'\n'\\é");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(
            applied(&["foo"], "x".into()),
            "no function matching `foo`: check that the function name, arguments, and types are correct"
        );
        assert_eq!(
            applied(&["truncate(a)"], "x".into()),
            "no function matching `truncate(a)`: check that the function name, arguments, and types are correct"
        );
        assert_eq!(
            applied(&["truncate(0,1)"], 5.into()),
            "error in `truncate` function: invalid input type: truncate can only be used with string inputs"
        );
        assert_eq!(
            applied(&["expand_vars"], "x$SECRET".into()),
            "error in `expand_vars` function: variable expansion error: masked variables cannot be expanded"
        );
    }
}
