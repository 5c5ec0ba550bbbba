//! `/projects/:id/repository/commits`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use rave_core::name::{ObjectId, RepoPath};
use rave_core::permission::{ReadCode, ReadPipelines};
use rave_core::port::Commit;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use crate::api::{Reading, cut, shapes};
use crate::git::diff::{self, Stats};
use crate::git::history::{self, Walk};
use crate::service::Git;

pub(super) async fn list(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let name = params.text("ref_name").filter(|it| !it.is_empty());
    let path = params.text("path").filter(|it| !it.is_empty() && it != "/");
    let walk = Walk {
        skip: page.slice().offset,
        limit: page.slice().limit,
        path: path.and_then(|it| RepoPath::parse(it.trim_matches('/')).ok()),
        since: params.text("since"),
        until: params.text("until"),
        author: params.text("author"),
        all: params.bool("all").unwrap_or(false),
        first_parent: params.bool("first_parent").unwrap_or(false),
        except: None,
    };
    let with_stats = params.bool("with_stats").unwrap_or(false);
    params.check()?;
    let from = match (reading.find(name.as_deref()).await?, name) {
        (Some(from), _) => from,
        (None, None) => return Ok(page.json::<Value>(&[], 0)),
        (None, Some(_)) => return Err(HttpError::not_found("Commit")),
    };
    let total = history::count(&git.runner, &reading.path, &from, &walk).await?;
    let commits = history::walk(&git.runner, &reading.path, &from, &walk).await?;
    let web = git.web_url(&reading.project);
    let mut items = Vec::new();
    for commit in &commits {
        let mut item = shapes::commit(commit, &web);
        if with_stats {
            item["stats"] = stats_of(&reading, commit).await?;
        }
        items.push(item);
    }
    Ok(page.json(&items, total))
}

async fn stats_of(reading: &Reading, commit: &Commit) -> Result<Value, HttpError> {
    let parent = commit.parents.first();
    let Stats {
        additions,
        deletions,
        ..
    } = diff::stats(&reading.git.runner, &reading.path, parent, &commit.id).await?;
    Ok(json!({ "additions": additions, "deletions": deletions, "total": additions + deletions }))
}

async fn load(reading: &Reading, name: &str) -> Result<Commit, HttpError> {
    let id = reading.commit(Some(name), "Commit").await?;
    let found = history::find_commit(&reading.git.runner, &reading.path, &id).await?;
    found.ok_or_else(|| HttpError::not_found("Commit"))
}

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, name)): Path<(String, String)>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let with_stats = params.bool("stats").unwrap_or(true);
    params.check()?;
    let commit = load(&reading, &name).await?;
    let web = git.web_url(&reading.project);
    let mut item = shapes::commit(&commit, &web);
    if with_stats {
        item["stats"] = stats_of(&reading, &commit).await?;
    }
    item["project_id"] = json!(reading.project.id);
    let pipeline = match access.also::<ReadPipelines>() {
        Ok(_) => pipeline_of(&reading, &commit.id, &web).await?,
        Err(_) => Value::Null,
    };
    item["status"] = pipeline.get("status").cloned().unwrap_or_default();
    item["last_pipeline"] = pipeline;
    Ok(Json(item))
}

async fn pipeline_of(reading: &Reading, commit: &ObjectId, web: &str) -> Result<Value, HttpError> {
    let project = reading.project.id;
    let badges = reading
        .git
        .pipelines
        .badges(project, std::slice::from_ref(commit))
        .await?;
    let shape = |it: &rave_core::port::PipelineBadge| {
        json!({
            "id": it.pipeline, "project_id": project, "sha": commit, "status": it.status.label(), "source": "push",
            "web_url": format!("{web}/-/pipelines/{}", it.pipeline),
        })
    };
    Ok(badges.get(commit.as_str()).map_or(Value::Null, shape))
}

pub(super) async fn diff(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, name)): Path<(String, String)>,
    page: Pagination,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let commit = load(&reading, &name).await?;
    let files = diff::compare(
        &git.runner,
        &reading.path,
        commit.parents.first(),
        &commit.id,
    )
    .await?;
    let total = files.len() as u64;
    let items: Vec<Value> = cut(files, page.slice()).iter().map(shapes::diff).collect();
    Ok(page.json(&items, total))
}

pub(super) async fn refs(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, name)): Path<(String, String)>,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let commit = reading.commit(Some(&name), "Commit").await?;
    let kinds: &[&str] = match params.text("type").as_deref() {
        Some("branch") => &["refs/heads/"],
        Some("tag") => &["refs/tags/"],
        _ => &["refs/heads/", "refs/tags/"],
    };
    let contains = format!("--contains={commit}");
    let arguments = ["for-each-ref", "--format=%(refname)", &contains]
        .into_iter()
        .chain(kinds.iter().copied());
    let output = git
        .runner
        .run(&reading.path, "for-each-ref", arguments)
        .await?;
    let text = String::from_utf8_lossy(&output.need("for-each-ref")?).into_owned();
    let shape = |it: &str| match it.strip_prefix("refs/heads/") {
        Some(name) => json!({ "type": "branch", "name": name }),
        None => json!({ "type": "tag", "name": it.trim_start_matches("refs/tags/") }),
    };
    let all: Vec<Value> = text.lines().map(shape).collect();
    let total = all.len() as u64;
    Ok(page.json(&cut(all, page.slice()), total))
}
