//! The smallest program that jobs can run through: what `rave __sandbox` is, without the rest of `rave`.
//!
//! The tests of this crate start it where the product starts its own executable.

fn main() -> std::process::ExitCode {
    rave_runner::sandbox_main()
}
