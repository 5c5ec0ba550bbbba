//! How schedules look: the list with the next run in each one's own time zone, and the form.

use maud::{Markup, html};
use rave_core::time::Timestamp;
use rave_http::{Params, component};

use super::base::{Base, People};
use super::input_fields::InputFields;
use super::variable_rows::{self, VariableRow};
use crate::cron;
use crate::model::Pipeline;
use crate::service::schedules::Given;
use crate::setting::Mistake;
use crate::store::schedule::Schedule;

/// Times that people often want.
const EXAMPLES: [(&str, &str); 4] = [
    ("0 4 * * *", "every day at four"),
    ("0 4 * * 1-5", "Monday to Friday at four"),
    ("0 4 1 * *", "on the first of each month"),
    ("*/30 * * * *", "every half hour"),
];

/// A schedule with what the list says about it.
pub(super) struct ScheduleRow {
    pub(super) schedule: Schedule,
    pub(super) last: Option<Pipeline>,
    /// Whether the visitor owns it.
    pub(super) own: bool,
    /// Whether the visitor manages the project.
    pub(super) manages: bool,
}

/// Returns where the schedules of a project are.
pub(super) fn href(base: &Base) -> String {
    format!("{}/-/pipeline_schedules", base.href)
}

/// The list.
pub(super) fn list(base: &Base, rows: &[ScheduleRow], people: &People) -> Markup {
    html! {
        div.head {
            h1 { "Schedules" }
            span.spring {}
            a.button href=(base.pipelines()) { "Pipelines" }
            @if base.may_run { a.button.primary href={ (href(base)) "/new" } { "New schedule" } }
        }
        @if rows.is_empty() {
            (component::empty("No schedules", &html! { p { "A schedule runs a pipeline by the clock: nightly builds, weekly updates, monthly reports." } }))
        } @else {
            ul.list.schedules { @for row in rows { (schedule(base, row, people)) } }
        }
    }
}

fn schedule(base: &Base, row: &ScheduleRow, people: &People) -> Markup {
    let it = &row.schedule;
    let address = format!("{}/{}", href(base), it.id);
    html! {
        li {
            @match &row.last {
                Some(last) => { a href=(base.pipeline(last.id)) aria-label={ "Last pipeline: " (last.status.label()) } { (component::status_badge(last.status)) } }
                None => { span.tag { "never ran" } }
            }
            span.title { (it.description) }
            span.tag.mono { (it.ref_name) }
            @if !it.active { span.tag.warn { "switched off" } }
            span.spring {}
            @if base.may_run {
                form method="post" action={ (address) "/play" } { button.small type="submit" aria-label={ "Run " (it.description) " now" } { "Run now" } }
                @if row.own {
                    a.button.small href={ (address) "/edit" } aria-label={ "Edit " (it.description) } { "Edit" }
                } @else if row.manages {
                    form method="post" action={ (address) "/take_ownership" } data-confirm="The schedule will run as you. Go on?" { button.small type="submit" aria-label={ "Take ownership of " (it.description) } { "Take ownership" } }
                }
                @if row.own || row.manages {
                    form method="post" action={ (address) "/delete" } data-confirm={ "Delete the schedule " (it.description) "? Its pipelines stay." } { button.small.danger type="submit" aria-label={ "Delete " (it.description) } { "Delete" } }
                }
            }
            span.sub {
                code { (it.cron) } " " (it.timezone)
                @if it.active { " · next run " (next(it)) }
                @if let Some(name) = people.name(Some(it.owner)) { " · runs as " (name) }
            }
            @if let Some(problem) = &it.problem { span.sub.warn { (problem) } }
        }
    }
}

fn next(schedule: &Schedule) -> Markup {
    match schedule.next_run_at {
        Some(at) => html! { (in_zone(at, &schedule.timezone)) " (" (component::time(at)) ")" },
        None => html! { "never" },
    }
}

/// An instant as a clock of the zone shows it.
fn in_zone(at: Timestamp, zone: &str) -> String {
    let instant = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let zone = cron::zone(zone).unwrap_or(jiff::tz::TimeZone::UTC);
    let local = instant.to_zoned(zone);
    local.strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// What somebody wrote into the form.
#[derive(Clone, Debug)]
pub(super) struct ScheduleForm {
    pub(super) description: String,
    pub(super) ref_name: String,
    pub(super) cron: String,
    pub(super) timezone: String,
    pub(super) active: bool,
    pub(super) variables: Vec<VariableRow>,
    /// The inputs of the file's header.
    pub(super) inputs: InputFields,
    /// Why it was not accepted.
    pub(super) problems: Vec<String>,
}

impl ScheduleForm {
    /// The form for another schedule.
    pub(super) fn new(default_branch: &str) -> Self {
        Self {
            description: String::new(),
            ref_name: default_branch.to_owned(),
            cron: EXAMPLES[0].0.to_owned(),
            timezone: "UTC".to_owned(),
            active: true,
            variables: Vec::new(),
            inputs: InputFields::default(),
            problems: Vec::new(),
        }
    }

    /// Shows a schedule as it is.
    pub(super) fn of(schedule: &Schedule, given: &Given) -> Self {
        Self {
            description: schedule.description.clone(),
            ref_name: schedule.ref_name.clone(),
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone(),
            active: schedule.active,
            variables: given.variables.iter().map(VariableRow::from).collect(),
            inputs: InputFields::of(&given.inputs),
            problems: Vec::new(),
        }
    }

    /// Reads what was sent.
    pub(super) fn read(params: &mut Params) -> Self {
        let variables = variable_rows::read(params);
        let inputs = InputFields::read(params);
        let mut text = |name: &str| params.text(name).unwrap_or_default().trim().to_owned();
        Self {
            description: text("description"),
            ref_name: text("ref"),
            cron: text("cron"),
            timezone: text("cron_timezone"),
            active: params.bool("active").unwrap_or(false),
            variables,
            inputs,
            problems: Vec::new(),
        }
    }
}

/// Says what is wrong with a schedule so that a person knows what to do.
pub(super) fn explain((field, why): &Mistake) -> String {
    match *field {
        "base" => why.clone(),
        "cron" => "The times are not valid: minute, hour, day, month and day of the week, as in `0 4 * * 1-5`, or a word such as `@daily`.".to_owned(),
        "cron_timezone" => "There is no such time zone. Names are as in `Europe/Berlin`.".to_owned(),
        "description" => format!("The description {why}."),
        "ref" => format!("The branch or tag {why}."),
        _ => format!("{field} {why}"),
    }
}

/// The form of a schedule.
pub(super) fn form(base: &Base, id: Option<i64>, form: &ScheduleForm) -> Markup {
    let action = match id {
        Some(id) => format!("{}/{id}", href(base)),
        None => href(base),
    };
    html! {
        h1 { @if id.is_some() { "Edit schedule" } @else { "New schedule" } }
        @for problem in &form.problems { (component::alert("bad", problem)) }
        form.stack.card method="post" action=(action) {
            label { "Description" input name="description" value=(form.description) required maxlength="255" placeholder="Nightly build" autocomplete="off"; }
            label {
                "When"
                input.mono name="cron" value=(form.cron) required maxlength="255" list="cron-examples" autocomplete="off" spellcheck="false";
                span.help { "Minute, hour, day, month, day of the week. For example " @for (at, (cron, text)) in EXAMPLES.iter().enumerate() { @if at > 0 { ", " } code { (cron) } " " (text) } "." }
            }
            datalist #cron-examples { @for (cron, text) in EXAMPLES { option value=(cron) { (text) } } }
            label {
                "Time zone"
                input name="cron_timezone" value=(form.timezone) required list="time-zones" autocomplete="off" spellcheck="false";
            }
            datalist #time-zones { @for name in cron::zone_names() { option value=(name) {} } }
            label { "Branch or tag" input.mono name="ref" value=(form.ref_name) required maxlength="255" autocomplete="off" spellcheck="false"; }
            (form.inputs.fields())
            fieldset.variables {
                legend { "Variables" }
                p.help { "They override those of the file and of the project. Leave the rest empty." }
                (variable_rows::fields(&form.variables))
            }
            label.check { input type="checkbox" name="active" value="1" checked[form.active]; "Run at these times" }
            div.row {
                button.primary type="submit" { "Save schedule" }
                a.button href=(href(base)) { "Back" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_is_told_in_the_schedules_own_zone() {
        let at = Timestamp(1_767_323_045_678);
        assert_eq!(in_zone(at, "UTC"), "2026-01-02 03:04 UTC");
        assert_eq!(in_zone(at, "Europe/Berlin"), "2026-01-02 04:04 CET");
        assert_eq!(in_zone(at, "America/New_York"), "2026-01-01 22:04 EST");
    }
}
