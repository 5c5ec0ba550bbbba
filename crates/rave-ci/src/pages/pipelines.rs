//! The pages of pipelines: the list, and one pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::future::join_all;
use maud::{Markup, html};
use rave_core::id::PipelineId;
use rave_core::name::{ObjectId, RepoPath};
use rave_core::permission::{Access, ReadPipelines};
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Pagination, Params};

use super::base::{self, Base};
use super::list_view::{self, PipelineRow};
use super::pipeline_view::{self, PipelineTab, PipelineView, Results};
use super::queries;
use crate::error::CiError;
use crate::model::{Job, Pipeline, PipelineFilter, graph_of};
use crate::service::Ci;

/// The file that pipelines are made from.
const CONFIG_FILE: &str = ".gitlab-ci.yml";
/// Largest file that an error is shown in.
const SOURCE_LIMIT: u64 = 1 << 20;

/// Reads a pipeline's id out of an address.
pub(super) fn pipeline_id(text: &str) -> Result<PipelineId, HttpError> {
    text.parse()
        .map(PipelineId)
        .map_err(|_| HttpError::not_found("Pipeline"))
}

/// Lists the pipelines of a project.
pub(super) async fn list(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    pagination: Pagination,
    page: Page,
    mut params: Params,
) -> Result<Response, HttpError> {
    let ref_name = params.text("ref").filter(|it| !it.is_empty());
    let filter = PipelineFilter {
        ref_name: ref_name.clone(),
        ..PipelineFilter::default()
    };
    let found = ci
        .list_pipelines(&access, filter, pagination.slice())
        .await?;
    let people = base::people(&ci, found.items.iter().map(|it| it.user)).await?;
    let rows = rows(&ci, &access, found.items).await?;
    let base = base::of(&page, &access);
    let address = match &ref_name {
        Some(name) => format!(
            "{}?ref={}&",
            base.pipelines(),
            rave_http::page::encode_query(name)
        ),
        None => format!("{}?", base.pipelines()),
    };
    let content = html! {
        (list_view::pipelines(&base, &rows, &people, ref_name.as_deref(), ci.now()))
        (list_view::pager(&pagination, found.total, &address))
    };
    Ok(page.render(
        "Pipelines",
        &base::chrome(&access, Tab::Pipelines),
        &content,
    ))
}

async fn rows(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    pipelines: Vec<Pipeline>,
) -> Result<Vec<PipelineRow>, HttpError> {
    let ids: Vec<PipelineId> = pipelines.iter().map(|it| it.id).collect();
    let mut stages = ci
        .db
        .read("ci_page_stages", move |tx| {
            Ok::<_, CiError>(queries::stages(tx, &ids)?)
        })
        .await?;
    let mut commits: Vec<&str> = pipelines.iter().map(|it| it.sha.as_str()).collect();
    commits.sort_unstable();
    commits.dedup();
    let project = access.project().id;
    let titles = commits.iter().map(|it| base::commit_title(ci, project, it));
    let titles: BTreeMap<String, String> = commits
        .iter()
        .map(ToString::to_string)
        .zip(join_all(titles).await)
        .collect();
    let row = |pipeline: Pipeline| PipelineRow {
        commit_title: titles.get(&pipeline.sha).cloned().unwrap_or_default(),
        stages: stages.remove(&pipeline.id).unwrap_or_default(),
        pipeline,
    };
    Ok(pipelines.into_iter().map(row).collect())
}

/// Shows a pipeline: its graph.
pub(super) async fn show(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let view = open(&ci, &access, &page, &id, PipelineTab::Graph).await?;
    let content = view.first_tab();
    Ok(render(&page, &access, view, &content))
}

/// Lists the jobs of a pipeline.
pub(super) async fn jobs(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let view = open(&ci, &access, &page, &id, PipelineTab::Jobs).await?;
    let content = view.job_list();
    Ok(render(&page, &access, view, &content))
}

/// Lists what the jobs of a pipeline need.
pub(super) async fn needs(
    State(ci): State<Arc<Ci>>,
    Authorized(access): Authorized<ReadPipelines>,
    Path(id): Path<String>,
    page: Page,
) -> Result<Response, HttpError> {
    let view = open(&ci, &access, &page, &id, PipelineTab::Needs).await?;
    let content = view.need_list();
    Ok(render(&page, &access, view, &content))
}

/// Loads a pipeline for one of its pages.
pub(super) async fn open(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    page: &Page,
    id: &str,
    tab: PipelineTab,
) -> Result<PipelineView, HttpError> {
    let id = pipeline_id(id)?;
    let lasting = load_lasting(ci, access, id).await?;
    load(ci, access, base::of(page, access), id, tab, &lasting).await
}

/// Renders one of a pipeline's pages.
pub(super) fn render(
    page: &Page,
    access: &Access<ReadPipelines>,
    mut view: PipelineView,
    content: &Markup,
) -> Response {
    let seen = super::live::seen(&mut view);
    let goes_on = !view.pipeline.status.is_finished() || view.results.unread;
    let id = view.pipeline.id;
    let tab = match view.tab {
        PipelineTab::Graph => String::new(),
        tab => format!("tab={}&", tab.tail()),
    };
    let live = goes_on.then(|| format!("{}/live?{tab}seen={seen}", view.base.pipeline(id)));
    let title = list_view::pipeline_title(id);
    let content = view.page(content, live.as_deref());
    page.render(&title, &base::chrome(access, Tab::Pipelines), &content)
}

/// What a pipeline's page shows that never changes, and takes the forge to find.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting {
    commit_title: String,
    sources: Vec<(String, String)>,
}

/// Loads what never changes of a pipeline.
pub(super) async fn load_lasting(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    id: PipelineId,
) -> Result<Lasting, CiError> {
    let pipeline = ci.load_pipeline(access, id).await?;
    let (_, config) = ci.load_inputs(access, id).await?;
    let mut files: Vec<&str> = pipeline
        .errors
        .iter()
        .chain(&pipeline.notices)
        .map(|it| it.file.as_str())
        .collect();
    files.sort_unstable();
    files.dedup();
    let mut sources = Vec::new();
    for file in files {
        let text = match &config {
            Some(config) if file == CONFIG_FILE => Some(config.clone()),
            _ => read_source(ci, &pipeline, file).await,
        };
        sources.extend(text.map(|it| (file.to_owned(), it)));
    }
    Ok(Lasting {
        commit_title: base::commit_title(ci, access.project().id, &pipeline.sha).await,
        sources,
    })
}

/// Reads a file of the pipeline's commit. Without it the page lacks a few lines, no more.
async fn read_source(ci: &Ci, pipeline: &Pipeline, file: &str) -> Option<String> {
    let commit = ObjectId::parse(&pipeline.sha).ok()?;
    let path = RepoPath::parse(file.trim_start_matches('/')).ok()?;
    let bytes = ci
        .forge
        .read_file(pipeline.project, &commit, &path, SOURCE_LIMIT)
        .await
        .ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Loads everything that a pipeline's page shows.
pub(super) async fn load(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    base: Base,
    id: PipelineId,
    tab: PipelineTab,
    lasting: &Lasting,
) -> Result<PipelineView, HttpError> {
    let pipeline = ci.load_pipeline(access, id).await?;
    let all = ci.pipeline_jobs(access, id, true).await?;
    let (replaced, jobs): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.retried);
    let mut retried: BTreeMap<usize, Vec<Job>> = BTreeMap::new();
    for job in replaced {
        retried.entry(job.position).or_default().push(job);
    }
    let outside = ci.outside(access, &jobs).await?;
    let graph = graph_of(&jobs);
    let mut needed_by = vec![Vec::new(); jobs.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        for need in node.needs.iter().flatten() {
            needed_by[*need].push(at);
        }
    }
    let people = base::people(ci, [pipeline.user].into_iter()).await?;
    Ok(PipelineView {
        upstream: ci.upstream_link(access, &pipeline).await?,
        links: ci.links(access, &jobs).await?,
        reasons: pipeline_view::reasons(&graph, &outside),
        results: load_results(ci, &pipeline).await?,
        commit_title: lasting.commit_title.clone(),
        sources: lasting.sources.clone(),
        now: ci.now(),
        needed_by,
        pipeline,
        retried,
        people,
        graph,
        base,
        jobs,
        tab,
    })
}

/// Loads what a pipeline found out, as far as all its pages tell it.
async fn load_results(ci: &Ci, pipeline: &Pipeline) -> Result<Results, CiError> {
    let id = pipeline.id;
    let exposed = ci
        .db
        .read("ci_page_exposed", move |tx| {
            Ok::<_, CiError>(queries::exposed(tx, id)?)
        })
        .await?;
    let coverage = ci.coverage_of(std::slice::from_ref(pipeline)).await?;
    Ok(Results {
        reports: ci.pipeline_reports(pipeline).await?,
        coverage: coverage.get(&id).copied(),
        unread: ci.has_unread(id).await?,
        exposed,
    })
}
