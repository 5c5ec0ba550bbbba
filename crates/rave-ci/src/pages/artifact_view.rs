//! How the files of an archive look.

use maud::{Markup, html};
use rave_http::component;
use rave_http::page::encode_path;

use super::base::Base;
use crate::model::{Artifact, Job};

/// A file or folder of an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Folders come first.
    pub(super) is_file: bool,
    pub(super) name: String,
    /// Of a folder: of all files in it.
    pub(super) size_bytes: u64,
}

/// A folder of an archive. `path` is empty for the whole.
pub(super) fn folder(
    base: &Base,
    job: &Job,
    archive: &Artifact,
    path: &str,
    entries: &[Entry],
) -> Markup {
    let address = format!("{}/artifacts", base.job(job.id));
    let parts: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
    let inside = |name: &str| {
        encode_path(
            &parts
                .iter()
                .copied()
                .chain([name])
                .collect::<Vec<_>>()
                .join("/"),
        )
    };
    html! {
        div.head {
            h1 { "Artifacts" }
            span.spring {}
            a.button.primary href={ (address) "/download" } { "Download " (component::size(archive.size_bytes)) }
        }
        p.facts {
            span { "Job " a href=(base.job(job.id)) { (job.name) " #" (job.id) } }
            @if let Some(at) = archive.expire_at { span { "Expires " (component::time(at)) } }
        }
        nav.crumbs.files aria-label="Folders" {
            a href={ (address) "/browse" } { (archive.filename) }
            @for end in 0..parts.len() {
                span.slash aria-hidden="true" { "/" }
                a href={ (address) "/browse/" (encode_path(&parts[..=end].join("/"))) } { (parts[end]) }
            }
        }
        @if entries.is_empty() { (component::empty("Nothing here", &html! { p { "The archive has no such folder, or it is empty." } })) }
        @else {
            ul.list.files {
                @for entry in entries {
                    li {
                        @if entry.is_file { a.title href={ (address) "/file/" (inside(&entry.name)) } { (entry.name) } }
                        @else { a.title href={ (address) "/browse/" (inside(&entry.name)) } { (entry.name) "/" } }
                        span.spring {}
                        span.muted { (component::size(entry.size_bytes)) }
                    }
                }
            }
        }
    }
}
