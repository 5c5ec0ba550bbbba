//! One commit and what it changed.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::name::ObjectId;
use rave_core::permission::ReadCode;
use rave_core::port::Commit;
use rave_http::page::{Tab, encode_path};
use rave_http::{Authorized, HttpError, Page, component};

use crate::git::diff::{self, Change, FileDiff, Stats};
use crate::git::history;
use crate::pages::pieces::{self, chrome};
use crate::reading::Reading;
use crate::service::Git;

/// Files whose lines are shown, lines per file, lines per page: past them a page says what it leaves out.
const MOST_FILES: usize = 100;
const MOST_LINES: usize = 1500;
const MOST_LINES_OF_ALL: usize = 10_000;

pub(super) async fn commit(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let id = reading.commit(Some(&name), "Commit").await?;
    let commit = history::find_commit(&git.runner, &reading.path, &id).await?;
    let commit = commit.ok_or_else(|| HttpError::not_found("Commit"))?;
    let parent = commit.parents.first();
    let stats = diff::stats(&git.runner, &reading.path, parent, &commit.id).await?;
    let files = diff::compare(&git.runner, &reading.path, parent, &commit.id).await?;
    let badges = pieces::badges(&reading, &access, std::slice::from_ref(&commit)).await?;
    let latest = badges.get(commit.id.as_str());
    let content = html! {
        div.wide { (head(&page, &reading, &commit, pieces::badge(&page, &reading.project, latest))) }
        (summary(stats))
        (sections(&page, &reading, &commit.id, &files))
    };
    let title = format!("{} · {}", commit.title(), reading.project.path);
    Ok(page.render(
        &title,
        &chrome(&reading.project, access.role(), Tab::Commits),
        &content,
    ))
}

fn head(page: &Page, reading: &Reading, commit: &Commit, badge: Markup) -> Markup {
    let project = &reading.project;
    let body = commit.message.split_once('\n').map_or("", |it| it.1).trim();
    let tree = page.project_href(project, &format!("/-/tree/{}", commit.id));
    html! {
        div.head { h1 { (commit.title()) } (badge) span.spring {} a.button.small href=(tree) { "Browse files" } }
        section.card {
            @if !body.is_empty() { pre.message { (body) } }
            p.said {
                strong { (commit.author_name) } " wrote it " (pieces::moment(&commit.authored_at))
                @if commit.committer_name != commit.author_name { ", " strong { (commit.committer_name) } " committed it " (pieces::moment(&commit.committed_at)) }
            }
            p.said.muted {
                "commit " code { (commit.id) }
                @for parent in &commit.parents { " · parent " (pieces::sha(page, project, parent)) }
            }
        }
    }
}

fn summary(stats: Stats) -> Markup {
    let Stats {
        files,
        additions,
        deletions,
    } = stats;
    html! {
        p { (files) (if files == 1 { " file" } else { " files" }) " changed, "
            span.added { "+" (additions) } " " span.removed { "−" (deletions) } }
    }
}

fn sections(page: &Page, reading: &Reading, commit: &ObjectId, files: &[FileDiff]) -> Markup {
    let mut budget = MOST_LINES_OF_ALL;
    html! {
        @for (index, file) in files.iter().enumerate().take(MOST_FILES) {
            @let lines = file.patch.as_deref().map_or(0, |it| it.lines().count());
            @let fits = lines <= MOST_LINES && lines <= budget;
            @if fits { ({ budget -= lines; "" }) }
            (section(page, reading, commit, index, file, fits))
        }
        @if files.len() > MOST_FILES { (component::alert("warn", &format!("{} more files changed. Fetch the commit to see all of it.", files.len() - MOST_FILES))) }
    }
}

fn section(
    page: &Page,
    reading: &Reading,
    commit: &ObjectId,
    index: usize,
    file: &FileDiff,
    fits: bool,
) -> Markup {
    let at = |commit: &ObjectId| {
        page.project_href(
            &reading.project,
            &format!("/-/blob/{commit}/{}", encode_path(&file.new_path)),
        )
    };
    let (added, removed) = file.lines();
    html! {
        details.card.diff-file open id=(format!("file-{index}")) {
            summary {
                span.mono { @if file.change == Change::Renamed && file.old_path != file.new_path { (file.old_path) " → " } (file.new_path) }
                @match file.change {
                    Change::Added => span.tag { "new" },
                    Change::Deleted => span.tag { "deleted" },
                    Change::Renamed => span.tag { "renamed" },
                    Change::Modified => {},
                }
                @if file.old_mode != file.new_mode && file.change == Change::Modified { span.tag { (file.old_mode) " → " (file.new_mode) } }
                span.spring {}
                span.added { "+" (added) } span.removed { "−" (removed) }
                @if file.change != Change::Deleted { a.button.small href=(at(commit)) { "View file" } }
            }
            @match &file.patch {
                None => p.muted.note { "The change is too large to show here." },
                Some(_) if !fits => p.muted.note { "The change has too many lines to show here." },
                Some(_) if file.binary => p.muted.note { "The file is not text, or too large to compare here." },
                Some(patch) if patch.is_empty() => p.muted.note { "The lines are the same." },
                Some(patch) => (lines(patch)),
            }
        }
    }
}

/// The lines of a patch with their numbers before and after.
fn lines(patch: &str) -> Markup {
    let (mut old, mut new) = (0_u64, 0_u64);
    let mut rows = Vec::new();
    for line in patch.lines() {
        let (class, numbers) = match line.as_bytes().first() {
            Some(b'@') => {
                (old, new) = starts(line).unwrap_or((0, 0));
                ("hunk", (None, None))
            }
            Some(b'+') => {
                new += 1;
                ("add", (None, Some(new - 1)))
            }
            Some(b'-') => {
                old += 1;
                ("del", (Some(old - 1), None))
            }
            Some(b'\\') => ("hunk", (None, None)),
            _ => {
                (old, new) = (old + 1, new + 1);
                ("same", (Some(old - 1), Some(new - 1)))
            }
        };
        rows.push((class, numbers, line));
    }
    html! {
        pre.diff tabindex="0" {
            @for (class, (old, new), line) in rows {
                span.l.(class) { b data-n=[old] {} b data-n=[new] {} (line) "\n" }
            }
        }
    }
}

/// Reads `@@ -3,4 +5,6 @@`.
fn starts(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split(' ').skip(1);
    let number = |it: &str| it.get(1..)?.split(',').next()?.parse().ok();
    Some((number(words.next()?)?, number(words.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_on_both_sides() {
        let html = lines("@@ -3,2 +7,2 @@ fn\n a\n-b\n+<c>\n").into_string();
        assert!(
            html.contains("<span class=\"l same\"><b data-n=\"3\"></b><b data-n=\"7\"></b> a\n"),
            "{html}"
        );
        assert!(
            html.contains("<span class=\"l del\"><b data-n=\"4\"></b><b></b>-b\n"),
            "{html}"
        );
        assert!(
            html.contains("<span class=\"l add\"><b></b><b data-n=\"8\"></b>+&lt;c&gt;\n"),
            "{html}"
        );
    }
}
