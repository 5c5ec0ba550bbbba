//! Claim links: whoever opens one chooses the account's password and is signed in, once.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::secret::Secret;
use rave_http::caller::need_same_site;
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params};

use super::{fixable, refused, set_session};
use crate::api::Part;
use crate::password::SHORTEST;
use crate::{AuthError, User};

/// Shows the account and the form.
pub(crate) async fn show(
    State(part): Part,
    page: Page,
    Path(token): Path<String>,
) -> Result<Response, HttpError> {
    let user = part.find_claim(&token).await?.ok_or_else(closed)?;
    let content = form(&page, &token, &user, None);
    Ok(page.render("Choose a password", &Chrome::Bare, &content))
}

/// Sets the password and signs in.
pub(crate) async fn submit(
    State(part): Part,
    page: Page,
    Path(token): Path<String>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    need_same_site(page.shared(), &headers)?;
    let user = part.find_claim(&token).await?.ok_or_else(closed)?;
    let password = Secret::new(params.text("password").unwrap_or_default());
    match part.claim(&token, &password).await {
        Ok(user) => {
            let secret = part.begin_session(user.id).await?;
            tracing::info!(user.id = user.id.0, "an account was claimed");
            let mut response = page.redirect("/");
            set_session(&mut response, page.shared(), &secret);
            Ok(response)
        }
        Err(AuthError::NotFound(_)) => Err(closed()),
        Err(error) => {
            let text = fixable(error)?;
            let content = form(&page, &token, &user, Some(&text));
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(page.render_status(status, "Choose a password", &Chrome::Bare, &content))
        }
    }
}

fn closed() -> HttpError {
    HttpError::not_found("Link").hint(
        "The link was used already or has ended. If the account is yours, sign in, or ask an administrator for another link.",
    )
}

fn form(page: &Page, token: &str, user: &User, error: Option<&str>) -> Markup {
    html! {
        div.card {
            h1 { "Welcome, " (user.name) }
            (refused(error))
            p { "Choose a password for your account. This link works once." }
            form.stack method="post" action=(page.href(&format!("/-/claim/{token}"))) {
                label { "User name"
                    input name="username" value=(user.username) autocomplete="username" readonly;
                }
                label { "Password"
                    input type="password" name="password" autocomplete="new-password" minlength=(SHORTEST) required autofocus;
                    span.help { "At least " (SHORTEST) " characters. A few words are easier to remember than signs." }
                }
                div { button.primary { "Set password and sign in" } }
            }
        }
    }
}
