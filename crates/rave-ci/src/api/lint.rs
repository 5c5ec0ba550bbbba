//! `/projects/:id/ci/lint`: what the language says of a file, without making a pipeline.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use rave_ci_lang::{
    Diagnostic, EventContext, Foreign, Included, JobPlan, MergedFile, Outcome, SourceFile, Tree,
};
use rave_core::permission::{Project, ReadCode, Role, RunPipelines};
use rave_http::page::encode_path;
use rave_http::{Authorized, HttpError, Params, SignedIn};
use serde_json::{Value, json};

use super::State;
use crate::error::CiError;
use crate::model::Source;
use crate::service::Ci;
use crate::service::create::Wish;
use crate::service::plan::{Occasion, Reading};
use crate::service::settings::Reach;
use crate::variables::CONFIG_PATH;

/// `GET`: the file at a ref, the default branch if none is named.
pub(crate) async fn lint_commit(
    ci: State,
    Authorized(access): Authorized<ReadCode>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let named = params
        .text("content_ref")
        .or_else(|| params.text("dry_run_ref"))
        .or_else(|| params.text("ref"))
        .or_else(|| params.text("sha"));
    let asked = Asked::of(&mut params);
    params.check()?;
    let project = access.project();
    let reach = reach(access.role());
    let occasion = occasion(&ci, project, named, access.principal().user_id(), reach).await?;
    let Some(occasion) = occasion else {
        return Err(HttpError::not_found("Reference"));
    };
    match ci.read_plan(&occasion).await? {
        Some(reading) => Ok(Json(answer(&ci, &occasion, &reading, asked)).into_response()),
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
    let asked = Asked::of(&mut params);
    params.check()?;
    let project = access.project();
    let reach = reach(access.role());
    let occasion = occasion(&ci, project, named, access.principal().user_id(), reach).await?;
    let Some(occasion) = occasion else {
        return Ok(Json(invalid("Reference not found")).into_response());
    };
    let reading = ci.compile(&occasion, content).await?;
    Ok(Json(answer(&ci, &occasion, &reading, asked)).into_response())
}

/// `POST /ci/lint`: a text that belongs to no project, so that it can include nothing. Newer clients name a project.
pub(crate) async fn lint_alone(
    ci: State,
    _: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    let content = params.need_text("content");
    let with_yaml = params.bool("include_merged_yaml").unwrap_or(false);
    let with_jobs = params.bool("include_jobs").unwrap_or(false);
    params.check()?;
    let limits = ci.config.limits;
    let linted = tokio::task::spawn_blocking(move || {
        let source = SourceFile {
            path: CONFIG_PATH,
            text: &content,
        };
        let event = EventContext {
            source: Source::Push.label().to_owned(),
            ref_name: "main".to_owned(),
            ..EventContext::default()
        };
        rave_ci_lang::lint(&source, &event, &NoProject, &limits)
    })
    .await
    .map_err(CiError::from)?;
    let compiled = linted.compiled.as_ref();
    let mut value = json!({
        "status": if compiled.is_ok() { "valid" } else { "invalid" },
        "valid": compiled.is_ok(),
        "errors": compiled.err().map(|it| lines(&it.0)).unwrap_or_default(),
        "warnings": compiled.ok().map(|it| lines(&it.notices)).unwrap_or_default(),
        "includes": [],
    });
    if with_yaml {
        value["merged_yaml"] = json!(linted.merged.as_ref().map(MergedFile::to_yaml));
    }
    if let (true, Ok(Outcome::Pipeline(plan))) = (with_jobs, compiled.map(|it| &it.outcome)) {
        value["jobs"] = plan.jobs.iter().map(job).collect();
    }
    Ok(Json(value).into_response())
}

/// Answers that there is nothing beside the text.
struct NoProject;

impl Tree for NoProject {
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
        crate::templates::find(name).map(str::to_owned)
    }
}

/// What the caller wants to know.
#[derive(Clone, Copy, Debug)]
struct Asked {
    jobs: bool,
    /// A file that makes no pipeline for the ref counts as not valid.
    dry_run: bool,
}

impl Asked {
    fn of(params: &mut Params) -> Self {
        Self {
            jobs: params.bool("include_jobs").unwrap_or(false),
            dry_run: params.bool("dry_run").unwrap_or(false),
        }
    }
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

fn lines(list: &[Diagnostic]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn answer(ci: &Ci, occasion: &Occasion, reading: &Reading, asked: Asked) -> Value {
    let (mut errors, mut warnings, plan) = match &reading.compiled {
        Err(errors) => (lines(&errors.0), Vec::new(), None),
        Ok(compiled) => match &compiled.outcome {
            Outcome::Pipeline(plan) => (Vec::new(), lines(&compiled.notices), Some(plan)),
            _ => (Vec::new(), lines(&compiled.notices), None),
        },
    };
    let compiled = reading.compiled.as_ref().ok();
    if let Some(refusal) = compiled.and_then(|it| it.outcome.refusal()) {
        let list = if asked.dry_run {
            &mut errors
        } else {
            &mut warnings
        };
        list.push(refusal.to_owned());
    }
    let included = |it: &Included| include(ci, occasion, it);
    let mut value = json!({
        "valid": errors.is_empty(),
        "errors": errors,
        "warnings": warnings,
        "merged_yaml": reading.merged.as_ref().map(MergedFile::to_yaml),
        "includes": reading.includes.iter().map(included).collect::<Vec<_>>(),
    });
    if asked.jobs {
        let jobs = plan.into_iter().flat_map(|it| &it.jobs);
        value["jobs"] = jobs.map(job).collect();
    }
    value
}

/// Shows an included file in the API's shape.
fn include(ci: &Ci, occasion: &Occasion, included: &Included) -> Value {
    let own = (occasion.project.path.as_str(), occasion.commit.id.as_str());
    let foreign = |it: &Foreign| (it.project.clone(), it.sha.clone());
    let owned = |it: (&str, &str)| (it.0.to_owned(), it.1.to_owned());
    let context = included
        .context
        .as_ref()
        .map_or_else(|| owned(own), foreign);
    let place = match included.kind.as_str() {
        "local" => Some(context.clone()),
        _ => included.project.as_ref().map(foreign),
    };
    let path = included.file.trim_start_matches('/');
    let address = |what: &str| {
        let (project, sha) = place.as_ref()?;
        let url = &ci.config.external_url;
        Some(format!(
            "{url}/{project}/-/{what}/{sha}/{}",
            encode_path(path)
        ))
    };
    let is_remote = included.kind == "remote";
    let mut extra = json!({});
    if let Some(project) = &included.project {
        extra = json!({ "project": project.project, "ref": included.reference });
    }
    if let Some(job) = &included.job {
        extra["job_name"] = json!(job);
    }
    json!({
        "type": included.kind,
        "location": included.location,
        "blob": address("blob"),
        "raw": if is_remote { Some(included.location.clone()) } else { address("raw") },
        "extra": extra,
        "context_project": context.0,
        "context_sha": context.1,
    })
}

/// Shows a job in the API's shape. One script is made of two, so the first is empty.
fn job(plan: &JobPlan) -> Value {
    json!({
        "name": plan.name,
        "stage": plan.stage,
        "before_script": [],
        "script": plan.script,
        "after_script": plan.after_script,
        "tag_list": plan.tags,
        "only": null,
        "except": null,
        "environment": plan.environment.as_ref().map(|it| &it.name),
        "when": plan.when,
        "allow_failure": plan.allow_failure,
        "needs": plan.needs.as_ref().map(|it| it.iter().map(|it| json!({ "name": it.job })).collect::<Vec<_>>()),
    })
}
