//! What the server says of a job to others, signed: the tokens of `id_tokens`, in the claims that GitLab's have.
//!
//! All numbers but times and the runner's are strings, because trust policies of clouds compare strings.

use rave_ci_lang::{IdToken, Reader, Unknown, Variable, expand, expand_all};
use rave_core::permission::{Principal, Project, Role};
use rave_core::port::{ProjectRef, UserSummary};
use rave_core::time::Timestamp;
use serde_json::{Value, json};

use super::Ci;
use crate::error::CiError;
use crate::model::Runner;
use crate::store::job::Taken;
use crate::store::pipeline::JobSide;
use crate::variables::CONFIG_PATH;

/// What the claims of a job's tokens are made from.
struct Facts<'a> {
    issuer: &'a str,
    project: &'a Project,
    taken: &'a Taken,
    side: &'a JobSide,
    runner: &'a Runner,
    user: Option<&'a UserSummary>,
    role: Option<Role>,
    now: Timestamp,
    /// Tells the token from all others.
    id: String,
}

impl Ci {
    /// Makes the tokens that a job asks for, as masked variables.
    pub(super) async fn id_tokens(
        &self,
        taken: &Taken,
        side: &JobSide,
        project: &Project,
        project_variables: &[Variable],
        runner: &Runner,
    ) -> Result<Vec<Variable>, CiError> {
        let wanted = &taken.plan.id_tokens;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let user = match taken.job.user {
            Some(id) => self.directory.users(&[id]).await?.remove(&id),
            None => None,
        };
        let principal = match taken.job.user {
            Some(id) => self.directory.find_principal(id).await?,
            None => None,
        };
        let role = match principal {
            Some(principal) => {
                let (principal, at) = (Principal::User(principal), ProjectRef::Id(project.id));
                let found = self.directory.find_project(&principal, &at).await?;
                found.and_then(|it| it.role)
            }
            None => None,
        };
        let known = [
            &*side.predefined,
            &*taken.plan.variables,
            project_variables,
            &*side.variables,
        ]
        .concat();
        let known = expand_all(&known, Reader::Server).variables;
        let mut tokens = Vec::with_capacity(wanted.len());
        for token in wanted {
            let facts = Facts {
                issuer: &self.config.external_url,
                project,
                taken,
                side,
                runner,
                user: user.as_ref(),
                role,
                now: self.now(),
                id: uuid::Uuid::now_v7().to_string(),
            };
            let signed = self.issuer.sign(&claims(&facts, token, &known)).await?;
            tokens.push(Variable {
                key: token.name.clone(),
                value: signed.expose().to_owned(),
                raw: true,
                masked: true,
                ..Variable::default()
            });
        }
        Ok(tokens)
    }
}

fn claims(facts: &Facts<'_>, token: &IdToken, known: &[Variable]) -> Value {
    let Facts {
        issuer,
        project,
        taken,
        side,
        ..
    } = *facts;
    let (pipeline, job) = (&side.pipeline, &taken.job);
    let (path, now) = (project.path.as_str(), facts.now.0 / 1000);
    let namespace = project.path.parent().map(String::from).unwrap_or_default();
    let (kind, prefix) = if pipeline.tag {
        ("tag", "refs/tags")
    } else {
        ("branch", "refs/heads")
    };
    let ref_path = format!("{prefix}/{}", pipeline.ref_name);
    let mut audience: Vec<String> = token
        .audience
        .iter()
        .map(|it| expand(it, known, Unknown::Empty))
        .collect();
    let audience = match audience.len() {
        1 => Value::String(audience.remove(0)),
        _ => json!(audience),
    };
    let host = issuer.split_once("://").map_or(issuer, |it| it.1);
    let mut claims = json!({
        "iss": issuer,
        "sub": format!("project_path:{path}:ref_type:{kind}:ref:{}", pipeline.ref_name),
        "aud": audience,
        "iat": now,
        "nbf": now - 5,
        "exp": now + (job.timeout_ms / 1000).max(300),
        "jti": facts.id,
        "namespace_id": project.namespace.to_string(),
        "namespace_path": namespace,
        "project_id": project.id.to_string(),
        "project_path": path,
        "project_visibility": project.visibility.label(),
        "user_id": facts.user.map_or_else(String::new, |it| it.id.to_string()),
        "user_login": facts.user.map_or("", |it| &it.username),
        "user_email": facts.user.map_or("", |it| &it.email),
        "user_access_level": facts.role.map(|it| it.label().to_lowercase()),
        "pipeline_id": pipeline.id.to_string(),
        "pipeline_source": pipeline.source.label(),
        "job_id": job.id.to_string(),
        "ref": pipeline.ref_name,
        "ref_type": kind,
        "ref_path": ref_path,
        "ref_protected": pipeline.protected.to_string(),
        "sha": pipeline.sha,
        "runner_id": facts.runner.id.0,
        "runner_environment": "self-hosted",
        "ci_config_ref_uri": format!("{host}/{path}//{CONFIG_PATH}@{ref_path}"),
        "ci_config_sha": pipeline.sha,
        "job_project_id": project.id.to_string(),
        "job_project_path": path,
    });
    if let Some(environment) = &taken.plan.environment {
        claims["environment"] = json!(environment.name);
        claims["environment_protected"] = json!("false");
        claims["environment_action"] = json!(environment.action);
        claims["deployment_tier"] = json!(environment.deployment_tier);
    }
    claims
}
