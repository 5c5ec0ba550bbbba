//! A directory: its entries, the latest commit, its README.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::name::RepoPath;
use rave_core::permission::{Access, ReadCode};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, component};

use crate::git::history::{self, Walk};
use crate::git::tree::{self, Entry, EntryKind};
use crate::pages::pieces::{self, Place, chrome};
use crate::pages::readme;
use crate::reading::Reading;
use crate::service::Git;

/// How many entries a page shows. More are for a clone.
const MOST_ENTRIES: usize = 2000;

pub(super) async fn tree(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    Path(rest): Path<String>,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let place = Place::find(&reading, &rest).await?;
    let listing = listing(&page, &reading, &access, &place).await?;
    let content = html! {
        h1.visually-hidden { (place.path) " at " (place.name) }
        (listing)
    };
    let title = format!(
        "{} at {} · {}",
        place.path, place.name, reading.project.path
    );
    Ok(page.render(
        &title,
        &chrome(&reading.project, access.role(), Tab::Files),
        &content,
    ))
}

/// A directory with all that belongs to it.
pub(super) async fn listing(
    page: &Page,
    reading: &Reading,
    access: &Access<ReadCode>,
    place: &Place,
) -> Result<Markup, HttpError> {
    let missing = || HttpError::not_found("Directory");
    let (git, project) = (&reading.git, &reading.project);
    if !place.path.is_empty() && RepoPath::parse(&place.path).is_err() {
        return Err(missing());
    }
    let entries = tree::list(
        &git.runner,
        &reading.path,
        &place.commit,
        &place.path,
        false,
    )
    .await?;
    let entries = entries.ok_or_else(missing)?;
    let walk = Walk {
        limit: 1,
        path: RepoPath::parse(&place.path).ok(),
        ..Walk::default()
    };
    // Looking for the last change of a directory may take long in a long history; the page does without it then.
    let latest = history::walk(&git.runner, &reading.path, &place.commit, &walk);
    let latest = tokio::time::timeout(std::time::Duration::from_secs(2), latest).await;
    let latest = latest.ok().and_then(Result::ok).unwrap_or_default();
    let badges = pieces::badges(reading, access, &latest).await?;
    Ok(html! {
        div.row.toolbar {
            (pieces::branch_menu(page, reading, place, "tree").await?)
            (place.crumbs(page, project))
            span.spring {}
            a.button.small href=(place.href(page, project, "commits", &place.path)) { "History" }
        }
        @for commit in &latest {
            div.list.latest { div { (pieces::commit_row(page, project, commit, badges.get(commit.id.as_str()))) } }
        }
        div.table { table.files { caption.visually-hidden { "Files" } tbody {
            @if let Some((parent, _)) = place.path.rsplit_once('/').or((!place.path.is_empty()).then_some(("", ""))) {
                tr { td { a href=(place.href(page, project, "tree", parent)) aria-label="Parent directory" { ".." } } }
            }
            @for entry in entries.iter().take(MOST_ENTRIES) { (row(page, reading, place, entry)) }
        } } }
        @if entries.len() > MOST_ENTRIES { (component::alert("warn", &format!("{} more entries are not shown.", entries.len() - MOST_ENTRIES))) }
        (readme::of_directory(page, reading, place, &entries).await?)
    })
}

fn row(page: &Page, reading: &Reading, place: &Place, entry: &Entry) -> Markup {
    let href = |kind| place.href(page, &reading.project, kind, &entry.path);
    html! {
        tr { td {
            @match entry.kind {
                EntryKind::Tree => { (icon(entry.kind)) a href=(href("tree")) { (entry.name()) } },
                EntryKind::Blob => { (icon(entry.kind)) a href=(href("blob")) { (entry.name()) } },
                EntryKind::Commit => { (icon(entry.kind)) (entry.name()) " " span.mono.muted { "@ " (&entry.id[..8.min(entry.id.len())]) } },
            }
        } }
    }
}

fn icon(kind: EntryKind) -> Markup {
    let (word, path) = match kind {
        EntryKind::Tree => ("directory", "M1.5 3.5h4l1.5 2h7.5v7h-13z"),
        EntryKind::Blob => ("file", "M3.5 1.5h6l3 3v10h-9z"),
        EntryKind::Commit => ("submodule", "M2.5 2.5h11v11h-11zM5.5 8h5M8 5.5v5"),
    };
    html! {
        svg.entry.(word) width="16" height="16" viewBox="0 0 16 16" role="img" aria-label=(word) {
            path d=(path) fill="none" stroke="currentColor" stroke-width="1.3" stroke-linejoin="round" {}
        }
    }
}
