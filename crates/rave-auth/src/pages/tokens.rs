//! One's personal access tokens.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::id::TokenId;
use rave_core::permission::Scope;
use rave_core::port::Slice;
use rave_core::secret::Secret;
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params, component};

use super::{Visitor, fixable, refused};
use crate::api::{Part, date, parse_date};
use crate::store::tokens::{Token, TokenFilter, TokenRow};

const PATH: &str = "/-/user_settings/personal_access_tokens";
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long the form suggests.
const SUGGESTED_DAYS: i64 = 90;
const LISTED: Slice = Slice {
    offset: 0,
    limit: 200,
};

/// What came of a form.
enum Outcome {
    Nothing,
    Made(Secret),
    Refused(String),
}

/// Shows the tokens and the form for a new one.
pub(crate) async fn show(
    State(part): Part,
    page: Page,
    visitor: Visitor,
) -> Result<Response, HttpError> {
    answer(&part, &page, &visitor, Outcome::Nothing).await
}

/// Makes a token and shows it, this once: there is no redirect that could carry it.
pub(crate) async fn create(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    mut params: Params,
) -> Result<Response, HttpError> {
    let labels = params.list("scopes");
    let day = params.text("expires_at").unwrap_or_default();
    let expires_at = parse_date(&day);
    if expires_at.is_none() && !day.is_empty() {
        let outcome = Outcome::Refused("The expiry is not a date.".into());
        return answer(&part, &page, &visitor, outcome).await;
    }
    let row = TokenRow {
        user: visitor.0.id,
        name: params.text("name").unwrap_or_default(),
        description: String::new(),
        scopes: labels
            .iter()
            .filter_map(|it| Scope::from_label(it))
            .collect(),
        expires_at,
    };
    let outcome = match part.create_token(row).await {
        Ok((token, secret)) => {
            tracing::info!(
                user.id = visitor.0.id.0,
                token.id = token.id.0,
                "made a token"
            );
            Outcome::Made(secret)
        }
        Err(error) => Outcome::Refused(fixable(error)?),
    };
    answer(&part, &page, &visitor, outcome).await
}

/// Revokes a token.
pub(crate) async fn revoke(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, HttpError> {
    let missing = || HttpError::not_found("Token");
    let id = id.parse().map(TokenId).map_err(|_| missing())?;
    let token = part.find_token(id).await?;
    let token = token
        .filter(|it| it.user == visitor.0.id)
        .ok_or_else(missing)?;
    part.revoke_token(token.id).await?;
    Ok(page.redirect(PATH))
}

async fn answer(
    part: &crate::Auth,
    page: &Page,
    visitor: &Visitor,
    outcome: Outcome,
) -> Result<Response, HttpError> {
    let filter = TokenFilter {
        user: Some(visitor.0.id),
        active: Some(true),
        ..TokenFilter::default()
    };
    let tokens = part.list_tokens(filter, LISTED).await?.items;
    let status = match outcome {
        Outcome::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Made(_) | Outcome::Nothing => StatusCode::OK,
    };
    let content = content(page, &tokens, &outcome);
    Ok(page.render_status(status, "Access tokens", &Chrome::Instance, &content))
}

fn content(page: &Page, tokens: &[Token], outcome: &Outcome) -> Markup {
    html! {
        h1 { "Personal access tokens" }
        p.muted { "A token stands for you in git, the API and scripts, as far as its scopes reach. Use it as the password with git." }
        @match outcome {
            Outcome::Made(secret) => {
                (component::alert("ok", "This is your new token. Copy it now: it is not shown again."))
                (component::command(secret.expose()))
            }
            Outcome::Refused(text) => (refused(Some(text))),
            Outcome::Nothing => {}
        }
        @if tokens.is_empty() {
            (component::empty("No tokens", &html! { p { "Make one below to push with git or to use the API." } }))
        } @else {
            (list(page, tokens))
        }
        h2 { "New token" }
        (form(page))
    }
}

fn list(page: &Page, tokens: &[Token]) -> Markup {
    html! {
        ul.list {
            @for token in tokens {
                li {
                    span.title { (token.name) }
                    @for scope in &token.scopes { span.tag { (scope.label()) } }
                    span.spring {}
                    form method="post" action={ (page.href(PATH)) "/" (token.id) "/revoke" } {
                        button.danger.small aria-label={ "Revoke " (token.name) } { "Revoke" }
                    }
                    span.sub {
                        "Made " (component::time(token.created_at))
                        @match token.last_used_at {
                            Some(at) => { ", last used " (component::time(at)) }
                            None => { ", never used" }
                        }
                        @match token.expires_at {
                            Some(at) => { ", ends on " (date(at)) }
                            None => { ", never ends" }
                        }
                    }
                }
            }
        }
    }
}

fn form(page: &Page) -> Markup {
    let now = page.shared().clock.now();
    let day = |days: i64| date(now.plus_millis(days * DAY_MS));
    html! {
        form.stack method="post" action=(page.href(PATH)) {
            label { "Name" input name="name" maxlength="255" required placeholder="laptop"; }
            label { "Ends on"
                input type="date" name="expires_at" value=(day(SUGGESTED_DAYS)) min=(day(1));
                span.help { "Empty makes a token that never ends." }
            }
            fieldset {
                legend { "Scopes" }
                @for scope in Scope::ALL.iter().filter(|it| **it != Scope::Sudo) {
                    label.check {
                        input type="checkbox" name="scopes[]" value=(scope.label());
                        span { (scope.label()) " " span.help { (explained(*scope)) } }
                    }
                }
            }
            div { button.primary { "Make token" } }
        }
    }
}

fn explained(scope: Scope) -> &'static str {
    match scope {
        Scope::Api => "everything you may do",
        Scope::ReadApi => "read everything you may see",
        Scope::ReadUser => "read your own account",
        Scope::ReadRepository => "clone and fetch",
        Scope::WriteRepository => "clone, fetch and push",
        Scope::ReadCache => "read binary caches",
        Scope::WriteCache => "read binary caches and push to them",
        Scope::CreateRunner => "register runners",
        Scope::ManageRunner => "manage runners",
        // Kept for clients that ask for it; acting as another user is not offered.
        Scope::Sudo => "nothing yet",
        Scope::SelfRotate => "replace itself",
    }
}
