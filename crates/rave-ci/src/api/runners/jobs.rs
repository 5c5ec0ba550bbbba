//! `GET /runners/:runner_id/jobs`: what a runner works and worked on.

use std::collections::BTreeMap;

use axum::response::Response;
use rave_core::id::ProjectId;
use rave_core::job::Status;
use rave_core::permission::{Access, Principal, ReadPipelines, decide};
use rave_core::port::ProjectRef;
use rave_http::{HttpError, Pagination, Params, SignedIn};
use serde_json::{Value, json};

use super::READ;
use crate::api::State;
use crate::api::numbers::PathParams;
use crate::api::shapes::{Shaper, extend};
use crate::model::Job;
use crate::service::runners::RunnerJobs;
use crate::store::labels_of;

/// Lists the jobs, the newest first. Those of projects that the caller may not see count, and are left out.
pub(crate) async fn list(
    ci: State,
    user: SignedIn,
    path: PathParams,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let status = params.choice("status", Status::from_label);
    params.choice("order_by", |it| (it == "id").then_some(()));
    let ascending = params.choice("sort", |it| match it {
        "asc" => Some(true),
        "desc" => Some(false),
        _ => None,
    });
    let which = RunnerJobs {
        system_id: params.text("system_id"),
        status: status.map_or_else(Vec::new, |it| labels_of(it).to_vec()),
        ascending: ascending.unwrap_or(false),
    };
    params.check()?;
    let found = ci.load_kept_runner(&user.0, path.runner()?).await?;
    let page = ci
        .list_runner_jobs(found.runner.id, which, pagination.slice())
        .await?;
    let mut by_project: BTreeMap<ProjectId, Vec<Job>> = BTreeMap::new();
    for job in &page.items {
        by_project.entry(job.project).or_default().push(job.clone());
    }
    let principal = Principal::User(user.0.clone());
    let mut shaped = BTreeMap::new();
    for (project, jobs) in by_project {
        let facts = ci
            .directory
            .find_project(&principal, &ProjectRef::Id(project))
            .await?;
        let access: Option<Access<ReadPipelines>> =
            facts.and_then(|it| decide(&principal, it).ok());
        let Some(access) = access else {
            continue;
        };
        let shaper = Shaper::of_jobs(&ci, &access, &jobs).await?;
        let project = access.project();
        let of = json!({
            "id": project.id.0,
            "description": project.description,
            "name": project.name,
            "name_with_namespace": project.path.as_str().replace('/', " / "),
            "path": project.path.last().as_str(),
            "path_with_namespace": project.path.as_str(),
            "created_at": project.created_at.rfc3339(),
        });
        for job in &jobs {
            let mut value = shaper.job(job);
            extend(&mut value, json!({ "project": of }));
            shaped.insert(job.id, value);
        }
    }
    let items: Vec<Value> = page
        .items
        .iter()
        .filter_map(|it| shaped.remove(&it.id))
        .collect();
    Ok(pagination.json(&items, page.total))
}
