//! The dialects: the runner protocol, and the API for clients in GitLab's shapes.

mod artifacts;
mod explain;
mod job_token;
mod jobs;
pub(crate) mod keeper;
mod lint;
pub(crate) mod numbers;
mod pipelines;
mod reports;
mod resource_groups;
mod runner;
mod runners;
mod schedules;
pub(crate) mod shapes;
mod streams;
mod triggers;
mod variables;

use std::sync::Arc;

use rave_http::Routes;

use crate::service::Ci;
pub(crate) use runner::payload::format_of;

/// The state of all handlers.
pub(crate) type State = axum::extract::State<Arc<Ci>>;

/// Returns the routes of the runner protocol and of the API.
pub(crate) fn routes() -> Routes<Arc<Ci>> {
    Routes::new()
        // The runner protocol.
        .post("/api/v4/runners", runner::lifecycle::register)
        .post("/api/v4/runners/verify", runner::lifecycle::verify)
        .delete("/api/v4/runners", runner::lifecycle::unregister)
        .delete(
            "/api/v4/runners/managers",
            runner::lifecycle::unregister_manager,
        )
        .post(
            "/api/v4/runners/reset_authentication_token",
            runner::lifecycle::reset_own_token,
        )
        .post("/api/v4/jobs/request", runner::request::request)
        .put("/api/v4/jobs/{job}", runner::update::update)
        .patch("/api/v4/jobs/{job}/trace", runner::trace::append)
        .post(
            "/api/v4/jobs/{job}/artifacts/authorize",
            runner::artifacts::authorize,
        )
        .post("/api/v4/jobs/{job}/artifacts", runner::artifacts::upload)
        .get("/api/v4/jobs/{job}/artifacts", runner::artifacts::download)
        // Runners for people.
        .post("/api/v4/user/runners", runners::create)
        .get("/api/v4/runners", runners::list_own)
        .get("/api/v4/runners/all", runners::list_all)
        .get("/api/v4/runners/{runner}", runners::show)
        .put("/api/v4/runners/{runner}", runners::update)
        .delete("/api/v4/runners/{runner}", runners::delete)
        .get("/api/v4/runners/{runner}/managers", runners::managers)
        .post(
            "/api/v4/runners/{runner}/reset_authentication_token",
            runners::reset_token,
        )
        .get("/api/v4/runners/{runner}/jobs", runners::jobs::list)
        .post(
            "/api/v4/runners/reset_registration_token",
            runners::registration::reset_of_instance,
        )
        .get("/api/v4/projects/{id}/runners", runners::projects::list)
        .post("/api/v4/projects/{id}/runners", runners::projects::assign)
        .delete(
            "/api/v4/projects/{id}/runners/{runner}",
            runners::projects::unassign,
        )
        .post(
            "/api/v4/projects/{id}/runners/reset_registration_token",
            runners::registration::reset_of_project,
        )
        .get("/api/v4/groups/{id}/runners", runners::groups::list)
        .post(
            "/api/v4/groups/{id}/runners/reset_registration_token",
            runners::registration::reset_of_group,
        )
        // Pipelines.
        .get("/api/v4/projects/{id}/pipelines", pipelines::list)
        .post("/api/v4/projects/{id}/pipeline", pipelines::create)
        .get("/api/v4/projects/{id}/pipelines/latest", pipelines::latest)
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}",
            pipelines::show,
        )
        .delete(
            "/api/v4/projects/{id}/pipelines/{pipeline}",
            pipelines::delete,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/variables",
            pipelines::variables,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/jobs",
            jobs::list_of_pipeline,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/bridges",
            pipelines::bridges,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/test_report",
            reports::tests,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/test_report_summary",
            reports::test_summary,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/findings",
            reports::findings,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/coverage_report",
            reports::coverage,
        )
        .post(
            "/api/v4/projects/{id}/pipelines/{pipeline}/retry",
            pipelines::retry,
        )
        .post(
            "/api/v4/projects/{id}/pipelines/{pipeline}/cancel",
            pipelines::cancel,
        )
        .get(
            "/api/v4/projects/{id}/pipelines/{pipeline}/explain",
            explain::explain,
        )
        .post(
            "/api/v4/projects/{id}/pipelines/{pipeline}/replay",
            explain::replay,
        )
        .post("/api/v4/ci/lint", lint::lint_alone)
        .get("/api/v4/projects/{id}/ci/lint", lint::lint_commit)
        .post("/api/v4/projects/{id}/ci/lint", lint::lint_text)
        // Schedules.
        .get("/api/v4/projects/{id}/pipeline_schedules", schedules::list)
        .post(
            "/api/v4/projects/{id}/pipeline_schedules",
            schedules::create,
        )
        .get(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}",
            schedules::show,
        )
        .put(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}",
            schedules::update,
        )
        .delete(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}",
            schedules::delete,
        )
        .post(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}/play",
            schedules::play,
        )
        .post(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}/take_ownership",
            schedules::take_ownership,
        )
        .get(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}/pipelines",
            schedules::pipelines,
        )
        .post(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}/variables",
            schedules::add_variable,
        )
        .put(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}/variables/{key}",
            schedules::update_variable,
        )
        .delete(
            "/api/v4/projects/{id}/pipeline_schedules/{schedule}/variables/{key}",
            schedules::delete_variable,
        )
        // Triggers.
        .get("/api/v4/projects/{id}/triggers", triggers::list)
        .post("/api/v4/projects/{id}/triggers", triggers::create)
        .get("/api/v4/projects/{id}/triggers/{trigger}", triggers::show)
        .put("/api/v4/projects/{id}/triggers/{trigger}", triggers::update)
        .delete("/api/v4/projects/{id}/triggers/{trigger}", triggers::delete)
        .post("/api/v4/projects/{id}/trigger/pipeline", triggers::run)
        .post(
            "/api/v4/projects/{id}/ref/{ref}/trigger/pipeline",
            triggers::run,
        )
        // Variables.
        .get("/api/v4/projects/{id}/variables", variables::list)
        .post("/api/v4/projects/{id}/variables", variables::create)
        .get("/api/v4/projects/{id}/variables/{key}", variables::show)
        .put("/api/v4/projects/{id}/variables/{key}", variables::update)
        .delete("/api/v4/projects/{id}/variables/{key}", variables::delete)
        .get("/api/v4/groups/{id}/variables", variables::list)
        .post("/api/v4/groups/{id}/variables", variables::create)
        .get("/api/v4/groups/{id}/variables/{key}", variables::show)
        .put("/api/v4/groups/{id}/variables/{key}", variables::update)
        .delete("/api/v4/groups/{id}/variables/{key}", variables::delete)
        .get("/api/v4/admin/ci/variables", variables::list)
        .post("/api/v4/admin/ci/variables", variables::create)
        .get("/api/v4/admin/ci/variables/{key}", variables::show)
        .put("/api/v4/admin/ci/variables/{key}", variables::update)
        .delete("/api/v4/admin/ci/variables/{key}", variables::delete)
        // Jobs.
        .get("/api/v4/job", job_token::show)
        .get("/api/v4/projects/{id}/jobs", jobs::list)
        .get("/api/v4/projects/{id}/jobs/{job}", jobs::show)
        .get("/api/v4/projects/{id}/jobs/{job}/trace", jobs::trace)
        .post("/api/v4/projects/{id}/jobs/{job}/play", jobs::play)
        .post("/api/v4/projects/{id}/jobs/{job}/retry", jobs::retry)
        .post("/api/v4/projects/{id}/jobs/{job}/cancel", jobs::cancel)
        .post("/api/v4/projects/{id}/jobs/{job}/erase", jobs::erase)
        // Resource groups.
        .get(
            "/api/v4/projects/{id}/resource_groups",
            resource_groups::list,
        )
        .get(
            "/api/v4/projects/{id}/resource_groups/{key}",
            resource_groups::show,
        )
        .put(
            "/api/v4/projects/{id}/resource_groups/{key}",
            resource_groups::update,
        )
        .get(
            "/api/v4/projects/{id}/resource_groups/{key}/upcoming_jobs",
            resource_groups::upcoming_jobs,
        )
        .get(
            "/api/v4/projects/{id}/resource_groups/{key}/current_job",
            resource_groups::current_job,
        )
        // Artifacts.
        .get(
            "/api/v4/projects/{id}/jobs/{job}/artifacts",
            artifacts::download,
        )
        .delete(
            "/api/v4/projects/{id}/jobs/{job}/artifacts",
            artifacts::delete,
        )
        .post(
            "/api/v4/projects/{id}/jobs/{job}/artifacts/keep",
            artifacts::keep,
        )
        .get(
            "/api/v4/projects/{id}/jobs/{job}/artifacts/{*path}",
            artifacts::file,
        )
        .get(
            "/api/v4/projects/{id}/jobs/artifacts/{ref}/download",
            artifacts::download_of_ref,
        )
        .get(
            "/api/v4/projects/{id}/jobs/artifacts/{ref}/raw/{*path}",
            artifacts::file_of_ref,
        )
        .delete("/api/v4/projects/{id}/artifacts", artifacts::delete_all)
}
