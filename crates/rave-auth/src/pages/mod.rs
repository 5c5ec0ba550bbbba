//! What a person sees of accounts: signing in, tokens, passwords, groups, and for administrators the users.

pub(crate) mod claim;
pub(crate) mod groups;
pub(crate) mod login;
pub(crate) mod members;
pub(crate) mod password;
pub(crate) mod tokens;
pub(crate) mod users;

use std::net::IpAddr;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::{Principal, UserPrincipal, Via};
use rave_core::secret::Secret;
use rave_http::caller::{Peer, SESSION_COOKIE};
use rave_http::{HttpError, Shared, component};

/// How long browsers keep the cookie. When the session ends is decided by the server alone.
const COOKIE_SECS: u32 = 365 * 24 * 3600;

/// A user in a browser.
///
/// Forms are for people: a token could otherwise reach further by a form than its scopes allow, and a password that
/// the browser sends by itself would pass the protection that sessions have against other sites.
#[derive(Clone, Debug)]
pub(crate) struct Visitor(pub(crate) UserPrincipal);

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        match parts.extensions.get::<Principal>() {
            Some(Principal::User(user)) if matches!(user.via, Via::Session(_)) => {
                Ok(Self(user.clone()))
            }
            _ => Err(HttpError::unauthorized()),
        }
    }
}

impl Visitor {
    /// Returns the digest of the visitor's session.
    pub(crate) fn session(&self) -> Option<&str> {
        match &self.0.via {
            Via::Session(digest) => Some(digest),
            Via::Password | Via::Token { .. } => None,
        }
    }

    pub(crate) fn principal(&self) -> Principal {
        Principal::User(self.0.clone())
    }
}

/// An administrator in a browser. For others the page does not exist.
#[derive(Clone, Debug)]
pub(crate) struct AdminVisitor(pub(crate) UserPrincipal);

impl<S: Send + Sync> FromRequestParts<S> for AdminVisitor {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let Visitor(user) = Visitor::from_request_parts(parts, state).await?;
        if user.admin {
            Ok(Self(user))
        } else {
            Err(HttpError::not_found("Page"))
        }
    }
}

/// The address that wrong passwords are counted for.
pub(crate) fn address(peer: Option<Extension<Peer>>) -> String {
    peer.map(|it| it.0.0.ip())
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), IpAddr::to_string)
}

/// Gives the browser a session.
pub(crate) fn set_session(response: &mut Response, shared: &Shared, secret: &Secret) {
    set_cookie(response, shared, secret.expose(), COOKIE_SECS);
}

/// Makes the browser forget its session.
pub(crate) fn clear_session(response: &mut Response, shared: &Shared) {
    set_cookie(response, shared, "", 0);
}

fn set_cookie(response: &mut Response, shared: &Shared, value: &str, max_age_secs: u32) {
    let path = match shared.prefix() {
        "" => "/",
        prefix => prefix,
    };
    let secure = if shared.is_https() { "; Secure" } else { "" };
    let cookie = format!(
        "{SESSION_COOKIE}={value}; Path={path}; Max-Age={max_age_secs}; HttpOnly; SameSite=Lax{secure}"
    );
    if let Ok(mut value) = HeaderValue::from_str(&cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Returns where a form may lead back to: a path of this server, never another's address.
pub(crate) fn local_path(text: &str) -> &str {
    let local = text.starts_with('/') && !text.starts_with("//");
    let plain = text.bytes().all(|it| it.is_ascii_graphic() && it != b'\\');
    let ends_session = text.starts_with("/-/log");
    if local && plain && !ends_session {
        text
    } else {
        "/"
    }
}

/// What stands above a form that was not accepted.
pub(crate) fn refused(error: Option<&str>) -> Markup {
    html! { @if let Some(text) = error { (component::alert("bad", text)) } }
}

/// Returns what a person should read of an error that is theirs to fix; other errors are passed on.
pub(crate) fn fixable(error: crate::AuthError) -> Result<String, HttpError> {
    use crate::AuthError as E;
    match error {
        E::Invalid { .. } | E::Taken { .. } | E::Conflict(_) | E::Forbidden(_) => Ok(format!(
            "{}.",
            crate::error::capitalized(&error.to_string())
        )),
        E::NotFound(what @ ("User" | "Member")) => Ok(format!("{what} not found.")),
        E::NotFound(_) | E::Store(_) | E::Port(_) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_lead_back_to_this_server_only() {
        for good in [
            "/",
            "/team/app",
            "/team/app/-/jobs/3",
            "/-/user_settings/password",
        ] {
            assert_eq!(local_path(good), good);
        }
        for bad in [
            "",
            "team",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/a b",
            "javascript:alert(1)",
            "/-/logout",
            "/-/login?return_to=/",
        ] {
            assert_eq!(local_path(bad), "/", "{bad}");
        }
    }
}
