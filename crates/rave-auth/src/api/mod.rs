//! The part of GitLab's REST API that is about accounts, tokens, groups and members.

pub(crate) mod discovery;
pub(crate) mod groups;
pub(crate) mod instance;
pub(crate) mod members;
pub(crate) mod tokens;
pub(crate) mod users;
pub(crate) mod wire;

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use rave_core::permission::{Scope, UserPrincipal};
use rave_core::time::Timestamp;
use rave_http::{HttpError, Params, Shared, SignedIn};
use serde_json::json;

use crate::Auth;

pub(crate) const READ: &[Scope] = &[Scope::Api, Scope::ReadApi];
pub(crate) const READ_USER: &[Scope] = &[Scope::Api, Scope::ReadApi, Scope::ReadUser];
pub(crate) const WRITE: &[Scope] = &[Scope::Api];

pub(crate) type Part = State<Arc<Auth>>;
pub(crate) type Instance = Extension<Arc<Shared>>;

/// Checks that an administrator calls, with credentials that reach as far as `scopes`.
pub(crate) fn need_admin(
    caller: &SignedIn,
    scopes: &'static [Scope],
) -> Result<UserPrincipal, HttpError> {
    caller.need_scope(scopes)?;
    if caller.0.admin {
        Ok(caller.0.clone())
    } else {
        Err(HttpError::new(
            axum::http::StatusCode::FORBIDDEN,
            "403 Forbidden",
        ))
    }
}

/// Reads an id out of a path; what is none does not exist.
pub(crate) fn id_of(text: &str, what: &str) -> Result<i64, HttpError> {
    text.parse().map_err(|_| HttpError::not_found(what))
}

/// Returns the start of a day in UTC.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(start.timestamp().as_millisecond()))
}

/// Returns the day of an instant, such as `2026-01-02`.
pub(crate) fn date(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

/// Reads a day out of the parameters.
///
/// # Errors
/// 400 when it is not one.
pub(crate) fn date_param(params: &mut Params, name: &str) -> Result<Option<Timestamp>, HttpError> {
    let day = params.choice(name, parse_date);
    params.check()?;
    Ok(day)
}

/// Reads a role out of the parameters.
///
/// # Errors
/// 400 when it is missing or none that members can have.
pub(crate) fn role_param(params: &mut Params) -> Result<rave_core::permission::Role, HttpError> {
    params.need_text("access_level");
    let level = params.int("access_level");
    params.check()?;
    level
        .and_then(rave_core::permission::Role::from_level)
        .ok_or_else(|| {
            let message = "access_level does not have a valid value";
            HttpError::bad_request(message).body(json!({ "error": message }))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written() {
        assert_eq!(
            parse_date("2026-01-02").map(date).as_deref(),
            Some("2026-01-02")
        );
        assert_eq!(parse_date("1970-01-02"), Some(Timestamp(86_400_000)));
        assert_eq!(parse_date("tomorrow"), None);
        assert_eq!(parse_date("2026-02-30"), None);
    }
}
