//! What `nix` reads: the cache's description, narinfo files, NARs, listings, logs, realisations.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use rave_http::range::Wanted;
use rave_nix::{BuildTrace, BuildTraceKey, CacheInfo, HashPart, Realisation, StorePath};

use super::Answer;
use super::shapes::cache_config;
use crate::bytes::Form;
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::memory::Served;
use crate::rights::{Allowed, Pull, Push};
use crate::service::Caches;
use crate::service::visit::Visitor;

/// Answers for the files at the top of a cache.
pub(super) async fn file(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let answer = match (file.as_str(), file.rsplit_once('.')) {
        ("nix-cache-info", _) => typed("text/x-nix-cache-info", cache_info(&allowed.cache)),
        ("attic-cache-info", _) => {
            axum::Json(cache_config(&allowed.cache, &caches.config)).into_response()
        }
        (_, Some((hash, "narinfo"))) => narinfo(&caches, &allowed, hash).await?,
        (_, Some((hash, "ls"))) => listing(&caches, &allowed, hash).await?,
        _ => return Err(CacheError::NoSuchObject("file").into()),
    };
    Ok(marked(&allowed.cache, answer))
}

fn cache_info(open: &OpenCache) -> String {
    let info = CacheInfo {
        store_dir: open.store_dir.clone(),
        want_mass_query: true,
        priority: i32::try_from(open.cache.settings.priority).ok(),
    };
    info.to_text()
}

async fn narinfo(
    caches: &Caches,
    allowed: &Allowed<Pull>,
    hash: &str,
) -> Result<Response, CacheError> {
    let hash: HashPart = hash.parse().map_err(|_| CacheError::NoSuchObject("path"))?;
    let found = caches.find_path(allowed, hash).await?;
    caches.note_asked(
        allowed.cache.cache.id,
        &allowed.caller,
        found.as_ref().map(|it| it.id),
    );
    let served = found.ok_or(CacheError::NoSuchObject("path"))?;
    Ok(typed("text/x-nix-narinfo", served.narinfo.clone()))
}

async fn listing(
    caches: &Caches,
    allowed: &Allowed<Pull>,
    hash: &str,
) -> Result<Response, CacheError> {
    let hash: HashPart = hash.parse().map_err(|_| CacheError::NoSuchObject("path"))?;
    let served = caches
        .find_path(allowed, hash)
        .await?
        .ok_or(CacheError::NoSuchObject("path"))?;
    let listing = caches.listing(allowed, &served).await?;
    Ok(typed("application/json", listing))
}

/// Sends a NAR, or the part of it that is asked for. What was put here and has no narinfo yet is there for whoever pushes.
pub(super) async fn nar(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    method: Method,
    Path((name, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let Some((served, form)) = find_nar(&caches, &allowed, &file).await? else {
        let absent = CacheError::NoSuchObject("NAR");
        let push = allowed
            .also::<Push>()
            .map_err(|_| CacheError::NoSuchObject("NAR"))?;
        let waits = caches.find_upload(&push, &file).await?.is_some();
        return match waits && method == Method::HEAD {
            true => Ok(StatusCode::OK.into_response()),
            false => Err(absent.into()),
        };
    };
    caches.fetch_if_needed(&allowed, &served).await?;
    let answer = send(&caches, &allowed, (&served, form), &method, &headers).await?;
    Ok(marked(&allowed.cache, answer))
}

/// Finds a NAR by the name that narinfo files have for it, or as Attic's do: by the path's hash part.
async fn find_nar(
    caches: &Caches,
    allowed: &Allowed<Pull>,
    file: &str,
) -> Result<Option<(Arc<Served>, Form)>, CacheError> {
    let Some((form, stem)) = Form::of_file(file) else {
        return Ok(None);
    };
    let found = if let Ok(part) = stem.parse::<HashPart>() {
        caches.find_path(allowed, part).await?
    } else {
        match format!("sha256:{stem}").parse() {
            Ok(nar) if stem.len() == 52 => caches.find_nar(allowed, nar).await?,
            _ => None,
        }
    };
    Ok(found.map(|it| (it, form)))
}

async fn send(
    caches: &Caches,
    allowed: &Allowed<Pull>,
    (served, form): (&Served, Form),
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, CacheError> {
    let size = caches.nar_length(served.nar_hash, form).await?;
    // Stored frames may be packed better one day: a part of others would not fit.
    let etag = match form {
        Form::Plain => format!("\"{}\"", served.nar_hash.to_nix32()),
        Form::Frames => format!("\"{}-{size}\"", served.nar_hash.to_nix32()),
    };
    let matches = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|it| it.to_str().ok());
    if matches.is_some_and(|it| {
        it.split(',')
            .any(|it| it.trim() == etag || it.trim() == "*")
    }) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let (status, range) = match Wanted::of(headers, size, &etag) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let requested = headers.get(header::RANGE).and_then(|it| it.to_str().ok());
            let requested = requested.unwrap_or_default().to_owned();
            return Err(CacheError::Range {
                requested,
                size_bytes: size,
            });
        }
    };
    let length = range.end - range.start;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let stream = caches
            .open_part(served.nar_hash, form, range.clone())
            .await?;
        caches.note_served(allowed.cache.cache.id, &allowed.caller, served.id, length);
        Body::from_stream(stream)
    };
    let fixed = [
        (header::CONTENT_TYPE, "application/x-nix-nar".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, etag),
    ];
    let mut answer = (status, fixed, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        if let Ok(part) = HeaderValue::from_str(&part) {
            answer.headers_mut().insert(header::CONTENT_RANGE, part);
        }
    }
    Ok(answer)
}

pub(super) async fn log(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, drv)): Path<(String, String)>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let found = caches.open_log(&allowed, drv).await?;
    let (stream, encoding) = found.ok_or(CacheError::NoSuchObject("log"))?;
    let mut answer = typed("text/plain; charset=utf-8", Body::from_stream(stream));
    if let Some(encoding) = encoding.and_then(|it| HeaderValue::from_str(&it).ok()) {
        answer
            .headers_mut()
            .insert(header::CONTENT_ENCODING, encoding);
    }
    Ok(marked(&allowed.cache, answer))
}

pub(super) async fn realisation(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let found = caches
        .find_realisation(&allowed, format!("realisations/{file}"))
        .await?;
    let found = found.ok_or(CacheError::NoSuchObject("realisation"))?;
    let realisation = Realisation::parse(&found)
        .map_err(|it| CacheError::internal("a realisation is none", it))?;
    let signed = allowed.cache.sign_realisation(realisation);
    Ok(marked(
        &allowed.cache,
        typed("application/json", signed.to_json()),
    ))
}

pub(super) async fn build_trace(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, drv, file)): Path<(String, String, String)>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let key = trace_key(&drv, &file)?;
    let found = caches
        .find_realisation(&allowed, format!("build-trace-v2/{drv}/{file}"))
        .await?;
    let found = found.ok_or(CacheError::NoSuchObject("build trace"))?;
    let trace = BuildTrace::parse(&found)
        .map_err(|it| CacheError::internal("a build trace is none", it))?;
    let signed = allowed.cache.sign_trace(&key, trace);
    Ok(marked(
        &allowed.cache,
        typed("application/json", signed.to_json()),
    ))
}

/// Reads what names a part of a build trace.
pub(super) fn trace_key(drv: &str, file: &str) -> Result<BuildTraceKey, CacheError> {
    let drv: StorePath = drv.parse().map_err(CacheError::invalid)?;
    let output = file
        .strip_suffix(".doi")
        .ok_or(CacheError::NoSuchObject("build trace"))?;
    BuildTraceKey::new(drv, output).map_err(CacheError::invalid)
}

pub(super) async fn debug_info(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
) -> Answer {
    let allowed = caches.allow::<Pull>(&visitor, &name).await?;
    let found = caches
        .find_realisation(&allowed, format!("debuginfo/{file}"))
        .await?;
    let found = found.ok_or(CacheError::NoSuchObject("debug info"))?;
    Ok(marked(&allowed.cache, typed("application/json", found)))
}

fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// Marks what everyone may read, as Attic does, and keeps what not everyone may read out of shared caches.
pub(super) fn marked(open: &OpenCache, mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    if open.cache.settings.is_public {
        headers.insert(
            "x-attic-cache-visibility",
            HeaderValue::from_static("public"),
        );
    } else {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    answer
}
