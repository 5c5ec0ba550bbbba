//! Whose variables an address is about, and the proof that the caller may change them: a project's, a group's or the
//! instance's, for the API and for pages.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use rave_core::permission::{Access, ManageProject, Scope};
use rave_core::port::{GroupFacts, GroupRef};
use rave_http::address::Dialect;
use rave_http::{Authorized, Caller, HttpError, SignedIn};

use super::numbers::PathParams;
use crate::service::Ci;
use crate::service::settings::Keeper;

/// What the caller keeps.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Project(Box<Access<ManageProject>>, Keeper),
    Group(GroupFacts, Keeper),
    Instance(Keeper),
}

impl Kept {
    pub(crate) fn keeper(&self) -> Keeper {
        match self {
            Self::Project(_, keeper) | Self::Group(_, keeper) | Self::Instance(keeper) => *keeper,
        }
    }
}

impl FromRequestParts<Arc<Ci>> for Kept {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, ci: &Arc<Ci>) -> Result<Self, HttpError> {
        let path = parts.uri.path().to_owned();
        let page = parts.extensions.get() == Some(&Dialect::Page);
        if path.starts_with("/api/v4/projects/") || path.starts_with("/~project/") {
            let Authorized(access) =
                Authorized::<ManageProject>::from_request_parts(parts, ci).await?;
            let keeper = Keeper::of_project(&access);
            return Ok(Self::Project(Box::new(access), keeper));
        }
        let user = SignedIn::from_request_parts(parts, ci).await?;
        user.need_scope(&[Scope::Api])?;
        if path.starts_with("/api/v4/groups/") || path.starts_with("/-/groups/") {
            let missing = || HttpError::not_found("Group");
            let params = PathParams::from_request_parts(parts, ci).await?;
            let Ok(Caller(principal)) = Caller::from_request_parts(parts, ci).await;
            let at = GroupRef::parse(params.text("id")).ok_or_else(missing)?;
            let facts = ci.directory.find_group(&principal, &at).await?;
            let facts = facts.ok_or_else(missing)?;
            let keeper = Keeper::of_group(&facts)
                .ok_or_else(|| HttpError::forbidden("only an owner of the group may do this"))?;
            return Ok(Self::Group(facts, keeper));
        }
        let keeper = Keeper::of_instance(&user.0).ok_or_else(|| {
            if page {
                // As for all of an administrator's pages: others need not know that they exist.
                HttpError::not_found("Page")
            } else {
                HttpError::forbidden("only administrators change the instance's variables")
            }
        })?;
        Ok(Self::Instance(keeper))
    }
}

impl FromRequestParts<Arc<Ci>> for Keeper {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, ci: &Arc<Ci>) -> Result<Self, HttpError> {
        Ok(Kept::from_request_parts(parts, ci).await?.keeper())
    }
}
