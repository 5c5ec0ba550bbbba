//! What people see of continuous integration. Views draw plain data; the other modules load it, listen for changes and
//! do what buttons ask for.

mod actions;
mod artifact_view;
mod artifacts;
mod base;
mod coverage_page;
mod diagnostic_view;
mod explain;
mod explain_view;
mod family_view;
mod findings_page;
mod graph_view;
mod job_list_view;
mod job_view;
mod jobs;
mod list_view;
mod lists_page;
mod live;
mod log_page;
mod pipeline_view;
mod pipelines;
mod queries;
mod report_view;
mod runner_view;
mod runners;
#[cfg(test)]
mod tests;
mod tests_page;
mod words;

use std::sync::Arc;

use rave_http::Routes;

use crate::service::Ci;

/// Returns the routes of the pages.
pub(crate) fn routes(ci: Arc<Ci>) -> Routes {
    Routes::new()
        .get("{project}/-/pipelines", pipelines::list)
        .post("{project}/-/pipelines", pipelines::create)
        .get("{project}/-/pipelines/new", pipelines::form)
        .get("{project}/-/pipelines/{pipeline}", pipelines::show)
        .get("{project}/-/pipelines/{pipeline}/live", live::pipeline)
        .get("{project}/-/pipelines/{pipeline}/builds", pipelines::jobs)
        .get("{project}/-/pipelines/{pipeline}/needs", pipelines::needs)
        .get(
            "{project}/-/pipelines/{pipeline}/test_report",
            tests_page::show,
        )
        .get(
            "{project}/-/pipelines/{pipeline}/findings",
            findings_page::show,
        )
        .get(
            "{project}/-/pipelines/{pipeline}/coverage",
            coverage_page::show,
        )
        .get("{project}/-/pipelines/{pipeline}/reports", lists_page::show)
        .get("{project}/-/pipelines/{pipeline}/explain", explain::show)
        .post(
            "{project}/-/pipelines/{pipeline}/cancel",
            actions::cancel_pipeline,
        )
        .post(
            "{project}/-/pipelines/{pipeline}/retry",
            actions::retry_pipeline,
        )
        .get("{project}/-/jobs", jobs::list)
        .get("{project}/-/jobs/{job}", jobs::show)
        .get("{project}/-/jobs/{job}/live", live::job)
        .get("{project}/-/jobs/{job}/raw", jobs::raw)
        .post("{project}/-/jobs/{job}/cancel", actions::cancel_job)
        .post("{project}/-/jobs/{job}/retry", actions::retry_job)
        .post("{project}/-/jobs/{job}/play", actions::play_job)
        .post("{project}/-/jobs/{job}/unschedule", actions::unschedule_job)
        .post("{project}/-/jobs/{job}/erase", actions::erase_job)
        .get("{project}/-/jobs/{job}/artifacts/browse", artifacts::browse)
        .get(
            "{project}/-/jobs/{job}/artifacts/browse/{*path}",
            artifacts::browse_folder,
        )
        .get(
            "{project}/-/jobs/{job}/artifacts/file/{*path}",
            artifacts::file,
        )
        .get(
            "{project}/-/jobs/{job}/artifacts/download",
            artifacts::download,
        )
        .get("/-/admin/runners", runners::list)
        .post("/-/admin/runners", runners::create)
        .post("/-/admin/runners/{runner}/pause", runners::pause)
        .post("/-/admin/runners/{runner}/resume", runners::resume)
        .post("/-/admin/runners/{runner}/delete", runners::delete)
        .with_state(ci)
}
