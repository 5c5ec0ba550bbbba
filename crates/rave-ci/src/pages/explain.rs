//! The page that says why a pipeline has the jobs that it has.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use rave_core::permission::{ReadCode, ReadPipelines};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Params};

use super::explain_view::ExplainView;
use super::{base, pipelines};
use crate::error::CiError;
use crate::service::Ci;

/// Shows all jobs of the file, or one of them in full.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadCode>,
    Path(id): Path<String>,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let id = pipelines::pipeline_id(&id)?;
    let job = params.text("job").filter(|it| !it.is_empty());
    let reading = access
        .also::<ReadPipelines>()
        .map_err(|_| CiError::NotFound("Pipeline"))?;
    let explained = match ci.explain_pipeline(&access, id, job).await {
        Ok(explained) => Ok(explained),
        // A file with errors has its own page, which shows them: here is said why there is nothing.
        Err(CiError::NoPipeline(errors)) => Err(errors),
        Err(error) => return Err(error.into()),
    };
    let view = ExplainView {
        base: base::of(&page, &reading),
        pipeline: id,
        explained,
    };
    Ok(page.render(
        &format!("Why · Pipeline #{id}"),
        &base::chrome(&access, Tab::Pipelines),
        &view.page(),
    ))
}
