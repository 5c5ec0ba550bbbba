//! What a change of the file does.

use rave_ci_lang::{Outcome, PlanDiff};
use serde_json::json;

use super::{Commit, compile_in, push};

fn outcome(text: &str) -> Outcome {
    let compiled = compile_in(text, &push(), &Commit::default());
    compiled.expect("the file is valid").outcome
}

#[test]
fn jobs_come_go_and_change() {
    let before = outcome("a: {script: x}\nb: {script: x}\nc: {script: x}\n");
    let after = outcome(
        "stages: [first, test]\na: {script: x}\nc: {script: y, when: manual}\nd: {script: x}\n",
    );
    let diff = PlanDiff::between(&before, &after);
    assert_eq!(
        (diff.added.as_slice(), diff.dropped.as_slice()),
        (&["d".to_owned()][..], &["b".to_owned()][..])
    );
    let changed: Vec<_> = diff.changed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(changed, ["c"]);
    let keys: Vec<_> = diff.changed[0]
        .keys
        .iter()
        .map(|it| (it.key.as_str(), &it.before, &it.after))
        .collect();
    assert!(
        keys.contains(&("script", &json!(["x"]), &json!(["y"]))),
        "{keys:?}"
    );
    assert!(
        keys.contains(&("when", &json!("on_success"), &json!("manual"))),
        "{keys:?}"
    );
    assert!(!diff.is_empty());
    assert!(PlanDiff::between(&before, &before).is_empty());
}

#[test]
fn a_pipeline_may_vanish() {
    let before = outcome("a: {script: x}\n");
    let after = outcome("workflow: {rules: [{when: never}]}\na: {script: x}\n");
    let diff = PlanDiff::between(&before, &after);
    assert_eq!(diff.dropped, ["a"]);
    assert_eq!(diff.refused_before, None);
    assert_eq!(
        diff.refused_after.as_deref(),
        Some("Pipeline filtered out by workflow rules.")
    );
}
