//! What people see of continuous integration. Views draw plain data; the other modules load it, listen for changes and
//! do what buttons ask for.

mod actions;
mod artifact_view;
mod artifacts;
mod badge_view;
mod badges;
mod base;
mod coverage_page;
mod diagnostic_view;
mod explain;
mod explain_view;
mod family_view;
mod findings_page;
mod graph_view;
mod input_fields;
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
mod run;
mod run_view;
mod runner_form;
mod runner_view;
mod runners;
mod schedule_view;
mod schedules;
mod settings;
mod settings_view;
#[cfg(test)]
mod tests;
mod tests_page;
mod variable_rows;
mod words;

use std::sync::Arc;

use rave_http::Routes;

use crate::service::Ci;

/// Returns the routes of the pages.
pub(crate) fn routes(ci: Arc<Ci>) -> Routes {
    Routes::new()
        .get("{project}/-/pipelines", pipelines::list)
        .post("{project}/-/pipelines", run::create)
        .get("{project}/-/pipelines/new", run::show)
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
        .get("{project}/-/badges/{*rest}", badges::show)
        .get("{project}/-/pipeline_schedules", schedules::list)
        .post("{project}/-/pipeline_schedules", schedules::create)
        .get("{project}/-/pipeline_schedules/new", schedules::new)
        .get(
            "{project}/-/pipeline_schedules/{schedule}/edit",
            schedules::edit,
        )
        .post(
            "{project}/-/pipeline_schedules/{schedule}",
            schedules::update,
        )
        .post(
            "{project}/-/pipeline_schedules/{schedule}/play",
            schedules::play,
        )
        .post(
            "{project}/-/pipeline_schedules/{schedule}/take_ownership",
            schedules::take_ownership,
        )
        .post(
            "{project}/-/pipeline_schedules/{schedule}/delete",
            schedules::delete,
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
        .get("{project}/-/settings/ci_cd", settings::show)
        .post("{project}/-/settings/ci_cd/variables", settings::create)
        .get("{project}/-/settings/ci_cd/variables/{key}", settings::edit)
        .post(
            "{project}/-/settings/ci_cd/variables/{key}",
            settings::update,
        )
        .post(
            "{project}/-/settings/ci_cd/variables/{key}/delete",
            settings::delete,
        )
        .post(
            "{project}/-/settings/ci_cd/triggers",
            settings::create_trigger,
        )
        .post(
            "{project}/-/settings/ci_cd/triggers/{trigger}/delete",
            settings::delete_trigger,
        )
        .get("/-/groups/{id}/settings/ci_cd", settings::show)
        .post("/-/groups/{id}/settings/ci_cd/variables", settings::create)
        .get(
            "/-/groups/{id}/settings/ci_cd/variables/{key}",
            settings::edit,
        )
        .post(
            "/-/groups/{id}/settings/ci_cd/variables/{key}",
            settings::update,
        )
        .post(
            "/-/groups/{id}/settings/ci_cd/variables/{key}/delete",
            settings::delete,
        )
        .get("/-/admin/ci_cd", settings::show)
        .post("/-/admin/ci_cd/variables", settings::create)
        .get("/-/admin/ci_cd/variables/{key}", settings::edit)
        .post("/-/admin/ci_cd/variables/{key}", settings::update)
        .post("/-/admin/ci_cd/variables/{key}/delete", settings::delete)
        .get("{project}/-/runners", runners::list)
        .post("{project}/-/runners", runners::create)
        .get("{project}/-/runners/new", runners::new)
        .get("{project}/-/runners/{runner}", runners::show)
        .post("{project}/-/runners/{runner}", runners::update)
        .get("{project}/-/runners/{runner}/edit", runners::edit)
        .post("{project}/-/runners/{runner}/pause", runners::pause)
        .post("{project}/-/runners/{runner}/resume", runners::resume)
        .post("{project}/-/runners/{runner}/reset", runners::reset)
        .post("{project}/-/runners/{runner}/delete", runners::delete)
        .get("/-/groups/{id}/runners", runners::list)
        .post("/-/groups/{id}/runners", runners::create)
        .get("/-/groups/{id}/runners/new", runners::new)
        .get("/-/groups/{id}/runners/{runner}", runners::show)
        .post("/-/groups/{id}/runners/{runner}", runners::update)
        .get("/-/groups/{id}/runners/{runner}/edit", runners::edit)
        .post("/-/groups/{id}/runners/{runner}/pause", runners::pause)
        .post("/-/groups/{id}/runners/{runner}/resume", runners::resume)
        .post("/-/groups/{id}/runners/{runner}/reset", runners::reset)
        .post("/-/groups/{id}/runners/{runner}/delete", runners::delete)
        .get("/-/admin/runners", runners::list)
        .post("/-/admin/runners", runners::create)
        .get("/-/admin/runners/new", runners::new)
        .get("/-/admin/runners/{runner}", runners::show)
        .post("/-/admin/runners/{runner}", runners::update)
        .get("/-/admin/runners/{runner}/edit", runners::edit)
        .post("/-/admin/runners/{runner}/pause", runners::pause)
        .post("/-/admin/runners/{runner}/resume", runners::resume)
        .post("/-/admin/runners/{runner}/reset", runners::reset)
        .post("/-/admin/runners/{runner}/delete", runners::delete)
        .with_state(ci)
}
