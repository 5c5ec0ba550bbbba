//! `rave ci lint`: everything that there is to say about the file.

use std::process::ExitCode;

use rave_ci_lang::{Diagnostic, Severity};
use serde_json::json;

use super::{AT_FAULT, PlanArgs, Session};
use crate::terminal::{Style, print};

/// Prints diagnostics. Warnings do not make the file invalid.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(&args.place, &args.event)?;
    let compiled = session.compile();
    let (errors, notices, refusal) = match &compiled {
        Ok(compiled) => (&[][..], &compiled.notices[..], compiled.outcome.refusal()),
        Err(errors) => (&errors.0[..], &[][..], None),
    };
    let code = if errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(AT_FAULT)
    };
    if args.json {
        let answer = json!({
            "valid": errors.is_empty(),
            "errors": errors,
            "warnings": notices,
            "refusal": refusal,
        });
        print(&format!("{answer:#}\n"))?;
        return Ok(code);
    }
    let style = Style::stdout();
    let mut out = String::new();
    for diagnostic in errors.iter().chain(notices) {
        out += &painted(style, diagnostic, &diagnostic.render());
        out.push('\n');
    }
    let file = style.bold(&session.file);
    out += &match errors.len() {
        0 => format!(
            "{file} is {}{}\n",
            style.green("valid"),
            counted(notices.len(), "warning", ", with ")
        ),
        count => format!(
            "{file} is {}{}\n",
            style.red("not valid"),
            counted(count, "error", ": ")
        ),
    };
    if let Some(refusal) = refusal {
        out += &format!("For this event there is no pipeline: {refusal}\n");
    }
    if let (Some(project), false) = (session.tree.missing_projects().first(), errors.is_empty()) {
        out += &format!("hint: say where the files of {project} are: --project {project}=DIR\n");
    }
    print(&out)?;
    Ok(code)
}

fn counted(count: usize, what: &str, before: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!("{before}1 {what}"),
        _ => format!("{before}{count} {what}s"),
    }
}

/// Colours the word that opens a rendered diagnostic.
fn painted(style: Style, diagnostic: &Diagnostic, text: &str) -> String {
    let label = diagnostic.severity.label();
    let painted = match diagnostic.severity {
        Severity::Error => style.red(label),
        Severity::Warning => style.yellow(label),
        Severity::Unsupported => style.cyan(label),
    };
    match text.strip_prefix(label) {
        Some(rest) => painted + rest,
        None => text.to_owned(),
    }
}
