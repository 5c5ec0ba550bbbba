//! `/projects/:id/repository/compare` and `merge_base`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use rave_core::permission::ReadCode;
use rave_http::{Authorized, HttpError, Params};
use serde_json::{Value, json};

use crate::api::{Reading, shapes};
use crate::git::diff;
use crate::git::history::{self, Walk};
use crate::service::Git;

/// How many commits a comparison lists.
const MOST_COMMITS: u64 = 1000;

pub(super) async fn compare(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    let (from_name, to_name) = (params.need_text("from"), params.need_text("to"));
    let straight = params.bool("straight").unwrap_or(false);
    params.check()?;
    let reading = Reading::open(&git, &access).await?;
    let from = reading.commit(Some(&from_name), "Ref").await?;
    let to = reading.commit(Some(&to_name), "Ref").await?;
    let base = match straight {
        true => Some(from.clone()),
        false => history::merge_base(&git.runner, &reading.path, &from, &to).await?,
    };
    let walk = Walk {
        limit: MOST_COMMITS,
        except: Some(from.clone()),
        ..Walk::default()
    };
    // GitLab lists the oldest first here.
    let mut commits = history::walk(&git.runner, &reading.path, &to, &walk).await?;
    commits.reverse();
    let web = git.web_url(&reading.project);
    let commits: Vec<Value> = commits.iter().map(|it| shapes::commit(it, &web)).collect();
    let files = match &base {
        Some(base) => diff::compare(&git.runner, &reading.path, Some(base), &to).await?,
        None => Vec::new(),
    };
    Ok(Json(json!({
        "commit": commits.last(), "commits": commits, "diffs": files.iter().map(shapes::diff).collect::<Vec<_>>(),
        "compare_timeout": false, "compare_same_ref": from == to, "web_url": format!("{web}/-/compare/{from}...{to}"),
    })))
}

pub(super) async fn merge_base(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    let names = params.list("refs");
    let [one, other] = names.as_slice() else {
        return Err(HttpError::bad_request("Provide at least 2 refs"));
    };
    let reading = Reading::open(&git, &access).await?;
    let (one, other) = (
        reading.commit(Some(one), "Commit").await?,
        reading.commit(Some(other), "Commit").await?,
    );
    let base = history::merge_base(&git.runner, &reading.path, &one, &other).await?;
    let base = base.ok_or_else(|| HttpError::not_found("Merge base"))?;
    let found = history::find_commit(&git.runner, &reading.path, &base).await?;
    let web = git.web_url(&reading.project);
    let found = found.ok_or_else(|| HttpError::not_found("Merge base"))?;
    Ok(Json(shapes::commit(&found, &web)))
}
