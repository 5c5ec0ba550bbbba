//! The pre-receive hook as a program of its own, for tests: in the product it is `rave __hook pre-receive`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rave_git::hook_main("pre-receive")
}
