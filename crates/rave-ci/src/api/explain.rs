//! Why a pipeline is as it is, and what another file would have made of it. These have no model: the shapes are our own.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use rave_core::permission::{ReadCode, ReadPipelines, RunPipelines};
use rave_http::{Authorized, HttpError, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use crate::error::CiError;
use crate::service::explain::{Explained, Why};

/// `GET`: every job of the file with a verdict, or one job in full.
pub(crate) async fn explain(
    ci: State,
    Authorized(access): Authorized<ReadCode>,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let job = params.text("job").filter(|it| !it.is_empty());
    params.check()?;
    access
        .also::<ReadPipelines>()
        .map_err(|_| CiError::NotFound("Pipeline"))?;
    let explained = ci.explain_pipeline(&access, path.pipeline()?, job).await?;
    Ok(Json(shape(&explained)).into_response())
}

fn shape(explained: &Explained) -> Value {
    let why = match &explained.why {
        Why::Jobs(verdicts) => serde_json::to_value(verdicts),
        Why::Job(explanation) => serde_json::to_value(explanation),
    };
    let mut value = why.unwrap_or_default();
    value["pipeline_id"] = json!(explained.pipeline.id);
    value["notes"] = json!(explained.notes);
    value
}

/// `POST`: what the pipeline would have been with another text as its file.
pub(crate) async fn replay(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let content = params.need_text("content");
    params.check()?;
    access
        .also::<ReadPipelines>()
        .map_err(|_| CiError::NotFound("Pipeline"))?;
    let replayed = ci
        .replay_pipeline(&access, path.pipeline()?, content)
        .await?;
    let text = |list: &[rave_ci_lang::Diagnostic]| -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    };
    let mut value = json!({
        "valid": replayed.result.is_ok(),
        "errors": replayed.result.as_ref().err().map(|it| text(&it.0)).unwrap_or_default(),
        "warnings": text(&replayed.notices),
        "notes": replayed.notes,
        "added": [],
        "dropped": [],
        "changed": [],
    });
    if let Ok(Value::Object(diff)) = replayed.result {
        for (key, part) in diff {
            value[key] = part;
        }
    }
    Ok(Json(value).into_response())
}
