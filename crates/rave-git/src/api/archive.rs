//! `/projects/:id/repository/archive`: all files at a commit, streamed.

use std::process::Stdio;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use rave_core::name::RepoPath;
use rave_core::permission::{Access, ReadCode};
use rave_http::{Authorized, HttpError, Params};

use crate::api::Reading;
use crate::service::Git;
use crate::transfer::{child, upload};

pub(super) async fn tar_gz(
    git: State<Arc<Git>>,
    access: Authorized<ReadCode>,
    params: Params,
) -> Result<Response, HttpError> {
    answer(&git.0, &access.0, params, "tar.gz", "application/gzip").await
}

pub(super) async fn tar(
    git: State<Arc<Git>>,
    access: Authorized<ReadCode>,
    params: Params,
) -> Result<Response, HttpError> {
    answer(&git.0, &access.0, params, "tar", "application/x-tar").await
}

pub(super) async fn zip(
    git: State<Arc<Git>>,
    access: Authorized<ReadCode>,
    params: Params,
) -> Result<Response, HttpError> {
    answer(&git.0, &access.0, params, "zip", "application/zip").await
}

async fn answer(
    git: &Arc<Git>,
    access: &Access<ReadCode>,
    mut params: Params,
    format: &str,
    content_type: &'static str,
) -> Result<Response, HttpError> {
    let reading = Reading::open(git, access).await?;
    let name = params.text("sha").filter(|it| !it.is_empty());
    let path = params.text("path").filter(|it| !it.is_empty());
    let path = path
        .map(|it| RepoPath::parse(it.trim_matches('/')))
        .transpose();
    let path = path.map_err(|_| HttpError::not_found("File"))?;
    let commit = reading.commit(name.as_deref(), "File").await?;
    let name = name.unwrap_or_else(|| reading.project.default_branch.clone());
    let plain = |it: char| {
        if it.is_ascii_alphanumeric() || "._-".contains(it) {
            it
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    let stem = format!("{}-{name}-{commit}", reading.project.path.last());
    // The internal gzip writes neither time nor name, so that the same commit always gives the same bytes.
    let mut command = git
        .runner
        .command(&reading.path, &[("tar.tar.gz.command", "git archive gzip")]);
    command
        .args([
            "archive",
            &format!("--format={format}"),
            &format!("--prefix={stem}/"),
            commit.as_str(),
            "--",
        ])
        .args(path.iter().map(RepoPath::as_str))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let permit = git.uploads.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (group, pieces) = child::start(&mut command, "archive")?;
    let body = upload::answer(git, "archive", group, pieces, Bytes::new(), permit).await?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let disposition = format!("attachment; filename=\"{stem}.{format}\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
