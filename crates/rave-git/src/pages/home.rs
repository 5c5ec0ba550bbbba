//! A project's first page; a user's or group's page under the same kind of address.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::{Access, Denied, Principal, PushCode, ReadCode, ReadProject, decide};
use rave_core::port::{NamespaceSummary, ProjectFilter, ProjectRef};
use rave_http::page::{Chrome, Tab};
use rave_http::{HttpError, Page, Pagination, component};

use crate::git::refs::Listing;
use crate::pages::pieces::{Place, chrome};
use crate::pages::{projects, tree};
use crate::reading::Reading;
use crate::service::Git;

pub(super) async fn home(
    State(git): State<Arc<Git>>,
    page: Page,
    pages: Pagination,
    request: Request,
) -> Result<Response, HttpError> {
    let missing = || HttpError::not_found("Page");
    let at = request
        .extensions()
        .get::<ProjectRef>()
        .cloned()
        .ok_or_else(missing)?;
    let principal = page.principal();
    let facts = git.directory.find_project(principal, &at).await?;
    match facts.map_or(Err(Denied::Hidden), |it| {
        decide::<ReadProject>(principal, it)
    }) {
        Ok(access) => project(&git, &page, &access).await,
        Err(Denied::Hidden) => match named(&git, principal, &at).await? {
            Some(it) => namespace(&git, &page, &pages, &it).await,
            // Whoever has not signed in may have a right to see it.
            None if *principal == Principal::Anonymous => Err(HttpError::unauthorized()),
            None => Err(missing()),
        },
        Err(denied) => Err(HttpError::denied(&denied, principal)),
    }
}

async fn named(
    git: &Git,
    principal: &Principal,
    at: &ProjectRef,
) -> Result<Option<NamespaceSummary>, HttpError> {
    match at {
        ProjectRef::Path(path) => Ok(git.directory.find_namespace(principal, path).await?),
        ProjectRef::Id(_) => Ok(None),
    }
}

async fn namespace(
    git: &Git,
    page: &Page,
    pages: &Pagination,
    it: &NamespaceSummary,
) -> Result<Response, HttpError> {
    let filter = ProjectFilter {
        namespace: Some(it.id),
        include_subgroups: true,
        ..ProjectFilter::default()
    };
    let found = git
        .directory
        .list_projects(page.principal(), &filter, pages.slice())
        .await?;
    let writable = match page.principal() {
        Principal::User(_) => git.directory.writable_namespaces(page.principal()).await?,
        _ => Vec::new(),
    };
    let writable = writable.iter().any(|own| own.id == it.id);
    let content = html! {
        div.head {
            h1 { (it.name) }
            span.tag { (if it.owner.is_some() { "user" } else { "group" }) }
            span.spring {}
            @if it.owner.is_none() { a.button.small href=(page.href(&format!("/-/groups/{}/members", it.id))) { "Members" } }
            @if writable { a.button.primary.small href=(projects::new_href(page, it)) { "New project" } }
        }
        @if found.items.is_empty() {
            (component::empty("No projects", &html! { p { "Nothing under " (it.path) " that you may see." } }))
        } @else {
            (projects::rows(page, &found.items))
            (component::pager(pages, found.total, &page.href(&format!("/{}", it.path))))
        }
    };
    Ok(page.render(&it.name, &Chrome::Instance, &content))
}

async fn project(
    git: &Arc<Git>,
    page: &Page,
    access: &Access<ReadProject>,
) -> Result<Response, HttpError> {
    let project = access.project();
    let body = match access.also::<ReadCode>() {
        Ok(code) => files(git, page, &code).await?,
        Err(_) => component::empty(
            "No files to see",
            &html! { p { "You are not allowed to read this project's repository." } },
        ),
    };
    let content = html! {
        @if !project.description.is_empty() { p.lead { (project.description) } }
        (body)
    };
    Ok(page.render(
        project.path.as_str(),
        &chrome(project, access.role(), Tab::Files),
        &content,
    ))
}

async fn files(
    git: &Arc<Git>,
    page: &Page,
    access: &Access<ReadCode>,
) -> Result<Markup, HttpError> {
    let reading = Reading::open(git, access).await?;
    let url = format!("{}.git", git.web_url(&reading.project));
    match reading.find(None).await? {
        Some(commit) => {
            let place = Place {
                name: reading.project.default_branch.clone(),
                commit,
                path: String::new(),
            };
            let listing = tree::listing(page, &reading, access, &place).await?;
            Ok(html! { (clone_box(&url)) (listing) })
        }
        None if reading.references(Listing::Branches).await?.is_empty() => {
            Ok(empty(&reading, access, &url))
        }
        None => Ok(component::empty(
            "The default branch is gone",
            &html! { p { a href=(page.project_href(&reading.project, "/-/branches")) { "See the branches that there are" } } },
        )),
    }
}

fn clone_box(url: &str) -> Markup {
    html! {
        div.clone {
            label.visually-hidden for="clone-url" { "Address to clone" }
            input.mono #clone-url readonly value=(url);
            button type="button" data-copy=(url) hidden { "Copy" }
        }
    }
}

fn empty(reading: &Reading, access: &Access<ReadCode>, url: &str) -> Markup {
    let branch = &reading.project.default_branch;
    let name = reading.project.path.last();
    component::empty(
        "This repository is empty",
        &html! {
            @if access.also::<PushCode>().is_ok() {
                p { "Push what you have:" }
                (component::command(&format!("git remote add origin {url}\ngit push -u origin {branch}")))
                p { "or begin here:" }
                (component::command(&format!(
                    "git clone {url}\ncd {name}\necho '# {name}' > README.md\ngit add README.md\ngit commit -m 'Begin'\ngit push -u origin HEAD:{branch}"
                )))
                p.muted { "Git asks for your user name and a password; an access token with the scope write_repository is the better password." }
            } @else {
                p { "Nobody has pushed anything yet." }
            }
        },
    )
}
