//! Fields for the inputs of a file's header, in forms that start pipelines, now or by the clock.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rave_ci_lang::{FormInput, InputKind, InputValue};
use rave_core::permission::{Access, RunPipelines};
use rave_http::Params;
use serde_json::Value;

use crate::error::CiError;
use crate::model::Source;
use crate::service::Ci;
use crate::service::create::Wish;
use crate::service::plan::Reading;

/// What is asked, and what somebody wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct InputFields {
    asked: Vec<FormInput>,
    answers: BTreeMap<String, String>,
}

impl InputFields {
    /// Reads the answers of a form or an address: `inputs[NAME]=value`.
    pub(super) fn read(params: &Params) -> Self {
        let given = params.value("inputs").and_then(Value::as_object);
        let answer = |(name, value): (&String, &Value)| {
            let text = value.as_str().map(|it| it.replace("\r\n", "\n"));
            Some((name.clone(), text?))
        };
        Self {
            asked: Vec::new(),
            answers: given.into_iter().flatten().filter_map(answer).collect(),
        }
    }

    /// Shows what is given already.
    pub(super) fn of(given: &[(String, InputValue)]) -> Self {
        let answer = |(name, value): &(String, InputValue)| {
            let text = match value {
                InputValue::Boolean(it) => it.to_string(),
                InputValue::Number(it) => it.to_string(),
                InputValue::Text(it) => it.clone(),
                InputValue::Other(it) => it.to_string(),
            };
            (name.clone(), text)
        };
        Self {
            asked: Vec::new(),
            answers: given.iter().map(answer).collect(),
        }
    }

    /// Asks for these inputs.
    pub(super) fn ask(&mut self, inputs: Vec<FormInput>) {
        self.asked = inputs;
    }

    /// Returns the answers as they were written.
    pub(super) fn texts(self) -> Vec<(String, InputValue)> {
        let answers = self.answers.into_iter();
        answers.map(|it| (it.0, InputValue::Text(it.1))).collect()
    }

    /// Whether nothing is asked.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether an input that has to be given is not.
    pub(super) fn lack_answers(&self) -> bool {
        let lacks = |it: &FormInput| it.default.is_none() && self.answer(it).is_empty();
        self.asked.iter().any(lacks)
    }

    fn answer<'a>(&'a self, input: &'a FormInput) -> &'a str {
        let written = self.answers.get(&input.name).or(input.default.as_ref());
        written.map_or("", String::as_str)
    }

    /// Returns the inputs that are not as they would be anyway. An empty field is an answer only where a text is asked that
    /// would else be another one.
    pub(super) fn given(&self) -> Vec<(String, InputValue)> {
        let mut given = Vec::new();
        for input in &self.asked {
            let Some(text) = self.answers.get(&input.name) else {
                continue;
            };
            let same = input.default.as_ref() == Some(text);
            let nothing = input.kind != InputKind::String || input.default.is_none();
            if same || (text.is_empty() && nothing) {
                continue;
            }
            given.push((input.name.clone(), value(input.kind, text)));
        }
        given
    }

    /// The fields. Nothing if nothing is asked.
    pub(super) fn fields(&self) -> Markup {
        html! {
            @if !self.asked.is_empty() {
                fieldset.variables {
                    legend { "Inputs" }
                    @for input in &self.asked { (field(input, self.answer(input))) }
                }
            }
        }
    }
}

/// Reads the file at a branch or tag as for a pipeline that somebody starts there. `None`: there is no such ref, or no file.
pub(super) async fn reading_at(
    ci: &Ci,
    access: &Access<RunPipelines>,
    reference: &str,
    inputs: Vec<(String, InputValue)>,
) -> Result<Option<Reading>, CiError> {
    let wish = Wish {
        inputs,
        ..Wish::new(reference, Source::Web)
    };
    let user = access.principal().user_id();
    match ci.occasion(access.project(), wish, user).await {
        Ok(occasion) => ci.read_plan(&occasion).await,
        // There is no such ref, which the form's answer says.
        Err(CiError::NoPipeline(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns what somebody means who writes this. What is not of the kind is said to be so by the language.
fn value(kind: InputKind, text: &str) -> InputValue {
    let parsed = match kind {
        InputKind::String => None,
        _ => serde_json::from_str(text).ok(),
    };
    match parsed {
        Some(Value::Bool(it)) => InputValue::Boolean(it),
        Some(Value::Number(it)) => InputValue::Number(it),
        Some(other @ Value::Array(_)) => InputValue::Other(other),
        _ => InputValue::Text(text.to_owned()),
    }
}

fn field(input: &FormInput, answer: &str) -> Markup {
    let name = format!("inputs[{}]", input.name);
    let required = input.default.is_none();
    let booleans = ["true".to_owned(), "false".to_owned()];
    let options = match input.kind {
        InputKind::Boolean => &booleans[..],
        _ => &input.options,
    };
    html! {
        label {
            span { (input.name) " " span.muted { (label(input.kind)) @if required { ", required" } } }
            @if !options.is_empty() {
                select name=(name) required[required] {
                    @if !options.iter().any(|it| it == answer) { option value=(answer) selected { (answer) } }
                    @for option in options { option value=(option) selected[option == answer] { (option) } }
                }
            } @else if input.kind == InputKind::Number {
                input type="number" step="any" name=(name) value=(answer) required[required] autocomplete="off";
            } @else if answer.contains('\n') {
                textarea.mono name=(name) rows="3" required[required] spellcheck="false" { (answer) }
            } @else if input.kind == InputKind::Array {
                input.mono name=(name) value=(answer) required[required] placeholder="[\"one\", \"two\"]" autocomplete="off" spellcheck="false";
            } @else {
                input name=(name) value=(answer) required[required] autocomplete="off" spellcheck="false";
            }
            @if let Some(text) = &input.description { span.help { (text) } }
        }
    }
}

const fn label(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Array => "list",
        InputKind::Boolean => "true or false",
        InputKind::Number => "number",
        InputKind::String => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, kind: InputKind, default: Option<&str>) -> FormInput {
        FormInput {
            name: name.to_owned(),
            kind,
            default: default.map(str::to_owned),
            description: None,
            options: Vec::new(),
        }
    }

    #[test]
    fn only_what_differs_is_given_and_is_of_its_kind() {
        let check = |kind, default, text: &str, expected: Option<InputValue>| {
            let mut fields = InputFields::of(&[("x".into(), InputValue::Text(text.into()))]);
            fields.ask(vec![input("x", kind, default)]);
            let given = fields.given().pop().map(|it| it.1);
            assert_eq!(given, expected, "{kind:?} {default:?} {text:?}");
        };
        let text = |it: &str| Some(InputValue::Text(it.to_owned()));
        use InputKind::{Array, Boolean, Number, String};
        check(String, Some("a"), "a", None);
        check(String, Some("a"), "1", text("1"));
        check(String, Some("a"), "", text(""));
        check(String, None, "", None);
        check(
            Boolean,
            Some("false"),
            "true",
            Some(InputValue::Boolean(true)),
        );
        check(Number, None, "3", Some(InputValue::Number(3.into())));
        check(Number, Some("1"), "", None);
        check(Number, Some("1"), "three", text("three"));
        let list = serde_json::json!(["a"]);
        check(Array, Some("[]"), r#"["a"]"#, Some(InputValue::Other(list)));
    }

    #[test]
    fn what_has_to_be_given_is_missed() {
        let mut fields = InputFields::default();
        fields.ask(vec![input("x", InputKind::String, Some(""))]);
        assert!(!fields.lack_answers());
        fields.ask(vec![input("x", InputKind::String, None)]);
        assert!(fields.lack_answers());
        fields.answers.insert("x".to_owned(), "1".to_owned());
        assert!(!fields.lack_answers());
    }
}
