//! The files that jobs leave: browsed, looked at as plain text, downloaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rave_core::id::JobId;
use rave_core::permission::{Access, ReadPipelines};
use rave_http::page::{Tab, encode_query};
use rave_http::{Authorized, HttpError, Page, Params};

use super::artifact_view::{self, Entry};
use super::base;
use super::jobs::job_id;
use crate::model::Artifact;
use crate::service::Ci;
use crate::service::artifacts::ArchiveEntry;

/// Most entries of an archive that are looked at for a listing.
const ENTRY_LIMIT: usize = 100_000;
/// Larger files are downloaded rather than shown.
const SHOWN_LIMIT: u64 = 4 << 20;
/// Whatever a job left, it runs no script and loads nothing.
const SANDBOX: &str = "default-src 'none'; sandbox";

/// Shows the top folder of a job's archive.
pub(super) async fn browse(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(job): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    folder(&ci, &access, job_id(&job)?, "", &page).await
}

/// Shows a folder of a job's archive.
pub(super) async fn browse_folder(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path((job, path)): Path<(String, String)>,
    page: Page,
) -> Result<Response, HttpError> {
    folder(&ci, &access, job_id(&job)?, path.trim_matches('/'), &page).await
}

async fn folder(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    id: JobId,
    path: &str,
    page: &Page,
) -> Result<Response, HttpError> {
    let archive = ci.find_artifact(access, id, "archive").await?;
    let job = super::jobs::find(ci, access, id).await?;
    let entries = folder_of(&ci.list_archive(&archive, ENTRY_LIMIT).await?, path);
    let content = artifact_view::folder(&base::of(page, access), &job, &archive, path, &entries);
    let title = format!("Artifacts of {} #{id}", job.name);
    Ok(page.render(&title, &base::chrome(access, Tab::Jobs), &content))
}

/// Returns what lies directly in a folder, folders first. Archives need not have entries for folders.
fn folder_of(all: &[ArchiveEntry], path: &str) -> Vec<Entry> {
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut found: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    for entry in all {
        let Some(rest) = entry.path.strip_prefix(&prefix).filter(|it| !it.is_empty()) else {
            continue;
        };
        let (name, is_file) = match rest.split_once('/') {
            Some((folder, _)) => (folder, false),
            None => (rest, !entry.directory),
        };
        *found.entry((is_file, name)).or_default() += entry.size_bytes;
    }
    let entry = |((is_file, name), size_bytes): ((bool, &str), u64)| Entry {
        is_file,
        name: name.to_owned(),
        size_bytes,
    };
    found.into_iter().map(entry).collect()
}

/// Shows a file of a job's archive when it is text, and downloads it otherwise.
pub(super) async fn file(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path((job, path)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let archive = ci.find_artifact(&access, job_id(&job)?, "archive").await?;
    let file = ci.open_archive_file(&archive, &path).await?;
    let mut rest = file.stream;
    let first = match rest.next().await {
        Some(piece) => piece.map_err(HttpError::internal)?,
        None => Bytes::new(),
    };
    let shown = file.size_bytes <= SHOWN_LIMIT && is_text(&first);
    let name = path.rsplit('/').next().unwrap_or_default();
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
    Ok(answer(body, file.size_bytes, (!shown).then_some(name)))
}

/// Downloads an artifact as the job left it: the archive, or with `file_type` a report.
pub(super) async fn download(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(job): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let file_type = params
        .text("file_type")
        .unwrap_or_else(|| "archive".to_owned());
    let artifact: Artifact = ci.find_artifact(&access, job_id(&job)?, &file_type).await?;
    let reader = ci.open_artifact(&artifact, 0..artifact.size_bytes).await?;
    let body = Body::from_stream(reader.into_stream());
    Ok(answer(body, artifact.size_bytes, Some(&artifact.filename)))
}

/// Whether the beginning of a file is text.
fn is_text(first: &[u8]) -> bool {
    let valid = match std::str::from_utf8(first) {
        Ok(_) => true,
        // The piece may end inside a character.
        Err(error) => error.error_len().is_none(),
    };
    valid && !first.contains(&0)
}

fn answer(body: Body, size: u64, download: Option<&str>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let kind = match download {
        Some(_) => "application/octet-stream",
        None => "text/plain; charset=utf-8",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(SANDBOX),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let disposition = match download {
        Some(name) => format!("attachment; filename*=UTF-8''{}", encode_query(name)),
        None => "inline".to_owned(),
    };
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// Answers with a job's log as the runner sent it.
pub(super) fn raw_log(body: Body, size: u64) -> Response {
    answer(body, size, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_sum_up() {
        let entry = |path: &str, size_bytes| ArchiveEntry {
            path: path.to_owned(),
            size_bytes,
            directory: path.ends_with('/'),
        };
        let all = [
            entry("a.txt", 1),
            entry("dist/", 0),
            entry("dist/b", 2),
            entry("dist/sub/c", 3),
            entry("distant/x", 9),
        ];
        let names = |path| {
            folder_of(&all, path)
                .into_iter()
                .map(|it| (it.is_file, it.name, it.size_bytes))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(""),
            [
                (false, "dist".to_owned(), 5),
                (false, "distant".to_owned(), 9),
                (true, "a.txt".to_owned(), 1)
            ]
        );
        assert_eq!(
            names("dist"),
            [(false, "sub".to_owned(), 3), (true, "b".to_owned(), 2)]
        );
        assert!(names("missing").is_empty());
    }

    #[test]
    fn only_text_is_shown() {
        assert!(is_text(b"<html>") && is_text(b"") && is_text("ä".as_bytes()));
        assert!(is_text(&"ä".as_bytes()[..1]), "cut inside a character");
        assert!(!is_text(b"\x7fELF\0") && !is_text(b"\xff\xfe\xff"));
    }
}
