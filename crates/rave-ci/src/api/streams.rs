//! Answers that stream bytes out of the blob store.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rave_blob::BlobReader;

use crate::service::artifacts::ArchiveFile;

/// What a file name in a header must not contain as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'"').add(b'\\').add(b'%').add(b';').add(b'/');

/// Answers with an object to be saved under a name.
pub(crate) fn attachment(reader: BlobReader, filename: &str, kind: &'static str) -> Response {
    let length = reader.length_bytes();
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, disposition(filename)),
    ];
    (headers, Body::from_stream(reader.into_stream())).into_response()
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
