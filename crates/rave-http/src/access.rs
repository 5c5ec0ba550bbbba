//! The extractor that hands a handler its proof of permission.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use rave_core::id::ProjectId;
use rave_core::name::FullPath;
use rave_core::permission::{Access, Action, Denied, Principal, decide};
use rave_core::port::ProjectRef;

use crate::address::Dialect;
use crate::app::Shared;
use crate::error::HttpError;

/// Proof that the caller may do `A` to the project that the address names: by the path parameter `id` in the API, by the
/// path itself in pages and git.
#[derive(Clone, Debug)]
pub struct Authorized<A: Action>(pub Access<A>);

impl<A: Action, S: Send + Sync> FromRequestParts<S> for Authorized<A> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let principal = parts
            .extensions
            .get::<Principal>()
            .cloned()
            .unwrap_or(Principal::Anonymous);
        let dialect = parts
            .extensions
            .get::<Dialect>()
            .copied()
            .unwrap_or(Dialect::Plain);
        let shared = Shared::of(parts);
        let project = match parts.extensions.get::<ProjectRef>() {
            Some(project) => project.clone(),
            None => parameter(parts, state).await?,
        };
        let facts = shared.directory.find_project(&principal, &project).await?;
        let decided = facts
            .ok_or(Denied::Hidden)
            .and_then(|facts| decide::<A>(&principal, facts));
        decided
            .map(Self)
            .map_err(|denied| match (dialect, &principal) {
                // Whoever has not said who they are may try again with credentials, and learns nothing by being asked.
                (Dialect::Git | Dialect::Page, Principal::Anonymous) => HttpError::unauthorized(),
                _ => HttpError::denied(&denied, &principal),
            })
    }
}

async fn parameter<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<ProjectRef, HttpError> {
    let missing = || HttpError::not_found("Project");
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| missing())?;
    let (_, text) = parameters
        .iter()
        .find(|(name, _)| *name == "id")
        .ok_or_else(missing)?;
    match text.parse::<i64>() {
        Ok(id) => Ok(ProjectRef::Id(ProjectId(id))),
        Err(_) => FullPath::parse(text)
            .map(ProjectRef::Path)
            .map_err(|_| missing()),
    }
}

impl Shared {
    /// Returns the state that [`crate::app::build`] gave the request.
    pub(crate) fn of(parts: &Parts) -> Arc<Self> {
        parts
            .extensions
            .get::<Arc<Self>>()
            .cloned()
            .expect("app::build puts it into every request")
    }
}
