//! Who makes a request: credentials out of headers, query and cookie, the principal that they prove, and the protection
//! of sessions against requests that another site makes a browser send.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rave_core::permission::{Principal, Scope, UserPrincipal, Via};
use rave_core::port::{AuthenticateError, Credentials};
use rave_core::secret::Secret;
use serde_json::json;

use crate::address::Dialect;
use crate::app::Shared;
use crate::error::HttpError;

/// The name of the session cookie. GitLab's own name would collide on a shared host name.
pub const SESSION_COOKIE: &str = "rave_session";

/// The address of the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Whoever makes the request.
#[derive(Clone, Debug)]
pub struct Caller(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(principal(parts)))
    }
}

/// A user who is signed in, by whatever means; others are answered 401.
#[derive(Clone, Debug)]
pub struct SignedIn(pub UserPrincipal);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        match principal(parts) {
            Principal::User(user) => Ok(Self(user)),
            Principal::Anonymous | Principal::Job { .. } => Err(HttpError::unauthorized()),
        }
    }
}

impl SignedIn {
    /// Checks that the credentials reach this far.
    ///
    /// # Errors
    /// 403 with the scopes that are needed.
    pub fn need_scope(&self, wanted: &'static [Scope]) -> Result<(), HttpError> {
        need_scope(&Principal::User(self.0.clone()), wanted)
    }
}

/// Checks that a principal's credentials reach this far.
///
/// # Errors
/// 403 with the scopes that are needed.
pub fn need_scope(principal: &Principal, wanted: &'static [Scope]) -> Result<(), HttpError> {
    if principal.has_scope(wanted) {
        return Ok(());
    }
    let denied = rave_core::permission::Denied::InsufficientScope {
        action: "do this",
        needed: wanted,
    };
    Err(HttpError::denied(&denied, principal))
}

fn principal(parts: &Parts) -> Principal {
    parts
        .extensions
        .get::<Principal>()
        .cloned()
        .unwrap_or(Principal::Anonymous)
}

/// Authenticates a request and puts its [`Principal`] where handlers find it.
pub async fn authenticate(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let dialect = request
        .extensions()
        .get::<Dialect>()
        .copied()
        .unwrap_or(Dialect::Plain);
    if dialect == Dialect::Cache {
        return next.run(request).await;
    }
    let credentials = credentials(request.headers(), request.uri(), dialect);
    let principal = match &credentials {
        None => Principal::Anonymous,
        Some(credentials) => match shared
            .authenticator
            .authenticate(credentials, &peer(&request))
            .await
        {
            Ok(principal) => principal,
            // A stale cookie is no reason to refuse a page: the visitor is simply not signed in.
            Err(AuthenticateError::Invalid) if matches!(credentials, Credentials::Session(_)) => {
                Principal::Anonymous
            }
            Err(error) => return refuse(error, dialect, request.headers()).into_response(),
        },
    };
    if is_session(&principal)
        && !is_safe(request.method())
        && !is_same_site(&shared, request.headers())
    {
        return cross_site().into_response();
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// Refuses a form of the signed-out (login, claim) that another site sends.
///
/// # Errors
/// 403 when the request does not come from our own pages.
pub fn need_same_site(shared: &Shared, headers: &HeaderMap) -> Result<(), HttpError> {
    if is_same_site(shared, headers) {
        Ok(())
    } else {
        Err(cross_site())
    }
}

fn cross_site() -> HttpError {
    HttpError::forbidden("the request does not come from a page of this server")
        .hint("reload the page and try again; if RAVE is behind a proxy, check `external_url`")
}

/// Returns the address that failed tries are counted for.
#[must_use]
pub fn peer(request: &Request) -> String {
    request
        .extensions()
        .get::<Peer>()
        .map_or_else(|| "unknown".to_owned(), |it| it.0.ip().to_string())
}

fn refuse(error: AuthenticateError, dialect: Dialect, headers: &HeaderMap) -> HttpError {
    match error {
        AuthenticateError::Invalid if dialect == Dialect::Git => {
            HttpError::new(StatusCode::UNAUTHORIZED, "HTTP Basic: Access denied. The user name, password or token is not valid.")
                .hint("use a personal access token with the scope write_repository as the password")
        }
        AuthenticateError::Invalid if headers.contains_key(header::AUTHORIZATION) => HttpError::unauthorized()
            .body(json!({"error": "invalid_token", "error_description": "Token is not valid, was revoked or has expired."}))
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"RAVE\", error=\"invalid_token\""),
        AuthenticateError::Invalid => HttpError::unauthorized(),
        AuthenticateError::Throttled { retry_after_secs } => HttpError::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            .header(header::RETRY_AFTER, &retry_after_secs.to_string()),
        AuthenticateError::Port(error) => error.into(),
    }
}

/// Finds the credentials of a request, of several the first in GitLab's order. The runner API carries runner and job
/// tokens in bodies and looks for them itself.
fn credentials(headers: &HeaderMap, uri: &Uri, dialect: Dialect) -> Option<Credentials> {
    let token = |it: &str| Credentials::Token(Secret::new(it));
    // A runner also presents the token of a job that has ended, and must be told how it ended: its API judges for itself.
    let judged_here = !uri.path().starts_with("/api/v4/jobs/");
    let names = ["private-token", "job-token"];
    for name in names.into_iter().take(1 + usize::from(judged_here)) {
        if let Some(value) = headers.get(name).and_then(|it| it.to_str().ok()) {
            return Some(token(value.trim()));
        }
    }
    if let Some(found) = authorization(headers) {
        return Some(found);
    }
    if dialect == Dialect::Api {
        let query =
            |wanted: &str| crate::params::find_in_query(uri.query().unwrap_or_default(), wanted);
        if let Some(value) = ["private_token", "access_token", "job_token"]
            .into_iter()
            .find_map(query)
        {
            return Some(token(&value));
        }
    }
    let cookie = cookie(headers, SESSION_COOKIE)?;
    (dialect != Dialect::Git).then(|| Credentials::Session(Secret::new(cookie)))
}

/// Reads the `Authorization` header: a bearer token, or a name and a password or token.
#[must_use]
pub fn authorization(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(Secret::new(rest.trim())));
    }
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| basic(rest.trim()))
        .flatten()
}

fn basic(encoded: &str) -> Option<Credentials> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    })
}

/// Returns a cookie's value.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|it| it.to_str().ok());
    all.flat_map(|it| it.split(';'))
        .filter_map(|it| it.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn is_session(principal: &Principal) -> bool {
    matches!(
        principal,
        Principal::User(UserPrincipal {
            via: Via::Session(_),
            ..
        })
    )
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a browser sent the request from one of our pages. Browsers have sent `Sec-Fetch-Site` since 2020 to 2023 and
/// `Origin` with every form for longer; a request with neither is refused.
fn is_same_site(shared: &Shared, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    let same_host =
        text("host").is_some_and(|host| origin.split_once("://").is_some_and(|(_, it)| it == host));
    same_host || origin == shared.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<header::HeaderName>().expect("name"),
                    value.parse().expect("value"),
                )
            })
            .collect()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let map = headers(&[("cookie", "a=1; rave_session=rvs-x; b=2")]);
        assert_eq!(cookie(&map, SESSION_COOKIE), Some("rvs-x"));
        assert_eq!(cookie(&map, "session"), None);
    }

    #[test]
    fn tokens_come_from_where_clients_put_them() {
        let uri: Uri = "/api/v4/user?private_token=q".parse().expect("uri");
        let found =
            |pairs: &[(&str, &str)], dialect| match credentials(&headers(pairs), &uri, dialect) {
                Some(Credentials::Token(it)) => format!("token {}", it.expose()),
                Some(Credentials::Basic { username, password }) => {
                    format!("basic {username} {}", password.expose())
                }
                Some(Credentials::Session(it)) => format!("session {}", it.expose()),
                None => "none".to_owned(),
            };
        assert_eq!(
            found(
                &[("private-token", "p"), ("authorization", "Bearer b")],
                Dialect::Api
            ),
            "token p"
        );
        assert_eq!(
            found(&[("authorization", "Bearer b")], Dialect::Api),
            "token b"
        );
        assert_eq!(
            found(&[("authorization", "Basic dTpwOnc=")], Dialect::Git),
            "basic u p:w"
        );
        assert_eq!(found(&[], Dialect::Api), "token q");
        assert_eq!(
            found(&[("cookie", "rave_session=s")], Dialect::Page),
            "session s"
        );
        assert_eq!(
            found(&[("cookie", "rave_session=s")], Dialect::Git),
            "none",
            "git has no cookies"
        );
    }
}
