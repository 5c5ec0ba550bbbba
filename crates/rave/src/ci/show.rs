//! `rave ci show`: the file with everything merged into it.

use std::process::ExitCode;

use rave_ci_lang::MergedFile;
use serde_json::json;

use super::{PlanArgs, Session};
use crate::terminal::print;

/// Prints the merged file. One that is not valid is shown as far as it could be merged.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.place, &args.event)?;
    let linted = session.lint();
    let merged = linted.merged.as_ref().map(MergedFile::to_yaml);
    if args.json {
        let answer = json!({ "merged_yaml": merged, "includes": linted.includes });
        print(&format!("{answer:#}\n"))?;
    } else if let Some(merged) = &merged {
        print(merged)?;
    }
    match linted.compiled {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(errors) => Err(session.invalid(&errors)),
    }
}
