//! A group's members: seen by all who may see the group, changed by its owners.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::id::UserId;
use rave_core::permission::{Role, Visibility};
use rave_core::time::Timestamp;
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params, component};

use super::{Visitor, fixable, refused};
use crate::api::{Part, date, parse_date};
use crate::service::groups::NamespaceAccess;
use crate::service::members::{MemberList, MemberManager};
use crate::store::members::Member;
use crate::{Auth, AuthError};

/// Shows the members.
pub(crate) async fn show(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    let access = part.group_access(&visitor.principal(), &id).await?;
    if access.role.is_none() && access.namespace.visibility == Visibility::Private {
        return Err(HttpError::not_found("Group"));
    }
    answer(&part, &page, &visitor, &access, None).await
}

/// Adds a member.
pub(crate) async fn add(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let (access, manager) = manager(&part, &visitor, &id).await?;
    let username = params.text("username").unwrap_or_default();
    let form = Form::read(&mut params);
    let added = match part.find_by_username(username.trim()).await {
        Ok(user) => {
            let (role, expires_at) = (form.role, form.expires_at);
            part.add_member(manager, user.id, role, expires_at).await
        }
        Err(error) => Err(error),
    };
    finish(&part, &page, &visitor, &access, added.map(drop)).await
}

/// Changes a member's role.
pub(crate) async fn update(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    Path((id, user)): Path<(String, String)>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let (access, manager) = manager(&part, &visitor, &id).await?;
    let form = Form::read(&mut params);
    let user = user_id(&user)?;
    let updated = part
        .update_member(manager, user, form.role, form.expires_at)
        .await;
    finish(&part, &page, &visitor, &access, updated.map(drop)).await
}

/// Removes a member, or the visitor from the group.
pub(crate) async fn remove(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    Path((id, user)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let user = user_id(&user)?;
    if user != visitor.0.id {
        let (access, manager) = manager(&part, &visitor, &id).await?;
        let removed = part.remove_member(manager, user).await;
        return finish(&part, &page, &visitor, &access, removed).await;
    }
    let access = part.group_access(&visitor.principal(), &id).await?;
    match part.leave(MemberList::from(&access), user).await {
        Ok(()) => Ok(page.redirect("/")),
        refused => finish(&part, &page, &visitor, &access, refused).await,
    }
}

/// What the forms say about a membership.
struct Form {
    role: Role,
    expires_at: Option<Timestamp>,
}

impl Form {
    fn read(params: &mut Params) -> Self {
        Self {
            role: params
                .int("access_level")
                .and_then(Role::from_level)
                .unwrap_or(Role::Guest),
            expires_at: params.choice("expires_at", parse_date),
        }
    }
}

fn user_id(text: &str) -> Result<UserId, HttpError> {
    text.parse()
        .map(UserId)
        .map_err(|_| HttpError::not_found("Member"))
}

async fn manager(
    part: &Auth,
    visitor: &Visitor,
    id: &str,
) -> Result<(NamespaceAccess, MemberManager), HttpError> {
    let access = part.group_access(&visitor.principal(), id).await?;
    let manager = MemberManager::of_group(&access.owned()?, visitor.0.id);
    Ok((access, manager))
}

async fn finish(
    part: &Auth,
    page: &Page,
    visitor: &Visitor,
    access: &NamespaceAccess,
    result: Result<(), AuthError>,
) -> Result<Response, HttpError> {
    match result {
        Ok(()) => Ok(page.redirect(&path(access))),
        Err(error) => {
            let text = fixable(error)?;
            answer(part, page, visitor, access, Some(&text)).await
        }
    }
}

fn path(access: &NamespaceAccess) -> String {
    format!("/-/groups/{}/members", access.namespace.id)
}

async fn answer(
    part: &Auth,
    page: &Page,
    visitor: &Visitor,
    access: &NamespaceAccess,
    error: Option<&str>,
) -> Result<Response, HttpError> {
    let list = MemberList::from(access);
    let direct = part.list_members(list, false).await?;
    let mut inherited = part.list_members(list, true).await?;
    inherited.retain(|it| direct.iter().all(|other| other.user.id != it.user.id));
    let content = content(page, visitor, access, (&direct, &inherited), error);
    let status = error.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
    let title = format!("Members of {}", access.namespace.path);
    Ok(page.render_status(status, &title, &Chrome::Instance, &content))
}

fn content(
    page: &Page,
    visitor: &Visitor,
    access: &NamespaceAccess,
    (direct, inherited): (&[Member], &[Member]),
    error: Option<&str>,
) -> Markup {
    let base = page.href(&path(access));
    let owned = access.owned().is_ok();
    html! {
        div.head {
            h1 { "Members of " a href=(page.href(&format!("/{}", access.namespace.path))) { (access.namespace.path) } }
            @if owned {
                span.spring {}
                a.button href=(page.href(&format!("/-/groups/{}/settings/ci_cd", access.namespace.id))) { "CI/CD settings" }
            }
        }
        (refused(error))
        @if direct.is_empty() {
            (component::empty("No members of its own", &html! { p { "Those of the groups above have their roles here too." } }))
        } @else {
            ul.list { @for member in direct { (row(&base, visitor, member, owned)) } }
        }
        @if !inherited.is_empty() {
            h2 { "By the groups above" }
            ul.list { @for member in inherited { li { (who(member)) span.spring {} (member.role.label()) } } }
        }
        @if owned {
            h2 { "Add a member" }
            form.stack method="post" action=(base) {
                label { "User name" input name="username" autocapitalize="none" spellcheck="false" required; }
                label { "Role" (roles(Role::Developer)) }
                label { "Until"
                    input type="date" name="expires_at";
                    span.help { "Empty is for good." }
                }
                div { button.primary { "Add member" } }
            }
        }
    }
}

fn who(member: &Member) -> Markup {
    html! {
        span.title { (member.user.name) }
        span.muted { "@" (member.user.username) }
        @if !member.user.active { span.tag.warn { "blocked" } }
        @if let Some(at) = member.expires_at { span.tag { "until " (date(at)) } }
    }
}

fn row(base: &str, visitor: &Visitor, member: &Member, owned: bool) -> Markup {
    let user = &member.user;
    html! {
        li {
            (who(member))
            span.spring {}
            @if owned {
                form.row method="post" action={ (base) "/" (user.id) "/update" } {
                    @if let Some(at) = member.expires_at { input type="hidden" name="expires_at" value=(date(at)); }
                    span { (roles(member.role)) }
                    button.small aria-label={ "Save the role of " (user.username) } { "Save" }
                }
            } @else {
                (member.role.label())
            }
            @if owned || user.id == visitor.0.id {
                form method="post" action={ (base) "/" (user.id) "/remove" } {
                    button.danger.small aria-label={ "Remove " (user.username) } {
                        @if user.id == visitor.0.id { "Leave" } @else { "Remove" }
                    }
                }
            }
        }
    }
}

fn roles(chosen: Role) -> Markup {
    html! {
        select name="access_level" aria-label="Role" {
            @for role in Role::ALL {
                option value=(role.level()) selected[role == chosen] { (role.label()) }
            }
        }
    }
}
