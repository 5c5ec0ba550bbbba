//! How variables and trigger tokens look.

use maud::{Markup, html};
use rave_core::secret::Secret;
use rave_http::page::{encode_path, encode_query};
use rave_http::{Params, component};

use super::base::People;
use crate::setting::{EVERYWHERE, Setting};
use crate::store::trigger::Trigger;

/// Where the settings of one owner are.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    /// The page's own address.
    pub(super) href: String,
    /// Whose settings, for sentences.
    pub(super) of: String,
    /// Where its runners are.
    pub(super) runners: String,
    /// Whether variables have scopes.
    pub(super) scoped: bool,
}

impl Desk {
    fn variable(&self, setting: &Setting) -> String {
        format!("{}/variables/{}", self.href, encode_path(&setting.key))
    }
}

/// What somebody wrote into the form of a variable.
#[derive(Clone, Debug)]
pub(super) struct VariableForm {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) description: String,
    pub(super) scope: String,
    pub(super) file: bool,
    /// `visible`, `masked` or `hidden`.
    pub(super) visibility: String,
    pub(super) protected: bool,
    pub(super) expand: bool,
    /// Why it was not accepted.
    pub(super) problem: Option<String>,
}

impl Default for VariableForm {
    fn default() -> Self {
        Self {
            key: String::new(),
            value: String::new(),
            description: String::new(),
            scope: EVERYWHERE.to_owned(),
            file: false,
            visibility: "masked".to_owned(),
            protected: false,
            expand: false,
            problem: None,
        }
    }
}

impl VariableForm {
    /// Reads what was sent; a box that is not checked is not sent.
    pub(super) fn read(params: &mut Params) -> Self {
        let mut text = |name: &str| params.text(name).unwrap_or_default();
        let (key, value) = (text("key").trim().to_owned(), text("value"));
        let (description, scope) = (text("description"), text("environment_scope"));
        let (kind, visibility) = (text("variable_type"), text("visibility"));
        let mut flag = |name: &str| params.bool(name).unwrap_or(false);
        Self {
            key,
            // Browsers end lines as on the wire.
            value: value.replace("\r\n", "\n"),
            description,
            scope,
            file: kind == "file",
            visibility,
            protected: flag("protected"),
            expand: flag("expand"),
            problem: None,
        }
    }

    /// Shows a variable as it is.
    pub(super) fn of(setting: &Setting) -> Self {
        let visibility = match (setting.masked, setting.hidden) {
            (_, true) => "hidden",
            (true, false) => "masked",
            (false, false) => "visible",
        };
        Self {
            key: setting.key.clone(),
            value: setting.shown_value().unwrap_or_default().to_owned(),
            description: setting.description.clone().unwrap_or_default(),
            scope: setting.scope.clone(),
            file: setting.file,
            visibility: visibility.to_owned(),
            protected: setting.protected,
            expand: !setting.raw,
            problem: None,
        }
    }
}

/// The variables, with their values if they are to be revealed.
pub(super) fn variables(desk: &Desk, settings: &[Setting], reveal: bool) -> Markup {
    html! {
        div.head {
            h1 { "CI/CD settings" }
            span.spring {}
            a.button href=(desk.runners) { "Runners" }
        }
        section {
            div.head {
                h2 #variables { "Variables" }
                span.spring {}
                @if settings.iter().any(|it| !it.hidden) {
                    @if reveal { a.button.small href=(desk.href) { "Hide values" } }
                    @else { a.button.small href={ (desk.href) "?reveal=1" } { "Reveal values" } }
                }
                a.button.small.primary href="#new-variable" { "Add variable" }
            }
            p.muted { "Jobs of " (desk.of) " get them in their environment. They win over those of the file." }
            @if settings.is_empty() {
                (component::empty("No variables", &html! { p { "Add what jobs need to know and the repository must not hold: passwords, tokens, certificates." } }))
            } @else {
                ul.list.settings { @for setting in settings { (variable(desk, setting, reveal)) } }
            }
        }
    }
}

fn variable(desk: &Desk, setting: &Setting, reveal: bool) -> Markup {
    let address = desk.variable(setting);
    let scope = encode_query(&setting.scope);
    html! {
        li {
            span.title.mono { (setting.key) }
            @if setting.file { span.tag { "file" } }
            @if setting.hidden { span.tag { "masked and hidden" } } @else if setting.masked { span.tag { "masked" } }
            @if setting.protected { span.tag { "protected" } }
            @if !setting.raw { span.tag { "expanded" } }
            @if desk.scoped && setting.scope != EVERYWHERE { span.tag.mono { (setting.scope) } }
            span.spring {}
            a.button.small href={ (address) "?scope=" (scope) } aria-label={ "Edit " (setting.key) } { "Edit" }
            form method="post" action={ (address) "/delete" } data-confirm={ "Delete the variable " (setting.key) "?" } {
                input type="hidden" name="scope" value=(setting.scope);
                button.small.danger type="submit" aria-label={ "Delete " (setting.key) } { "Delete" }
            }
            @if let Some(text) = &setting.description { @if !text.is_empty() { span.sub { (text) } } }
            @if reveal {
                @match setting.shown_value() {
                    Some("") => { span.sub { "empty" } }
                    Some(value) => { pre.sub { code { (value) } } }
                    None => { span.sub { "hidden for good" } }
                }
            }
        }
    }
}

/// The form for another variable.
pub(super) fn new_variable(desk: &Desk, form: &VariableForm) -> Markup {
    html! {
        section #new-variable {
            h2 { "Add a variable" }
            @if let Some(problem) = &form.problem { (component::alert("bad", problem)) }
            form.stack.card method="post" action={ (desk.href) "/variables" } {
                label { "Key" input.mono name="key" value=(form.key) required maxlength="255" pattern="[A-Za-z0-9_]+" autocomplete="off" autocapitalize="none" spellcheck="false"; }
                (fields(desk, form, None))
                div { button.primary type="submit" { "Add variable" } }
            }
        }
    }
}

/// The page of one variable.
pub(super) fn edit_variable(desk: &Desk, setting: &Setting, form: &VariableForm) -> Markup {
    html! {
        h1 { "Variable " code { (setting.key) } }
        @if let Some(problem) = &form.problem { (component::alert("bad", problem)) }
        form.stack.card method="post" action=(desk.variable(setting)) {
            input type="hidden" name="scope" value=(setting.scope);
            (fields(desk, form, Some(setting)))
            div.row {
                button.primary type="submit" { "Save" }
                a.button href=(desk.href) { "Back" }
            }
        }
    }
}

fn fields(desk: &Desk, form: &VariableForm, of: Option<&Setting>) -> Markup {
    let hidden = of.is_some_and(|it| it.hidden);
    let kinds = [
        (false, "env_var", "Environment variable"),
        (true, "file", "File: jobs get its path"),
    ];
    let visibilities = [
        ("visible", "Visible in job logs"),
        ("masked", "Masked in job logs"),
        ("hidden", "Masked in job logs, and never shown again"),
    ];
    html! {
        label {
            "Value"
            textarea.mono name="value" rows="3" maxlength="10000" autocomplete="off" autocapitalize="none" spellcheck="false" { (form.value) }
            @if hidden { span.help { "The present value is hidden. It stays if this is left empty." } }
        }
        label { "Description" input name="description" value=(form.description) maxlength="255" autocomplete="off"; }
        label { "Type" select name="variable_type" { @for (file, value, text) in kinds { option value=(value) selected[file == form.file] { (text) } } } }
        @if !hidden {
            label {
                "Visibility"
                select name="visibility" {
                    // What was shown once cannot be hidden any more.
                    @for (value, text) in visibilities.iter().filter(|it| of.is_none() || it.0 != "hidden") { option value=(value) selected[*value == form.visibility] { (text) } }
                }
            }
        }
        @if desk.scoped {
            label {
                "Environments"
                input.mono name="environment_scope" value=(form.scope) maxlength="255" autocomplete="off" spellcheck="false";
                span.help { code { "*" } " stands for any text: " code { "review/*" } "." }
            }
        }
        label.check { input type="checkbox" name="protected" value="1" checked[form.protected]; "For protected branches and tags only" }
        label.check { input type="checkbox" name="expand" value="1" checked[form.expand]; "Expand references: " code { "$NAME" } " in the value is another variable" }
    }
}

/// The trigger tokens of a project.
pub(super) fn triggers(
    desk: &Desk,
    triggers: &[Trigger],
    people: &People,
    example: &str,
) -> Markup {
    html! {
        section #triggers {
            h2 { "Trigger tokens" }
            p.muted { "With one of them another program starts a pipeline, as the person who made it. A webhook's request reaches jobs as the file " code { "TRIGGER_PAYLOAD" } "." }
            (component::command(example))
            @if !triggers.is_empty() {
                ul.list { @for it in triggers {
                    li {
                        span.title { (it.description) }
                        span.mono.muted { "glptt-" (it.short_token) "…" }
                        @if let Some(name) = people.name(Some(it.owner)) { span.muted { (name) } }
                        span.spring {}
                        span.muted { @match it.used_at { Some(at) => { "used " (component::time(at)) } None => { "never used" } } }
                        form method="post" action={ (desk.href) "/triggers/" (it.id) "/delete" } data-confirm={ "Delete the token for " (it.description) "? Programs that use it start nothing any more." } {
                            button.small.danger type="submit" aria-label={ "Delete the token for " (it.description) } { "Delete" }
                        }
                    }
                } }
            }
            form.stack.card method="post" action={ (desk.href) "/triggers" } {
                label { "What is it for?" input name="description" required maxlength="255" placeholder="new versions of the library" autocomplete="off"; }
                div { button type="submit" { "Create token" } }
            }
        }
    }
}

/// Where a project's badge is, and how a README shows it.
pub(super) struct BadgeLinks {
    pub(super) picture: String,
    pub(super) markdown: String,
}

/// How to show others the state of the default branch.
pub(super) fn badge(links: &BadgeLinks) -> Markup {
    html! {
        section #badge {
            h2 { "Badge" }
            p { img src=(links.picture) alt="State of the default branch" height="20"; }
            (component::command(&links.markdown))
        }
    }
}

/// The page after a token was made: the only time that it is shown.
pub(super) fn trigger_created(desk: &Desk, token: &Secret, example: &str) -> Markup {
    html! {
        h1 { "Trigger token created" }
        (component::alert("warn", "Copy the token now: it is not shown again."))
        (component::command(token.expose()))
        h2 { "Use it" }
        (component::command(example))
        p { a.button href=(desk.href) { "Back to the settings" } }
    }
}
