//! Durations as people write them: `1h30m`, `3 weeks and 2 days`, `4:01:30`, `one hour`.

use std::time::Duration;

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration")]
pub struct NotADuration(pub String);

/// Reads a duration. `None` for a text without a value (empty, `0`), which keywords treat as not given.
///
/// A bare number means seconds. A day has 24 hours, a month 30 days, a year 365.25 days.
pub fn parse_duration(text: &str) -> Result<Option<Duration>, NotADuration> {
    let refuse = || NotADuration(text.chars().take(100).collect());
    if text.len() > 1000 {
        return Err(refuse());
    }
    let lower = text.trim().to_lowercase();
    let secs = match clock(&lower) {
        Some(secs) => secs,
        None => words(&lower).ok_or_else(refuse)?,
    };
    let duration = Duration::try_from_secs_f64(secs.round()).map_err(|_| refuse())?;
    Ok((duration > Duration::ZERO).then_some(duration))
}

/// Reads `H:M:S` and `M:S`.
fn clock(text: &str) -> Option<f64> {
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    parts.iter().try_fold(0.0, |total, part| {
        let digits =
            !part.is_empty() && part.len() < 10 && part.bytes().all(|it| it.is_ascii_digit());
        digits
            .then(|| part.parse().ok())
            .flatten()
            .map(|it: f64| total * 60.0 + it)
    })
}

/// Reads pairs of number and unit, with fillers between them.
fn words(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut number: Option<f64> = None;
    for word in pieces(text)? {
        if word == "and" {
            continue;
        }
        match (number_of(word), number) {
            (Some(it), None) => number = Some(it),
            (Some(_), Some(_)) => return None,
            (None, it) => {
                total += it? * secs_of(word)?;
                number = None;
            }
        }
    }
    Some(total + number.unwrap_or(0.0))
}

/// Splits into runs of letters and runs of digits and dots; blanks and commas separate. `None` on anything else.
fn pieces(text: &str) -> Option<Vec<&str>> {
    let kind = |it: char| match it {
        '0'..='9' | '.' => Some('0'),
        'a'..='z' => Some('a'),
        ' ' | '\t' | '\n' | ',' => Some(' '),
        _ => None,
    };
    let mut pieces = Vec::new();
    let (mut from, mut last) = (0, ' ');
    for (at, char) in text.char_indices().chain([(text.len(), ' ')]) {
        let this = kind(char)?;
        if this != last || this == ' ' {
            if last != ' ' {
                pieces.push(&text[from..at]);
            }
            (from, last) = (at, this);
        }
    }
    Some(pieces)
}

fn number_of(word: &str) -> Option<f64> {
    const WORDS: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    if let Some(value) = WORDS.iter().position(|it| *it == word) {
        return Some(value as f64);
    }
    let numeric = word.starts_with(|it: char| it.is_ascii_digit() || it == '.');
    numeric.then(|| word.parse().ok()).flatten()
}

fn secs_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        "mo" | "mos" | "month" | "months" => 2_592_000.0,
        "y" | "yr" | "yrs" | "year" | "years" => 31_557_600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = "30 minutes 1800 | 3 weeks and 2 days 1987200 | 1 day 86400 | 2h20min 8400 | 1h30m 5400 | 30 30
            | 1 mos 2592000 | 1 month 2592000 | 1 year 31557600 | 3 yrs 94672800 | 4:01:30 14490 | 1 week 604800
            | 1w 604800 | 3d 4h 273600 | 1.5 hours 5400 | one hour 3600 | 6 months 1 day 15638400 | 10 sec 10
            | 10s 10 | 2 hrs 7200 | 5 min 300 | 1 minute 30 seconds 90 | 1d12h 129600 | 3 mins 4 sec 184
            | 1 Hour 3600 | 1 day, 2 hours 93600";
        for case in cases.split('|') {
            let (text, secs) = case.trim().rsplit_once(' ').unwrap();
            let expected = Ok(Some(Duration::from_secs(secs.parse().unwrap())));
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_no_duration_and_nonsense_an_error() {
        for text in ["", "0", " ", "0 days"] {
            assert_eq!(parse_duration(text), Ok(None), "{text:?}");
        }
        for text in [
            "half", "foo", "1 foo", "-1 day", "100ms", "never", "1 2 h", "hour", "1.2.3 h", "1:",
            "1:2:3:4", "é",
        ] {
            assert_eq!(parse_duration(text), Err(NotADuration(text.to_owned())));
        }
        assert!(parse_duration(&"9".repeat(400)).is_err());
    }
}
