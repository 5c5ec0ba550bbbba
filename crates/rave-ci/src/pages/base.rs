//! Where a project's pages are, and who is named on them.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rave_core::id::{JobId, PipelineId, ProjectId, UserId};
use rave_core::name::ObjectId;
use rave_core::permission::{Access, Action, Project, ReadPipelines, RunPipelines};
use rave_core::port::UserSummary;
use rave_http::page::{Chrome, Tab, encode_path};
use rave_http::{HttpError, Page};

use crate::service::Ci;

/// The addresses of a project, and what the reader may do there.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// What the addresses of all projects begin with.
    pub(super) root: String,
    /// The project's own address.
    pub(super) href: String,
    /// Whether buttons are shown.
    pub(super) may_run: bool,
}

impl Base {
    pub(super) fn pipelines(&self) -> String {
        format!("{}/-/pipelines", self.href)
    }

    pub(super) fn pipeline(&self, id: PipelineId) -> String {
        format!("{}/-/pipelines/{id}", self.href)
    }

    /// The page of a pipeline of any project.
    pub(super) fn pipeline_in(&self, project: &Project, id: PipelineId) -> String {
        format!("{}/{}/-/pipelines/{id}", self.root, project.path)
    }

    pub(super) fn job(&self, id: JobId) -> String {
        format!("{}/-/jobs/{id}", self.href)
    }

    pub(super) fn commit(&self, sha: &str) -> String {
        format!("{}/-/commit/{sha}", self.href)
    }

    pub(super) fn tree(&self, name: &str) -> String {
        format!("{}/-/tree/{}", self.href, encode_path(name))
    }

    pub(super) fn blob(&self, sha: &str, path: &str) -> String {
        format!("{}/-/blob/{sha}/{}", self.href, encode_path(path))
    }

    /// A button that does something at once.
    pub(super) fn button(
        &self,
        action: &str,
        label: &str,
        class: &str,
        confirm: Option<&str>,
    ) -> Markup {
        html! {
            form method="post" action=(action) data-confirm=[confirm] {
                button.small.(class) type="submit" { (label) }
            }
        }
    }
}

/// A commit's abbreviated id.
pub(super) fn short(sha: &str) -> &str {
    sha.get(..8).unwrap_or(sha)
}

/// The users that a page names.
#[derive(Clone, Debug, Default)]
pub(super) struct People(pub(super) BTreeMap<UserId, UserSummary>);

impl People {
    /// Returns what a user is called.
    pub(super) fn name(&self, user: Option<UserId>) -> Option<&str> {
        self.0.get(&user?).map(|it| it.name.as_str())
    }
}

/// Returns where the pages of a project are for one request.
pub(super) fn of(page: &Page, access: &Access<ReadPipelines>) -> Base {
    Base {
        root: page.href(""),
        href: page.project_href(access.project(), ""),
        may_run: access.also::<RunPipelines>().is_ok(),
    }
}

/// Returns what stands above a page of a project.
pub(super) fn chrome<A: Action>(access: &Access<A>, tab: Tab) -> Chrome {
    Chrome::Project {
        project: Box::new(access.project().clone()),
        role: access.role(),
        tab,
    }
}

/// Returns the users with these ids.
pub(super) async fn people(
    ci: &Ci,
    users: impl Iterator<Item = Option<UserId>>,
) -> Result<People, HttpError> {
    let mut ids: Vec<UserId> = users.flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(People::default());
    }
    Ok(People(ci.directory.users(&ids).await?))
}

/// Returns a commit's title, empty when the forge no longer has it: a page is worth showing without.
pub(super) async fn commit_title(ci: &Ci, project: ProjectId, sha: &str) -> String {
    let Ok(id) = ObjectId::parse(sha) else {
        return String::new();
    };
    match ci.forge.commit(project, &id).await {
        Ok(commit) => commit.map(|it| it.title().to_owned()).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(project.id = project.0, error = %error, "cannot read the title of a commit");
            String::new()
        }
    }
}
