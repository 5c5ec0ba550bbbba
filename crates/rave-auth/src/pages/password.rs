//! Changing one's password.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::port::AuthenticateError;
use rave_core::secret::Secret;
use rave_http::caller::Peer;
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params, component};

use super::{Visitor, address, fixable, refused};
use crate::api::Part;
use crate::password::SHORTEST;

/// Shows the form.
pub(crate) async fn show(page: Page, visitor: Visitor, mut params: Params) -> Response {
    let done = params.text("changed").is_some();
    let content = form(&page, &visitor, done, None);
    page.render("Password", &Chrome::Instance, &content)
}

/// Changes the password, given the present one.
pub(crate) async fn submit(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    peer: Option<Extension<Peer>>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let current = Secret::new(params.text("current_password").unwrap_or_default());
    let chosen = Secret::new(params.text("password").unwrap_or_default());
    let checked = part
        .check_password(&visitor.0.username, &current, &address(peer))
        .await;
    let text = match checked {
        Ok(user) => {
            let session = visitor.session().map(str::to_owned);
            match part.change_password(user.id, &chosen, session).await {
                Ok(()) => {
                    tracing::info!(user.id = user.id.0, "a password was changed");
                    return Ok(page.redirect("/-/user_settings/password?changed=1"));
                }
                Err(error) => fixable(error)?,
            }
        }
        Err(AuthenticateError::Invalid) => "The current password is wrong.".to_owned(),
        Err(AuthenticateError::Throttled { retry_after_secs }) => {
            format!("Too many failed tries. Try again in {retry_after_secs} seconds.")
        }
        Err(AuthenticateError::Port(error)) => return Err(error.into()),
    };
    let content = form(&page, &visitor, false, Some(&text));
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(page.render_status(status, "Password", &Chrome::Instance, &content))
}

fn form(page: &Page, visitor: &Visitor, done: bool, error: Option<&str>) -> Markup {
    html! {
        h1 { "Password" }
        (refused(error))
        @if done { (component::alert("ok", "The password was changed. Other browsers have to sign in again.")) }
        form.stack method="post" action=(page.href("/-/user_settings/password")) {
            input type="hidden" name="username" value=(visitor.0.username) autocomplete="username";
            label { "Current password"
                input type="password" name="current_password" autocomplete="current-password" required;
            }
            label { "New password"
                input type="password" name="password" autocomplete="new-password" minlength=(SHORTEST) required;
                span.help { "At least " (SHORTEST) " characters." }
            }
            div { button.primary { "Change password" } }
        }
    }
}
