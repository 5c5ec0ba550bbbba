//! `/projects/:id/protected_branches`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::ProjectId;
use rave_core::permission::{ManageProject, Role};
use rave_http::{Authorized, HttpError, Pagination, Params};
use rave_store::Error as StoreError;
use serde_json::Value;

use crate::api::{StoreFailure, cut, shapes};
use crate::policy::{NO_ONE, ProtectedBranch};
use crate::service::Git;
use crate::store;

pub(super) async fn list(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let mut rules = git
        .protected_branches(access.project().id)
        .await
        .map_err(StoreFailure)?;
    if let Some(search) = params.text("search") {
        rules.retain(|it| it.name.contains(&search));
    }
    let total = rules.len() as u64;
    let items: Vec<Value> = cut(rules, page.slice())
        .iter()
        .map(shapes::protected_branch)
        .collect();
    Ok(page.json(&items, total))
}

async fn load(git: &Git, project: ProjectId, name: &str) -> Result<ProtectedBranch, HttpError> {
    let rules = git
        .protected_branches(project)
        .await
        .map_err(StoreFailure)?;
    let found = rules.into_iter().find(|it| it.name == name);
    found.ok_or_else(|| {
        HttpError::not_found("").body(serde_json::json!({"message": "404 Not found"}))
    })
}

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let rule = load(&git, access.project().id, &name).await?;
    Ok(Json(shapes::protected_branch(&rule)))
}

/// Reads the levels into a rule. Levels are numbers; lists of them are taken by their weakest.
fn read(params: &mut Params, rule: &mut ProtectedBranch) -> Result<(), HttpError> {
    let known = |it: i64| {
        it == NO_ONE || it == 60 || Role::from_level(it).is_some_and(|it| it >= Role::Developer)
    };
    let mut level = |single: &str, list: &str| {
        let listed = params
            .value(list)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let listed = listed
            .iter()
            .filter_map(|it| it.get("access_level").and_then(Value::as_i64))
            .min();
        params.int(single).or(listed)
    };
    let (push, merge) = (
        level("push_access_level", "allowed_to_push"),
        level("merge_access_level", "allowed_to_merge"),
    );
    rule.push_level = push.unwrap_or(rule.push_level);
    rule.merge_level = merge.unwrap_or(rule.merge_level);
    rule.allow_force_push = params
        .bool("allow_force_push")
        .unwrap_or(rule.allow_force_push);
    params.check()?;
    for (name, level) in [
        ("push_access_level", rule.push_level),
        ("merge_access_level", rule.merge_level),
    ] {
        if !known(level) {
            let message = format!("{name} does not have a valid value");
            return Err(HttpError::bad_request(message.clone())
                .body(serde_json::json!({ "error": message })));
        }
    }
    Ok(())
}

pub(super) async fn create(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.need_text("name");
    let mut rule = ProtectedBranch::for_default(&name);
    read(&mut params, &mut rule)?;
    let id = access.project().id;
    let added = git
        .db
        .write::<_, StoreError, _>("git_protect", move |tx| store::protect(tx, id, &rule))
        .await;
    if !added.map_err(StoreFailure)? {
        return Err(HttpError::conflict(format!(
            "Protected branch '{name}' already exists"
        )));
    }
    let rule = load(&git, id, &name).await?;
    Ok((StatusCode::CREATED, Json(shapes::protected_branch(&rule))).into_response())
}

pub(super) async fn update(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    Path((_, name)): Path<(String, String)>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    let id = access.project().id;
    let mut rule = load(&git, id, &name).await?;
    read(&mut params, &mut rule)?;
    let changed = rule.clone();
    let stored = git
        .db
        .write::<_, StoreError, _>("git_change_protection", move |tx| {
            store::change_protection(tx, id, &changed)
        });
    stored.await.map_err(StoreFailure)?;
    Ok(Json(shapes::protected_branch(&rule)))
}

pub(super) async fn delete(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    Path((_, name)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    let id = access.project().id;
    load(&git, id, &name).await?;
    let removed = git
        .db
        .write::<_, StoreError, _>("git_unprotect", move |tx| store::unprotect(tx, id, &name))
        .await;
    removed.map_err(StoreFailure)?;
    Ok(StatusCode::NO_CONTENT)
}
