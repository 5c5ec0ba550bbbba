//! Members of groups and of projects: one behaviour, two kinds of addresses.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_core::id::UserId;
use rave_core::permission::{ManageProject, Principal, ReadProject, Visibility};
use rave_http::caller::need_scope;
use rave_http::{Authorized, Caller, HttpError, Pagination, Params, Shared, SignedIn};
use serde_json::{Value, json};

use super::users::cut;
use super::{Instance, Part, READ, WRITE, date_param, id_of, role_param, wire};
use crate::service::members::{MemberList, MemberManager};
use crate::store::members::Member;
use crate::{Auth, AuthError};

/// Lists a group's own members.
pub(crate) async fn of_group(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    page: Pagination,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    let list = group_list(&part, &caller, &id).await?;
    answer_list(&part, &shared, &caller, &page, params, (list, false)).await
}

/// Lists a group's members with those of the groups above.
pub(crate) async fn all_of_group(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    page: Pagination,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    let list = group_list(&part, &caller, &id).await?;
    answer_list(&part, &shared, &caller, &page, params, (list, true)).await
}

/// Lists a project's own members.
pub(crate) async fn of_project(
    part: Part,
    shared: Instance,
    Authorized(access): Authorized<ReadProject>,
    page: Pagination,
    params: Params,
) -> Result<Response, HttpError> {
    let list = MemberList::from(&access);
    answer_list(
        &part,
        &shared,
        access.principal(),
        &page,
        params,
        (list, false),
    )
    .await
}

/// Lists a project's members with those of its groups.
pub(crate) async fn all_of_project(
    part: Part,
    shared: Instance,
    Authorized(access): Authorized<ReadProject>,
    page: Pagination,
    params: Params,
) -> Result<Response, HttpError> {
    let list = MemberList::from(&access);
    answer_list(
        &part,
        &shared,
        access.principal(),
        &page,
        params,
        (list, true),
    )
    .await
}

/// Returns one of a group's own members.
pub(crate) async fn one_of_group(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    Path((id, user)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let list = group_list(&part, &caller, &id).await?;
    answer_one(&part, &shared, &caller, (list, false), &user).await
}

/// Returns one of a group's members, perhaps by a group above.
pub(crate) async fn any_of_group(
    part: Part,
    shared: Instance,
    Caller(caller): Caller,
    Path((id, user)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let list = group_list(&part, &caller, &id).await?;
    answer_one(&part, &shared, &caller, (list, true), &user).await
}

/// Returns one of a project's own members.
pub(crate) async fn one_of_project(
    part: Part,
    shared: Instance,
    Authorized(access): Authorized<ReadProject>,
    Path((_, user)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let list = MemberList::from(&access);
    answer_one(&part, &shared, access.principal(), (list, false), &user).await
}

/// Returns one of a project's members, perhaps by a group.
pub(crate) async fn any_of_project(
    part: Part,
    shared: Instance,
    Authorized(access): Authorized<ReadProject>,
    Path((_, user)): Path<(String, String)>,
) -> Result<Json<Value>, HttpError> {
    let list = MemberList::from(&access);
    answer_one(&part, &shared, access.principal(), (list, true), &user).await
}

/// Adds members to a group.
pub(crate) async fn add_to_group(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    let manager = group_manager(&part, &caller, &id).await?;
    add(&part, &shared, params, manager, caller.0.admin).await
}

/// Adds members to a project.
pub(crate) async fn add_to_project(
    part: Part,
    shared: Instance,
    Authorized(access): Authorized<ManageProject>,
    params: Params,
) -> Result<Response, HttpError> {
    let manager = MemberManager::of_project(&access);
    add(
        &part,
        &shared,
        params,
        manager,
        access.principal().is_admin(),
    )
    .await
}

/// Changes a member's role in a group.
pub(crate) async fn update_in_group(
    part: Part,
    shared: Instance,
    caller: SignedIn,
    Path((id, user)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, HttpError> {
    let manager = group_manager(&part, &caller, &id).await?;
    update(&part, &shared, params, manager, &user).await
}

/// Changes a member's role in a project.
pub(crate) async fn update_in_project(
    part: Part,
    shared: Instance,
    Authorized(access): Authorized<ManageProject>,
    Path((_, user)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, HttpError> {
    let manager = MemberManager::of_project(&access);
    update(&part, &shared, params, manager, &user).await
}

/// Removes a member from a group, or the caller from it.
pub(crate) async fn remove_from_group(
    part: Part,
    caller: SignedIn,
    Path((id, user)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    caller.need_scope(WRITE)?;
    let user = UserId(id_of(&user, "Member")?);
    let principal = Principal::User(caller.0.clone());
    if user == caller.0.id {
        let access = part.group_access(&principal, &id).await?;
        part.leave(MemberList::from(&access), user).await?;
    } else {
        let manager = group_manager(&part, &caller, &id).await?;
        part.remove_member(manager, user).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a member from a project, or the caller from it.
pub(crate) async fn remove_from_project(
    part: Part,
    caller: SignedIn,
    Authorized(access): Authorized<ReadProject>,
    Path((_, user)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    caller.need_scope(WRITE)?;
    let user = UserId(id_of(&user, "Member")?);
    if user == caller.0.id {
        part.leave(MemberList::from(&access), user).await?;
    } else {
        let managed = access
            .also::<ManageProject>()
            .map_err(|denied| HttpError::denied(&denied, access.principal()))?;
        let manager = MemberManager::of_project(&managed);
        part.remove_member(manager, user).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn group_list(part: &Auth, caller: &Principal, id: &str) -> Result<MemberList, HttpError> {
    need_scope(caller, READ)?;
    let access = part.group_access(caller, id).await?;
    // That a group holds something public makes it known, not who works there.
    if access.role.is_none() && access.namespace.visibility == Visibility::Private {
        return Err(HttpError::not_found("Group"));
    }
    Ok(MemberList::from(&access))
}

async fn group_manager(
    part: &Auth,
    caller: &SignedIn,
    id: &str,
) -> Result<MemberManager, HttpError> {
    caller.need_scope(WRITE)?;
    let principal = Principal::User(caller.0.clone());
    let access = part.group_access(&principal, id).await?;
    Ok(MemberManager::of_group(&access.owned()?, caller.0.id))
}

async fn answer_list(
    part: &Auth,
    shared: &Shared,
    caller: &Principal,
    page: &Pagination,
    mut params: Params,
    (list, inherited): (MemberList, bool),
) -> Result<Response, HttpError> {
    let query = params.text("query").unwrap_or_default().to_lowercase();
    params.check()?;
    let mut all = part.list_members(list, inherited).await?;
    let fits = |it: &Member| {
        it.user.username.to_lowercase().contains(&query)
            || it.user.name.to_lowercase().contains(&query)
    };
    all.retain(fits);
    let items: Vec<Value> = cut(&all, page)
        .iter()
        .map(|it| wire::member(shared, it, caller.is_admin()))
        .collect();
    Ok(page.json(&items, all.len() as u64))
}

async fn answer_one(
    part: &Auth,
    shared: &Shared,
    caller: &Principal,
    (list, inherited): (MemberList, bool),
    user: &str,
) -> Result<Json<Value>, HttpError> {
    let user = UserId(id_of(user, "")?);
    let all = part.list_members(list, inherited).await?;
    let found = all.iter().find(|it| it.user.id == user);
    let found = found.ok_or_else(|| HttpError::not_found(""))?;
    Ok(Json(wire::member(shared, found, caller.is_admin())))
}

async fn add(
    part: &Auth,
    shared: &Shared,
    mut params: Params,
    manager: MemberManager,
    for_admin: bool,
) -> Result<Response, HttpError> {
    let role = role_param(&mut params)?;
    let expires_at = date_param(&mut params, "expires_at")?;
    let users = named_users(part, &mut params).await?;
    let mut added = Vec::new();
    for user in &users {
        added.push(part.add_member(manager, *user, role, expires_at).await?);
    }
    let body = match added.as_slice() {
        [one] => wire::member(shared, one, for_admin),
        _ => json!({"status": "success"}),
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Reads whom to add: `user_id`, one or several, or `username`.
async fn named_users(part: &Auth, params: &mut Params) -> Result<Vec<UserId>, HttpError> {
    if let Some(username) = params.text("username").filter(|it| !it.is_empty()) {
        return Ok(vec![part.find_by_username(&username).await?.id]);
    }
    params.need_text("user_id");
    params.check()?;
    let ids = params.list("user_id");
    let ids: Option<Vec<UserId>> = ids.iter().map(|it| it.parse().ok().map(UserId)).collect();
    ids.filter(|it| !it.is_empty())
        .ok_or(AuthError::NotFound("User"))
        .map_err(HttpError::from)
}

async fn update(
    part: &Auth,
    shared: &Shared,
    mut params: Params,
    manager: MemberManager,
    user: &str,
) -> Result<Json<Value>, HttpError> {
    let user = UserId(id_of(user, "Member")?);
    let role = role_param(&mut params)?;
    let expires_at = date_param(&mut params, "expires_at")?;
    let member = part.update_member(manager, user, role, expires_at).await?;
    Ok(Json(wire::member(shared, &member, false)))
}
