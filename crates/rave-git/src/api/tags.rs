//! `/projects/:id/repository/tags`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::name::{ObjectId, RefName};
use rave_core::permission::{PushCode, ReadCode};
use rave_http::request_log::Trace;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::Value;

use crate::api::{Reading, cut, shapes};
use crate::git::history;
use crate::git::objects;
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
    let mut all = reading.references(Listing::Tags).await?;
    if let Some(search) = params.text("search") {
        let search = search.trim_start_matches('^').to_lowercase();
        all.retain(|it| it.name.to_lowercase().contains(&search));
    }
    if params.text("order_by").as_deref() == Some("name") {
        all.sort_by(|one, other| other.name.cmp(&one.name));
    }
    if params.text("sort").as_deref() == Some("asc") {
        all.reverse();
    }
    let total = all.len() as u64;
    let items = shaped(&reading, &cut(all, page.slice())).await?;
    Ok(page.json(&items, total))
}

async fn shaped(reading: &Reading, tags: &[Reference]) -> Result<Vec<Value>, HttpError> {
    let ids: Vec<&str> = tags.iter().map(|it| it.commit.as_str()).collect();
    let commits = history::find_commits(&reading.git.runner, &reading.path, &ids).await?;
    let web = reading.git.web_url(&reading.project);
    let shape = |it: &Reference| {
        let commit = commits
            .iter()
            .find(|commit| commit.id.as_str() == it.commit);
        shapes::tag(
            it,
            commit.map_or(Value::Null, |it| shapes::commit(it, &web)),
        )
    };
    Ok(tags.iter().map(shape).collect())
}

async fn one(reading: &Reading, name: &str) -> Result<Value, HttpError> {
    let mut all = reading.references(Listing::Tags).await?;
    all.retain(|it| it.name == name);
    let shaped = shaped(reading, &all).await?;
    shaped
        .into_iter()
        .next()
        .ok_or_else(|| HttpError::not_found("Tag"))
}

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    one(&Reading::open(&git, &access).await?, &name)
        .await
        .map(Json)
}

pub(super) async fn create(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<PushCode>,
    trace: Option<axum::Extension<Trace>>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let (name, from) = (params.need_text("tag_name"), params.need_text("ref"));
    let message = params.text("message").filter(|it| !it.is_empty());
    params.check()?;
    let reading = Reading::open(&git, &access).await?;
    let refused = |text: String| HttpError::bad_request(text);
    let reference = RefName::parse(&format!("refs/tags/{name}"))
        .map_err(|_| refused("Tag name invalid".into()))?;
    let commit = reading.find(Some(&from)).await?;
    let commit = commit.ok_or_else(|| refused(format!("Target {from} is invalid")))?;
    if reading
        .references(Listing::Tags)
        .await?
        .iter()
        .any(|it| it.name == name)
    {
        return Err(refused(format!("Tag {name} already exists")));
    }
    let target = match message {
        None => commit,
        Some(message) => {
            let tagger = git.signature(access.principal());
            objects::make_tag(
                &git.runner,
                &reading.path,
                &commit,
                &name,
                &tagger,
                &message,
            )
            .await?
        }
    };
    let command = Command {
        before: ObjectId::ZERO.into(),
        after: target.to_string(),
        reference: reference.to_string(),
    };
    git.move_ref(&access, command, trace.map(|it| it.0.0))
        .await?;
    Ok((StatusCode::CREATED, Json(one(&reading, &name).await?)).into_response())
}

pub(super) async fn delete(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<PushCode>,
    trace: Option<axum::Extension<Trace>>,
    Path((_, name)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let all = reading.references(Listing::Tags).await?;
    let tag = all.iter().find(|it| it.name == name);
    let tag = tag.ok_or_else(|| HttpError::not_found("Tag"))?;
    let command = Command {
        before: tag.target.clone(),
        after: ObjectId::ZERO.into(),
        reference: format!("refs/tags/{name}"),
    };
    git.move_ref(&access, command, trace.map(|it| it.0.0))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
