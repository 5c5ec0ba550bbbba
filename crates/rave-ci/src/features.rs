//! What a job asks of the program that runs it, in the names that runners use for what they can do.

use rave_ci_lang::JobPlan;

use crate::api::format_of;
use crate::model::ArtifactFormat;

/// Returns the features that a runner needs for a job, in alphabetical order. Without them the job would run, but not as its
/// file says: files would be uploaded that it excludes, or a report be missing.
pub(crate) fn needed(plan: &JobPlan) -> Vec<&'static str> {
    let mut needed = Vec::new();
    let mut need = |feature, wanted: bool| {
        if wanted {
            needed.push(feature);
        }
    };
    let artifacts = plan.artifacts.as_ref();
    let reports = artifacts.map_or(&[][..], |it| it.reports.as_slice());
    let raw = |kind: &str| format_of(kind) == ArtifactFormat::Raw;
    need(
        "artifacts_exclude",
        artifacts.is_some_and(|it| !it.exclude.is_empty()),
    );
    need(
        "fallback_cache_keys",
        plan.cache.iter().any(|it| !it.fallback_keys.is_empty()),
    );
    need(
        "return_exit_code",
        !plan.allow_failure_exit_codes.is_empty(),
    );
    need("upload_multiple_artifacts", !reports.is_empty());
    need(
        "upload_raw_artifacts",
        reports.iter().any(|it| raw(&it.kind)),
    );
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::plan::tests::job;
    use rave_ci_lang::{ArtifactReport, Artifacts};

    #[test]
    fn a_job_needs_what_its_file_uses() {
        let mut plan = job("a");
        assert!(needed(&plan).is_empty());
        plan.allow_failure_exit_codes = vec![3];
        plan.artifacts = Some(Artifacts {
            exclude: vec!["*.o".into()],
            reports: vec![ArtifactReport {
                kind: "sast".into(),
                paths: vec!["x".into()],
            }],
            ..Artifacts::default()
        });
        assert_eq!(
            needed(&plan),
            [
                "artifacts_exclude",
                "return_exit_code",
                "upload_multiple_artifacts",
                "upload_raw_artifacts"
            ]
        );
    }
}
