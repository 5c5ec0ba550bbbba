//! Where a project's pages are, and who is named on them.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rave_core::id::{JobId, PipelineId, UserId};
use rave_core::port::UserSummary;
use rave_http::page::encode_path;

/// The addresses of a project, and what the reader may do there.
#[derive(Clone, Debug)]
pub(super) struct Base {
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
    pub(super) fn button(&self, action: &str, label: &str, class: &str, confirm: Option<&str>) -> Markup {
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
