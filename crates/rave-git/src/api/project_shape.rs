//! A project as GitLab's clients expect it.

use std::collections::BTreeMap;

use rave_core::id::{NamespaceId, UserId};
use rave_core::permission::{Project, ProjectFacts, Role};
use rave_core::port::{NamespaceSummary, UserSummary};
use rave_http::HttpError;
use rave_store::Error as StoreError;
use serde_json::{Value, json};

use crate::reading::StoreFailure;
use crate::service::Git;
use crate::store;

/// What a project's shape needs beside the project.
struct Surroundings {
    namespaces: BTreeMap<NamespaceId, NamespaceSummary>,
    owners: BTreeMap<UserId, UserSummary>,
    /// Ids of the projects without branches.
    empty: Vec<i64>,
}

impl Surroundings {
    async fn load(git: &Git, projects: &[&Project]) -> Result<Self, HttpError> {
        let mut namespaces = BTreeMap::new();
        for project in projects {
            if namespaces.contains_key(&project.namespace) {
                continue;
            }
            if let Some(found) = git.directory.namespace(project.namespace).await? {
                namespaces.insert(project.namespace, found);
            }
        }
        let owners: Vec<UserId> = namespaces.values().filter_map(|it| it.owner).collect();
        let owners = git.directory.users(&owners).await?;
        let ids: Vec<_> = projects.iter().map(|it| it.id).collect();
        let empty = git.db.read::<_, StoreError, _>("git_empty", move |tx| {
            let mut empty = Vec::new();
            for id in ids {
                if !store::has_branches(tx, id)? {
                    empty.push(id.0);
                }
            }
            Ok(empty)
        });
        let empty = empty.await.map_err(StoreFailure)?;
        Ok(Self {
            namespaces,
            owners,
            empty,
        })
    }
}

pub(super) async fn shaped(
    git: &Git,
    facts: &[ProjectFacts],
    simple: bool,
) -> Result<Vec<Value>, HttpError> {
    let projects: Vec<&Project> = facts.iter().map(|it| &it.project).collect();
    let around = Surroundings::load(git, &projects).await?;
    let shape = |it: &ProjectFacts| match simple {
        true => simple_shape(git, &it.project, &around),
        false => full_shape(git, it, &around),
    };
    Ok(facts.iter().map(shape).collect())
}

pub(super) async fn one(
    git: &Git,
    project: Project,
    role: Option<Role>,
) -> Result<Value, HttpError> {
    let settings = git.pipelines.settings(project.id).await?;
    let facts = [ProjectFacts { project, role }];
    let mut shape = shaped(git, &facts, false).await?.remove(0);
    let auto_cancel = if settings.auto_cancel {
        "enabled"
    } else {
        "disabled"
    };
    shape["auto_cancel_pending_pipelines"] = json!(auto_cancel);
    Ok(shape)
}

fn namespace_shape(git: &Git, namespace: &NamespaceSummary) -> Value {
    let kind = if namespace.owner.is_some() {
        "user"
    } else {
        "group"
    };
    json!({
        "id": namespace.id, "name": namespace.name, "path": namespace.path.last(), "kind": kind,
        "full_path": namespace.path, "parent_id": namespace.parent, "avatar_url": null,
        "web_url": format!("{}/{}", git.config.clone_http_base, namespace.path),
    })
}

fn simple_shape(git: &Git, project: &Project, around: &Surroundings) -> Value {
    let web = git.web_url(project);
    let namespace = around.namespaces.get(&project.namespace);
    let name = namespace.map_or("", |it| it.name.as_str());
    let empty = around.empty.contains(&project.id.0);
    json!({
        "id": project.id, "description": project.description, "name": project.name,
        "name_with_namespace": format!("{name} / {}", project.name), "path": project.path.last(),
        "path_with_namespace": project.path, "created_at": project.created_at.rfc3339(),
        "default_branch": (!empty).then_some(&project.default_branch), "tag_list": [], "topics": [],
        "ssh_url_to_repo": git.ssh_url(project), "http_url_to_repo": format!("{web}.git"), "web_url": web,
        "readme_url": null, "forks_count": 0, "avatar_url": null, "star_count": 0,
        "last_activity_at": project.last_activity_at.rfc3339(), "visibility": project.visibility.label(),
        "namespace": namespace.map(|it| namespace_shape(git, it)),
    })
}

fn full_shape(git: &Git, facts: &ProjectFacts, around: &Surroundings) -> Value {
    let ProjectFacts { project, role } = facts;
    let mut shape = simple_shape(git, project, around);
    let api = format!(
        "{}/api/v4/projects/{}",
        git.config.clone_http_base, project.id
    );
    let access = role.map(|it| json!({ "access_level": it.level(), "notification_level": 3 }));
    let owner = around
        .namespaces
        .get(&project.namespace)
        .and_then(|it| around.owners.get(&it.owner?));
    let more = json!({
        "container_registry_image_prefix": null,
        "_links": {
            "self": api, "issues": format!("{api}/issues"), "merge_requests": format!("{api}/merge_requests"),
            "repo_branches": format!("{api}/repository/branches"), "labels": format!("{api}/labels"),
            "events": format!("{api}/events"), "members": format!("{api}/members"),
            "cluster_agents": format!("{api}/cluster_agents"),
        },
        "marked_for_deletion_at": null, "marked_for_deletion_on": null, "empty_repo": around.empty.contains(&project.id.0),
        "archived": project.archived, "creator_id": project.creator, "updated_at": project.updated_at.rfc3339(),
        "permissions": { "project_access": access, "group_access": null },
        "description_html": maud::html! { p { (project.description) } }.into_string(),
        "owner": owner.map(|it| json!({
            "id": it.id, "username": it.username, "name": it.name, "state": if it.active { "active" } else { "blocked" },
            "avatar_url": null, "web_url": format!("{}/{}", git.config.clone_http_base, it.username),
        })),
    });
    for part in [more, fixed()] {
        if let (Value::Object(shape), Value::Object(part)) = (&mut shape, part) {
            shape.extend(part);
        }
    }
    shape
}

/// What clients list but a project here has no choice about.
fn fixed() -> Value {
    serde_json::from_str(include_str!("project_fixed.json")).expect("a test reads it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_part_is_an_object() {
        assert_eq!(fixed()["repository_access_level"], "enabled");
    }
}
