//! `/groups/:id/runners`: the runners that take jobs of a group's projects.

use axum::response::Response;
use rave_http::{HttpError, Pagination, Params, SignedIn};

use super::{READ, filter, shape};
use crate::api::State;
use crate::api::numbers::PathParams;
use crate::store::runner::RunnerFilter;

/// `GET …`.
pub(crate) async fn list(
    ci: State,
    user: SignedIn,
    path: PathParams,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    user.need_scope(READ)?;
    let group = ci.load_kept_group(&user.0, path.text("id")).await?;
    let filter = RunnerFilter {
        usable_in: Some(ci.group_and_above(&group).await?),
        ..filter(&mut params)?
    };
    let page = ci.list_runners(filter, pagination.slice()).await?;
    shape::list(&ci, &page, &pagination).await
}
