//! Any text is a condition that can be decided, or none.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    rave_ci_lang::fuzzing::expression(text);
});
