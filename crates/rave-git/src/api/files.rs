//! `/projects/:id/repository/tree`, `files` and `blobs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rave_core::name::{ObjectId, RepoPath};
use rave_core::permission::ReadCode;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::{FILE_BYTES, Reading, cut};
use crate::git::batch::{Info, Kind};
use crate::git::history::{self, Walk};
use crate::git::tree::{self, EntryKind};
use crate::service::Git;

pub(super) async fn tree(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let missing = || HttpError::not_found("Tree");
    let (name, path) = (params.text("ref"), params.text("path").unwrap_or_default());
    let recursive = params.bool("recursive").unwrap_or(false);
    params.check()?;
    let commit = reading.commit(name.as_deref(), "Tree").await?;
    let path = path.trim_matches('/');
    if !path.is_empty() && RepoPath::parse(path).is_err() {
        return Err(missing());
    }
    let entries = tree::list(&git.runner, &reading.path, &commit, path, recursive).await?;
    let entries = entries.ok_or_else(missing)?;
    let total = entries.len() as u64;
    let shape = |it: &tree::Entry| json!({ "id": it.id, "name": it.name(), "type": it.kind.label(), "path": it.path, "mode": it.mode });
    let items: Vec<Value> = cut(entries, page.slice()).iter().map(shape).collect();
    Ok(page.json(&items, total))
}

/// A file at a commit.
struct Found {
    path: RepoPath,
    reference: String,
    commit: ObjectId,
    last_commit: ObjectId,
    info: Info,
    executable: bool,
    content: Vec<u8>,
    sha256: String,
}

async fn find(
    git: &Arc<Git>,
    reading: &Reading,
    path: &str,
    params: &mut Params,
) -> Result<Found, HttpError> {
    let missing = || HttpError::not_found("File");
    let reference = params.text("ref").unwrap_or_else(|| "HEAD".into());
    params.check()?;
    let path = RepoPath::parse(path).map_err(|_| missing())?;
    let commit = reading.commit(Some(&reference), "Commit").await?;
    let mut batch = reading.batch().await?;
    let info = batch.info(&format!("{commit}:{path}")).await?;
    let info = info
        .filter(|it| it.kind == Kind::Blob)
        .ok_or_else(missing)?;
    if info.size_bytes > FILE_BYTES {
        let message =
            format!("413 the file exceeds {FILE_BYTES} bytes; fetch it by git or as an archive");
        return Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    let content = batch.content(&info).await?;
    drop(batch);
    let walk = Walk {
        limit: 1,
        path: Some(path.clone()),
        ..Walk::default()
    };
    let last = history::walk(&git.runner, &reading.path, &commit, &walk).await?;
    let directory = path.as_str().rsplit_once('/').map_or("", |it| it.0);
    let entries = tree::list(&git.runner, &reading.path, &commit, directory, false).await?;
    let executable = entries
        .iter()
        .flatten()
        .any(|it| it.path == path.as_str() && it.kind == EntryKind::Blob && it.mode == "100755");
    Ok(Found {
        sha256: hex(&Sha256::digest(&content)),
        last_commit: last
            .into_iter()
            .next()
            .map_or_else(|| commit.clone(), |it| it.id),
        path,
        reference,
        commit,
        info,
        executable,
        content,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

impl Found {
    fn name(&self) -> &str {
        self.path.as_str().rsplit('/').next().unwrap_or_default()
    }

    fn headers(&self) -> HeaderMap {
        let pairs = [
            ("x-gitlab-blob-id", self.info.id.to_string()),
            ("x-gitlab-commit-id", self.commit.to_string()),
            ("x-gitlab-content-sha256", self.sha256.clone()),
            ("x-gitlab-encoding", "base64".to_owned()),
            ("x-gitlab-file-name", self.name().to_owned()),
            ("x-gitlab-file-path", self.path.to_string()),
            ("x-gitlab-last-commit-id", self.last_commit.to_string()),
            ("x-gitlab-ref", self.reference.clone()),
            ("x-gitlab-size", self.content.len().to_string()),
            ("x-gitlab-execute-filemode", self.executable.to_string()),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            // Names outside of ASCII go as bytes; what no header can carry is left out.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }
}

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, path)): Path<(String, String)>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let file = find(&git, &reading, &path, &mut params).await?;
    let body = json!({
        "file_name": file.name(), "file_path": file.path, "size": file.content.len(), "encoding": "base64",
        "content_sha256": file.sha256, "ref": file.reference, "blob_id": file.info.id, "commit_id": file.commit,
        "last_commit_id": file.last_commit, "execute_filemode": file.executable, "content": STANDARD.encode(&file.content),
    });
    Ok((file.headers(), Json(body)).into_response())
}

pub(super) async fn raw(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, path)): Path<(String, String)>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let file = find(&git, &reading, &path, &mut params).await?;
    let mut headers = file.headers();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(plain_type(&file.content)),
    );
    Ok((headers, file.content).into_response())
}

/// Files of others are never served as what a browser would run.
pub(crate) fn plain_type(content: &[u8]) -> &'static str {
    let head = &content[..content.len().min(8000)];
    if head.contains(&0) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

async fn load_blob(reading: &Reading, sha: &str) -> Result<Vec<u8>, HttpError> {
    let missing = || HttpError::not_found("Blob");
    let id = ObjectId::parse(sha).map_err(|_| missing())?;
    let mut batch = reading.batch().await?;
    let info = batch.info(id.as_str()).await?;
    let info = info.filter(|it| it.kind == Kind::Blob && it.size_bytes <= FILE_BYTES);
    Ok(batch.content(&info.ok_or_else(missing)?).await?)
}

pub(super) async fn blob(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, sha)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let content = load_blob(&Reading::open(&git, &access).await?, &sha).await?;
    Ok(Json(json!({
        "size": content.len(), "encoding": "base64", "content": STANDARD.encode(&content), "sha": sha,
    })))
}

pub(super) async fn blob_raw(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path((_, sha)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let content = load_blob(&Reading::open(&git, &access).await?, &sha).await?;
    Ok(([(header::CONTENT_TYPE, plain_type(&content))], content).into_response())
}
