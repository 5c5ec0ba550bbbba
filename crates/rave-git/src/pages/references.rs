//! Branches and tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::html;
use rave_core::name::{ObjectId, RefName};
use rave_core::permission::{PushCode, ReadCode};
use rave_core::port::Commit;
use rave_http::page::{Tab, encode_path, encode_query};
use rave_http::request_log::Trace;
use rave_http::{Authorized, HttpError, Page, Pagination, Params, component};

use crate::git::history;
use crate::git::refs::{Listing, Reference};
use crate::pages::pieces::{self, chrome};
use crate::policy::Command;
use crate::reading::{Reading, StoreFailure, cut};
use crate::service::Git;

async fn commits_of(
    reading: &Reading,
    references: &[Reference],
) -> Result<BTreeMap<String, Commit>, HttpError> {
    let ids: Vec<&str> = references.iter().map(|it| it.commit.as_str()).collect();
    let commits = history::find_commits(&reading.git.runner, &reading.path, &ids).await?;
    Ok(commits
        .into_iter()
        .map(|it| (it.id.to_string(), it))
        .collect())
}

pub(super) async fn branches(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    pages: Pagination,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let project = &reading.project;
    let all = reading.references(Listing::BranchesByDate).await?;
    let total = all.len() as u64;
    let shown = cut(all, pages.slice());
    let commits = commits_of(&reading, &shown).await?;
    let list: Vec<Commit> = commits.values().cloned().collect();
    let badges = pieces::badges(&reading, &access, &list).await?;
    let rules = git
        .protected_branches(project.id)
        .await
        .map_err(StoreFailure)?;
    let may_push = access.also::<PushCode>().is_ok();
    let here = page.project_href(project, "/-/branches");
    let content = html! {
        div.head {
            h1 { "Branches" }
            span.spring {}
            @if may_push && total > 0 {
                form.row method="post" action=(here) {
                    input name="branch" placeholder="new-branch" aria-label="Name of the new branch" required;
                    input name="ref" value=(project.default_branch) aria-label="From" required;
                    button.small { "Create branch" }
                }
            }
        }
        @if shown.is_empty() { (component::empty("No branches yet", &html! { p { "The first push makes one." } })) }
        @else {
            ul.list { @for branch in &shown {
                @let commit = commits.get(&branch.commit);
                @let protected = rules.iter().any(|it| it.covers(&branch.name));
                @let is_default = branch.name == project.default_branch;
                li {
                    a.title href=(page.project_href(project, &format!("/-/tree/{}", encode_path(&branch.name)))) { (branch.name) }
                    @if is_default { span.tag { "default" } }
                    @if protected { span.tag { "protected" } }
                    span.spring {}
                    (pieces::badge(&page, project, badges.get(&branch.commit)))
                    @if may_push && !protected && !is_default {
                        form method="post" action={ (here) "/delete" } data-confirm=(format!("Delete the branch {}?", branch.name)) {
                            input type="hidden" name="branch" value=(branch.name);
                            button.small.danger aria-label=(format!("Delete {}", branch.name)) { "Delete" }
                        }
                    }
                    @if let Some(commit) = commit {
                        div.sub { (pieces::sha(&page, project, &commit.id)) " " (commit.title()) " · " (pieces::moment(&commit.committed_at)) }
                    }
                }
            } }
            (component::pager(&pages, total, &here))
        }
    };
    Ok(page.render(
        &format!("Branches · {}", project.path),
        &chrome(project, access.role(), Tab::Branches),
        &content,
    ))
}

pub(super) async fn create_branch(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<PushCode>,
    trace: Option<axum::Extension<Trace>>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let (name, from) = (params.need_text("branch"), params.need_text("ref"));
    params.check()?;
    let reading = Reading::open(&git, &access).await?;
    let reference = RefName::parse(&format!("refs/heads/{name}"));
    let reference =
        reference.map_err(|_| HttpError::bad_request("the branch's name is not valid"))?;
    let commit = reading.commit(Some(&from), "Branch, tag or commit").await?;
    let command = Command {
        before: ObjectId::ZERO.into(),
        after: commit.to_string(),
        reference: reference.to_string(),
    };
    git.move_ref(&access, command, trace.map(|it| it.0.0))
        .await?;
    Ok(page.redirect(&format!(
        "/{}/-/tree/{}",
        reading.project.path,
        encode_path(&name)
    )))
}

pub(super) async fn delete_branch(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<PushCode>,
    trace: Option<axum::Extension<Trace>>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.need_text("branch");
    params.check()?;
    let reading = Reading::open(&git, &access).await?;
    if name == reading.project.default_branch {
        return Err(HttpError::bad_request(
            "the default branch cannot be deleted",
        ));
    }
    let all = reading.references(Listing::Branches).await?;
    let branch = all.into_iter().find(|it| it.name == name);
    let branch = branch.ok_or_else(|| HttpError::not_found("Branch"))?;
    let command = Command {
        before: branch.target,
        after: ObjectId::ZERO.into(),
        reference: format!("refs/heads/{name}"),
    };
    git.move_ref(&access, command, trace.map(|it| it.0.0))
        .await?;
    Ok(page.redirect(&format!("/{}/-/branches", reading.project.path)))
}

pub(super) async fn tags(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    pages: Pagination,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let project = &reading.project;
    let all = reading.references(Listing::Tags).await?;
    let total = all.len() as u64;
    let shown = cut(all, pages.slice());
    let commits = commits_of(&reading, &shown).await?;
    let archive = |name: &str| {
        page.href(&format!(
            "/api/v4/projects/{}/repository/archive.tar.gz?sha={}",
            project.id,
            encode_query(name)
        ))
    };
    let content = html! {
        h1 { "Tags" }
        @if shown.is_empty() {
            (component::empty("No tags yet", &html! { p { "A tag marks a commit, such as a release." } (component::command("git tag -a v1.0 -m 'The first'\ngit push origin v1.0")) }))
        } @else {
            ul.list { @for tag in &shown {
                li {
                    a.title href=(page.project_href(project, &format!("/-/tree/{}", encode_path(&tag.name)))) { (tag.name) }
                    span.spring {}
                    a.button.small href=(archive(&tag.name)) { "tar.gz" }
                    @if let Some(message) = &tag.message { div.sub { (message.lines().next().unwrap_or_default()) } }
                    @if let Some(commit) = commits.get(&tag.commit) {
                        div.sub { (pieces::sha(&page, project, &commit.id)) " " (commit.title()) " · " (pieces::moment(&commit.committed_at)) }
                    }
                }
            } }
            (component::pager(&pages, total, &page.project_href(project, "/-/tags")))
        }
    };
    Ok(page.render(
        &format!("Tags · {}", project.path),
        &chrome(project, access.role(), Tab::Tags),
        &content,
    ))
}
