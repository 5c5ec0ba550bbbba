//! JUnit's XML, in the dialects that test runners write: suites in suites or none at all, failures as text, attribute or
//! both, retried tests of Maven, skipped ones of `GoogleTest`, attachments in what a test wrote.

use std::io::BufRead;

use super::xml::{Element, Piece, Xml};
use super::{Outcome, Parsed, TEXT, TestCase, Unreadable, name};

/// Where text goes that stands between tags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Message,
    Output,
    Nothing,
}

pub(super) fn read(input: &mut dyn BufRead, into: &mut Parsed) -> Result<(), Unreadable> {
    let mut xml = Xml::new(input);
    let mut suites: Vec<String> = Vec::new();
    let mut case: Option<TestCase> = None;
    let mut target = Into::Nothing;
    let mut known = false;
    // A report of a run without tests says so too.
    into.summary.tests.get_or_insert_default();
    while let Some(piece) = xml.next()? {
        match piece {
            Piece::Open(element) => match (element.name.as_str(), &mut case) {
                ("testsuite" | "testsuites", None) => {
                    known = true;
                    suites.push(name(element.text("name")));
                }
                ("testcase", None) => {
                    known = true;
                    let suite = suites.iter().rev().find(|it| !it.is_empty());
                    case = Some(begin(&element, suite.map_or("", String::as_str)));
                }
                (inner, Some(case)) => target = inside(inner, &element, case, target),
                (_, None) => {}
            },
            Piece::Text(text) => {
                if let Some(case) = &mut case {
                    add(case, target, &text);
                }
            }
            Piece::Close(tag) => match tag.as_str() {
                "testsuite" | "testsuites" if case.is_none() => drop(suites.pop()),
                "testcase" => {
                    if let Some(done) = case.take() {
                        into.push_test(finish(done));
                    }
                    target = Into::Nothing;
                }
                "failure" | "error" | "skipped" | "system-out" | "system-err" => {
                    target = Into::Nothing;
                }
                _ => {}
            },
        }
    }
    match known {
        true => Ok(()),
        false => Err(Unreadable::Content(
            "it has neither testsuite nor testcase elements".into(),
        )),
    }
}

fn begin(element: &Element, suite: &str) -> TestCase {
    let class = element.find("classname").or_else(|| element.find("class"));
    let status = element.text("status").to_ascii_lowercase();
    let result = element.text("result").to_ascii_lowercase();
    let not_run = ["notrun", "skipped", "disabled", "suppressed"];
    let skipped = not_run.contains(&status.as_str()) || not_run.contains(&result.as_str());
    TestCase {
        suite: suite.to_owned(),
        class: name(class.unwrap_or_default()),
        name: match element.text("name") {
            "" => "(without a name)".into(),
            given => name(given),
        },
        file: element.find("file").filter(|it| !it.is_empty()).map(name),
        line: element.number("line"),
        outcome: if skipped {
            Outcome::Skipped
        } else {
            Outcome::Success
        },
        duration_ms: duration_ms(element.text("time")),
        message: String::new(),
        output: String::new(),
        attachment: None,
    }
}

/// Notes an element inside a test. Returns where its text goes.
fn inside(tag: &str, element: &Element, case: &mut TestCase, before: Into) -> Into {
    let outcome = match tag {
        "failure" => Outcome::Failed,
        "error" => Outcome::Error,
        "skipped" => Outcome::Skipped,
        "system-out" | "system-err" => return Into::Output,
        // Earlier tries of a test that Maven ran again: the last one counts.
        "flakyFailure" | "flakyError" | "rerunFailure" | "rerunError" => {
            add(
                case,
                Into::Output,
                &format!("\n{tag}: {}\n", element.text("message")),
            );
            return Into::Output;
        }
        _ => return before,
    };
    if !case.outcome.is_failing() {
        case.outcome = outcome;
    }
    let message = element.find("message").or_else(|| element.find("type"));
    if let Some(message) = message.filter(|it| !it.is_empty()) {
        if !case.message.is_empty() {
            add(case, Into::Message, "\n");
        }
        add(case, Into::Message, message);
        add(case, Into::Message, "\n");
    }
    Into::Message
}

/// Adds text, of which not more is held than will be kept.
fn add(case: &mut TestCase, target: Into, text: &str) {
    let field = match target {
        Into::Message => &mut case.message,
        Into::Output => &mut case.output,
        Into::Nothing => return,
    };
    let room = (2 * TEXT).saturating_sub(field.len());
    let end = (0..=room.min(text.len()))
        .rev()
        .find(|it| text.is_char_boundary(*it));
    field.push_str(&text[..end.unwrap_or(0)]);
}

fn finish(mut case: TestCase) -> TestCase {
    const MARK: &str = "[[ATTACHMENT|";
    if let Some(at) = case.output.find(MARK) {
        let rest = &case.output[at + MARK.len()..];
        case.attachment = rest.split_once("]]").map(|(path, _)| name(path));
    }
    // Tools repeat the attribute at the beginning of the text.
    let message = case.message.trim();
    if let Some((first, rest)) = message.split_once('\n')
        && rest.trim_start().starts_with(first.trim())
    {
        case.message = rest.trim().to_owned();
    }
    case
}

/// Reads seconds, which some tools write as `1,234.5`.
fn duration_ms(text: &str) -> i64 {
    let text = text.replace(',', "");
    let seconds: f64 = text.trim_end_matches('s').trim().parse().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a year")]
    let millis = (seconds * 1000.0).round().clamp(0.0, 31_557_600_000.0) as i64;
    millis
}
