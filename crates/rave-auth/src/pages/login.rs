//! Signing in and out.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::{Principal, UserPrincipal, Via};
use rave_core::port::AuthenticateError;
use rave_core::secret::Secret;
use rave_http::caller::{Peer, need_same_site};
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params};

use super::{address, clear_session, local_path, refused, set_session};
use crate::api::Part;

/// Shows the form, or passes on who is signed in already.
pub(crate) async fn show(page: Page, mut params: Params) -> Response {
    let return_to = params.text("return_to").unwrap_or_default();
    if page.principal().user().is_some() {
        return page.redirect(local_path(&return_to));
    }
    page.render("Sign in", &Chrome::Bare, &form(&page, "", &return_to, None))
}

/// Signs in.
pub(crate) async fn submit(
    State(part): Part,
    page: Page,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, HttpError> {
    need_same_site(page.shared(), &headers)?;
    let login = params.text("login").unwrap_or_default();
    let password = Secret::new(params.text("password").unwrap_or_default());
    let return_to = params.text("return_to").unwrap_or_default();
    let checked = part
        .check_password(login.trim(), &password, &address(peer))
        .await;
    let (status, retry_after_secs, text) = match checked {
        Ok(user) => {
            if let Some(old) = session_of(page.principal()) {
                part.end_session(old).await?;
            }
            let secret = part.begin_session(user.id).await?;
            tracing::info!(user.id = user.id.0, "signed in");
            let mut response = page.redirect(local_path(&return_to));
            set_session(&mut response, page.shared(), &secret);
            return Ok(response);
        }
        Err(AuthenticateError::Invalid) => (
            StatusCode::UNAUTHORIZED,
            None,
            "The user name or password is wrong.".to_owned(),
        ),
        Err(AuthenticateError::Throttled { retry_after_secs }) => (
            StatusCode::TOO_MANY_REQUESTS,
            Some(retry_after_secs),
            format!("Too many failed tries. Try again in {retry_after_secs} seconds."),
        ),
        Err(AuthenticateError::Port(error)) => return Err(error.into()),
    };
    let content = form(&page, login.trim(), &return_to, Some(&text));
    let mut response = page.render_status(status, "Sign in", &Chrome::Bare, &content);
    if let Some(secs) = retry_after_secs {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    Ok(response)
}

/// Signs out. Harmless for who is not signed in.
pub(crate) async fn logout(State(part): Part, page: Page) -> Result<Response, HttpError> {
    if let Some(digest) = session_of(page.principal()) {
        part.end_session(digest).await?;
    }
    let mut response = page.redirect("/-/login");
    clear_session(&mut response, page.shared());
    Ok(response)
}

fn session_of(principal: &Principal) -> Option<&str> {
    match principal {
        Principal::User(UserPrincipal {
            via: Via::Session(digest),
            ..
        }) => Some(digest),
        _ => None,
    }
}

fn form(page: &Page, login: &str, return_to: &str, error: Option<&str>) -> Markup {
    html! {
        div.card {
            h1 { "Sign in" }
            (refused(error))
            form.stack method="post" action=(page.href("/-/login")) {
                input type="hidden" name="return_to" value=(return_to);
                label { "User name or e-mail"
                    input name="login" value=(login) autocomplete="username" autocapitalize="none" spellcheck="false" required
                        autofocus[login.is_empty()];
                }
                label { "Password"
                    input type="password" name="password" autocomplete="current-password" required autofocus[!login.is_empty()];
                }
                div { button.primary { "Sign in" } }
            }
        }
        p.muted { "No account yet, or the password is lost? An administrator can make you a link." }
    }
}
