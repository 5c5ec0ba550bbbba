//! `/projects/:id/ci/lint`: what the language says of a file, without making a pipeline.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use rave_ci_lang::{JobPlan, Outcome};
use rave_core::permission::{Project, ReadCode, Role, RunPipelines};
use rave_http::{Authorized, HttpError, Params};
use serde_json::{Value, json};

use super::State;
use crate::error::CiError;
use crate::model::Source;
use crate::service::Ci;
use crate::service::create::Wish;
use crate::service::plan::{Occasion, Reading};
use crate::service::settings::Reach;

/// `GET`: the file at a ref, the default branch if none is named.
pub(crate) async fn lint_commit(
    ci: State,
    Authorized(access): Authorized<ReadCode>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let named = params
        .text("content_ref")
        .or_else(|| params.text("ref"))
        .or_else(|| params.text("sha"));
    let jobs = params.bool("include_jobs").unwrap_or(false);
    params.check()?;
    let project = access.project();
    let reach = reach(access.role());
    let occasion = occasion(&ci, project, named, access.principal().user_id(), reach).await?;
    let Some(occasion) = occasion else {
        return Err(HttpError::not_found("Reference"));
    };
    match ci.read_plan(&occasion).await? {
        Some(reading) => Ok(Json(answer(&reading, jobs)).into_response()),
        None => Ok(Json(invalid("Please provide content of .gitlab-ci.yml")).into_response()),
    }
}

/// `POST`: a text, as if it were the file of a ref.
pub(crate) async fn lint_text(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let content = params.need_text("content");
    let named = params.text("ref");
    let jobs = params.bool("include_jobs").unwrap_or(false);
    params.check()?;
    let project = access.project();
    let reach = reach(access.role());
    let occasion = occasion(&ci, project, named, access.principal().user_id(), reach).await?;
    let Some(occasion) = occasion else {
        return Ok(Json(invalid("Reference not found")).into_response());
    };
    let reading = ci.compile(&occasion, content).await?;
    Ok(Json(answer(&reading, jobs)).into_response())
}

/// The answer names environments, tags and more as they are expanded: nobody learns a variable by it that they could not
/// have a job print.
fn reach(role: Option<Role>) -> Reach {
    match role {
        Some(Role::Maintainer | Role::Owner) => Reach::Everything,
        Some(Role::Developer) => Reach::Unprotected,
        _ => Reach::Nothing,
    }
}

/// `None` when there is no such ref.
async fn occasion(
    ci: &Ci,
    project: &Project,
    named: Option<String>,
    user: Option<rave_core::id::UserId>,
    reach: Reach,
) -> Result<Option<Occasion>, HttpError> {
    let name = named.unwrap_or_else(|| project.default_branch.clone());
    let wish = Wish::new(name, Source::Push);
    match ci.occasion(project, wish, user).await {
        Ok(occasion) => Ok(Some(Occasion { reach, ..occasion })),
        Err(CiError::NoPipeline(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn invalid(error: &str) -> Value {
    json!({ "valid": false, "errors": [error], "warnings": [], "merged_yaml": null, "includes": [] })
}

fn answer(reading: &Reading, with_jobs: bool) -> Value {
    let text = |list: &[rave_ci_lang::Diagnostic]| -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    };
    let compiled = match &reading.compiled {
        Ok(compiled) => compiled,
        Err(errors) => {
            return json!({
                "valid": false,
                "errors": text(&errors.0),
                "warnings": [],
                "merged_yaml": null,
                "includes": [],
            });
        }
    };
    let mut warnings = text(&compiled.notices);
    warnings.extend(compiled.outcome.refusal().map(str::to_owned));
    let mut value = json!({
        "valid": true,
        "errors": [],
        "warnings": warnings,
        "merged_yaml": reading.text,
        "includes": [],
    });
    if let (true, Outcome::Pipeline(plan)) = (with_jobs, &compiled.outcome) {
        value["jobs"] = plan.jobs.iter().map(job).collect();
    }
    value
}

fn job(plan: &JobPlan) -> Value {
    json!({
        "name": plan.name,
        "stage": plan.stage,
        "before_script": [],
        "script": plan.script,
        "after_script": plan.after_script,
        "tag_list": plan.tags,
        "environment": plan.environment.as_ref().map(|it| &it.name),
        "when": plan.when,
        "allow_failure": plan.allow_failure,
        "needs": plan.needs.as_ref().map(|it| it.iter().map(|it| json!({ "name": it.job })).collect::<Vec<_>>()),
    })
}
