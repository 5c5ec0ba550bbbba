//! Any pattern can be compared with any path: the lines of the input are patterns, the last is the path.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (patterns, path) = text.rsplit_once('\n').unwrap_or((text, "src/main.rs"));
    for pattern in patterns.lines().take(20) {
        rave_ci_lang::fuzzing::glob(pattern, path);
    }
});
