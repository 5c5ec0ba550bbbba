//! A project's settings.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::{Access, DeleteProject, ManageProject, Visibility};
use rave_core::port::ProjectUpdate;
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Params};
use rave_store::Error as StoreError;

use crate::git::refs::{Listing, Reference};
use crate::pages::pieces::chrome;
use crate::policy::ProtectedBranch;
use crate::reading::{Reading, StoreFailure};
use crate::service::Git;
use crate::store;

const LEVELS: [(i64, &str); 3] = [
    (40, "Maintainers"),
    (30, "Developers and maintainers"),
    (0, "Nobody"),
];

pub(super) async fn show(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    page: Page,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let branches = reading.references(Listing::Branches).await?;
    let rules = git
        .protected_branches(reading.project.id)
        .await
        .map_err(StoreFailure)?;
    let content = html! {
        div.head {
            h1 { "Settings" }
            span.spring {}
            a.button href=(page.project_href(access.project(), "/-/settings/ci_cd")) { "CI/CD settings" }
        }
        (general(&page, &access, &branches))
        (protection(&page, &access, &rules))
        (archiving(&page, &access))
        @if access.also::<DeleteProject>().is_ok() { (deletion(&page, &access)) }
    };
    let project = &reading.project;
    Ok(page.render(
        &format!("Settings · {}", project.path),
        &chrome(project, access.role(), Tab::Settings),
        &content,
    ))
}

fn general(page: &Page, access: &Access<ManageProject>, branches: &[Reference]) -> Markup {
    let project = access.project();
    let kinds = [
        Visibility::Private,
        Visibility::Internal,
        Visibility::Public,
    ];
    html! {
        section.card { h2 { "General" }
            form.stack method="post" action=(page.project_href(project, "/-/settings")) {
                label { "Name" input name="name" value=(project.name) required maxlength="255"; }
                label { "Description" textarea name="description" rows="2" maxlength="2000" { (project.description) } }
                label { "Who can see it"
                    select name="visibility" { @for it in kinds { option value=(it.label()) selected[it == project.visibility] { (it.label()) } } }
                }
                @if !branches.is_empty() {
                    label { "Default branch"
                        select name="default_branch" { @for it in branches { option value=(it.name) selected[it.name == project.default_branch] { (it.name) } } }
                    }
                }
                div { button.primary { "Save" } }
            }
        }
    }
}

fn protection(page: &Page, access: &Access<ManageProject>, rules: &[ProtectedBranch]) -> Markup {
    let action = page.project_href(access.project(), "/-/settings/protected_branches");
    let word = |level: i64| {
        LEVELS
            .iter()
            .find(|it| it.0 == level)
            .map_or("Administrators", |it| it.1)
    };
    html! {
        section.card { h2 { "Protected branches" }
            p.muted { "Nobody deletes a protected branch by a push, and nobody rewrites it unless it says so here. " code { "*" } " stands for any text." }
            @if !rules.is_empty() {
                ul.list { @for rule in rules {
                    li {
                        span.title.mono { (rule.name) }
                        span.muted { (word(rule.push_level)) " may push" }
                        @if rule.allow_force_push { span.tag.warn { "force push allowed" } }
                        span.spring {}
                        form method="post" action={ (action) "/remove" } data-confirm=(format!("Stop protecting {}?", rule.name)) {
                            input type="hidden" name="name" value=(rule.name);
                            button.small.danger aria-label=(format!("Stop protecting {}", rule.name)) { "Unprotect" }
                        }
                    }
                } }
            }
            form.stack method="post" action=(action) {
                label { "Branch" input name="name" placeholder="release/*" required; }
                label { "Who may push" select name="push_level" { @for (level, text) in LEVELS { option value=(level) { (text) } } } }
                label.check { input type="checkbox" name="allow_force_push" value="1"; "Allow force push" }
                div { button { "Protect" } }
            }
        }
    }
}

fn archiving(page: &Page, access: &Access<ManageProject>) -> Markup {
    let project = access.project();
    html! {
        section.card { h2 { (if project.archived { "Bring it back" } else { "Archive" }) }
            p.muted { "An archived project can be read and cloned; its code and pipelines stay as they are." }
            form method="post" action=(page.project_href(project, "/-/settings/archive")) {
                input type="hidden" name="archived" value=(!project.archived);
                button { (if project.archived { "Unarchive project" } else { "Archive project" }) }
            }
        }
    }
}

fn deletion(page: &Page, access: &Access<ManageProject>) -> Markup {
    let project = access.project();
    html! {
        section.card { h2 { "Delete" }
            p.muted { "The repository, its pipelines and artifacts are gone for good. To confirm, type " code { (project.path) } "." }
            form.stack method="post" action=(page.project_href(project, "/-/settings/delete")) {
                label { "Path of the project" input name="confirm" autocomplete="off" required; }
                div { button.danger { "Delete project" } }
            }
        }
    }
}

fn back(page: &Page, access: &Access<ManageProject>) -> Response {
    page.redirect(&format!("/{}/-/settings", access.project().path))
}

async fn change(
    git: &Git,
    access: &Access<ManageProject>,
    update: ProjectUpdate,
) -> Result<(), HttpError> {
    let project = git.directory.update_project(access, update).await?;
    Ok(git.repositories.point_head(&git.runner, &project).await?)
}

pub(super) async fn update(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let update = ProjectUpdate {
        name: Some(params.need_text("name")),
        description: params.text("description"),
        visibility: params.choice("visibility", Visibility::from_label),
        default_branch: params.text("default_branch").filter(|it| !it.is_empty()),
        archived: None,
    };
    params.check()?;
    if let Some(branch) = &update.default_branch {
        git.need_branch(access.project(), branch).await?;
    }
    change(&git, &access, update).await?;
    Ok(back(&page, &access))
}

pub(super) async fn protect(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.need_text("name");
    let level = |it: &str| {
        LEVELS
            .iter()
            .map(|it| it.0)
            .find(|level| level.to_string() == it)
    };
    let push_level = params.choice("push_level", level);
    let allow_force_push = params.bool("allow_force_push").unwrap_or(false);
    params.check()?;
    let mut rule = ProtectedBranch::for_default(name.trim());
    rule.push_level = push_level.unwrap_or(rule.push_level);
    rule.allow_force_push = allow_force_push;
    let id = access.project().id;
    let stored = git.db.write::<_, StoreError, _>("git_protect", move |tx| {
        // Protecting a branch again changes the rule.
        if !store::protect(tx, id, &rule)? {
            store::change_protection(tx, id, &rule)?;
        }
        Ok(())
    });
    stored.await.map_err(StoreFailure)?;
    Ok(back(&page, &access))
}

pub(super) async fn unprotect(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.need_text("name");
    params.check()?;
    let id = access.project().id;
    let removed = git
        .db
        .write::<_, StoreError, _>("git_unprotect", move |tx| store::unprotect(tx, id, &name));
    removed.await.map_err(StoreFailure)?;
    Ok(back(&page, &access))
}

pub(super) async fn archive(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ManageProject>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let archived = params.bool("archived");
    params.check()?;
    change(
        &git,
        &access,
        ProjectUpdate {
            archived,
            ..ProjectUpdate::default()
        },
    )
    .await?;
    Ok(back(&page, &access))
}

pub(super) async fn delete(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<DeleteProject>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let typed = params.text("confirm").unwrap_or_default();
    if typed.trim() != access.project().path.as_str() {
        return Err(
            HttpError::bad_request("what you typed is not the project's path")
                .hint("nothing was deleted; go back and type the path exactly as it is shown"),
        );
    }
    git.directory.delete_project(&access).await?;
    Ok(page.redirect("/"))
}
