//! The reports that are lists: components, metrics, plans, links, measurements.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::permission::ReadPipelines;
use rave_http::{Authorized, HttpError, Page, component};

use super::pipeline_view::{PipelineTab, PipelineView};
use super::pipelines;
use super::report_view::{kind_name, problems};
use crate::service::Ci;
use crate::store::report::Report;

/// Shows the smaller reports of a pipeline.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    ci.wait_for_reports(pipelines::pipeline_id(&id)?).await?;
    let view = pipelines::open(&ci, &access, &page, &id, PipelineTab::Lists).await?;
    let content = content(&view);
    Ok(pipelines::render(&page, &access, view, &content))
}

fn content(view: &PipelineView) -> Markup {
    let is_list = |it: &&Report| {
        !it.summary.entries.is_empty() || (it.error.is_some() && is_list_kind(&it.kind))
    };
    let lists: Vec<&Report> = view.results.reports.iter().filter(is_list).collect();
    html! {
        (problems(&view.base, lists.iter().copied()))
        @if lists.is_empty() {
            (component::empty("No such reports", &html! { p { "Components (" code { "cyclonedx" } "), metrics, plans and links of jobs show here." } }))
        }
        @for report in lists.iter().filter(|it| !it.summary.entries.is_empty()) { (list(view, report)) }
    }
}

fn is_list_kind(kind: &str) -> bool {
    matches!(
        kind,
        "annotations"
            | "terraform"
            | "metrics"
            | "cyclonedx"
            | "performance"
            | "browser_performance"
            | "load_performance"
    )
}

fn list(view: &PipelineView, report: &Report) -> Markup {
    let entries = &report.summary.entries;
    let grouped = entries.iter().any(|it| !it.group.is_empty());
    html! {
        section {
            h2 { (kind_name(&report.kind)) }
            p.facts {
                span { "Job " a href=(view.base.job(report.job)) { (report.job_name) } }
                span { (entries.len()) @if entries.len() == 1 { " entry" } @else { " entries" } }
                a href={ (view.base.job(report.job)) "/artifacts/download?file_type=" (report.kind) } { "Download" }
            }
            div.table {
                table {
                    tbody {
                        @for it in entries {
                            tr {
                                @if grouped { td.muted { (it.group) } }
                                td { @if let Some(link) = &it.link { a href=(link) rel="nofollow noopener" { (it.name) } } @else { (it.name) } }
                                td.number { (it.value) }
                            }
                        }
                    }
                }
            }
        }
    }
}
