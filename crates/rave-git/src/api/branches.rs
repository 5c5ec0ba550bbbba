//! `/projects/:id/repository/branches`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::name::{ObjectId, RefName};
use rave_core::permission::{Access, Action, PushCode, ReadCode};
use rave_http::request_log::Trace;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use crate::api::{Reading, StoreFailure, cut, shapes};
use crate::git::history;
use crate::git::refs::{Listing, Reference};
use crate::policy::Command;
use crate::service::Git;

pub(super) async fn list(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let (search, pattern) = (params.text("search"), params.text("regex"));
    let pattern = pattern
        .map(|it| regex::Regex::new(&it))
        .transpose()
        .map_err(|_| HttpError::bad_request("400 Bad request - regex is not valid"))?;
    let mut all = reading.references(Listing::Branches).await?;
    all.retain(|it| {
        search.as_ref().is_none_or(|text| found(&it.name, text))
            && pattern
                .as_ref()
                .is_none_or(|it_is| it_is.is_match(&it.name))
    });
    let total = all.len() as u64;
    let items = shaped(&reading, &access, &cut(all, page.slice())).await?;
    Ok(page.json(&items, total))
}

/// GitLab's search knows `^start` and `end$`.
fn found(name: &str, search: &str) -> bool {
    let (name, search) = (name.to_lowercase(), search.to_lowercase());
    match (search.strip_prefix('^'), search.strip_suffix('$')) {
        (Some(start), _) => name.starts_with(start),
        (_, Some(end)) => name.ends_with(end),
        _ => name.contains(&search),
    }
}

async fn shaped<A: Action>(
    reading: &Reading,
    access: &Access<A>,
    branches: &[Reference],
) -> Result<Vec<Value>, HttpError> {
    let git = &reading.git;
    let rules = git
        .protected_branches(reading.project.id)
        .await
        .map_err(StoreFailure)?;
    let ids: Vec<&str> = branches.iter().map(|it| it.commit.as_str()).collect();
    let commits = history::find_commits(&git.runner, &reading.path, &ids).await?;
    let web = git.web_url(&reading.project);
    let shape = |it: &Reference| {
        let commit = commits
            .iter()
            .find(|commit| commit.id.as_str() == it.commit);
        let commit = commit.map_or(Value::Null, |it| shapes::commit(it, &web));
        shapes::branch(it, commit, &reading.project, &rules, access.role(), &web)
    };
    Ok(branches.iter().map(shape).collect())
}

async fn one<A: Action>(
    reading: &Reading,
    access: &Access<A>,
    name: &str,
) -> Result<Value, HttpError> {
    let mut all = reading.references(Listing::Branches).await?;
    all.retain(|it| it.name == name);
    let shaped = shaped(reading, access, &all).await?;
    shaped
        .into_iter()
        .next()
        .ok_or_else(|| HttpError::not_found("Branch"))
}

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    one(&reading, &access, &name).await.map(Json)
}

pub(super) async fn create(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<PushCode>,
    trace: Option<axum::Extension<Trace>>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let (name, from) = (params.need_text("branch"), params.need_text("ref"));
    params.check()?;
    let reading = Reading::open(&git, &access).await?;
    let refused = |text: &str| HttpError::bad_request(text.to_owned());
    let reference = RefName::parse(&format!("refs/heads/{name}"))
        .map_err(|_| refused("Branch name is invalid"))?;
    let commit = reading
        .find(Some(&from))
        .await?
        .ok_or_else(|| refused("Invalid reference name"))?;
    if reading
        .references(Listing::Branches)
        .await?
        .iter()
        .any(|it| it.name == name)
    {
        return Err(refused("Branch already exists"));
    }
    let command = Command {
        before: ObjectId::ZERO.into(),
        after: commit.to_string(),
        reference: reference.to_string(),
    };
    git.move_ref(&access, command, trace.map(|it| it.0.0))
        .await?;
    let branch = one(&reading, &access, &name).await?;
    Ok((StatusCode::CREATED, Json(branch)).into_response())
}

pub(super) async fn delete(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<PushCode>,
    trace: Option<axum::Extension<Trace>>,
    Path((_, name)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let all = reading.references(Listing::Branches).await?;
    let branch = all.iter().find(|it| it.name == name);
    let branch = branch.ok_or_else(|| HttpError::not_found("Branch"))?;
    if name == reading.project.default_branch {
        return Err(HttpError::bad_request("Cannot remove HEAD branch")
            .body(json!({"message": "Cannot remove HEAD branch"})));
    }
    let command = Command {
        before: branch.target.clone(),
        after: ObjectId::ZERO.into(),
        reference: format!("refs/heads/{name}"),
    };
    git.move_ref(&access, command, trace.map(|it| it.0.0))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
