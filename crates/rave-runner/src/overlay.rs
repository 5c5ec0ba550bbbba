//! What the runner's own configuration adds to every job: scripts around the job's, another address to clone from, and the
//! certificates that the server's is signed with.

use reqwest::Url;

use crate::wire::{Hook, Job, Variable};

/// The variable that names the file with the certificates of the server.
pub(crate) const CERTIFICATES: &str = "CI_SERVER_TLS_CA_FILE";

/// What is added to jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Scheme, host and port that repositories are fetched from in place of the server's.
    pub clone_url: Option<String>,
    /// Commands before the source is fetched.
    pub pre_get_sources_script: Option<String>,
    /// Commands after the source was fetched.
    pub post_get_sources_script: Option<String>,
    /// Commands before the job's script, in the same shell.
    pub pre_build_script: Option<String>,
    /// Commands after the job's script, in the same shell.
    pub post_build_script: Option<String>,
    /// Certificates, as PEM, that git trusts for the server, and that jobs find in the file `CI_SERVER_TLS_CA_FILE`.
    pub certificates: Option<String>,
}

impl Overlay {
    /// Adds all of it to a job.
    pub(crate) fn apply(&self, job: &mut Job) {
        if let Some(base) = &self.clone_url {
            if let Some(url) = rebased(&job.git_info.repo_url, base) {
                job.git_info.repo_url = url;
            }
            for variable in &mut job.variables {
                if variable.key == "CI_REPOSITORY_URL"
                    && let Some(url) = rebased(&variable.value, base)
                {
                    variable.value = url;
                }
            }
        }
        if let Some(script) = &self.pre_get_sources_script {
            job.hooks.insert(0, hook("pre_get_sources_script", script));
        }
        if let Some(script) = &self.post_get_sources_script {
            job.hooks.push(hook("post_get_sources_script", script));
        }
        for step in &mut job.steps {
            if step.name == "after_script" || step.script.is_empty() {
                continue;
            }
            let before = self.pre_build_script.iter().cloned();
            let after = self.post_build_script.iter().cloned();
            step.script = before.chain(step.script.drain(..)).chain(after).collect();
        }
        if let Some(certificates) = self.certificates() {
            job.variables.insert(0, certificates);
        }
    }

    /// Returns the variable that names the file with the certificates of the server.
    pub(crate) fn certificates(&self) -> Option<Variable> {
        Some(Variable {
            key: CERTIFICATES.to_owned(),
            value: self.certificates.clone()?,
            file: true,
            ..Variable::default()
        })
    }
}

fn hook(name: &str, script: &str) -> Hook {
    Hook {
        name: name.to_owned(),
        script: vec![script.to_owned()],
    }
}

/// Puts another scheme, host and port into an address, and keeps its credentials and path.
fn rebased(url: &str, base: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    let base = Url::parse(base).ok()?;
    url.set_scheme(base.scheme()).ok()?;
    url.set_host(base.host_str()).ok()?;
    url.set_port(base.port()).ok()?;
    let prefix = base.path().trim_end_matches('/');
    if !prefix.is_empty() {
        let path = format!("{prefix}{}", url.path());
        url.set_path(&path);
    }
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_credentials_and_path() {
        let url = "https://gitlab-ci-token:secret@git.example.org/team/app.git";
        assert_eq!(
            rebased(url, "http://10.0.0.1:3000").as_deref(),
            Some("http://gitlab-ci-token:secret@10.0.0.1:3000/team/app.git")
        );
        assert_eq!(rebased(url, "nonsense"), None);
    }

    #[test]
    fn scripts_stand_around_those_of_the_job() {
        let text = r#"{"id":1,"token":"t","git_info":{"repo_url":"https://a:b@x/t.git"},
            "steps":[{"name":"script","script":["make"]},{"name":"after_script","script":["bye"]}],
            "hooks":[{"name":"pre_get_sources_script","script":["own"]}],
            "variables":[{"key":"CI_REPOSITORY_URL","value":"https://a:b@x/t.git"}]}"#;
        let mut job: Job = serde_json::from_str(text).expect("a job");
        let some = |text: &str| Some(text.to_owned());
        let overlay = Overlay {
            clone_url: some("http://y"),
            pre_get_sources_script: some("before"),
            post_get_sources_script: some("behind"),
            pre_build_script: some("first"),
            post_build_script: some("last"),
            certificates: some("PEM"),
        };
        overlay.apply(&mut job);
        assert_eq!(job.git_info.repo_url, "http://a:b@y/t.git");
        assert_eq!(job.steps[0].script, ["first", "make", "last"]);
        assert_eq!(job.steps[1].script, ["bye"]);
        let hooks: Vec<&str> = job.hooks.iter().map(|it| it.script[0].as_str()).collect();
        assert_eq!(hooks, ["before", "own", "behind"]);
        assert_eq!(job.variables[0].key, "CI_SERVER_TLS_CA_FILE");
        assert_eq!(job.variables[1].value, "http://a:b@y/t.git");
    }
}
