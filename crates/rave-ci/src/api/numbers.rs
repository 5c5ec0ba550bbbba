//! Parameters of paths: numbers that are refused in GitLab's words, and names.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use rave_core::id::{JobId, PipelineId, RunnerId};
use rave_http::HttpError;
use serde_json::json;

/// The parameters of a request's path, decoded.
pub(crate) struct PathParams(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathParams {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let raw = RawPathParams::from_request_parts(parts, state).await;
        let raw = raw.map_err(|_| HttpError::not_found(""))?;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(Self(raw.iter().map(owned).collect()))
    }
}

impl PathParams {
    /// Returns a parameter as text.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|it| it.0 == name);
        found.map_or("", |it| it.1.as_str())
    }

    fn number(&self, name: &str) -> Result<i64, HttpError> {
        self.text(name).parse().map_err(|_| {
            let message = format!("{name}_id is invalid");
            HttpError::bad_request(message.clone()).body(json!({ "error": message }))
        })
    }

    pub(crate) fn job(&self) -> Result<JobId, HttpError> {
        self.number("job").map(JobId)
    }

    pub(crate) fn pipeline(&self) -> Result<PipelineId, HttpError> {
        self.number("pipeline").map(PipelineId)
    }

    pub(crate) fn schedule(&self) -> Result<i64, HttpError> {
        self.number("schedule")
    }

    pub(crate) fn trigger(&self) -> Result<i64, HttpError> {
        self.number("trigger")
    }

    pub(crate) fn runner(&self) -> Result<RunnerId, HttpError> {
        self.number("runner").map(RunnerId)
    }
}
