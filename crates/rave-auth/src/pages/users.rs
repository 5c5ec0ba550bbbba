//! The instance's users, for administrators.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::id::UserId;
use rave_core::secret::Secret;
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Pagination, Params, component};

use super::{AdminVisitor, fixable, refused};
use crate::api::Part;
use crate::store::users::UserFilter;
use crate::{Auth, NewUser, User};

const PATH: &str = "/-/admin/users";

/// What came of a form.
enum Outcome {
    Nothing,
    /// A user can enter by this link.
    Invited(String, Secret),
    Refused(String, Draft),
}

/// What the form for a new user holds.
#[derive(Default)]
struct Draft {
    username: String,
    name: String,
    email: String,
}

/// Shows the users and the form for a new one.
pub(crate) async fn show(
    State(part): Part,
    page: Page,
    _: AdminVisitor,
    pagination: Pagination,
) -> Result<Response, HttpError> {
    answer(&part, &page, &pagination, Outcome::Nothing).await
}

/// Makes a user and shows, this once, the link by which they enter.
pub(crate) async fn create(
    State(part): Part,
    page: Page,
    admin: AdminVisitor,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let draft = Draft {
        username: params.text("username").unwrap_or_default(),
        name: params.text("name").unwrap_or_default(),
        email: params.text("email").unwrap_or_default(),
    };
    let new = NewUser {
        username: draft.username.trim().to_owned(),
        name: draft.name.clone(),
        email: draft.email.clone(),
        password: None,
        admin: params.bool("admin").unwrap_or(false),
    };
    let outcome = match part.create_user(new).await {
        Ok(user) => {
            tracing::info!(user.id = user.id.0, admin.id = admin.0.id.0, "made a user");
            let secret = part.invite(user.id).await?;
            Outcome::Invited(user.username, secret)
        }
        Err(error) => Outcome::Refused(fixable(error)?, draft),
    };
    answer(&part, &page, &pagination, outcome).await
}

/// Makes another link for a user, for one who lost their password or their link.
pub(crate) async fn invite(
    State(part): Part,
    page: Page,
    admin: AdminVisitor,
    pagination: Pagination,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    let user = part.find_user(user_id(&id)?).await?;
    let secret = part.invite(user.id).await?;
    tracing::info!(
        user.id = user.id.0,
        admin.id = admin.0.id.0,
        "made a claim link"
    );
    let outcome = Outcome::Invited(user.username, secret);
    answer(&part, &page, &pagination, outcome).await
}

/// Keeps a user out.
pub(crate) async fn block(
    State(part): Part,
    page: Page,
    admin: AdminVisitor,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    part.set_active(admin.0.id, user_id(&id)?, false).await?;
    Ok(page.redirect(PATH))
}

/// Lets a user in again.
pub(crate) async fn unblock(
    State(part): Part,
    page: Page,
    admin: AdminVisitor,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    part.set_active(admin.0.id, user_id(&id)?, true).await?;
    Ok(page.redirect(PATH))
}

fn user_id(text: &str) -> Result<UserId, HttpError> {
    text.parse()
        .map(UserId)
        .map_err(|_| HttpError::not_found("User"))
}

async fn answer(
    part: &Auth,
    page: &Page,
    pagination: &Pagination,
    outcome: Outcome,
) -> Result<Response, HttpError> {
    let users = part
        .list_users(UserFilter::default(), pagination.slice())
        .await?;
    let status = match outcome {
        Outcome::Refused(..) => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Nothing | Outcome::Invited(..) => StatusCode::OK,
    };
    let content = html! {
        h1 { "Users" }
        @match &outcome {
            Outcome::Invited(username, secret) => {
                (component::alert("ok", &format!("Send this link to {username}. It works once, and is not shown again.")))
                (component::command(&page.shared().url(&format!("/-/claim/{}", secret.expose()))))
            }
            Outcome::Refused(text, _) => (refused(Some(text))),
            Outcome::Nothing => {}
        }
        ul.list { @for user in &users.items { (row(page, user)) } }
        (component::pager(pagination, users.total, &page.href(PATH)))
        h2 { "New user" }
        @match &outcome {
            Outcome::Refused(_, draft) => (form(page, draft)),
            Outcome::Invited(..) | Outcome::Nothing => (form(page, &Draft::default())),
        }
    };
    Ok(page.render_status(status, "Users", &Chrome::Instance, &content))
}

fn row(page: &Page, user: &User) -> Markup {
    let action = |verb: &str| page.href(&format!("{PATH}/{}/{verb}", user.id));
    let own = page.principal().user().is_some_and(|it| it.id == user.id);
    html! {
        li {
            span.title { (user.name) }
            span.muted { "@" (user.username) }
            @if user.admin { span.tag { "administrator" } }
            @if !user.active { span.tag.warn { "blocked" } }
            @if user.password_hash.is_none() { span.tag { "not entered yet" } }
            span.spring {}
            @if user.active {
                form method="post" action=(action("invite")) {
                    button.small aria-label={ "Make a link for " (user.username) } { "Make link" }
                }
            }
            @if user.active && !own {
                form method="post" action=(action("block")) {
                    button.danger.small aria-label={ "Block " (user.username) } { "Block" }
                }
            }
            @if !user.active {
                form method="post" action=(action("unblock")) {
                    button.small aria-label={ "Unblock " (user.username) } { "Unblock" }
                }
            }
            span.sub {
                (user.email) ", made " (component::time(user.created_at))
                @if let Some(at) = user.last_sign_in_at { ", last signed in " (component::time(at)) }
            }
        }
    }
}

fn form(page: &Page, draft: &Draft) -> Markup {
    html! {
        form.stack method="post" action=(page.href(PATH)) {
            label { "User name" input name="username" value=(draft.username) maxlength="255" autocapitalize="none" spellcheck="false" required; }
            label { "Name" input name="name" value=(draft.name) maxlength="255" required; }
            label { "E-mail" input type="email" name="email" value=(draft.email) maxlength="255" required; }
            label.check {
                input type="checkbox" name="admin" value="true";
                span { "Administrator " span.help { "may do everything" } }
            }
            div { button.primary { "Make user" } }
        }
    }
}
