//! How the administrator's list of runners looks, and the page that shows a new runner's token.

use maud::{Markup, html};
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_http::component;

use crate::model::{Manager, Runner, RunnerStatus, RunnerType};

/// A runner with what the list says about it.
pub(super) struct RunnerRow {
    pub(super) runner: Runner,
    pub(super) managers: Vec<Manager>,
    /// The jobs it works on, with their addresses and names.
    pub(super) jobs: Vec<(String, String)>,
    /// The project of a project's runner.
    pub(super) owner: Option<String>,
}

/// The list, with the form for another one.
pub(super) fn list(href: &str, rows: &[RunnerRow], now: Timestamp) -> Markup {
    html! {
        div.head {
            h1 { "Runners" }
            span.spring {}
            a.button.primary href="#new" { "New runner" }
        }
        @if rows.is_empty() {
            (component::empty("No runners", &html! { p { "Without a runner jobs wait. Create one below and start it on any machine." } }))
        } @else {
            ul.list.runners { @for row in rows { (runner(href, row, now)) } }
        }
        section #new {
            h2 { "New runner" }
            (form(href))
        }
    }
}

fn runner(href: &str, row: &RunnerRow, now: Timestamp) -> Markup {
    let it = &row.runner;
    let address = format!("{href}/{}", it.id);
    html! {
        li {
            (state(it, now))
            span.title { "#" (it.id) " " (it.description) }
            span.tag { (kind(it.kind)) @if let Some(owner) = &row.owner { " " (owner) } }
            @if it.paused { span.tag.warn { "paused" } }
            @if it.protected { span.tag { "protected refs only" } }
            @for tag in &it.tags { span.tag.mono { (tag) } }
            @if it.run_untagged { span.tag { "untagged jobs" } }
            span.spring {}
            form method="post" action={ (address) @if it.paused { "/resume" } @else { "/pause" } } {
                button.small type="submit" { @if it.paused { "Resume" } @else { "Pause" } }
            }
            form method="post" action={ (address) "/delete" } data-confirm={ "Delete runner #" (it.id) "? Machines that use its token get no more jobs." } {
                button.small.danger type="submit" { "Delete" }
            }
            span.sub {
                @if row.jobs.is_empty() { "Idle" } @else {
                    "Works on "
                    @for (at, (address, name)) in row.jobs.iter().enumerate() { @if at > 0 { ", " } a href=(address) { (name) } }
                }
                @if let Some(at) = it.contacted_at { " · last contact " (component::time(at)) }
                @for manager in &row.managers {
                    " · " span.mono { (manager.system_id) } " " (manager.version) " " (manager.platform) "/" (manager.architecture)
                    @if !manager.executor.is_empty() { " " (manager.executor) }
                }
            }
        }
    }
}

fn state(runner: &Runner, now: Timestamp) -> Markup {
    let (class, word) = match runner.status(now) {
        RunnerStatus::Online => ("is-success", "online"),
        RunnerStatus::Offline => ("is-skipped", "offline"),
        RunnerStatus::Stale => ("is-skipped", "stale"),
        RunnerStatus::NeverContacted => ("is-pending", "never contacted"),
    };
    html! { span.status.lamp.(class) { (word) } }
}

fn kind(kind: RunnerType) -> &'static str {
    match kind {
        RunnerType::Instance => "all projects",
        RunnerType::Group => "group",
        RunnerType::Project => "project",
    }
}

fn form(href: &str) -> Markup {
    html! {
        form.stack.card method="post" action=(href) {
            label { "Description" input name="description" required maxlength="255" placeholder="build machine in the basement" autocomplete="off"; }
            label {
                "Tags"
                input name="tag_list" placeholder="linux, nix" autocomplete="off" spellcheck="false";
                span.help { "A job with tags runs only on a runner that has all of them." }
            }
            label.check { input type="checkbox" name="run_untagged" value="true" checked; "Take jobs without tags" }
            label.check { input type="checkbox" name="protected" value="true"; "Take jobs of protected branches and tags only" }
            div { button.primary type="submit" { "Create runner" } }
        }
    }
}

/// The page after a runner was made: the only time that its token is shown.
pub(super) fn created(href: &str, external_url: &str, token: &Secret) -> Markup {
    let token = token.expose();
    html! {
        h1 { "Runner created" }
        (component::alert("warn", "Copy the token now: it is not shown again."))
        (component::command(token))
        h2 { "Start it" }
        p { "On any machine that reaches this server:" }
        (component::command(&format!("rave runner --url {external_url} --token {token}")))
        details {
            summary { "With the stock gitlab-runner instead" }
            (component::command(&format!("gitlab-runner register --non-interactive --url {external_url} --token {token} --executor shell")))
        }
        p { a.button href=(href) { "Back to the runners" } }
    }
}
