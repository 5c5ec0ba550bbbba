//! Users: oneself, others, and what administrators do with them.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::UserId;
use rave_core::secret::Secret;
use rave_http::{HttpError, Pagination, Params, SignedIn};
use serde_json::{Value, json};

use super::{Instance, Part, READ_USER, WRITE, id_of, need_admin, wire};
use crate::NewUser;
use crate::store::users::UserFilter;

/// Returns the caller.
pub(crate) async fn current(
    part: Part,
    shared: Instance,
    caller: SignedIn,
) -> Result<Json<Value>, HttpError> {
    caller.need_scope(READ_USER)?;
    let user = part.find_user(caller.0.id).await?;
    let namespace = part.own_namespace(user.id).await?;
    Ok(Json(wire::full_user(&shared, &user, namespace)))
}

/// Lists users.
pub(crate) async fn list(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    page: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    caller.need_scope(READ_USER)?;
    let flag = |params: &mut Params, name: &str| params.bool(name).filter(|it| *it);
    let active = flag(&mut params, "active");
    let blocked = flag(&mut params, "blocked").map(|_| false);
    let filter = UserFilter {
        username: params.text("username"),
        search: params.text("search").filter(|it| !it.is_empty()),
        by_email: caller.0.admin,
        active: active.or(blocked),
        admin: flag(&mut params, "admins").filter(|_| caller.0.admin),
        oldest_first: params.text("sort").as_deref() == Some("asc"),
    };
    params.check()?;
    let found = part.list_users(filter, page.slice()).await?;
    let mut items = Vec::with_capacity(found.items.len());
    for user in &found.items {
        items.push(if caller.0.admin {
            wire::full_user(&shared, user, None)
        } else {
            wire::basic_user(&shared, user)
        });
    }
    Ok(page.json(&items, found.total))
}

/// Returns a user.
pub(crate) async fn get(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<Json<Value>, HttpError> {
    caller.need_scope(READ_USER)?;
    let user = part.find_user(UserId(id_of(&id, "User")?)).await?;
    if !caller.0.admin {
        return Ok(Json(wire::public_user(&shared, &user)));
    }
    let namespace = part.own_namespace(user.id).await?;
    Ok(Json(wire::full_user(&shared, &user, namespace)))
}

/// Makes a user.
pub(crate) async fn create(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    need_admin(&caller, WRITE)?;
    let password = params.text("password").filter(|it| !it.is_empty());
    let without = ["reset_password", "force_random_password"];
    let without = without
        .map(|it| params.bool(it).unwrap_or(false))
        .contains(&true);
    let new = NewUser {
        username: params.need_text("username"),
        name: params.need_text("name"),
        email: params.need_text("email"),
        password: password.map(Secret::new),
        admin: params.bool("admin").unwrap_or(false),
    };
    params.check()?;
    if new.password.is_none() && !without {
        let message = "password, reset_password, force_random_password are missing, at least one parameter must be provided";
        return Err(HttpError::bad_request(message).body(json!({ "error": message })));
    }
    let user = part.create_user(new).await?;
    let namespace = part.own_namespace(user.id).await?;
    let body = wire::full_user(&shared, &user, namespace);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Keeps a user out.
pub(crate) async fn block(
    part: Part,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    set_active(&part, &caller, &id, false).await
}

/// Lets a user in again.
pub(crate) async fn unblock(
    part: Part,
    caller: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    set_active(&part, &caller, &id, true).await
}

async fn set_active(
    part: &Part,
    caller: &SignedIn,
    id: &str,
    active: bool,
) -> Result<Response, HttpError> {
    let admin = need_admin(caller, WRITE)?;
    let user = UserId(id_of(id, "User")?);
    let changed = part.set_active(admin.id, user, active).await?;
    Ok((StatusCode::CREATED, Json(changed)).into_response())
}

/// Lists what a user is a direct member of.
pub(crate) async fn memberships(
    part: Part,
    caller: SignedIn,
    page: Pagination,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    need_admin(&caller, super::READ)?;
    let user = part.find_user(UserId(id_of(&id, "User")?)).await?;
    let all = part.memberships(user.id).await?;
    let items: Vec<Value> = cut(&all, &page).iter().map(wire::membership).collect();
    Ok(page.json(&items, all.len() as u64))
}

/// Returns the page's part of a list that is small enough to be read whole.
pub(crate) fn cut<'a, T>(all: &'a [T], page: &Pagination) -> &'a [T] {
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    let slice = page.slice();
    let start = number(slice.offset).min(all.len());
    let end = start.saturating_add(number(slice.limit)).min(all.len());
    &all[start..end]
}
