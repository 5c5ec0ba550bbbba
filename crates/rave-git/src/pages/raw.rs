//! The bytes of one file, in a form that no browser takes for a page of this server.

use std::process::Stdio;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use rave_core::name::RepoPath;
use rave_core::permission::ReadCode;
use rave_http::{Authorized, HttpError};

use crate::api::plain_type;
use crate::git::batch::Kind;
use crate::pages::pieces::Place;
use crate::reading::Reading;
use crate::service::Git;
use crate::transfer::{child, upload};

/// Larger files stream, and are not looked into.
const HELD_BYTES: u64 = 2 << 20;

/// Returns the type of a picture that browsers show.
pub(super) fn image_type(path: &str) -> Option<&'static str> {
    let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        // Its scripts do not run: pages show it as a picture, and by itself it is in the sandbox.
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

pub(super) async fn raw(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    Path(rest): Path<String>,
) -> Result<Response, HttpError> {
    let missing = || HttpError::not_found("File");
    let reading = Reading::open(&git, &access).await?;
    let place = Place::find(&reading, &rest).await?;
    let path = RepoPath::parse(&place.path).map_err(|_| missing())?;
    let mut batch = reading.batch().await?;
    let info = batch.info(&format!("{}:{path}", place.commit)).await?;
    let info = info
        .filter(|it| it.kind == Kind::Blob)
        .ok_or_else(missing)?;
    let (content_type, body) = if info.size_bytes <= HELD_BYTES {
        let content = batch.content(&info).await?;
        (plain_type(&content), Body::from(content))
    } else {
        drop(batch);
        (
            "application/octet-stream",
            stream(&git, &reading, info.id.as_str()).await?,
        )
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let content_type = image_type(path.as_str()).unwrap_or(content_type);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, info.size_bytes.into());
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    );
    if content_type == "application/octet-stream" {
        headers.insert(
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment"),
        );
    }
    Ok(response)
}

async fn stream(git: &Arc<Git>, reading: &Reading, id: &str) -> Result<Body, HttpError> {
    let mut command = git.runner.command(&reading.path, &[]);
    command
        .args(["cat-file", "blob", id])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let permit = git.uploads.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (group, pieces) = child::start(&mut command, "cat-file")?;
    upload::answer(git, "cat-file", group, pieces, Bytes::new(), permit).await
}
