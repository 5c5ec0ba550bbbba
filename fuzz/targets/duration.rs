//! Any text is a duration, none, or an error.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = rave_ci_lang::parse_duration(text);
});
