//! How runners look: the list, the form, the page with a new token, and the page of one with its machines and jobs.

use maud::{Markup, html};
use rave_core::id::RunnerId;
use rave_core::secret::Secret;
use rave_core::time::Timestamp;
use rave_http::component;

use super::runner_form::RunnerForm;
use crate::model::{Job, MachineInfo, Manager, RunnerStatus, RunnerType};
use crate::service::runners::RunnerDetails;

/// Where the runners of one owner are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// What is made here.
    pub(super) kind: RunnerType,
    /// The list's own address.
    pub(super) href: String,
    /// Whose jobs they take, for sentences.
    pub(super) of: String,
}

/// A runner with what the list says about it.
pub(super) struct RunnerRow {
    pub(super) details: RunnerDetails,
    /// The jobs it works on that the visitor may see, with their addresses and names.
    pub(super) jobs: Vec<(String, String)>,
    /// The project of a project's runner.
    pub(super) owner: Option<String>,
    /// Whether it is managed here.
    pub(super) managed: bool,
}

/// A job that a runner has or had.
pub(super) struct RunnerJob {
    pub(super) job: Job,
    pub(super) project: String,
    pub(super) href: String,
}

/// What a runner's page shows beside the runner.
pub(super) struct Around<'a> {
    pub(super) jobs: Vec<RunnerJob>,
    pub(super) total: u64,
    pub(super) projects: Vec<&'a String>,
    pub(super) creator: Option<&'a str>,
}

/// The list.
pub(super) fn list(place: &Place, rows: &[RunnerRow], now: Timestamp) -> Markup {
    let (own, others): (Vec<_>, Vec<_>) = rows.iter().partition(|it| it.managed);
    html! {
        div.head {
            h1 { "Runners" }
            span.spring {}
            a.button.primary href={ (place.href) "/new" } { "New runner" }
        }
        @if rows.is_empty() {
            (component::empty("No runners", &html! { p { "Without a runner jobs wait. Make one and start it on any machine that reaches this server." } }))
        } @else if own.is_empty() {
            p.muted { "None of its own. The runners below take jobs of " (place.of) "." }
        } @else {
            ul.list.runners { @for row in &own { (runner(place, row, now)) } }
        }
        @if !others.is_empty() {
            section {
                h2 { "Shared with others" }
                p.muted { "They take jobs of " (place.of) " too, and are managed elsewhere." }
                ul.list.runners { @for row in &others { (runner(place, row, now)) } }
            }
        }
    }
}

fn runner(place: &Place, row: &RunnerRow, now: Timestamp) -> Markup {
    let it = &row.details.runner;
    let address = format!("{}/{}", place.href, it.id);
    let name = if it.description.is_empty() {
        "without a description"
    } else {
        &it.description
    };
    html! {
        li {
            (lamp(it.status(now)))
            span.title {
                @if row.managed { a href=(address) { "#" (it.id) " " (name) } } @else { "#" (it.id) " " (name) }
            }
            span.tag { (kind(it.kind)) @if let Some(owner) = &row.owner { " " (owner) } }
            (marks(&row.details))
            span.spring {}
            @if row.managed { div.together {
                form method="post" action={ (address) @if it.paused { "/resume" } @else { "/pause" } } {
                    button.small type="submit" aria-label={ @if it.paused { "Resume" } @else { "Pause" } " runner #" (it.id) } { @if it.paused { "Resume" } @else { "Pause" } }
                }
                a.button.small href={ (address) "/edit" } aria-label={ "Edit runner #" (it.id) } { "Edit" }
                form method="post" action={ (address) "/delete" } data-confirm={ "Delete runner #" (it.id) "? Machines that use its token get no more jobs." } {
                    button.small.danger type="submit" aria-label={ "Delete runner #" (it.id) } { "Delete" }
                }
            } }
            span.sub {
                (activity(row.details.active))
                @for (at, (address, name)) in row.jobs.iter().enumerate() { @if at > 0 { ", " } @else { ": " } a href=(address) { (name) } }
                @if let Some(at) = it.contacted_at { " · last contact " (component::time(at)) }
                @if let Some(manager) = row.details.managers.first() { " · " (program(&manager.info)) }
                @if row.details.managers.len() > 1 { " · " (row.details.managers.len()) " machines" }
            }
        }
    }
}

fn marks(details: &RunnerDetails) -> Markup {
    let it = &details.runner;
    html! {
        @if it.paused { span.tag.warn { "paused" } }
        @if it.protected { span.tag { "protected refs only" } }
        @if it.locked { span.tag { "locked" } }
        @for tag in &it.tags { span.tag.mono { (tag) } }
        @if it.run_untagged { span.tag { "untagged jobs" } }
    }
}

fn activity(jobs: u64) -> Markup {
    html! {
        @match jobs {
            0 => { "Idle" }
            1 => { "Works on 1 job" }
            jobs => { "Works on " (jobs) " jobs" }
        }
    }
}

fn program(machine: &MachineInfo) -> Markup {
    html! {
        @if !machine.name.is_empty() { (machine.name) " " } (machine.version)
        @if !machine.platform.is_empty() { " " (machine.platform) "/" (machine.architecture) }
        @if !machine.executor.is_empty() { " " (machine.executor) }
    }
}

fn lamp(status: RunnerStatus) -> Markup {
    let (class, word) = match status {
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

/// The form of a runner; without an id, of another one.
pub(super) fn form(place: &Place, id: Option<RunnerId>, form: &RunnerForm) -> Markup {
    let action = match id {
        Some(id) => format!("{}/{id}", place.href),
        None => place.href.clone(),
    };
    html! {
        h1 { @if let Some(id) = id { "Edit runner #" (id) } @else { "New runner" } }
        @if id.is_none() { p.muted { "It takes jobs of " (place.of) ". You get a token, with which you start it on any machine." } }
        @for problem in &form.problems { (component::alert("bad", problem)) }
        form.stack.card method="post" action=(action) {
            label { "Description" input name="description" value=(form.description) maxlength="1024" required placeholder="build machine in the basement" autocomplete="off"; }
            label {
                "Tags"
                input.mono name="tag_list" value=(form.tags) placeholder="linux, nix" autocomplete="off" spellcheck="false";
                span.help { "A job with tags runs only on a runner that has all of them." }
            }
            label.check { input type="checkbox" name="run_untagged" value="true" checked[form.run_untagged]; "Take jobs without tags" }
            label.check { input type="checkbox" name="protected" value="true" checked[form.protected]; "Take jobs of protected branches and tags only" }
            @if place.kind == RunnerType::Project {
                label.check { input type="checkbox" name="locked" value="true" checked[form.locked]; "Lock it to its projects" }
            }
            label.check { input type="checkbox" name="paused" value="true" checked[form.paused]; "Paused: take no more jobs" }
            label {
                "Longest time of a job, in minutes"
                input name="maximum_timeout" value=(form.timeout) inputmode="numeric" pattern="[0-9]*" autocomplete="off";
                span.help { "A job that asks for more gets this. Empty: as the job says." }
            }
            label { "Note for whoever maintains it" textarea name="maintenance_note" rows="3" maxlength="1024" { (form.note) } }
            div.row {
                button.primary type="submit" { @if id.is_some() { "Save runner" } @else { "Create runner" } }
                a.button href=(place.href) { "Back" }
            }
        }
    }
}

/// The page after a runner got a token: the only time that the token is shown.
pub(super) fn created(place: &Place, id: RunnerId, external_url: &str, token: &Secret) -> Markup {
    let token = token.expose();
    html! {
        h1 { "Runner #" (id) " has a token" }
        (component::alert("warn", "Copy the token now: it is not shown again."))
        (component::command(token))
        h2 { "Start it" }
        p { "On any machine that reaches this server:" }
        (component::command(&format!("rave runner register --url {external_url} --token {token}\nrave runner run")))
        details {
            summary { "Without a file" }
            (component::command(&format!("rave runner --url {external_url} --token {token}")))
        }
        details {
            summary { "With the stock gitlab-runner instead" }
            (component::command(&format!("gitlab-runner register --non-interactive --url {external_url} --token {token} --executor shell\ngitlab-runner run")))
        }
        p { a.button href={ (place.href) "/" (id) } { "To the runner" } }
    }
}

/// A runner with its machines and its last jobs.
pub(super) fn show(
    place: &Place,
    details: &RunnerDetails,
    around: &Around<'_>,
    now: Timestamp,
) -> Markup {
    let it = &details.runner;
    let address = format!("{}/{}", place.href, it.id);
    html! {
        div.head {
            h1 { "Runner #" (it.id) }
            (lamp(it.status(now)))
            span.spring {}
            form method="post" action={ (address) @if it.paused { "/resume" } @else { "/pause" } } {
                button.small type="submit" { @if it.paused { "Resume" } @else { "Pause" } }
            }
            a.button.small href={ (address) "/edit" } { "Edit" }
            form method="post" action={ (address) "/reset" } data-confirm={ "Give runner #" (it.id) " another token? Machines that use the old one get no more jobs." } {
                button.small type="submit" { "Reset token" }
            }
            form method="post" action={ (address) "/delete" } data-confirm={ "Delete runner #" (it.id) "? Machines that use its token get no more jobs." } {
                button.small.danger type="submit" { "Delete" }
            }
        }
        @if !it.description.is_empty() { p { (it.description) } }
        @if let Some(note) = &it.maintenance_note { p.note.muted { (note) } }
        p.row { span.tag { (kind(it.kind)) } (marks(details)) }
        p.facts {
            span { (activity(details.active)) }
            @if let Some(at) = it.contacted_at { span { "last contact " (component::time(at)) } }
            span { "made " (component::time(it.created_at)) @if let Some(name) = around.creator { " by " (name) } }
            @if it.legacy { span { "registered itself" } }
            @if let Some(at) = it.token_expires_at { span { "token counts until " (component::time(at)) } }
            @if let Some(secs) = it.maximum_timeout_secs { span { "jobs run at most " (component::duration(secs.saturating_mul(1000))) } }
        }
        @if !around.projects.is_empty() {
            p.facts { span { "Takes jobs of " @for (at, path) in around.projects.iter().enumerate() { @if at > 0 { ", " } strong { (path) } } } }
        }
        section {
            h2 { "Machines" }
            @if details.managers.is_empty() {
                (component::empty("No machine has used its token", &html! { p { "Start the runner with the token that you were shown. If it is lost, reset it above." } }))
            } @else { (machines(&details.managers, now)) }
        }
        section {
            h2 { "Last jobs" }
            @if around.jobs.is_empty() {
                (component::empty("No jobs", &html! { p { @if around.total == 0 { "It has not run any yet." } @else { "It ran " (around.total) " that you may not see." } } }))
            } @else {
                ul.list { @for row in &around.jobs { (job(row, now)) } }
                @if around.total > around.jobs.len() as u64 { p.muted { (around.total) " in all." } }
            }
        }
    }
}

fn machines(managers: &[Manager], now: Timestamp) -> Markup {
    html! {
        ul.list.machines {
            @for it in managers {
                li {
                    (lamp(it.status(now)))
                    span.title.mono { (it.info.system_id) }
                    span { (program(&it.info)) }
                    span.spring {}
                    span.muted { (component::time(it.contacted_at)) }
                    span.sub {
                        @if !it.info.ip_address.is_empty() { span.mono { (it.info.ip_address) } " · " }
                        "first seen " (component::time(it.created_at))
                        @if let Some(most) = it.info.memory_bytes { " · at most " (component::size(most)) " of memory for a job" }
                        @if !it.info.revision.is_empty() && it.info.revision != it.info.version { " · revision " span.mono { (it.info.revision) } }
                    }
                    @if let Some(features) = &it.info.features {
                        details.sub { summary { "Can do " (features.len()) " things" } @for name in features { span.tag.mono { (name) } " " } }
                    }
                }
            }
        }
    }
}

fn job(row: &RunnerJob, now: Timestamp) -> Markup {
    let job = &row.job;
    html! {
        li {
            a href=(row.href) aria-label={ (job.name) ": " (job.status().label()) } { (component::status_badge(job.status())) }
            a.title href=(row.href) { (job.name) " #" (job.id) }
            span.muted { (row.project) }
            span.spring {}
            @if let Some(millis) = job.duration_ms(now) { span.took { (component::duration(millis)) } }
            @if let Some(at) = job.started_at { span.muted { (component::time(at)) } }
        }
    }
}
