//! Files for `include:template`, which come with the program. They bear GitLab's well-known names where they do the same.

/// Every template by the name under which it is included.
const TEMPLATES: [(&str, &str); 8] = [
    (
        "Bash.gitlab-ci.yml",
        include_str!("../templates/Bash.gitlab-ci.yml"),
    ),
    (
        "Go.gitlab-ci.yml",
        include_str!("../templates/Go.gitlab-ci.yml"),
    ),
    (
        "Nix.gitlab-ci.yml",
        include_str!("../templates/Nix.gitlab-ci.yml"),
    ),
    (
        "Nodejs.gitlab-ci.yml",
        include_str!("../templates/Nodejs.gitlab-ci.yml"),
    ),
    (
        "Python.gitlab-ci.yml",
        include_str!("../templates/Python.gitlab-ci.yml"),
    ),
    (
        "Rust.gitlab-ci.yml",
        include_str!("../templates/Rust.gitlab-ci.yml"),
    ),
    (
        "Workflows/Branch-Pipelines.gitlab-ci.yml",
        include_str!("../templates/Workflows/Branch-Pipelines.gitlab-ci.yml"),
    ),
    (
        "Workflows/MergeRequest-Pipelines.gitlab-ci.yml",
        include_str!("../templates/Workflows/MergeRequest-Pipelines.gitlab-ci.yml"),
    ),
];

/// Returns the text of a template.
pub fn find(name: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|it| it.0 == name).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use rave_ci_lang::{EventContext, Limits, Outcome, SourceFile, Tree, Variable, compile};

    use super::*;

    struct Templates;

    impl Tree for Templates {
        fn read(&self, _: &str) -> Option<String> {
            None
        }
        fn files(&self) -> Vec<String> {
            Vec::new()
        }
        fn changed(&self) -> Option<Vec<String>> {
            None
        }
        fn template(&self, name: &str) -> Option<String> {
            find(name).map(str::to_owned)
        }
    }

    /// Returns the jobs of a file, `None` when there is no pipeline.
    fn jobs(text: &str, source: &str, variables: &[(&str, &str)]) -> Option<Vec<String>> {
        let event = EventContext {
            source: source.to_owned(),
            ref_name: "main".to_owned(),
            predefined: variables
                .iter()
                .map(|(key, value)| Variable::public(*key, *value))
                .collect(),
            ..EventContext::default()
        };
        let source = SourceFile {
            path: ".gitlab-ci.yml",
            text,
        };
        let compiled = compile(&source, &event, &Templates, &Limits::default());
        let compiled = compiled.unwrap_or_else(|errors| panic!("{text}: {errors}"));
        assert_eq!(compiled.notices, [], "{text}");
        match compiled.outcome {
            Outcome::Pipeline(plan) => Some(plan.jobs.into_iter().map(|it| it.name).collect()),
            _ => None,
        }
    }

    #[test]
    fn each_template_makes_a_pipeline() {
        for (name, _) in TEMPLATES {
            let own = if name.starts_with("Workflows/") {
                "mine: {script: x}"
            } else {
                ""
            };
            let text = format!("include: [{{template: {name}}}]\n{own}");
            let branch = [
                ("CI_COMMIT_BRANCH", "main"),
                ("CI_DEFAULT_BRANCH", "main"),
                ("CI_PIPELINE_SOURCE", "push"),
            ];
            let jobs = jobs(&text, "push", &branch).unwrap_or_else(|| panic!("{name}"));
            assert!(!jobs.is_empty(), "{name}");
        }
    }

    #[test]
    fn workflows_avoid_two_pipelines_for_one_push() {
        let made = |workflow: &str, source: &str, variables: &[(&str, &str)]| {
            let text = format!(
                "include: [{{template: Workflows/{workflow}-Pipelines.gitlab-ci.yml}}]\na: {{script: x, rules: [{{when: always}}]}}"
            );
            let mut all = vec![
                ("CI_PIPELINE_SOURCE", source),
                ("CI_DEFAULT_BRANCH", "main"),
            ];
            all.extend_from_slice(variables);
            jobs(&text, source, &all).is_some()
        };
        let branch = [("CI_COMMIT_BRANCH", "topic")];
        let reviewed = [
            ("CI_COMMIT_BRANCH", "topic"),
            ("CI_OPEN_MERGE_REQUESTS", "a/b!1"),
        ];
        let main = [("CI_COMMIT_BRANCH", "main")];
        let tag = [("CI_COMMIT_TAG", "v1")];
        let request = [("CI_MERGE_REQUEST_IID", "1")];
        assert!(made("Branch", "push", &branch));
        assert!(made("Branch", "push", &tag));
        assert!(!made("Branch", "merge_request_event", &request));
        assert!(made("MergeRequest", "merge_request_event", &request));
        assert!(made("MergeRequest", "push", &main));
        assert!(made("MergeRequest", "push", &tag));
        assert!(!made("MergeRequest", "push", &branch));
        assert!(!made("MergeRequest", "push", &reviewed));
    }
}
