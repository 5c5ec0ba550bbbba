//! Pieces that several pages are made of.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rave_core::name::ObjectId;
use rave_core::permission::{Access, Action, Project, ReadPipelines, Role};
use rave_core::port::{Commit, PipelineBadge};
use rave_core::time::Timestamp;
use rave_http::page::{Chrome, Tab, encode_path};
use rave_http::{HttpError, Page, component};

use crate::git::refs::Listing;
use crate::reading::Reading;

/// How many branches the menu of a page offers; the rest is a page away.
const MENU: usize = 30;
/// Longest reference name in an address, in parts between slashes.
const MOST_PARTS: usize = 20;

/// Returns what stands above a page of a project.
pub(super) fn chrome(project: &Project, role: Option<Role>, tab: Tab) -> Chrome {
    Chrome::Project {
        project: Box::new(project.clone()),
        role,
        tab,
    }
}

/// A place in a project: a reference as the address has it, its commit, and a path, empty for the root.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) commit: ObjectId,
    pub(super) path: String,
}

impl Place {
    /// Splits an address into a reference and a path. A reference may have slashes; the longest that exists wins.
    pub(super) async fn find(reading: &Reading, rest: &str) -> Result<Self, HttpError> {
        let rest = rest.trim_matches('/');
        let parts: Vec<&str> = rest.split('/').collect();
        let mut batch = reading.batch().await?;
        for count in (1..=parts.len().min(MOST_PARTS)).rev() {
            let name = parts[..count].join("/");
            if let Some((commit, _)) = batch.resolve(&name).await? {
                let path = parts[count..].join("/");
                return Ok(Self { name, commit, path });
            }
        }
        Err(HttpError::not_found("Branch, tag or commit"))
    }

    /// Returns the address of another path at the same reference. `kind` is `tree`, `blob`, `raw` or `commits`.
    pub(super) fn href(&self, page: &Page, project: &Project, kind: &str, path: &str) -> String {
        let slash = if path.is_empty() { "" } else { "/" };
        let tail = format!(
            "/-/{kind}/{}{slash}{}",
            encode_path(&self.name),
            encode_path(path)
        );
        page.project_href(project, &tail)
    }

    /// The path in parts, each a link but the last.
    pub(super) fn crumbs(&self, page: &Page, project: &Project) -> Markup {
        let parts: Vec<&str> = self.path.split('/').filter(|it| !it.is_empty()).collect();
        html! {
            nav.path aria-label="Path" {
                a href=(self.href(page, project, "tree", "")) { (project.path.last()) }
                @for end in 1..=parts.len() {
                    span.slash { "/" }
                    @if end == parts.len() { strong { (parts[end - 1]) } }
                    @else { a href=(self.href(page, project, "tree", &parts[..end].join("/"))) { (parts[end - 1]) } }
                }
            }
        }
    }
}

/// A menu of branches, each leading to the same kind of page.
pub(super) async fn branch_menu(
    page: &Page,
    reading: &Reading,
    place: &Place,
    kind: &str,
) -> Result<Markup, HttpError> {
    let branches = reading.references(Listing::BranchesByDate).await?;
    let project = &reading.project;
    let known = branches.iter().any(|it| it.name == place.name);
    let shown = if known || place.name.len() < 40 {
        place.name.as_str()
    } else {
        &place.name[..8]
    };
    Ok(html! {
        details.menu.branch-menu {
            summary.button.small aria-label="Switch branch" { (shown) span aria-hidden="true" { "▾" } }
            div.menu-items {
                @for branch in branches.iter().take(MENU) {
                    a href=(page.project_href(project, &format!("/-/{kind}/{}", encode_path(&branch.name)))) { (branch.name) }
                }
                a href=(page.project_href(project, "/-/branches")) { "All branches" }
            }
        }
    })
}

/// Returns the latest pipelines of these commits, as far as the visitor may see pipelines.
pub(super) async fn badges<A: Action>(
    reading: &Reading,
    access: &Access<A>,
    commits: &[Commit],
) -> Result<BTreeMap<String, PipelineBadge>, HttpError> {
    if access.also::<ReadPipelines>().is_err() || commits.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<ObjectId> = commits.iter().map(|it| it.id.clone()).collect();
    Ok(reading
        .git
        .pipelines
        .badges(reading.project.id, &ids)
        .await?)
}

/// A pipeline's status, which leads to the pipeline.
pub(super) fn badge(page: &Page, project: &Project, badge: Option<&PipelineBadge>) -> Markup {
    html! {
        @if let Some(it) = badge {
            a href=(page.project_href(project, &format!("/-/pipelines/{}", it.pipeline))) { (component::status_badge(it.status)) }
        }
    }
}

/// A commit's id, which leads to the commit.
pub(super) fn sha(page: &Page, project: &Project, id: &ObjectId) -> Markup {
    html! { a.mono href=(page.project_href(project, &format!("/-/commit/{id}"))) { (id.short()) } }
}

/// One row of a list of commits.
pub(super) fn commit_row(
    page: &Page,
    project: &Project,
    commit: &Commit,
    latest: Option<&PipelineBadge>,
) -> Markup {
    let href = page.project_href(project, &format!("/-/commit/{}", commit.id));
    html! {
        a.title href=(href) { (if commit.title().is_empty() { "(no message)" } else { commit.title() }) }
        span.spring {}
        (badge(page, project, latest))
        (sha(page, project, &commit.id))
        div.sub { (commit.author_name) " · " (moment(&commit.committed_at)) }
    }
}

/// An instant that git wrote.
pub(super) fn moment(at: &str) -> Markup {
    match at.parse::<jiff::Timestamp>() {
        Ok(it) => component::time(Timestamp(it.as_millisecond())),
        Err(_) => html! { (at) },
    }
}
