//! How the form that starts a pipeline looks.

use maud::{Markup, html};
use rave_ci_lang::FormVariable;
use rave_http::component;

use super::base::Base;
use super::input_fields::InputFields;
use super::variable_rows::{self, VariableRow};

/// What somebody wrote into the form.
#[derive(Clone, Debug, Default)]
pub(super) struct RunForm {
    pub(super) reference: String,
    pub(super) variables: Vec<VariableRow>,
    /// What the file asks whoever starts a pipeline by hand.
    pub(super) described: Vec<FormVariable>,
    /// The inputs of the file's header.
    pub(super) inputs: InputFields,
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
            @if !form.described.is_empty() {
                fieldset.variables {
                    legend { "What the file asks" }
                    @for it in &form.described { (described(it, form.answer(it))) }
                }
            }
            (form.inputs.fields())
            fieldset.variables {
                legend { "Variables" }
                p.help { "They override those of the file and of the project. Leave the rest empty." }
                (variable_rows::fields(&form.others()))
            }
            div.row {
                button.primary type="submit" { "Run pipeline" }
                a.button href=(base.pipelines()) { "Back" }
            }
        }
    }
}

impl RunForm {
    /// Returns what somebody wrote for a variable that the file describes, or its value without an answer.
    fn answer<'a>(&'a self, variable: &'a FormVariable) -> &'a str {
        let written = self.variables.iter().find(|it| it.key == variable.key);
        written.map_or(&variable.value, |it| &it.value)
    }

    /// Returns the variables that the file does not describe.
    fn others(&self) -> Vec<VariableRow> {
        let described = |it: &&VariableRow| self.described.iter().any(|one| one.key == it.key);
        let others = self.variables.iter().filter(|it| !described(it));
        others.cloned().collect()
    }
}

/// A field for a variable of the file: a row like the others, whose name is given.
fn described(variable: &FormVariable, answer: &str) -> Markup {
    html! {
        label {
            (variable.key)
            input type="hidden" name="variables_key[]" value=(variable.key);
            input type="hidden" name="variables_type[]" value="env_var";
            @if variable.options.is_empty() {
                input name="variables_value[]" value=(answer) autocomplete="off" spellcheck="false";
            } @else {
                select name="variables_value[]" {
                    @for option in &variable.options {
                        option value=(option) selected[option == answer] { (option) }
                    }
                }
            }
            @if let Some(text) = &variable.description { span.help { (text) } }
        }
    }
}
