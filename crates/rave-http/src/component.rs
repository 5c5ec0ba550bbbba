//! Components that pages of all parts use.

use maud::{Markup, html};
use rave_core::job::Status;
use rave_core::time::Timestamp;

use crate::pagination::Pagination;

/// A status with its sign: never by colour alone.
#[must_use]
pub fn status_badge(status: Status) -> Markup {
    html! { span.status.(format!("is-{}", status.label())) { (status_icon(status)) (status_word(status)) } }
}

/// A status as a sign alone, with its word for screen readers and as a tooltip.
#[must_use]
pub fn status_dot(status: Status) -> Markup {
    html! { span.status.dot.(format!("is-{}", status.label())) title=(status_word(status)) role="img" aria-label=(status_word(status)) { (status_icon(status)) } }
}

/// A status as a sign that the page draws once, by [`status_symbols`]: for pages with a thousand of them.
#[must_use]
pub fn status_mark(status: Status) -> Markup {
    let label = status.label();
    html! { span.status.dot.(format!("is-{label}")) title=(status_word(status)) role="img" aria-label=(status_word(status)) { svg.icon width="16" height="16" { use href={ "#status-" (label) } {} } } }
}

/// The signs that [`status_mark`] shows. A page has them once.
#[must_use]
pub fn status_symbols() -> Markup {
    html! {
        svg hidden aria-hidden="true" {
            @for status in Status::ALL {
                symbol id={ "status-" (status.label()) } viewBox="0 0 16 16" { (status_lines(status)) }
            }
        }
    }
}

/// Shares of a whole as a bar. Each has the class of a status, and the words beside the bar say the same.
#[must_use]
pub fn bar(parts: &[(&str, u64)]) -> Markup {
    let whole = parts.iter().map(|it| it.1).sum::<u64>().max(1);
    let starts = parts.iter().scan(0, |next, (_, share)| {
        let start = *next;
        *next += share;
        Some(start)
    });
    html! {
        svg.bar viewBox={ "0 0 " (whole) " 1" } preserveAspectRatio="none" aria-hidden="true" {
            @for ((class, share), start) in parts.iter().zip(starts) {
                rect.(format!("is-{class}")) x=(start) y="0" width=(share) height="1" {}
            }
        }
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Success => "passed",
        Status::Manual => "manual",
        Status::WaitingForResource => "waiting for resource",
        other => other.label(),
    }
}

fn status_icon(status: Status) -> Markup {
    html! { svg.icon width="16" height="16" viewBox="0 0 16 16" aria-hidden="true" { (status_lines(status)) } }
}

fn status_lines(status: Status) -> Markup {
    let path = match status {
        Status::Success => "M4.5 8.5 7 11l4.5-5.5",
        Status::Failed => "M5.5 5.5l5 5M10.5 5.5l-5 5",
        Status::Running => "M8 4.5v3.5l2.5 1.5",
        Status::Pending | Status::Scheduled | Status::WaitingForResource => "M6.2 5.5v5M9.8 5.5v5",
        Status::Canceled | Status::Canceling => "M4.8 11.2l6.4-6.4",
        Status::Skipped => "M5 5.5 8 8l-3 2.5M8.5 5.5l3 2.5-3 2.5",
        Status::Manual => "M6.5 5.2v5.6L11 8z",
        Status::Created => "M8 8h.01",
    };
    html! {
        circle cx="8" cy="8" r="7" fill="none" stroke="currentColor" stroke-width="1.5" {}
        path d=(path) fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" {}
    }
}

/// An instant. Without scripts it shows UTC; with them "3 minutes ago".
#[must_use]
pub fn time(at: Timestamp) -> Markup {
    let full = at.rfc3339();
    let short = full.get(..16).unwrap_or(&full).replace('T', " ");
    html! { time datetime=(full) title=(full) { (short) " UTC" } }
}

/// A duration in milliseconds, such as `1m 05s`.
#[must_use]
pub fn duration(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0..10) => format!("{seconds}.{}s", millis.max(0) % 1000 / 100),
        (0, 0, secs) => format!("{secs}s"),
        (0, mins, secs) => format!("{mins}m {secs:02}s"),
        (hours, mins, secs) => format!("{hours}h {mins:02}m {secs:02}s"),
    }
}

/// A size in bytes, such as `1.4 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// What an empty list shows: what it is, and how it fills.
#[must_use]
pub fn empty(title: &str, text: &Markup) -> Markup {
    html! { div.empty { h2 { (title) } (text) } }
}

/// A command to copy.
#[must_use]
pub fn command(text: &str) -> Markup {
    html! { div.command { pre { code { (text) } } button.copy type="button" data-copy=(text) hidden { "Copy" } } }
}

/// An error or notice above a form.
#[must_use]
pub fn alert(kind: &str, text: &str) -> Markup {
    html! { div.alert.(kind) role="alert" { (text) } }
}

/// A sentence that sets what is code in back quotes.
#[must_use]
pub fn prose(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

/// Links to the page before and after. `base` is the list's own path, already below the external URL's.
#[must_use]
pub fn pager(page: &Pagination, total: u64, base: &str) -> Markup {
    let last = total.div_ceil(page.per_page).max(1);
    html! {
        @if last > 1 {
            nav.pager aria-label="Pages" {
                @if page.page > 1 { a.button rel="prev" href={ (base) "?page=" (page.page - 1) } { "Newer" } }
                span.muted { "Page " (page.page) " of " (last) }
                @if page.page < last { a.button rel="next" href={ (base) "?page=" (page.page + 1) } { "Older" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(
            [50, 9_900, 59_000, 65_000, 3_725_000].map(duration),
            ["0.0s", "9.9s", "59s", "1m 05s", "1h 02m 05s"]
        );
        assert_eq!(
            [0, 1023, 1024, 1_468_416, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "16383.9 PiB"]
        );
    }
}
