//! How the form that starts a pipeline looks.

use maud::{Markup, html};
use rave_http::component;

use super::base::Base;
use super::variable_rows::{self, VariableRow};

/// What somebody wrote into the form.
#[derive(Clone, Debug, Default)]
pub(super) struct RunForm {
    pub(super) reference: String,
    pub(super) variables: Vec<VariableRow>,
    /// Why it was not accepted.
    pub(super) problems: Vec<String>,
}

/// The form.
pub(super) fn form(base: &Base, form: &RunForm) -> Markup {
    html! {
        h1 { "Run pipeline" }
        @for problem in &form.problems { (component::alert("bad", problem)) }
        form.stack method="post" action=(base.pipelines()) {
            label {
                "Branch or tag"
                input name="ref" value=(form.reference) required autofocus autocomplete="off" spellcheck="false";
            }
            fieldset.variables {
                legend { "Variables" }
                p.help { "They override those of the file and of the project. Leave the rest empty." }
                (variable_rows::fields(&form.variables))
            }
            div.row {
                button.primary type="submit" { "Run pipeline" }
                a.button href=(base.pipelines()) { "Back" }
            }
        }
    }
}
