//! The smallest program that jobs can run through: what `rave __sandbox` and `rave __vm` are, without the rest of `rave`.
//!
//! The tests of this crate start it where the product starts its own executable.

fn main() -> std::process::ExitCode {
    if std::env::args().any(|it| it == "__vm") {
        return rave_runner::guest_main();
    }
    rave_runner::sandbox_main()
}
