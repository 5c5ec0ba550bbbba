//! `/jobs/:id/artifacts`: uploads and downloads of runners, streamed both ways.

use axum::Json;
use axum::extract::{RawQuery, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use rave_core::permission::{Principal, ReadPipelines, decide};
use rave_core::port::ProjectRef;
use rave_core::secret::TokenDigest;
use rave_core::time::Timestamp;
use rave_http::HttpError;
use rave_http::multipart::Multipart;
use rave_http::params::find_in_query;
use serde_json::json;

use super::{Access, access, closed, payload, token_of, with_status};
use crate::api::numbers::PathParams;
use crate::api::{State, streams};
use crate::error::CiError;
use crate::model::ArtifactFormat;
use crate::service::Ci;
use crate::service::act::Word;
use crate::service::artifacts::Upload;
use crate::store::job::Held;

/// Largest field beside the file.
const FIELD: usize = 4096;
/// Most of them.
const FIELDS: usize = 32;

/// `POST …/authorize`: whether an upload of this size would be taken.
pub(crate) async fn authorize(
    ci: State,
    path: PathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let token = job_token(&headers, query.as_deref());
    let held = match access(&ci, path.job()?, &token).await? {
        Access::Open(held) => held,
        Access::Closed(held) => return Ok(closed(held.as_ref())),
    };
    let size = parameter(query.as_deref(), "filesize").and_then(|it| it.parse::<u64>().ok());
    let limit_bytes = ci.config.artifact_limit_bytes;
    if size.is_some_and(|it| it > limit_bytes) {
        return Err(CiError::TooLarge { limit_bytes }.into());
    }
    let mut response = Json(json!({ "MaximumSize": limit_bytes })).into_response();
    with_status(&mut response, super::visible(held.state));
    Ok(response)
}

/// `POST …`: stores one artifact. Nothing of it is kept unless all of it arrived.
pub(crate) async fn upload(
    ci: State,
    path: PathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, HttpError> {
    let token = job_token(&headers, query.as_deref());
    let held = match access(&ci, path.job()?, &token).await? {
        Access::Open(held) => held,
        Access::Closed(held) => return Ok(closed(held.as_ref())),
    };
    ci.hear(&held, Word::Working).await?;
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    let body = request.into_body().into_data_stream();
    let mut multipart = Multipart::new(kind, body).ok_or_else(|| {
        HttpError::bad_request("400 Bad request - the body is not multipart/form-data")
    })?;
    let mut fields = Fields::of(query);
    let filename = fields.read_to_file(&mut multipart).await?;
    let filename =
        filename.ok_or_else(|| HttpError::bad_request("400 Bad request - file is missing"))?;
    if fields.query("artifact_type").is_some() {
        // Nothing that follows the file can change this, so that one in vain need not be read.
        upload_of(&fields, &filename)?;
    }
    let watched = Watched {
        ci: &ci,
        held: &held,
        noted_at: ci.now(),
    };
    let kept = {
        let bytes = stream::unfold(
            (&mut multipart, watched),
            |(multipart, mut watched)| async move {
                watched.note().await;
                let chunk = multipart.chunk().await.transpose()?;
                Some((chunk, (multipart, watched)))
            },
        );
        ci.keep_upload(bytes.boxed()).await?
    };
    if fields.read_to_file(&mut multipart).await?.is_some() {
        return Err(HttpError::bad_request(
            "400 Bad request - there is more than one file",
        ));
    }
    let upload = upload_of(&fields, &filename)?;
    let artifact = ci.store_artifact(&held, upload, kept).await?;
    let body = json!({
        "file_type": artifact.file_type,
        "size": artifact.size_bytes,
        "filename": artifact.filename,
    });
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    with_status(&mut response, super::visible(held.state));
    Ok(response)
}

/// What is said of a file: in the query, as the stock runner does it, or in the form, also behind the file, as the public
/// `gitlab-runner` crate does.
struct Fields {
    query: Option<String>,
    form: Vec<(String, String)>,
}

impl Fields {
    fn of(query: Option<String>) -> Self {
        Self {
            query,
            form: Vec::new(),
        }
    }

    fn query(&self, name: &str) -> Option<String> {
        parameter(self.query.as_deref(), name)
    }

    fn get(&self, name: &str) -> Option<String> {
        let in_form = || self.form.iter().find(|it| it.0 == name);
        self.query(name)
            .or_else(|| in_form().map(|it| it.1.clone()))
            .filter(|it| !it.is_empty())
    }

    /// Reads fields until the file comes, whose name it returns. `None` when the form ends.
    async fn read_to_file<S>(
        &mut self,
        multipart: &mut Multipart<S>,
    ) -> Result<Option<String>, HttpError>
    where
        S: Stream<Item = Result<Bytes, axum::Error>> + Unpin,
    {
        while let Some(part) = multipart.next_part().await.map_err(CiError::Upload)? {
            match part.filename {
                Some(filename) if part.name == "file" => return Ok(Some(filename)),
                // The stock runner sends nothing else; others may send metadata, which is of no use here.
                Some(_) => {}
                None if self.form.len() == FIELDS => {
                    return Err(HttpError::bad_request(
                        "400 Bad request - there are too many fields",
                    ));
                }
                None => {
                    let text = multipart.text(FIELD).await.map_err(CiError::Upload)?;
                    self.form.push((part.name, text));
                }
            }
        }
        Ok(None)
    }
}

/// An upload is a sign of life of the job's runner, however long it takes.
struct Watched<'a> {
    ci: &'a Ci,
    held: &'a Held,
    noted_at: Timestamp,
}

impl Watched<'_> {
    async fn note(&mut self) {
        const AGAIN_MS: i64 = 10_000;
        let now = self.ci.now();
        if now.since(self.noted_at) < AGAIN_MS {
            return;
        }
        self.noted_at = now;
        if let Err(error) = self.ci.touch(self.held).await {
            // The upload goes on: the next sign may be written down.
            tracing::warn!(job.id = self.held.job.0, %error, "cannot note a sign of life");
        }
    }
}

fn upload_of(fields: &Fields, filename: &str) -> Result<Upload, HttpError> {
    let file_type = fields
        .get("artifact_type")
        .unwrap_or_else(|| "archive".to_owned());
    let expected = payload::format_of(&file_type);
    let format = match fields.get("artifact_format") {
        None => expected,
        Some(text) => ArtifactFormat::from_label(&text)
            .filter(|it| *it == expected)
            .ok_or_else(|| {
                HttpError::bad_request(format!(
                    "400 Bad request - artifacts of type {file_type} have the format {}",
                    expected.label()
                ))
            })?,
    };
    let name = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let valid = file_type.len() <= 64
        && file_type
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
    if !valid || name.is_empty() || name.len() > 255 {
        return Err(HttpError::bad_request(
            "400 Bad request - the artifact's type or name is not valid",
        ));
    }
    Ok(Upload {
        file_type,
        format,
        filename: name.to_owned(),
        expire_in: fields.get("expire_in"),
    })
}

/// `GET …`: the archive of a job that the running job, whose token this is, depends on.
pub(crate) async fn download(
    ci: State,
    path: PathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let token = job_token(&headers, query.as_deref());
    let identity = ci.find_job_identity(&TokenDigest::of(&token)).await?;
    let identity =
        identity.ok_or_else(|| HttpError::new(StatusCode::FORBIDDEN, "403 Forbidden"))?;
    let principal = Principal::Job {
        job: identity.job,
        project: identity.project,
        user: identity.user,
    };
    let job = ci.find_job_anywhere(path.job()?).await?;
    let job = job.ok_or_else(|| HttpError::not_found(""))?;
    // The tokens of jobs reach their own projects only, except for what their files name.
    if job.project == identity.project || !ci.needs_foreign(identity, &job).await? {
        let facts = ci
            .directory
            .find_project(&principal, &ProjectRef::Id(job.project))
            .await?;
        let facts = facts.ok_or_else(|| HttpError::not_found(""))?;
        decide::<ReadPipelines>(&principal, facts)
            .map_err(|denied| HttpError::denied(&denied, &principal))?;
    }
    streams::archive(&ci, &ci.load_archive_of(&job).await?, &headers).await
}

fn job_token(headers: &HeaderMap, query: Option<&str>) -> String {
    let token = token_of(headers, "job-token", None);
    if token.is_empty() {
        parameter(query, "token").unwrap_or_default()
    } else {
        token
    }
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    find_in_query(query?, name)
}
