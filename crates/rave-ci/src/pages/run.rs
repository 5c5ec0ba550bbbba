//! The form that starts a pipeline by hand: a branch or tag, variables and inputs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use rave_core::permission::{Access, RunPipelines};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Params};
use serde_json::Value;

use super::base::{self, Base};
use super::input_fields::{InputFields, reading_at};
use super::run_view::{self, RunForm};
use super::variable_rows::{self, VariableRow};
use crate::error::CiError;
use crate::model::Source;
use crate::service::Ci;
use crate::service::create::Wish;

/// Shows the form, with the variables and inputs that the file of the ref describes. The address may bring a ref, variables and inputs:
/// `?ref=main&var[KEY]=value&file_var[KEY]=content&inputs[NAME]=value`.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<RunPipelines>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reference = params.text("ref").filter(|it| !it.is_empty());
    let mut form = RunForm {
        reference: reference.unwrap_or_else(|| access.project().default_branch.clone()),
        inputs: InputFields::read(&params),
        ..RunForm::default()
    };
    for (name, file) in [("var", false), ("file_var", true)] {
        form.variables.extend(brought(params.value(name), file));
    }
    describe(&ci, &access, &mut form).await?;
    Ok(render(&access, &page, &form, StatusCode::OK))
}

/// Finds what the file at the form's ref says of variables and inputs. A file that is not valid is said to be so.
async fn describe(
    ci: &Ci,
    access: &Access<RunPipelines>,
    form: &mut RunForm,
) -> Result<(), HttpError> {
    let Some(first) = reading_at(ci, access, &form.reference, Vec::new()).await? else {
        return Ok(());
    };
    form.inputs.ask(first.inputs);
    // With what is given, the file may be valid, and other variables may be described.
    let given = form.inputs.given();
    let compiled = if given.is_empty() {
        Some(first.compiled)
    } else {
        let reading = reading_at(ci, access, &form.reference, given).await?;
        reading.map(|it| it.compiled)
    };
    match compiled {
        Some(Ok(compiled)) => form.described = compiled.form,
        Some(Err(errors)) if form.problems.is_empty() && !form.inputs.lack_answers() => {
            form.problems = errors.iter().map(ToString::to_string).collect();
        }
        _ => {}
    }
    Ok(())
}

/// Reads the variables of an address.
fn brought(value: Option<&Value>, file: bool) -> Vec<VariableRow> {
    let map = value.and_then(Value::as_object);
    let row = |(key, value): (&String, &Value)| VariableRow {
        key: key.clone(),
        value: value.as_str().unwrap_or_default().to_owned(),
        file,
    };
    map.into_iter().flatten().map(row).collect()
}

fn render(
    access: &Access<RunPipelines>,
    page: &Page,
    form: &RunForm,
    status: StatusCode,
) -> Response {
    let base = Base {
        root: page.href(""),
        href: page.project_href(access.project(), ""),
        may_run: true,
    };
    let content = run_view::form(&base, form);
    let chrome = base::chrome(access, Tab::Pipelines);
    page.render_status(status, "Run pipeline", &chrome, &content)
}

/// Starts a pipeline.
pub(super) async fn create(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<RunPipelines>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let variables = variable_rows::read(&params);
    let mut form = RunForm {
        reference: params.text("ref").unwrap_or_default().trim().to_owned(),
        problems: variable_rows::problems(&variables),
        variables,
        inputs: InputFields::read(&params),
        ..RunForm::default()
    };
    if form.reference.is_empty() {
        form.problems.push("Name a branch or tag.".to_owned());
    }
    if form.problems.is_empty() {
        if let Some(reading) = reading_at(&ci, &access, &form.reference, Vec::new()).await? {
            form.inputs.ask(reading.inputs);
        }
        let wish = Wish {
            inputs: form.inputs.given(),
            variables: form.variables.iter().map(VariableRow::variable).collect(),
            ..Wish::new(form.reference.clone(), Source::Web)
        };
        match ci.create_pipeline(&access, wish).await {
            Ok(made) => {
                let tail = format!("/-/pipelines/{}", made.id);
                let target = page.project_href(access.project(), &tail);
                return Ok(Redirect::to(&target).into_response());
            }
            Err(CiError::NoPipeline(reasons)) => form.problems = reasons,
            Err(CiError::Invalid(reason)) => form.problems = vec![reason],
            Err(error) => return Err(error.into()),
        }
    }
    describe(&ci, &access, &mut form).await?;
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(render(&access, &page, &form, status))
}
