//! The history of a branch, a directory or a file.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::html;
use rave_core::name::RepoPath;
use rave_core::permission::{Access, ReadCode};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Pagination, component};

use crate::git::history::{self, Walk};
use crate::pages::pieces::{self, Place, chrome};
use crate::reading::Reading;
use crate::service::Git;

pub(super) async fn of_default(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    pages: Pagination,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    match reading.find(None).await? {
        Some(commit) => {
            let name = reading.project.default_branch.clone();
            let place = Place {
                name,
                commit,
                path: String::new(),
            };
            show(&page, &pages, &reading, &access, &place).await
        }
        None => {
            let text = html! { p { "Commits appear here with the first push." } };
            let content = component::empty("No commits yet", &text);
            let chrome = chrome(&reading.project, access.role(), Tab::Commits);
            Ok(page.render("Commits", &chrome, &content))
        }
    }
}

pub(super) async fn of_path(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    pages: Pagination,
    Path(rest): Path<String>,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let place = Place::find(&reading, &rest).await?;
    show(&page, &pages, &reading, &access, &place).await
}

async fn show(
    page: &Page,
    pages: &Pagination,
    reading: &Reading,
    access: &Access<ReadCode>,
    place: &Place,
) -> Result<Response, HttpError> {
    let (git, project) = (&reading.git, &reading.project);
    let path = match place.path.as_str() {
        "" => None,
        path => Some(RepoPath::parse(path).map_err(|_| HttpError::not_found("File"))?),
    };
    let slice = pages.slice();
    let walk = Walk {
        skip: slice.offset,
        limit: slice.limit,
        path,
        ..Walk::default()
    };
    let total = history::count(&git.runner, &reading.path, &place.commit, &walk).await?;
    let commits = history::walk(&git.runner, &reading.path, &place.commit, &walk).await?;
    let badges = pieces::badges(reading, access, &commits).await?;
    let content = html! {
        h1.visually-hidden { "Commits of " (place.name) }
        div.row.toolbar {
            (pieces::branch_menu(page, reading, place, "commits").await?)
            @if !place.path.is_empty() { (place.crumbs(page, project)) }
            span.spring {}
            span.muted { (total) (if total == 1 { " commit" } else { " commits" }) }
        }
        @if commits.is_empty() { (component::empty("No commits", &html! { p { "Nothing here has a history." } })) }
        @else {
            ul.list { @for commit in &commits { li { (pieces::commit_row(page, project, commit, badges.get(commit.id.as_str()))) } } }
            (component::pager(pages, total, &place.href(page, project, "commits", &place.path)))
        }
    };
    let title = format!("Commits of {} · {}", place.name, project.path);
    Ok(page.render(
        &title,
        &chrome(project, access.role(), Tab::Commits),
        &content,
    ))
}
