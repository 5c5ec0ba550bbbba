//! Badges: small pictures of how a branch is doing, for READMEs and dashboards.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use rave_core::job::Status;
use rave_core::permission::{Access, ReadPipelines};
use rave_core::port::Slice;
use rave_http::{Authorized, HttpError, Params};

use super::badge_view::{Badge, Colour, Style};
use crate::model::PipelineFilter;
use crate::service::Ci;

/// Longest text on the left.
const KEY_CHARS: usize = 64;
/// Widest left side.
const KEY_WIDTH: i64 = 512;

/// `GET …/-/badges/REF/pipeline.svg`: the newest pipeline of a branch or tag. `…/coverage.svg`: how much of the code its
/// tests reach, of all jobs or of the one that `job` names.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(rest): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let missing = || HttpError::not_found("Badge");
    let (ref_name, file) = rest.rsplit_once('/').ok_or_else(missing)?;
    let key = params.text("key_text").filter(|it| !it.is_empty());
    let key = key.map(|it| it.chars().take(KEY_CHARS).collect::<String>());
    let width = params.int("key_width").map(|it| it.clamp(1, KEY_WIDTH));
    let style = params
        .choice("style", Style::from_label)
        .unwrap_or_default();
    let ignore_skipped = params.bool("ignore_skipped").unwrap_or(false);
    let job = params.text("job").filter(|it| !it.is_empty());
    params.check()?;
    let badge = match file {
        "pipeline.svg" => {
            let found = newest(&ci, &access, ref_name, ignore_skipped).await?;
            Badge {
                key: key.unwrap_or_else(|| "pipeline".to_owned()),
                value: found.map_or("unknown", word).to_owned(),
                colour: found.map_or(Colour::Grey, colour),
                key_width: width,
                style,
            }
        }
        "coverage.svg" => {
            let project = access.project().id;
            let found = ci.coverage_of_ref(project, ref_name, job.as_deref()).await;
            let found = found.map_err(HttpError::internal)?;
            Badge {
                key: key.unwrap_or_else(|| "coverage".to_owned()),
                value: found.map_or_else(|| "unknown".to_owned(), |it| format!("{it:.2}%")),
                colour: found.map_or(Colour::Grey, colour_of_coverage),
                key_width: width,
                style,
            }
        }
        _ => return Err(missing()),
    };
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml; charset=utf-8"),
        // Proxies of pictures must ask again, or a README shows yesterday's state.
        (header::CACHE_CONTROL, "no-cache, no-store, private"),
    ];
    Ok((headers, badge.svg()).into_response())
}

async fn newest(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    ref_name: &str,
    ignore_skipped: bool,
) -> Result<Option<Status>, HttpError> {
    let mut filter = PipelineFilter {
        ref_name: Some(ref_name.to_owned()),
        ..PipelineFilter::default()
    };
    if ignore_skipped {
        let others = Status::ALL.into_iter().filter(|it| *it != Status::Skipped);
        filter.status = others.collect();
    }
    let one = Slice {
        offset: 0,
        limit: 1,
    };
    let found = ci.list_pipelines(access, filter, one).await?;
    Ok(found.items.first().map(|it| it.status))
}

fn colour_of_coverage(percent: f64) -> Colour {
    match percent {
        it if it >= 90.0 => Colour::Green,
        it if it >= 75.0 => Colour::Orange,
        _ => Colour::Red,
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Success => "passed",
        other => other.label(),
    }
}

fn colour(status: Status) -> Colour {
    match status {
        Status::Success => Colour::Green,
        Status::Failed => Colour::Red,
        Status::Running | Status::Canceling => Colour::Blue,
        Status::Pending | Status::WaitingForResource | Status::Scheduled => Colour::Orange,
        Status::Created | Status::Manual | Status::Canceled | Status::Skipped => Colour::Grey,
    }
}
