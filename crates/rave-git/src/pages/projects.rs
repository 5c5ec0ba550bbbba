//! The list of projects, and the form that makes one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::name::{FullPath, PathSegment};
use rave_core::permission::{Principal, ProjectFacts, PushCode, Visibility, decide};
use rave_core::port::{CreateProjectError, NamespaceSummary, NewProject, ProjectFilter};
use rave_http::page::{Chrome, encode_query};
use rave_http::{HttpError, Page, Pagination, Params, SignedIn, component};

use crate::api::first_commit;
use crate::service::Git;

pub(super) async fn list(
    State(git): State<Arc<Git>>,
    page: Page,
    pages: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let search = params.text("search").unwrap_or_default();
    let filter = ProjectFilter {
        search: (!search.is_empty()).then(|| search.clone()),
        ..ProjectFilter::default()
    };
    let found = git
        .directory
        .list_projects(page.principal(), &filter, pages.slice())
        .await?;
    let base = page.href("/");
    let content = html! {
        div.head {
            h1 { "Projects" }
            span.spring {}
            form.search method="get" action=(base) role="search" {
                input type="search" name="search" value=(search) placeholder="Search projects" aria-label="Search projects";
                button.small { "Search" }
            }
        }
        @if !found.items.is_empty() {
            (rows(&page, &found.items))
            @if search.is_empty() { (component::pager(&pages, found.total, &base)) }
            @else { (search_pager(&pages, found.total, &base, &search)) }
        } @else if search.is_empty() {
            (nothing_yet(&page, &git.config.clone_http_base))
        } @else {
            (component::empty("Nothing found", &html! { p { "No project's name or path contains “" (search) "”. " a href=(base) { "Show all" } } }))
        }
    };
    Ok(page.render("Projects", &Chrome::Instance, &content))
}

/// The pages of a search keep what was searched for.
fn search_pager(pages: &Pagination, total: u64, base: &str, search: &str) -> Markup {
    let to = |number: u64| format!("{base}?search={}&page={number}", encode_query(search));
    let has_more = pages.page * pages.per_page < total;
    html! {
        @if pages.page > 1 || has_more {
            nav.pager aria-label="Pages" {
                @if pages.page > 1 { a.button rel="prev" href=(to(pages.page - 1)) { "Previous" } }
                @if has_more { a.button rel="next" href=(to(pages.page + 1)) { "Next" } }
            }
        }
    }
}

/// A list of projects.
pub(super) fn rows(page: &Page, projects: &[ProjectFacts]) -> Markup {
    html! {
        ul.list {
            @for ProjectFacts { project, .. } in projects {
                li {
                    a.title href=(page.project_href(project, "")) { (project.path) }
                    span.tag { (project.visibility.label()) }
                    @if project.archived { span.tag.warn { "archived" } }
                    span.spring {}
                    span.muted { (component::time(project.last_activity_at)) }
                    @if !project.description.is_empty() { div.sub { (project.description) } }
                }
            }
        }
    }
}

fn nothing_yet(page: &Page, base: &str) -> Markup {
    let text = match page.principal() {
        Principal::User(user) => html! {
            p { "Push an existing repository: the project is made by the push." }
            (component::command(&format!("git remote add origin {base}/{}/my-project.git\ngit push -u origin main", user.username)))
            p { "or " a href=(page.href("/-/projects/new")) { "make an empty project" } "." }
        },
        _ => {
            html! { p { "Nothing here is public. " a href=(page.href("/-/login")) { "Sign in" } " to see your projects." } }
        }
    };
    component::empty("No projects yet", &text)
}

/// What the form shows, at first and after a mistake.
#[derive(Default)]
struct Form {
    namespace: String,
    name: String,
    path: String,
    description: String,
    visibility: String,
    readme: bool,
    mistake: Option<String>,
}

pub(super) async fn new(
    State(git): State<Arc<Git>>,
    SignedIn(user): SignedIn,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let namespaces = git
        .directory
        .writable_namespaces(&Principal::User(user))
        .await?;
    let form = Form {
        namespace: params.text("namespace").unwrap_or_default(),
        visibility: "private".into(),
        ..Form::default()
    };
    Ok(page.render(
        "New project",
        &Chrome::Instance,
        &form_page(&page, &namespaces, &form),
    ))
}

fn form_page(page: &Page, namespaces: &[NamespaceSummary], form: &Form) -> Markup {
    let kinds = [
        (Visibility::Private, "Members only."),
        (Visibility::Internal, "Everyone who is signed in."),
        (Visibility::Public, "Everyone."),
    ];
    html! {
        h1 { "New project" }
        @if let Some(mistake) = &form.mistake { (component::alert("bad", mistake)) }
        form.stack method="post" action=(page.href("/-/projects/new")) {
            label { "Under"
                select name="namespace" {
                    @for it in namespaces { option value=(it.path) selected[it.path.as_str() == form.namespace] { (it.path) } }
                }
            }
            label { "Name" input name="name" value=(form.name) required maxlength="255" autofocus; }
            label { "Path" span.muted { "What addresses use. Left empty it is made from the name." }
                input name="path" value=(form.path) pattern="[A-Za-z0-9_][A-Za-z0-9_.\\-]*" maxlength="255"; }
            label { "Description" input name="description" value=(form.description) maxlength="2000"; }
            fieldset {
                legend { "Who can see it" }
                @for (kind, text) in kinds {
                    label.check { input type="radio" name="visibility" value=(kind.label()) checked[kind.label() == form.visibility];
                        span { strong { (kind.label()) } " " span.muted { (text) } } }
                }
            }
            label.check { input type="checkbox" name="readme" value="1" checked[form.readme]; "Begin with a README" }
            div { button.primary { "Create project" } }
        }
    }
}

pub(super) async fn create(
    State(git): State<Arc<Git>>,
    SignedIn(user): SignedIn,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let principal = Principal::User(user);
    let mut text = |name: &str| params.text(name).unwrap_or_default();
    let mut form = Form {
        namespace: text("namespace"),
        name: text("name").trim().to_owned(),
        path: text("path").trim().to_owned(),
        description: text("description"),
        visibility: text("visibility"),
        readme: !text("readme").is_empty(),
        mistake: None,
    };
    let mistake = match make(&git, &principal, &form).await? {
        Ok(path) => return Ok(page.redirect(&format!("/{path}"))),
        Err(mistake) => mistake,
    };
    form.mistake = Some(mistake);
    let namespaces = git.directory.writable_namespaces(&principal).await?;
    let content = form_page(&page, &namespaces, &form);
    Ok(page.render_status(
        StatusCode::UNPROCESSABLE_ENTITY,
        "New project",
        &Chrome::Instance,
        &content,
    ))
}

/// Makes the project, or says what is wrong with the form.
async fn make(
    git: &Arc<Git>,
    principal: &Principal,
    form: &Form,
) -> Result<Result<FullPath, String>, HttpError> {
    let segment = if form.path.is_empty() {
        crate::api::slug(&form.name)
    } else {
        form.path.clone()
    };
    let parsed =
        FullPath::parse(&form.namespace).and_then(|it| Ok((it, PathSegment::parse(&segment)?)));
    let (parent, segment) = match parsed {
        Ok(it) => it,
        Err(error) => return Ok(Err(format!("The {error}."))),
    };
    let new = NewProject {
        path: parent.join(&segment),
        name: (!form.name.is_empty()).then(|| form.name.clone()),
        description: form.description.clone(),
        visibility: Visibility::from_label(&form.visibility),
        default_branch: None,
    };
    let project = match git.directory.create_project(principal, new).await {
        Ok(project) => project,
        Err(CreateProjectError::Port(error)) => return Err(error.into()),
        Err(error) => return Ok(Err(format!("{error}."))),
    };
    git.repository(&project).await?;
    if form.readme {
        let at = rave_core::port::ProjectRef::Id(project.id);
        let facts = git.directory.find_project(principal, &at).await?;
        if let Some(Ok(access)) = facts.map(|it| decide::<PushCode>(principal, it)) {
            first_commit(git, &access).await?;
        }
    }
    Ok(Ok(project.path))
}

/// Returns the address of the form, with a namespace chosen.
pub(super) fn new_href(page: &Page, namespace: &NamespaceSummary) -> String {
    page.href(&format!(
        "/-/projects/new?namespace={}",
        encode_query(namespace.path.as_str())
    ))
}
