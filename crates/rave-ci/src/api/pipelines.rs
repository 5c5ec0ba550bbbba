//! Pipelines for clients.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rave_ci_lang::{InputValue, Variable};
use rave_core::job::Status;
use rave_core::permission::{ManageProject, ReadPipelines, Role, RunPipelines};
use rave_core::time::Timestamp;
use rave_http::{Authorized, HttpError, Pagination, Params};
use serde_json::{Value, json};

use super::State;
use super::numbers::PathParams;
use super::shapes::Shaper;
use crate::model::{Job, Pipeline, PipelineFilter, PipelineOrder, Source};
use crate::service::Ci;
use crate::service::create::Wish;
use crate::setting::is_key;
use crate::store::job::JobFilter;

/// Most inputs of one pipeline.
const MAX_INPUTS: usize = 20;

/// `GET /projects/:id/pipelines`.
pub(crate) async fn list(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let filter = filter(&mut params)?;
    let page = ci
        .list_pipelines(&access, filter, pagination.slice())
        .await?;
    let shaper = Shaper::of_pipelines(&ci, &access, &page.items).await?;
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|it| shaper.pipeline_summary(it))
        .collect();
    Ok(pagination.json(&items, page.total))
}

fn filter(params: &mut Params) -> Result<PipelineFilter, HttpError> {
    use Status as S;
    let mut filter = PipelineFilter {
        source: params.choice("source", Source::from_label),
        ref_name: params.text("ref"),
        sha: params.text("sha"),
        yaml_errors: params.bool("yaml_errors"),
        name: params.text("name"),
        updated_after: params.choice("updated_after", instant),
        updated_before: params.choice("updated_before", instant),
        ..PipelineFilter::default()
    };
    filter.status.extend(params.choice("status", S::from_label));
    match params.text("scope").as_deref() {
        None => {}
        Some("running") => filter.status = vec![S::Running, S::Canceling],
        Some("pending") => filter.status = vec![S::Pending],
        Some("finished") => filter.status = vec![S::Success, S::Failed, S::Canceled],
        Some("branches") => filter.tag = Some(false),
        Some("tags") => filter.tag = Some(true),
        Some(_) => {
            return Err(HttpError::bad_request("scope does not have a valid value")
                .body(json!({ "error": "scope does not have a valid value" })));
        }
    }
    let order = |it: &str| match it {
        "id" => Some(PipelineOrder::Id),
        "status" => Some(PipelineOrder::Status),
        "ref" => Some(PipelineOrder::Ref),
        "updated_at" => Some(PipelineOrder::UpdatedAt),
        "user_id" => Some(PipelineOrder::UserId),
        _ => None,
    };
    filter.order = params.choice("order_by", order).unwrap_or_default();
    filter.ascending = params.choice("sort", ascending).unwrap_or(false);
    params.check()?;
    Ok(filter)
}

fn ascending(text: &str) -> Option<bool> {
    match text {
        "asc" => Some(true),
        "desc" => Some(false),
        _ => None,
    }
}

/// Reads an instant of RFC 3339, or a date, which means its beginning in UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let instant: Option<jiff::Timestamp> = text.parse().ok();
    let date = || -> Option<jiff::Timestamp> { format!("{text}T00:00:00Z").parse().ok() };
    Some(Timestamp(instant.or_else(date)?.as_millisecond()))
}

/// `POST /projects/:id/pipeline`.
pub(crate) async fn create(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let ref_name = params.need_text("ref");
    params.check()?;
    let variables = variables_of(params.value("variables"))?;
    let inputs = inputs_of(params.value("inputs"))?;
    let pipeline = ci
        .create_pipeline(
            &access,
            Wish {
                variables,
                inputs,
                ..Wish::new(ref_name, Source::Api)
            },
        )
        .await?;
    created(&ci, &access, &pipeline).await
}

async fn created(
    ci: &Ci,
    access: &rave_core::permission::Access<RunPipelines>,
    pipeline: &Pipeline,
) -> Result<Response, HttpError> {
    let shaper = Shaper::of_pipelines(ci, access, std::slice::from_ref(pipeline)).await?;
    Ok((StatusCode::CREATED, Json(shaper.pipeline(pipeline))).into_response())
}

/// Reads variables in any of the forms that clients use: a list of objects, a map of them by index, or a plain map.
pub(crate) fn variables_of(value: Option<&Value>) -> Result<Vec<Variable>, HttpError> {
    let invalid = || {
        HttpError::bad_request("variables is invalid")
            .body(json!({ "error": "variables is invalid" }))
    };
    let items: Vec<Value> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(Value::Object(map)) if map.values().all(Value::is_object) => {
            map.values().cloned().collect()
        }
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect(),
        Some(_) => return Err(invalid()),
    };
    let mut variables: Vec<Variable> = Vec::new();
    for item in &items {
        let key = item["key"].as_str().ok_or_else(invalid)?;
        if key.len() > 255 || !is_key(key) {
            return Err(invalid());
        }
        if variables.iter().any(|it| it.key == key) {
            let message = format!("Duplicate variable name: {key}");
            return Err(HttpError::bad_request(message.clone())
                .body(json!({ "message": { "base": [message] } })));
        }
        variables.push(Variable {
            key: key.to_owned(),
            value: match &item["value"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                Value::Bool(_) | Value::Number(_) => item["value"].to_string(),
                Value::Array(_) | Value::Object(_) => return Err(invalid()),
            },
            file: item["variable_type"] == "file",
            ..Variable::default()
        });
    }
    Ok(variables)
}

/// Reads inputs: a map of any values.
pub(crate) fn inputs_of(value: Option<&Value>) -> Result<Vec<(String, InputValue)>, HttpError> {
    let invalid = |message: &str| HttpError::bad_request(message).body(json!({ "error": message }));
    let map = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(invalid("inputs is invalid")),
    };
    if map.len() > MAX_INPUTS {
        return Err(invalid(&format!(
            "inputs cannot contain more than {MAX_INPUTS} values"
        )));
    }
    let input = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Bool(it) => InputValue::Boolean(*it),
            Value::Number(it) => InputValue::Number(it.clone()),
            Value::String(it) => InputValue::Text(it.clone()),
            other => InputValue::Other(other.clone()),
        };
        (name.clone(), value)
    };
    Ok(map.iter().map(input).collect())
}

/// `GET /projects/:id/pipelines/latest`: of a branch or tag, the default branch if none is named.
pub(crate) async fn latest(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let ref_name = params
        .text("ref")
        .unwrap_or_else(|| access.project().default_branch.clone());
    params.check()?;
    let found = ci.find_latest_pipeline(&access, &ref_name).await?;
    let pipeline = found.ok_or_else(|| HttpError::not_found("Pipeline"))?;
    let shaper = Shaper::of_pipelines(&ci, &access, std::slice::from_ref(&pipeline)).await?;
    Ok(Json(shaper.pipeline(&pipeline)).into_response())
}

/// `GET /projects/:id/pipelines/:pipeline_id`.
pub(crate) async fn show(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let pipeline = ci.load_pipeline(&access, path.pipeline()?).await?;
    let shaper = Shaper::of_pipelines(&ci, &access, std::slice::from_ref(&pipeline)).await?;
    Ok(Json(shaper.pipeline(&pipeline)).into_response())
}

/// `GET …/variables`: what the pipeline was given, for those who may change settings.
pub(crate) async fn variables(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    if !access.is_at_least(Role::Developer) {
        return Err(HttpError::forbidden(
            "you are not allowed to read variables",
        ));
    }
    let (variables, _) = ci.load_inputs(&access, path.pipeline()?).await?;
    let shape = |it: &Variable| {
        json!({
            "variable_type": if it.file { "file" } else { "env_var" },
            "key": it.key,
            "value": it.value,
            "raw": it.raw,
        })
    };
    Ok(Json(variables.iter().map(shape).collect::<Vec<_>>()).into_response())
}

/// `GET …/bridges`: the jobs that make or follow other pipelines.
pub(crate) async fn bridges(
    ci: State,
    Authorized(access): Authorized<ReadPipelines>,
    path: PathParams,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let pipeline = ci.load_pipeline(&access, path.pipeline()?).await?;
    let filter = JobFilter {
        pipeline: Some(pipeline.id),
        bridges: Some(true),
        ..super::jobs::filter(&mut params)?
    };
    let page = ci.list_jobs(&access, filter, pagination.slice()).await?;
    let shaper = Shaper::of_jobs(&ci, &access, &page.items).await?;
    let links = ci.links(&access, &page.items).await?;
    let shape = |it: &Job| shaper.bridge(it, &links);
    let items: Vec<Value> = page.items.iter().map(shape).collect();
    Ok(pagination.json(&items, page.total))
}

/// `POST …/retry`.
pub(crate) async fn retry(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let pipeline = ci.retry_pipeline(&access, path.pipeline()?).await?;
    created(&ci, &access, &pipeline).await
}

/// `POST …/cancel`.
pub(crate) async fn cancel(
    ci: State,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<Response, HttpError> {
    let pipeline = ci.cancel_pipeline(&access, path.pipeline()?).await?;
    created(&ci, &access, &pipeline).await
}

/// `DELETE /projects/:id/pipelines/:pipeline_id`: for those who manage the project.
pub(crate) async fn delete(
    ci: State,
    Authorized(manage): Authorized<ManageProject>,
    Authorized(access): Authorized<RunPipelines>,
    path: PathParams,
) -> Result<StatusCode, HttpError> {
    drop(manage);
    ci.delete_pipeline(&access, path.pipeline()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_in_all_forms() {
        let check = |value: Value, expected: &str| {
            let list = variables_of(Some(&value)).expect("valid");
            let text: Vec<String> = list
                .iter()
                .map(|it| format!("{}={}", it.key, it.value))
                .collect();
            assert_eq!(text.join(" "), expected);
        };
        check(
            json!([{"key": "A", "value": "1"}, {"key": "B", "value": 2}]),
            "A=1 B=2",
        );
        check(json!({"A": "1"}), "A=1");
        check(json!({"0": {"key": "A", "value": "1"}}), "A=1");
        for wrong in [
            json!("A=1"),
            json!([{"value": "1"}]),
            json!([{"key": "A-B"}]),
        ] {
            assert!(variables_of(Some(&wrong)).is_err(), "{wrong}");
        }
        assert!(variables_of(Some(&json!([{"key": "A"}, {"key": "A"}]))).is_err());
    }

    #[test]
    fn instants_are_times_or_dates() {
        assert_eq!(instant("1970-01-01T00:00:01Z"), Some(Timestamp(1000)));
        assert_eq!(instant("1970-01-02"), Some(Timestamp(86_400_000)));
        assert_eq!(instant("yesterday"), None);
    }
}
