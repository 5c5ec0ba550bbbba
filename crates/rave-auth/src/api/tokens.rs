//! Personal access tokens.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::{TokenId, UserId};
use rave_core::permission::{Scope, UserPrincipal, Via};
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_http::{HttpError, Pagination, Params, SignedIn};
use serde_json::Value;

use super::{Instance, Part, READ, WRITE, date_param, id_of, need_admin, wire};
use crate::Auth;
use crate::store::tokens::{Token, TokenFilter, TokenRow};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long a token lasts when its maker does not say.
pub(crate) const DEFAULT_DAYS: i64 = 365;
/// How long a token lasts that replaces another when nobody says.
const ROTATED_DAYS: i64 = 7;

/// Lists the caller's tokens; an administrator's list is everybody's unless limited.
pub(crate) async fn list(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    caller.need_scope(READ)?;
    let user = params.int("user_id").map(UserId);
    let filter = TokenFilter {
        user: if caller.0.admin {
            user
        } else {
            Some(caller.0.id)
        },
        active: params.choice("state", |it| match it {
            "active" => Some(true),
            "inactive" => Some(false),
            _ => None,
        }),
        revoked: params.bool("revoked"),
        search: params.text("search").filter(|it| !it.is_empty()),
    };
    params.check()?;
    if !caller.0.admin && user.is_some_and(|it| it != caller.0.id) {
        return Err(HttpError::unauthorized());
    }
    let found = part.list_tokens(filter, page.slice()).await?;
    let now = shared.clock.now();
    let items: Vec<Value> = found.items.iter().map(|it| wire::token(it, now)).collect();
    Ok(page.json(&items, found.total))
}

/// Returns a token of the caller's, or the one that the request was made with: `self`.
pub(crate) async fn get(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<Json<Value>, HttpError> {
    let token = load(&part, &caller, &id, READ).await?;
    Ok(Json(wire::token(&token, shared.clock.now())))
}

/// Revokes a token.
pub(crate) async fn revoke(
    part: Part,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, HttpError> {
    let token = load(&part, &caller, &id, WRITE).await?;
    part.revoke_token(token.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes a token and returns another in its place.
pub(crate) async fn rotate(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Json<Value>, HttpError> {
    if id == "self" {
        caller.need_scope(&[Scope::Api, Scope::SelfRotate])?;
    }
    let token = load(&part, &caller, &id, WRITE).await?;
    let now = shared.clock.now();
    let asked = date_param(&mut params, "expires_at")?;
    let expires_at = asked.unwrap_or_else(|| now.plus_millis(ROTATED_DAYS * DAY_MS));
    let (token, secret) = part.rotate_token(token.id, token.user, expires_at).await?;
    Ok(Json(with_secret(&token, &secret, now)))
}

/// Makes a token for the caller.
pub(crate) async fn create_own(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    params: Params,
) -> Result<Response, HttpError> {
    caller.need_scope(WRITE)?;
    create(&part, &shared, params, caller.0.id, Some(&caller.0)).await
}

/// Makes a token for any user.
pub(crate) async fn create_for(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    need_admin(&caller, WRITE)?;
    let user = part.find_user(UserId(id_of(&id, "User")?)).await?;
    create(&part, &shared, params, user.id, None).await
}

async fn create(
    part: &Auth,
    shared: &Instance,
    mut params: Params,
    user: UserId,
    limited_by: Option<&UserPrincipal>,
) -> Result<Response, HttpError> {
    let name = params.need_text("name");
    let description = params.text("description").unwrap_or_default();
    let labels = params.list("scopes");
    let scopes: Option<Vec<Scope>> = labels.iter().map(|it| Scope::from_label(it)).collect();
    let asked = date_param(&mut params, "expires_at")?;
    let scopes = scopes.filter(|it| !it.is_empty()).ok_or_else(|| {
        let message = "scopes does not have a valid value";
        HttpError::bad_request(message).body(serde_json::json!({ "error": message }))
    })?;
    if let Some(caller) = limited_by {
        check_reach(caller, &scopes)?;
    }
    let now = shared.clock.now();
    let row = TokenRow {
        user,
        name,
        description,
        scopes,
        expires_at: Some(asked.unwrap_or_else(|| now.plus_millis(DEFAULT_DAYS * DAY_MS))),
    };
    let (token, secret) = part.create_token(row).await?;
    let body = with_secret(&token, &secret, now);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// A token cannot make one that reaches further than itself.
fn check_reach(caller: &UserPrincipal, wanted: &[Scope]) -> Result<(), HttpError> {
    match &caller.via {
        Via::Token { scopes, .. } if wanted.iter().any(|it| !scopes.contains(it)) => Err(
            HttpError::forbidden("a token cannot make one with scopes it does not have"),
        ),
        Via::Token { .. } | Via::Session(_) | Via::Password => Ok(()),
    }
}

fn with_secret(token: &Token, secret: &Secret, now: Timestamp) -> Value {
    let mut body = wire::token(token, now);
    body["token"] = secret.expose().into();
    body
}

/// Finds a token that the caller may know of. `self` needs no scope: whoever has a token may ask about it.
async fn load(
    part: &Auth,
    caller: &SignedIn,
    id: &str,
    scopes: &'static [Scope],
) -> Result<Token, HttpError> {
    let missing = || HttpError::not_found("");
    let id = match (&caller.0.via, id) {
        (Via::Token { id, .. }, "self") => *id,
        (_, "self") => {
            return Err(HttpError::bad_request(
                "400 Bad request - no token was used",
            ));
        }
        _ => {
            caller.need_scope(scopes)?;
            TokenId(id.parse().map_err(|_| missing())?)
        }
    };
    let token = part.find_token(id).await?;
    token
        .filter(|it| caller.0.admin || it.user == caller.0.id)
        .ok_or_else(missing)
}
