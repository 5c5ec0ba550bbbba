//! What the person who pushed reads: lines that git prints after `remote:`.

use rave_ci_lang::Diagnostic;
use rave_core::id::PipelineId;

/// Most lines of one push.
const LINES: usize = 20;

/// Says that a pipeline was made.
pub(crate) fn created(pipeline: PipelineId, url: &str, notices: &[Diagnostic]) -> Vec<String> {
    let mut lines = vec![format!("Pipeline #{pipeline} created: {url}")];
    lines.extend(diagnostics(notices));
    lines
}

/// Says that the commit or the push asked for no jobs.
pub(crate) fn skipped(pipeline: PipelineId, url: &str) -> Vec<String> {
    vec![format!("Pipeline #{pipeline} skipped: {url}")]
}

/// Says what keeps the file from being a pipeline.
pub(crate) fn failed(pipeline: PipelineId, url: &str, errors: &[Diagnostic]) -> Vec<String> {
    let mut lines = diagnostics(errors);
    lines.push(format!(
        "Pipeline #{pipeline} failed, the configuration is not valid: {url}"
    ));
    lines
}

/// Says why there is no pipeline although there is a file.
pub(crate) fn refused(reason: &str, notices: &[Diagnostic]) -> Vec<String> {
    let mut lines = vec![format!("No pipeline: {reason}")];
    lines.extend(diagnostics(notices));
    lines
}

fn diagnostics(list: &[Diagnostic]) -> Vec<String> {
    let mut lines = Vec::new();
    for diagnostic in list {
        // A name in a message may hold anything; git prints lines.
        lines.extend(diagnostic.to_string().lines().map(str::to_owned));
        lines.extend(diagnostic.hint.as_ref().map(|it| format!("  hint: {it}")));
    }
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("… and {more} more lines, see the pipeline's page"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_ci_lang::Severity;

    fn diagnostic(message: &str) -> Diagnostic {
        Diagnostic {
            line: 3,
            column: 5,
            hint: Some("look".into()),
            ..Diagnostic::about(Severity::Error, ".gitlab-ci.yml", message)
        }
    }

    #[test]
    fn lines_say_where_and_what() {
        assert_eq!(
            failed(
                PipelineId(7),
                "http://x/p/7",
                &[diagnostic("jobs:build config is wrong")]
            ),
            [
                ".gitlab-ci.yml:3:5: jobs:build config is wrong",
                "  hint: look",
                "Pipeline #7 failed, the configuration is not valid: http://x/p/7",
            ]
        );
        assert_eq!(diagnostics(&vec![diagnostic("m"); 50]).len(), LINES + 1);
    }
}
