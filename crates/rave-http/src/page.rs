//! The layout of pages: header, breadcrumbs, the tabs of a project, and error pages.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use rave_core::permission::{Principal, Project, Role};

use crate::address::OriginalPath;
use crate::app::Shared;
use crate::assets;
use crate::error::HttpError;
use crate::request_log::RequestId;

/// Pages run our own script and style only. READMEs may show pictures from elsewhere.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; \
    connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const PATH_SET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|');

/// Encodes a path (of a file, a branch) for an address, keeping its slashes.
#[must_use]
pub fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH_SET).to_string()
}

/// Encodes a value for a query.
#[must_use]
pub fn encode_query(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// The tabs of a project's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    Files,
    Commits,
    Branches,
    Tags,
    Pipelines,
    Jobs,
    Settings,
}

/// What stands above a page's content.
#[derive(Clone, Debug)]
pub enum Chrome {
    /// A page of the instance.
    Instance,
    /// A page with nothing around it but the brand: login, claim.
    Bare,
    /// A page of a project.
    Project {
        project: Box<Project>,
        role: Option<Role>,
        tab: Tab,
    },
}

/// Renders pages for one request.
#[derive(Clone)]
pub struct Page {
    shared: Arc<Shared>,
    principal: Principal,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let principal = parts
            .extensions
            .get::<Principal>()
            .cloned()
            .unwrap_or(Principal::Anonymous);
        let path = parts
            .extensions
            .get::<OriginalPath>()
            .map(|it| it.0.clone())
            .unwrap_or_default();
        Ok(Self {
            shared: Shared::of(parts),
            principal,
            path,
        })
    }
}

impl Page {
    /// Returns who looks at the page.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns what all requests share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the request's own path, without the external URL's.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the address of a page of the instance. `path` begins with a slash.
    #[must_use]
    pub fn href(&self, path: &str) -> String {
        format!("{}{path}", self.shared.prefix())
    }

    /// Returns the address of a page of a project. `tail` is empty or begins with `/-/`.
    #[must_use]
    pub fn project_href(&self, project: &Project, tail: &str) -> String {
        format!("{}/{}{tail}", self.shared.prefix(), project.path)
    }

    /// Redirects to a page after a form.
    #[must_use]
    pub fn redirect(&self, path: &str) -> Response {
        axum::response::Redirect::to(&self.href(path)).into_response()
    }

    /// Renders a page.
    #[must_use]
    pub fn render(&self, title: &str, chrome: &Chrome, content: &Markup) -> Response {
        self.render_status(StatusCode::OK, title, chrome, content)
    }

    /// Renders a page with a status, such as a form that was not accepted.
    #[must_use]
    pub fn render_status(
        &self,
        status: StatusCode,
        title: &str,
        chrome: &Chrome,
        content: &Markup,
    ) -> Response {
        let text = self.document(title, chrome, content).into_string();
        (
            status,
            [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
            text,
        )
            .into_response()
    }

    fn document(&self, title: &str, chrome: &Chrome, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · RAVE" }
                    link rel="icon" href=(self.href(&assets::path("icon.svg"))) type="image/svg+xml";
                    link rel="stylesheet" href=(self.href(&assets::path("app.css")));
                    script src=(self.href(&assets::path("app.js"))) defer {}
                }
                body {
                    a.skip href="#content" { "Skip to content" }
                    (self.top(chrome))
                    @if let Chrome::Project { project, role, tab } = chrome { (self.project_header(project, *role, *tab)) }
                    main #content .bare[matches!(chrome, Chrome::Bare)] { (content) }
                }
            }
        }
    }

    fn top(&self, chrome: &Chrome) -> Markup {
        html! {
            header.top {
                a.brand href=(self.href("/")) { (brand_mark()) "RAVE" }
                @if !matches!(chrome, Chrome::Bare) {
                    nav aria-label="Main" {
                        a href=(self.href("/")) { "Projects" }
                        a href=(self.href("/-/caches")) { "Caches" }
                    }
                    span.spring {}
                    (self.account())
                }
            }
        }
    }

    fn account(&self) -> Markup {
        html! {
            @match &self.principal {
                Principal::User(user) => {
                    a.button.primary.small href=(self.href("/-/projects/new")) { "New" span.hide-small { " project" } }
                    details.menu {
                        summary aria-label="Account" { span.avatar aria-hidden="true" { (initial(&user.name)) } span.name { (user.username) } }
                        div.menu-items {
                            a href=(self.href("/-/user_settings/personal_access_tokens")) { "Access tokens" }
                            a href=(self.href("/-/user_settings/password")) { "Password" }
                            a href=(self.href("/-/groups/new")) { "New group" }
                            @if user.admin {
                                a href=(self.href("/-/admin/users")) { "Users" }
                                a href=(self.href("/-/admin/runners")) { "Runners" }
                                a href=(self.href("/-/admin/ci_cd")) { "Variables" }
                            }
                            form method="post" action=(self.href("/-/logout")) { button { "Sign out" } }
                        }
                    }
                }
                Principal::Anonymous | Principal::Job { .. } => {
                    a.button.small href={ (self.href("/-/login")) "?return_to=" (encode_query(&self.path)) } { "Sign in" }
                }
            }
        }
    }

    fn project_header(&self, project: &Project, role: Option<Role>, tab: Tab) -> Markup {
        let tabs = [
            (Tab::Files, "Files", ""),
            (Tab::Commits, "Commits", "/-/commits"),
            (Tab::Branches, "Branches", "/-/branches"),
            (Tab::Tags, "Tags", "/-/tags"),
            (Tab::Pipelines, "Pipelines", "/-/pipelines"),
            (Tab::Jobs, "Jobs", "/-/jobs"),
        ];
        let settings = role.is_some_and(|it| it >= Role::Maintainer);
        let parts: Vec<&str> = project.path.as_str().split('/').collect();
        html! {
            div.project-header {
                nav.crumbs aria-label="Breadcrumbs" {
                    @for end in 1..parts.len() {
                        a href=(self.href(&format!("/{}", parts[..end].join("/")))) { (parts[end - 1]) }
                        span.slash aria-hidden="true" { "/" }
                    }
                    a.here href=(self.project_href(project, "")) { (parts[parts.len() - 1]) }
                    span.tag { (project.visibility.label()) }
                    @if project.archived { span.tag.warn { "archived" } }
                }
                nav.tabs aria-label="Project" {
                    @for (it, name, tail) in tabs {
                        a href=(self.project_href(project, tail)) aria-current=[(it == tab).then_some("page")] { (name) }
                    }
                    @if settings {
                        a href=(self.project_href(project, "/-/settings")) aria-current=[(tab == Tab::Settings).then_some("page")] { "Settings" }
                    }
                }
            }
        }
    }
}

fn initial(name: &str) -> String {
    name.chars()
        .next()
        .map(|it| it.to_uppercase().to_string())
        .unwrap_or_default()
}

fn brand_mark() -> Markup {
    html! {
        svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true" {
            path d="M4 20 L10 20 L13 8 L18 26 L22 14 L24 20 L28 20" fill="none" stroke="currentColor" stroke-width="3"
                stroke-linecap="round" stroke-linejoin="round" {}
        }
    }
}

/// Renders an error for a person.
pub(crate) fn error_page(
    shared: &Arc<Shared>,
    principal: &Principal,
    path: &str,
    error: &HttpError,
    request_id: &RequestId,
) -> Response {
    let page = Page {
        shared: shared.clone(),
        principal: principal.clone(),
        path: path.to_owned(),
    };
    let title = error.status().canonical_reason().unwrap_or("Error");
    let message = error
        .message()
        .trim_start_matches(|it: char| it.is_ascii_digit())
        .trim_start();
    let content = html! {
        div.error-page {
            p.code { (error.status().as_u16()) }
            h1 { (title) }
            @if !message.eq_ignore_ascii_case(title) { p { (message) } }
            @if let Some(hint) = error.hint_text() { p.muted { (hint) } }
            @if error.status() == StatusCode::NOT_FOUND && *principal == Principal::Anonymous {
                p.muted { "If it is private, " a href={ (page.href("/-/login")) "?return_to=" (encode_query(path)) } { "sign in" } " first." }
            }
            @if error.status().is_server_error() { p.muted { "If it happens again, tell your administrator this request id: " code { (request_id.0) } } }
        }
    };
    page.render_status(error.status(), title, &Chrome::Instance, &content)
}
