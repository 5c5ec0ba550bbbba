//! Any text is YAML or has an error with a place in the text.
#![no_main]

use rave_ci_lang::{Limits, fuzzing};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let described = fuzzing::describe(text);
    let lines = 2 + text
        .matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .count();
    for ((line, _), event) in &described.events {
        assert!(
            (*line as usize) < lines,
            "{event} on line {line} of {lines}"
        );
    }
    let opened = described
        .events
        .iter()
        .filter(|it| it.1.ends_with(['[', '{']) && !it.1.contains('='));
    assert!(described.error.is_some() || opened.count() * 2 <= described.events.len());
    let limits = Limits {
        nodes: 10_000,
        ..Limits::default()
    };
    let _ = fuzzing::load(text, &limits);
});
