//! `/projects`: the directory's projects with what the forge knows of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::{NamespaceId, UserId};
use rave_core::name::{FullPath, ObjectId, PathSegment};
use rave_core::permission::{
    Access, DeleteProject, ManageProject, Principal, ProjectFacts, PushCode, ReadProject, Role,
    Scope, Visibility, decide,
};
use rave_core::port::{
    CreateProjectError, NamespaceSummary, NewProject, PipelineSettings, ProjectFilter, ProjectRef,
    ProjectUpdate,
};
use rave_http::caller::need_scope;
use rave_http::{Authorized, Caller, HttpError, Pagination, Params, SignedIn};
use serde_json::{Value, json};

use crate::api::project_shape::{one, shaped};
use crate::git::objects;
use crate::policy::Command;
use crate::service::Git;

fn filter(params: &mut Params) -> ProjectFilter {
    ProjectFilter {
        membership: params.bool("membership").unwrap_or(false),
        owned: params.bool("owned").unwrap_or(false),
        search: params.text("search").filter(|it| !it.is_empty()),
        visibility: params.choice("visibility", Visibility::from_label),
        archived: params.bool("archived"),
        namespace: None,
        include_subgroups: params.bool("include_subgroups").unwrap_or(false),
    }
}

async fn answer(
    git: &Git,
    principal: &Principal,
    page: &Pagination,
    mut params: Params,
    namespace: Option<NamespaceId>,
) -> Result<Response, HttpError> {
    need_scope(principal, &[Scope::Api, Scope::ReadApi])?;
    let filter = ProjectFilter {
        namespace,
        ..filter(&mut params)
    };
    let simple =
        params.bool("simple").unwrap_or(false) || matches!(principal, Principal::Anonymous);
    params.check()?;
    let found = git
        .directory
        .list_projects(principal, &filter, page.slice())
        .await?;
    let items = shaped(git, &found.items, simple).await?;
    Ok(page.json(&items, found.total))
}

pub(super) async fn list(
    State(git): State<Arc<Git>>,
    Caller(principal): Caller,
    page: Pagination,
    params: Params,
) -> Result<Response, HttpError> {
    answer(&git, &principal, &page, params, None).await
}

pub(super) async fn of_group(
    State(git): State<Arc<Git>>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    page: Pagination,
    params: Params,
) -> Result<Response, HttpError> {
    let namespace = match id.parse() {
        Ok(id) => git.directory.namespace(NamespaceId(id)).await?,
        Err(_) => named(&git, &principal, &id).await?,
    };
    // Whether the caller may know of the group is asked by its path.
    let known = match namespace.filter(|it| it.owner.is_none()) {
        Some(it) => git.directory.find_namespace(&principal, &it.path).await?,
        None => None,
    };
    let group = known.ok_or_else(|| HttpError::not_found("Group"))?;
    answer(&git, &principal, &page, params, Some(group.id)).await
}

async fn named(
    git: &Git,
    principal: &Principal,
    path: &str,
) -> Result<Option<NamespaceSummary>, HttpError> {
    match FullPath::parse(path) {
        Ok(path) => Ok(git.directory.find_namespace(principal, &path).await?),
        Err(_) => Ok(None),
    }
}

pub(super) async fn of_user(
    State(git): State<Arc<Git>>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    page: Pagination,
    params: Params,
) -> Result<Response, HttpError> {
    let name = match id.parse() {
        Ok(id) => git
            .directory
            .users(&[UserId(id)])
            .await?
            .remove(&UserId(id))
            .map(|it| it.username),
        Err(_) => Some(id),
    };
    let found = match name {
        Some(name) => named(&git, &principal, &name).await?,
        None => None,
    };
    let user = found
        .filter(|it| it.owner.is_some())
        .ok_or_else(|| HttpError::not_found("User"))?;
    answer(&git, &principal, &page, params, Some(user.id)).await
}

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadProject>,
) -> Result<Json<Value>, HttpError> {
    one(&git, access.project().clone(), access.role())
        .await
        .map(Json)
}

pub(super) async fn create(
    State(git): State<Arc<Git>>,
    caller: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    caller.need_scope(&[Scope::Api])?;
    let (name, path) = (
        params.text("name"),
        params.text("path").filter(|it| !it.is_empty()),
    );
    let namespace = params.int("namespace_id");
    let with_readme = params.bool("initialize_with_readme").unwrap_or(false);
    let update = changes(&mut params);
    let Some(segment) = path.or_else(|| name.as_deref().map(slug)) else {
        let message = "name, path are missing, at least one parameter must be provided";
        return Err(HttpError::bad_request(message).body(json!({ "error": message })));
    };
    params.check()?;
    let principal = Principal::User(caller.0.clone());
    let parent = match namespace {
        Some(id) => git
            .directory
            .namespace(NamespaceId(id))
            .await?
            .map(|it| it.path),
        None => FullPath::parse(&caller.0.username).ok(),
    };
    let refused = |field: &str, text: String| {
        HttpError::bad_request(text.clone()).body(json!({ "message": { field: [text] } }))
    };
    let parent = parent.ok_or_else(|| refused("namespace", "is not valid".into()))?;
    let segment = PathSegment::parse(&segment)
        .map_err(|it| refused("path", it.to_string().trim_start_matches("path ").into()))?;
    let new = NewProject {
        path: parent.join(&segment),
        name,
        description: update.description.unwrap_or_default(),
        visibility: update.visibility,
        default_branch: update.default_branch,
    };
    let project = git
        .directory
        .create_project(&principal, new)
        .await
        .map_err(|error| match error {
            CreateProjectError::Taken(_) => {
                let text = ["has already been taken"];
                HttpError::bad_request(text[0])
                    .body(json!({ "message": { "name": text, "path": text } }))
            }
            CreateProjectError::NoNamespace(_) => refused("namespace", "is not valid".into()),
            error @ CreateProjectError::InsufficientScope => HttpError::forbidden(error),
            CreateProjectError::Port(error) => error.into(),
        })?;
    git.repository(&project).await?;
    let facts = git
        .directory
        .find_project(&principal, &ProjectRef::Id(project.id))
        .await?;
    let facts = facts.unwrap_or(ProjectFacts {
        project,
        role: Some(Role::Owner),
    });
    if with_readme {
        let access = decide::<PushCode>(&principal, facts.clone());
        first_commit(
            &git,
            &access.map_err(|it| HttpError::denied(&it, &principal))?,
        )
        .await?;
    }
    let body = one(&git, facts.project, facts.role).await?;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Turns a name into a path as GitLab does: what no path can hold becomes a dash.
pub(crate) fn slug(name: &str) -> String {
    let plain = |it: char| {
        if it.is_ascii_alphanumeric() || "_.-".contains(it) {
            it.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let dashed: String = name.trim().chars().map(plain).collect();
    dashed
        .split('-')
        .filter(|it| !it.is_empty())
        .collect::<Vec<_>>()
        .join("-")
        .trim_matches('.')
        .to_owned()
}

/// Gives a new project a README, so that it can be cloned at once.
pub(crate) async fn first_commit(
    git: &Arc<Git>,
    access: &Access<PushCode>,
) -> Result<(), HttpError> {
    let project = access.project();
    let repository = git.repository(project).await?;
    let content = format!("# {}\n\n{}\n", project.name, project.description);
    let author = git.signature(access.principal());
    let file = ("README.md", content.trim_end());
    let commit =
        objects::make_first_commit(&git.runner, &repository, file, &author, "Initial commit")
            .await?;
    let command = Command {
        before: ObjectId::ZERO.into(),
        after: commit.to_string(),
        reference: format!("refs/heads/{}", project.default_branch),
    };
    git.move_ref(access, command, None).await?;
    Ok(())
}

fn changes(params: &mut Params) -> ProjectUpdate {
    ProjectUpdate {
        name: params.text("name").filter(|it| !it.trim().is_empty()),
        description: params.text("description"),
        visibility: params.choice("visibility", Visibility::from_label),
        default_branch: params.text("default_branch").filter(|it| !it.is_empty()),
        archived: None,
    }
}

async fn change(
    git: &Git,
    access: &Access<ManageProject>,
    update: ProjectUpdate,
) -> Result<Value, HttpError> {
    let project = git.directory.update_project(access, update).await?;
    git.repositories.point_head(&git.runner, &project).await?;
    one(git, project, access.role()).await
}

pub(super) async fn update(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    let update = changes(&mut params);
    let auto_cancel = params.choice("auto_cancel_pending_pipelines", switch);
    params.check()?;
    if let Some(branch) = &update.default_branch {
        git.need_branch(access.project(), branch).await?;
    }
    if let Some(auto_cancel) = auto_cancel {
        let settings = PipelineSettings { auto_cancel };
        git.pipelines.put_settings(&access, settings).await?;
    }
    change(&git, &access, update).await.map(Json)
}

/// Reads a switch as GitLab writes some of them.
fn switch(text: &str) -> Option<bool> {
    match text {
        "enabled" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

pub(super) async fn archive(
    git: State<Arc<Git>>,
    access: Authorized<ManageProject>,
) -> Result<Response, HttpError> {
    set_archived(&git.0, &access.0, true).await
}

pub(super) async fn unarchive(
    git: State<Arc<Git>>,
    access: Authorized<ManageProject>,
) -> Result<Response, HttpError> {
    set_archived(&git.0, &access.0, false).await
}

async fn set_archived(
    git: &Git,
    access: &Access<ManageProject>,
    archived: bool,
) -> Result<Response, HttpError> {
    let update = ProjectUpdate {
        archived: Some(archived),
        ..ProjectUpdate::default()
    };
    let body = change(git, access, update).await?;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn delete(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<DeleteProject>,
) -> Result<Response, HttpError> {
    git.directory.delete_project(&access).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({ "message": "202 Accepted" })),
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        for (name, path) in [
            ("My App", "my-app"),
            ("a  b", "a-b"),
            ("Ünï", "n"),
            ("v1.0", "v1.0"),
            (" x! ", "x"),
        ] {
            assert_eq!(slug(name), path, "{name}");
        }
    }
}
