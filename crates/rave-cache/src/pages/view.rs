//! How binary caches look.

use std::sync::Arc;

use maud::{Markup, html};
use rave_http::{Page, component};

use crate::keys::{OpenCache, ShownKey};
use crate::model::StoredPath;
use crate::rights::{Allowed, Pull, Right};
use crate::service::attach::ShownAttachment;
use crate::store::statistics::{Figures, Holdings};

/// A cache in the list.
pub(super) struct Row {
    pub(super) open: Arc<OpenCache>,
    pub(super) holdings: Holdings,
    pub(super) total: Figures,
}

/// What a cache's page shows beside the cache.
pub(super) struct Shown<'a> {
    pub(super) endpoint: String,
    pub(super) holdings: Holdings,
    pub(super) total: Figures,
    pub(super) top: Vec<StoredPath>,
    pub(super) days: Vec<(i64, Figures)>,
    pub(super) keys: Vec<ShownKey>,
    pub(super) attached: Vec<ShownAttachment>,
    pub(super) problem: Option<&'a str>,
}

fn size(bytes: i64) -> String {
    component::size(u64::try_from(bytes).unwrap_or(0))
}

/// The share of questions that were answered, in percent.
fn rate(figures: &Figures) -> Option<i64> {
    let asked = figures.hits + figures.misses;
    (asked > 0).then(|| figures.hits * 100 / asked)
}

pub(super) fn list(page: &Page, rows: &[Row], creates: bool, problem: Option<&str>) -> Markup {
    html! {
        div.head { h1 { "Binary caches" } }
        p.muted { "What Nix built once can be fetched everywhere: by jobs, by laptops and by servers." }
        @if let Some(problem) = problem { (component::alert("bad", problem)) }
        @if rows.is_empty() {
            (component::empty("No caches yet", &html! {
                @if creates { p { "Make one below, and push to it with " code { "rave cache push" } ", " code { "nix copy" } " or " code { "attic push" } "." } }
                @else { p { "None is public. Sign in to see those of your projects and groups." } }
            }))
        } @else {
            ul.list {
                @for row in rows {
                    li {
                        a.title href=(page.href(&format!("/-/caches/{}", row.open.name()))) { (row.open.name()) }
                        span.tag { @if row.open.cache.settings.is_public { "public" } @else { "private" } }
                        span.spring {}
                        span.muted { (row.holdings.paths) " paths, " (size(row.holdings.nar_bytes)) }
                        span.sub {
                            (size(row.total.bytes_served)) " served"
                            @if let Some(rate) = rate(&row.total) { " · " (rate) " % of questions answered" }
                        }
                    }
                }
            }
        }
        @if creates {
            section {
                h2 { "New cache" }
                form.stack.card method="post" action=(page.href("/-/caches")) {
                    label { "Name"
                        input name="name" required maxlength="50" pattern="[A-Za-z0-9][A-Za-z0-9_+\\-]*" autocomplete="off" autocapitalize="none" spellcheck="false";
                        span.help { "Letters, digits, '-', '_' and '+'. It becomes the name of the cache's key." }
                    }
                    label.check { input type="checkbox" name="is_public" value="true"; span { "Public " span.help { "everyone may read it without a token" } } }
                    div { button.primary { "Make cache" } }
                }
            }
        }
    }
}

pub(super) fn show(page: &Page, allowed: &Allowed<Pull>, shown: &Shown<'_>) -> Markup {
    let (open, rights) = (&allowed.cache, allowed.rights());
    let name = open.name();
    html! {
        nav.crumbs aria-label="Breadcrumbs" { a href=(page.href("/-/caches")) { "Binary caches" } span.slash aria-hidden="true" { "/" } span.here { (name) } }
        div.head {
            h1 { (name) }
            span.tag { @if open.cache.settings.is_public { "public" } @else { "private" } }
        }
        @if let Some(problem) = shown.problem { (component::alert("bad", problem)) }
        (figures(shown))
        (usage(open, shown))
        (growth(&shown.days))
        (top(&shown.top))
        (keys(page, open, shown, rights.has(Right::Configure)))
        (attached(page, open, shown, rights.has(Right::Configure)))
        @if rights.has(Right::Configure) { (settings(page, open, rights.has(Right::ConfigureRetention))) }
        @if rights.has(Right::Destroy) {
            section {
                h2 { "Delete" }
                form method="post" action=(page.href(&format!("/-/caches/{name}/delete"))) data-confirm={ "Delete the cache " (name) " with all that is in it?" } {
                    button.danger { "Delete this cache" }
                }
            }
        }
    }
}

fn figures(shown: &Shown<'_>) -> Markup {
    let (holdings, total) = (&shown.holdings, &shown.total);
    html! {
        p.facts {
            span { strong { (holdings.paths) } " paths" }
            @if holdings.held > 0 { span { strong { (holdings.held) } " wait for what they refer to" } }
            span { strong { (size(holdings.nar_bytes)) } " unpacked" }
            span { strong { (total.hits) } " hits, " strong { (total.misses) } " misses" @if let Some(rate) = rate(total) { " (" (rate) " %)" } }
            span { strong { (size(total.bytes_served)) } " served" }
            @if total.nar_bytes > 0 {
                span { strong { (size(total.nar_bytes - total.stored_bytes)) } " of " (size(total.nar_bytes)) " saved by what was there already and by compression" }
            }
        }
    }
}

fn usage(open: &OpenCache, shown: &Shown<'_>) -> Markup {
    let (name, endpoint) = (open.name(), &shown.endpoint);
    let keys = open.public_keys().join(" ");
    let host = endpoint.split("://").nth(1).unwrap_or_default();
    let host = host.split(['/', ':']).next().unwrap_or_default();
    html! {
        section {
            h2 { "Use it" }
            p { "In " code { "nix.conf" } ", or with " code { "--option" } ":" }
            (component::command(&format!("extra-substituters = {endpoint}{name}\nextra-trusted-public-keys = {keys}")))
            @if !open.cache.settings.is_public {
                p { "It is private: put a token with the scope " code { "read_cache" } " into Nix's " code { "netrc" } "." }
                (component::command(&format!("machine {host} password TOKEN")))
            }
            p { "Push what was built, with a token that has the scope " code { "write_cache" } ":" }
            (component::command(&format!("nix copy --to '{endpoint}{name}?compression=zstd' ./result")))
            details {
                summary { "With Attic's client" }
                (component::command(&format!("attic login rave {endpoint} TOKEN\nattic use {name}\nattic push {name} ./result")))
            }
            p.muted { "Jobs of the projects and groups below have it set up already." }
        }
    }
}

fn growth(days: &[(i64, Figures)]) -> Markup {
    let most = days
        .iter()
        .map(|it| it.1.nar_bytes.max(it.1.bytes_served))
        .max()
        .unwrap_or(0);
    html! {
        @if most > 0 {
            section {
                h2 { "Last 30 days" }
                div.table { table {
                    thead { tr { th { "Day" } th { "Hits" } th { "Misses" } th { "Served" } th { "Paths pushed" } th { "Pushed" } th { "Stored" } } }
                    tbody {
                        @for (day, it) in days.iter().rev() {
                            tr {
                                td { (date(*day)) }
                                td { (it.hits) }
                                td { (it.misses) }
                                td { (size(it.bytes_served)) }
                                td { (it.paths_added) }
                                td { (size(it.nar_bytes)) }
                                td { (size(it.stored_bytes)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn date(day: i64) -> String {
    let at = rave_core::time::Timestamp(day.saturating_mul(24 * 3_600_000)).rfc3339();
    at.get(..10).unwrap_or(&at).to_owned()
}

fn top(paths: &[StoredPath]) -> Markup {
    html! {
        section {
            h2 { "Most fetched paths" }
            @if paths.is_empty() {
                p.muted { "Nothing was pushed yet." }
            } @else {
                ul.list {
                    @for it in paths {
                        li {
                            span.title.mono { (it.path.info.path) }
                            @if !it.visible { span.tag.warn { "waits for references" } }
                            span.spring {}
                            span.muted { (component::size(it.path.info.nar_size)) }
                            span.sub { (fetched(it.downloads)) " · last asked for " (component::time(it.last_access_at)) " · by " (it.path.pushed_by) }
                        }
                    }
                }
            }
        }
    }
}

fn keys(page: &Page, open: &OpenCache, shown: &Shown<'_>, configures: bool) -> Markup {
    let base = page.href(&format!("/-/caches/{}", open.name()));
    html! {
        section {
            h2 { "Keys" }
            p.muted { "All of them sign. After a new one is made, the old one goes on signing until clients trust the new one and you remove it." }
            ul.list {
                @for key in &shown.keys {
                    li {
                        code { (key.public_key) }
                        @if key.is_primary { span.tag { "first" } }
                        span.spring {}
                        @if configures && !key.is_primary {
                            form method="post" action={ (base) "/keys/" (key.id) "/remove" } data-confirm="Remove this key? Clients that trust it alone then refuse what is in the cache." {
                                button.small.danger { "Remove" }
                            }
                        }
                        span.sub { "made " (component::time(key.created_at)) }
                    }
                }
            }
            @if configures { form method="post" action={ (base) "/keys" } { button { "Make another key" } } }
        }
    }
}

fn attached(page: &Page, open: &OpenCache, shown: &Shown<'_>, configures: bool) -> Markup {
    let base = page.href(&format!("/-/caches/{}", open.name()));
    html! {
        section {
            h2 { "Projects and groups" }
            @if shown.attached.is_empty() {
                p.muted { "None. Members and jobs of a project or group that is added here may read the cache, and developers may push." }
            } @else {
                ul.list {
                    @for it in &shown.attached {
                        li {
                            a.title href=(page.href(&format!("/{}", it.path))) { (it.path) }
                            span.tag { (it.kind) }
                            @if it.jobs_push { span.tag { "jobs push" } }
                            span.spring {}
                            @if configures {
                                form method="post" action={ (base) "/detach" } {
                                    input type="hidden" name="path" value=(it.path);
                                    button.small aria-label={ "Remove " (it.path) } { "Remove" }
                                }
                            }
                        }
                    }
                }
            }
            @if configures {
                form.stack.card method="post" action={ (base) "/attach" } {
                    label { "Project or group" input name="path" required placeholder="team/app" autocomplete="off" autocapitalize="none" spellcheck="false"; }
                    label.check { input type="checkbox" name="jobs_push" value="true"; span { "Jobs may push " span.help { "whoever can start a job can then put builds into the cache" } } }
                    div { button { "Add" } }
                }
            }
        }
    }
}

fn settings(page: &Page, open: &OpenCache, retention: bool) -> Markup {
    let it = &open.cache.settings;
    let days = it.retention_secs.map(|secs| secs / (24 * 3600));
    let quota = it.quota_bytes.map(|bytes| bytes >> 30);
    html! {
        section {
            h2 { "Settings" }
            form.stack.card method="post" action=(page.href(&format!("/-/caches/{}/settings", open.name()))) {
                label.check { input type="checkbox" name="is_public" value="true" checked[it.is_public]; span { "Public " span.help { "everyone may read it without a token" } } }
                label.check { input type="checkbox" name="trusts_pushers" value="true" checked[it.trusts_pushers]; span { "Trust whoever may push " span.help { "otherwise only paths that follow from their content or are signed by a key below" } } }
                label { "Priority" input name="priority" inputmode="numeric" value=(it.priority); span.help { "Clients ask caches with a lower one first. cache.nixos.org has 40." } }
                label { "Names of upstream keys" input.mono name="upstream_key_names" value=(it.upstream_key_names.join(" ")) spellcheck="false"; span.help { "Clients do not push what keys of these names signed." } }
                label { "Trusted public keys" textarea.mono name="trusted_keys" rows="2" spellcheck="false" { (it.trusted_keys.join("\n")) } }
                @if retention {
                    label { "Keep unused paths for so many days" input name="retention_days" inputmode="numeric" value=[days]; span.help { "Empty: as the server says. 0: for ever. Pins keep their closures." } }
                    label { "At most so many GiB, unpacked" input name="quota_gib" inputmode="numeric" value=[quota]; span.help { "Empty: no limit. What was not asked for the longest goes first." } }
                }
                div { button.primary { "Save" } }
            }
        }
    }
}

fn fetched(times: i64) -> String {
    match times {
        0 => "never fetched".to_owned(),
        1 => "fetched once".to_owned(),
        times => format!("fetched {times} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_questions() {
        assert_eq!(rate(&Figures::default()), None);
        let figures = Figures {
            hits: 2,
            misses: 1,
            ..Figures::default()
        };
        assert_eq!(rate(&figures), Some(66));
        assert_eq!(date(20_000), "2024-10-04");
    }
}
