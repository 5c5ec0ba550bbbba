//! What people see of binary caches: the list, and one cache with how to use it, what is in it, and its settings.

mod view;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use rave_core::name::FullPath;
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params, Routes, SignedIn};

use crate::error::CacheError;
use crate::model::{CacheName, Settings};
use crate::rights::{Allowed, Configure, ConfigureRetention, Destroy, Pull};
use crate::service::Caches;
use crate::service::visit::Visitor;
use crate::store::paths::{PathFilter, PathOrder};

/// How many paths and days a cache's page shows.
const PATHS: i64 = 10;
const DAYS: i64 = 30;
const DAY_SECS: i64 = 24 * 3600;

pub(crate) fn routes(routes: Routes<Arc<Caches>>) -> Routes<Arc<Caches>> {
    routes
        .get("/-/caches", list)
        .post("/-/caches", create)
        .get("/-/caches/{cache}", show)
        .post("/-/caches/{cache}/settings", configure)
        .post("/-/caches/{cache}/keys", rotate)
        .post("/-/caches/{cache}/keys/{key}/remove", remove_key)
        .post("/-/caches/{cache}/attach", attach)
        .post("/-/caches/{cache}/detach", detach)
        .post("/-/caches/{cache}/delete", destroy)
}

fn visitor(page: &Page) -> Visitor {
    Visitor::Known(page.principal().clone())
}

async fn list(State(caches): State<Arc<Caches>>, page: Page) -> Result<Response, HttpError> {
    render_list(&caches, &page, StatusCode::OK, None).await
}

async fn render_list(
    caches: &Caches,
    page: &Page,
    status: StatusCode,
    problem: Option<&str>,
) -> Result<Response, HttpError> {
    let visitor = visitor(page);
    let mut rows = Vec::new();
    for (open, rights) in caches.list_visible(&visitor).await? {
        let allowed =
            Allowed::<Pull>::check(Some(open), crate::rights::Caller::anonymous(), rights)
                .map_err(CacheError::from)?;
        let (holdings, total) = caches.holdings(&allowed).await?;
        rows.push(view::Row {
            open: allowed.cache.clone(),
            holdings,
            total,
        });
    }
    let rights = caches.rights_of(page.principal(), None).await?;
    let creates = rights.has(crate::rights::Right::Create);
    let content = view::list(page, &rows, creates, problem);
    Ok(page.render_status(status, "Binary caches", &Chrome::Instance, &content))
}

async fn create(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    mut params: Params,
) -> Result<Response, HttpError> {
    let name = params.text("name").unwrap_or_default();
    let is_public = params.bool("is_public").unwrap_or_default();
    let made = match CacheName::parse(name.trim()) {
        Err(error) => Err(CacheError::invalid(error)),
        Ok(name) => {
            let settings = Settings {
                is_public,
                upstream_key_names: vec!["cache.nixos.org-1".into()],
                ..Settings::default()
            };
            caches.create(&visitor(&page), &name, settings, None).await
        }
    };
    match made {
        Ok(()) => Ok(page.redirect(&format!("/-/caches/{}", name.trim()))),
        Err(error @ (CacheError::Invalid(_) | CacheError::Exists)) => {
            let text = error.to_string();
            render_list(
                &caches,
                &page,
                StatusCode::UNPROCESSABLE_ENTITY,
                Some(&text),
            )
            .await
        }
        Err(error) => Err(error.into()),
    }
}

async fn show(
    State(caches): State<Arc<Caches>>,
    page: Page,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Pull>(&visitor(&page), &name).await?;
    render(&caches, &page, &allowed, StatusCode::OK, None).await
}

async fn render(
    caches: &Caches,
    page: &Page,
    allowed: &Allowed<Pull>,
    status: StatusCode,
    problem: Option<&str>,
) -> Result<Response, HttpError> {
    let (holdings, total) = caches.holdings(allowed).await?;
    let filter = PathFilter {
        order: PathOrder::MostDownloaded,
        ..PathFilter::default()
    };
    let (top, _) = caches.list_paths(allowed, filter, 0, PATHS).await?;
    let shown = view::Shown {
        endpoint: caches.config.endpoint(),
        holdings,
        total,
        top,
        days: caches.days(allowed, DAYS).await?,
        keys: caches.list_keys(allowed).await?,
        attached: caches.list_attached(allowed, page.principal()).await?,
        problem,
    };
    let content = view::show(page, allowed, &shown);
    let title = format!("{} · Binary caches", allowed.cache.name());
    Ok(page.render_status(status, &title, &Chrome::Instance, &content))
}

/// Leads back to the cache, or shows what was wrong with the form.
async fn finish(
    caches: &Caches,
    page: &Page,
    allowed: &Allowed<Configure>,
    done: Result<(), CacheError>,
) -> Result<Response, HttpError> {
    match done {
        Ok(()) => Ok(page.redirect(&format!("/-/caches/{}", allowed.cache.name()))),
        Err(
            error @ (CacheError::Invalid(_)
            | CacheError::Conflict(_)
            | CacheError::NoSuchObject(_)
            | CacheError::Forbidden(_)),
        ) => {
            let pull = caches
                .allow::<Pull>(&visitor(page), allowed.cache.name().as_str())
                .await?;
            let text = error.to_string();
            render(
                caches,
                page,
                &pull,
                StatusCode::UNPROCESSABLE_ENTITY,
                Some(&text),
            )
            .await
        }
        Err(error) => Err(error.into()),
    }
}

async fn configure(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Configure>(&visitor(&page), &name).await?;
    let mut settings = allowed.cache.cache.settings.clone();
    settings.is_public = params.bool("is_public").unwrap_or_default();
    settings.trusts_pushers = params.bool("trusts_pushers").unwrap_or_default();
    settings.priority = params.int("priority").unwrap_or(settings.priority);
    settings.upstream_key_names = words(&params.text("upstream_key_names").unwrap_or_default());
    settings.trusted_keys = words(&params.text("trusted_keys").unwrap_or_default());
    if allowed.also::<ConfigureRetention>().is_ok() {
        settings.retention_secs = params
            .int("retention_days")
            .map(|it| it.saturating_mul(DAY_SECS));
        settings.quota_bytes = params.int("quota_gib").map(|it| it.saturating_mul(1 << 30));
    }
    let done = match params.check() {
        Ok(()) => caches.configure(&allowed, settings).await,
        Err(error) => Err(CacheError::invalid(error)),
    };
    finish(&caches, &page, &allowed, done).await
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(ToOwned::to_owned).collect()
}

async fn rotate(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Configure>(&visitor(&page), &name).await?;
    let done = caches.rotate_key(&allowed, None).await.map(drop);
    finish(&caches, &page, &allowed, done).await
}

async fn remove_key(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    Path((name, key)): Path<(String, i64)>,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Configure>(&visitor(&page), &name).await?;
    let done = caches.remove_key(&allowed, key).await;
    finish(&caches, &page, &allowed, done).await
}

async fn attach(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Configure>(&visitor(&page), &name).await?;
    let jobs_push = params.bool("jobs_push").unwrap_or_default();
    let done = match FullPath::parse(params.text("path").unwrap_or_default().trim()) {
        Ok(path) => {
            caches
                .attach(&allowed, page.principal(), &path, jobs_push)
                .await
        }
        Err(error) => Err(CacheError::invalid(error)),
    };
    finish(&caches, &page, &allowed, done).await
}

async fn detach(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Configure>(&visitor(&page), &name).await?;
    let done = match FullPath::parse(&params.text("path").unwrap_or_default()) {
        Ok(path) => caches.detach(&allowed, page.principal(), &path).await,
        Err(error) => Err(CacheError::invalid(error)),
    };
    finish(&caches, &page, &allowed, done).await
}

async fn destroy(
    State(caches): State<Arc<Caches>>,
    page: Page,
    _: SignedIn,
    Path(name): Path<String>,
) -> Result<Response, HttpError> {
    let allowed = caches.allow::<Destroy>(&visitor(&page), &name).await?;
    caches.destroy(&allowed).await?;
    Ok(page.redirect("/-/caches"))
}
