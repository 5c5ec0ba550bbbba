//! Answers that stream bytes out of the blob store.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rave_http::HttpError;
use rave_http::range::Wanted;

use crate::model::Artifact;
use crate::service::Ci;
use crate::service::artifacts::ArchiveFile;

/// What a file name in a header must not contain as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'"').add(b'\\').add(b'%').add(b';').add(b'/');

/// Answers with an archive, as it is packed, or with the part of it that `asked` names: downloads that broke off go on.
pub(crate) async fn archive(
    ci: &Ci,
    archive: &Artifact,
    asked: &HeaderMap,
) -> Result<Response, HttpError> {
    let (size, etag) = (archive.size_bytes, format!("\"{}\"", archive.digest));
    let (status, range) = match Wanted::of(asked, size, &etag) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let message = "416 Range Not Satisfiable";
            let refused = HttpError::new(StatusCode::RANGE_NOT_SATISFIABLE, message);
            return Err(refused.header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let reader = ci.open_artifact(archive, range.clone()).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, reader.length_bytes().to_string()),
        (header::CONTENT_DISPOSITION, disposition(&archive.filename)),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, etag),
    ];
    let body = Body::from_stream(reader.into_stream());
    let mut response = (status, headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        let part = part.parse().map_err(HttpError::internal)?;
        response.headers_mut().insert(header::CONTENT_RANGE, part);
    }
    Ok(response)
}

/// Answers with one file of an archive. Browsers save it: what a job made must not run as a page of this server.
pub(crate) fn archive_file(file: ArchiveFile) -> Response {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, file.size_bytes.to_string()),
        (header::CONTENT_DISPOSITION, disposition(name)),
    ];
    (headers, Body::from_stream(file.stream)).into_response()
}

fn disposition(filename: &str) -> String {
    let name = utf8_percent_encode(filename, UNSAFE);
    format!("attachment; filename=\"{name}\"; filename*=UTF-8''{name}")
}
