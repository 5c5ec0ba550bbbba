//! `run`: steps instead of a script. Those that are scripts run here, each in a shell of its own.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::wire;

/// One step, as the file has it.
#[derive(Debug, Deserialize)]
struct Step {
    #[serde(default)]
    name: String,
    script: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, serde_json::Value>,
}

/// Reads the steps of the protocol's `run`, a JSON array in a string.
///
/// # Errors
/// A sentence that names the step that this runner cannot do.
pub(crate) fn steps(run: &str) -> Result<Vec<wire::Step>, String> {
    let steps: Vec<Step> = serde_json::from_str(run)
        .map_err(|error| format!("run is not a list of steps: {error}"))?;
    steps.into_iter().map(step).collect()
}

fn step(step: Step) -> Result<wire::Step, String> {
    let Step { name, script, env } = step;
    let Some(script) = script else {
        return Err(format!(
            "the step {name} of run refers to another one, which this runner cannot fetch; only steps with script run here"
        ));
    };
    if script.contains("${{") || env.values().any(|it| it.to_string().contains("${{")) {
        return Err(format!(
            "the step {name} of run uses an expression, which this runner does not evaluate"
        ));
    }
    let mut lines = Vec::new();
    for (key, value) in env {
        if !crate::variables::is_name(&key) {
            return Err(format!(
                "the step {name} of run sets {key:?}, which is no name of a variable"
            ));
        }
        let value = match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        lines.push(format!("export {key}={}", crate::script::quote(&value)));
    }
    lines.push(script);
    Ok(wire::Step {
        name,
        script: lines,
        when: "on_success".to_owned(),
        allow_failure: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_run_with_their_environment() {
        let run = r#"[{"name": "hi", "script": "echo $WHO", "env": {"WHO": "it's me"}}]"#;
        let steps = steps(run).expect("valid");
        assert_eq!(steps[0].name, "hi");
        assert_eq!(steps[0].script, [r"export WHO='it'\''s me'", "echo $WHO"]);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let check = |run: &str, part: &str| {
            let error = steps(run).expect_err("refused");
            assert!(error.contains(part), "{error}");
        };
        check(
            r#"[{"name": "a", "step": "x@1"}]"#,
            "the step a of run refers",
        );
        check(
            r#"[{"name": "a", "script": "echo ${{ env.X }}"}]"#,
            "expression",
        );
        check(
            r#"[{"name": "a", "script": "x", "env": {"A B": "1"}}]"#,
            "A B",
        );
        check("{}", "not a list");
    }
}
