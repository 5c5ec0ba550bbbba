//! What an unquoted scalar means in YAML 1.1, by Ruby's reading of it.

use std::sync::LazyLock;

use regex::Regex;

use super::Value;

/// An unquoted date or time, which GitLab refuses to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Date,
    Time,
}

static DATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^\d{4}-(?:1[012]|0\d|\d)-(?:[12]\d|3[01]|0\d|\d)$"));
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^-?\d{4}-\d{1,2}-\d{1,2}(?:[Tt]|\s+)\d{1,2}:\d\d:\d\d(?:\.\d*)?(?:\s*(?:Z|[-+]\d{1,2}:?(?:\d\d)?))?$",
    )
});
static SIXTY: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}(\.[0-9_]*)?$"));
static FLOAT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[-+]?(?:[0-9][0-9_,]*)?\.[0-9]*(?:[eE][+-][0-9]+)?$"));
static INTEGER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^([-+]?)(?:0b([_,]*[01][01_,]*)|0x([_,]*[0-9a-fA-F][0-9a-fA-F_,]*)|0([_,]*[0-7][0-7_,]*)|(0|[1-9](?:[0-9]|,[0-9]|_[0-9])*))$",
    )
});

fn regex(text: &str) -> Regex {
    Regex::new(&text.replace(r"\d", "[0-9]")).expect("the pattern is valid")
}

/// Resolves the text of a plain scalar.
pub(super) fn resolve(text: &str) -> Result<Value, Refused> {
    let is = |words: &[&str]| words.iter().any(|it| it.eq_ignore_ascii_case(text));
    Ok(match text.as_bytes().first() {
        None => Value::Null,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => number(text)?,
        Some(b':') if text.len() > 1 => Value::Text(symbol(&text[1..]).into()),
        _ if text.len() > 5 => Value::Text(text.into()),
        _ if text == "~" || is(&["null"]) => Value::Null,
        _ if is(&["true", "yes", "on"]) => Value::Bool(true),
        _ if is(&["false", "no", "off"]) => Value::Bool(false),
        _ => Value::Text(text.into()),
    })
}

/// Ruby's symbols print without their colon and the quotes after it.
fn symbol(text: &str) -> &str {
    let quoted = text.chars().next().filter(|it| matches!(it, '"' | '\''));
    let end = quoted.and_then(|quote| text.rfind(quote)).unwrap_or(0);
    match end {
        0 => text,
        end => text[1..end].strip_prefix(':').unwrap_or(&text[1..end]),
    }
}

fn number(text: &str) -> Result<Value, Refused> {
    let in_numbers =
        |it: char| it.is_ascii_hexdigit() || it.is_whitespace() || "+-.,_:xTtZ".contains(it);
    // Options of commands and versions begin like numbers, too, and a glance tells most of them.
    let is_word = |it: &str| it.eq_ignore_ascii_case("inf") || it.eq_ignore_ascii_case("nan");
    if !text.chars().all(in_numbers) && !text.rsplit('.').next().is_some_and(is_word) {
        return Ok(Value::Text(text.into()));
    }
    if DATE.is_match(text) {
        return Err(Refused::Date);
    }
    if TIME.is_match(text) {
        return Err(Refused::Time);
    }
    let plain = || text.replace([',', '_'], "");
    let (sign, unsigned) = match text.as_bytes()[0] {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let found = if unsigned.eq_ignore_ascii_case(".inf") {
        Some(Value::Float(sign * f64::INFINITY))
    } else if text.eq_ignore_ascii_case(".nan") {
        Some(Value::Float(f64::NAN))
    } else if let Some(found) = SIXTY.captures(text) {
        match found.get(1) {
            None => base_sixty(&plain()).map(|it| Value::Integer(it.into())),
            Some(_) => float_of_base_sixty(&plain()).map(Value::Float),
        }
    } else if unsigned != "." && FLOAT.is_match(text) {
        plain().parse().ok().map(Value::Float)
    } else {
        integer(text).map(|it| Value::Integer(it.into()))
    };
    Ok(found.unwrap_or_else(|| Value::Text(text.into())))
}

/// Ruby counts the first part as hours even when there are two: `1:30` is 5400.
fn base_sixty(text: &str) -> Option<i128> {
    text.split(':')
        .zip([3600, 60, 1])
        .try_fold(0_i128, |total, (part, weight)| {
            total.checked_add(part.parse::<i128>().ok()?.checked_mul(weight)?)
        })
}

fn float_of_base_sixty(text: &str) -> Option<f64> {
    text.split(':')
        .zip([3600.0, 60.0, 1.0])
        .try_fold(0.0, |total, (part, weight)| {
            Some(total + part.parse::<f64>().ok()? * weight)
        })
}

/// `None` also for numbers beyond 127 bits, which stay text: they only ever get printed.
fn integer(text: &str) -> Option<i128> {
    let found = INTEGER.captures(text)?;
    let (digits, radix) =
        [(2, 2), (3, 16), (4, 8), (5, 10)]
            .into_iter()
            .find_map(|(group, radix)| {
                found
                    .get(group)
                    .map(|it| (it.as_str().replace([',', '_'], ""), radix))
            })?;
    let value = i128::from_str_radix(&digits, radix).ok()?;
    Some(if &found[1] == "-" { -value } else { value })
}

/// Prints a float as Ruby does.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = if mantissa.contains('.') {
            mantissa.to_owned()
        } else {
            format!("{mantissa}.0")
        };
        let (sign, digits) = exponent
            .strip_prefix('-')
            .map_or(("+", exponent), |it| ("-", it));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Node, Span};

    fn shown(text: &str) -> String {
        let node = Node {
            value: resolve(text).unwrap(),
            span: Span::default(),
        };
        node.scalar_text().unwrap()
    }

    #[test]
    fn scalars_as_variable_values() {
        let cases = "1 -> 1|1.50 -> 1.5|true -> true|010 -> 8|0x1f -> 31|yes -> true|1e3 -> 1e3|1_000 -> 1000|.5 -> 0.5
            |no -> false|On -> true|off -> false|1:30 -> 5400|1:30:00 -> 5400|0o17 -> 0o17|08 -> 08|+1 -> 1|-0 -> 0
            |1. -> 1.0|.inf -> Infinity|-.inf -> -Infinity|.nan -> NaN|null -> |~ -> |y -> y|n -> n|0b11 -> 3
            |1.0e+3 -> 1000.0|007 -> 7|1.10 -> 1.1|0.10.1 -> 0.10.1|2e5 -> 2e5|190:20:30 -> 685230|0_1 -> 1
            |3.0 -> 3.0|1:60 -> 1:60|0X1F -> 0X1F|12e03 -> 12e03|12345678901234567890 -> 12345678901234567890
            |1,000 -> 1000|1.2.3 -> 1.2.3|1.5e3 -> 1.5e3|:sym -> sym|- -> -|. -> .|-.5 -> -0.5|+ -> +|1-2 -> 1-2
            |1__0 -> 1__0|1_ -> 1_|0_ -> 0_|yEs -> true|nULL ->|Off -> false|1:30.5 -> 5430.0|-1:30 -> -1800|::a -> :a
            |:'a b' -> a b|: -> :|+.inf -> Infinity|+. -> +.|1.e+3 -> 1000.0|1.0e+20 -> 1.0e+20|0.00001 -> 1.0e-05|1:2:3:4 -> 1:2:3:4|0b -> 0b|null1 -> null1|1 a -> 1 a";
        for case in cases.split('|') {
            let (text, expected) = case.trim_end().split_once(" ->").unwrap();
            assert_eq!(shown(text), expected.trim(), "{text}");
        }
        assert_eq!(shown(&"9".repeat(60)), "9".repeat(60));
    }

    #[test]
    fn dates_are_refused() {
        assert_eq!(resolve("2026-01-31").unwrap_err(), Refused::Date);
        assert_eq!(resolve("2026-01-31 10:00:00").unwrap_err(), Refused::Time);
        assert_eq!(resolve("2026-01-31T10:00:00Z").unwrap_err(), Refused::Time);
        assert_eq!(shown("2026-01"), "2026-01");
        assert_eq!(shown("2026-13-01"), "2026-13-01");
    }
}
