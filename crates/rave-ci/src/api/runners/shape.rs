//! Runners in GitLab's shapes, with the people, projects and groups in them.

use std::collections::BTreeMap;

use axum::response::Response;
use rave_core::id::{NamespaceId, UserId};
use rave_core::permission::{Principal, UserPrincipal};
use rave_core::port::{Page, ProjectRef, UserSummary};
use rave_core::time::Timestamp;
use rave_http::{HttpError, Pagination};
use serde_json::{Value, json};

use crate::api::shapes::{extend, runner_summary};
use crate::service::Ci;
use crate::service::runners::RunnerDetails;

/// Answers with a page of runners.
pub(super) async fn list(
    ci: &Ci,
    page: &Page<RunnerDetails>,
    pagination: &Pagination,
) -> Result<Response, HttpError> {
    let creators = page.items.iter().filter_map(|it| it.runner.creator);
    let people = ci.directory.users(&creators.collect::<Vec<_>>()).await?;
    let items = page.items.iter().map(|it| summary(ci, it, &people));
    Ok(pagination.json(&items.collect::<Vec<_>>(), page.total))
}

/// Returns a runner as lists show it.
pub(super) fn summary(
    ci: &Ci,
    details: &RunnerDetails,
    people: &BTreeMap<UserId, UserSummary>,
) -> Value {
    let runner = &details.runner;
    let last = details.managers.first();
    let mut value = runner_summary(runner, last, ci.now(), details.active > 0);
    let url = &ci.config.external_url;
    let creator = runner.creator.and_then(|it| people.get(&it)).map(|it| {
        json!({
            "id": it.id.0,
            "username": it.username,
            "name": it.name,
            "state": if it.active { "active" } else { "blocked" },
            "locked": false,
            "avatar_url": null,
            "web_url": format!("{url}/{}", it.username),
        })
    });
    extend(&mut value, json!({ "created_by": creator }));
    value
}

/// Returns a runner with everything. Of its projects those that the caller may see.
pub(super) async fn details(
    ci: &Ci,
    user: &UserPrincipal,
    details: &RunnerDetails,
) -> Result<Value, HttpError> {
    let (runner, last) = (&details.runner, details.managers.first());
    let people: Vec<UserId> = runner.creator.into_iter().collect();
    let mut value = summary(ci, details, &ci.directory.users(&people).await?);
    let mut projects = Vec::new();
    for id in &details.projects {
        let principal = Principal::User(user.clone());
        let at = ProjectRef::Id(*id);
        if let Some(facts) = ci.directory.find_project(&principal, &at).await? {
            let project = facts.project;
            let path = project.path.as_str();
            projects.push(json!({
                "id": project.id.0,
                "name": project.name,
                "name_with_namespace": path.replace('/', " / "),
                "path": project.path.last().as_str(),
                "path_with_namespace": path,
                "description": project.description,
                "created_at": project.created_at.rfc3339(),
            }));
        }
    }
    let mut groups = Vec::new();
    if let Some(id) = runner.group
        && let Some(group) = ci.directory.namespace(NamespaceId(id)).await?
    {
        let url = format!("{}/groups/{}", ci.config.external_url, group.path);
        groups.push(json!({ "id": id, "web_url": url, "name": group.name }));
    }
    let more = json!({
        "tag_list": runner.tags,
        "version": last.map(|it| &it.info.version),
        "revision": last.map(|it| &it.info.revision),
        "platform": last.map(|it| &it.info.platform),
        "architecture": last.map(|it| &it.info.architecture),
        "contacted_at": runner.contacted_at.map(Timestamp::rfc3339),
        "token_expires_at": runner.token_expires_at.map(Timestamp::rfc3339),
        "run_untagged": runner.run_untagged,
        "locked": runner.locked,
        "maximum_timeout": runner.maximum_timeout_secs,
        "access_level": if runner.protected { "ref_protected" } else { "not_protected" },
        "maintenance_note": runner.maintenance_note,
        "projects": projects,
        "groups": groups,
    });
    extend(&mut value, more);
    Ok(value)
}
