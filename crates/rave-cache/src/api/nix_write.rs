//! What `nix copy --to` writes.
//!
//! A NAR comes before the narinfo that names it, under the hash of the file: it waits until then.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use futures_util::TryStreamExt as _;
use rave_http::HttpError;
use rave_nix::{BuildTrace, CacheInfo, NarInfo, Realisation, Sha256, StorePath};

use super::nix_read::trace_key;
use super::{header_text, incoming, text};
use crate::bytes::Form;
use crate::error::CacheError;
use crate::rights::{Allowed, Pull, Push};
use crate::service::Caches;
use crate::service::receive::Received;
use crate::service::visit::Visitor;
use crate::store::uploads::Upload;

/// How long the name of a file may be.
const NAME: usize = 255;

/// Takes the files at the top of a cache.
pub(super) async fn file(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    match (file.as_str(), file.rsplit_once('.')) {
        ("nix-cache-info", _) => cache_info(&allowed, &text(body).await?)?,
        (_, Some((hash, "narinfo"))) => {
            narinfo(&caches, &allowed, hash, &text(body).await?).await?
        }
        // Listings are made of the NARs themselves, so that they are right.
        (_, Some((_, "ls"))) => drop(text(body).await?),
        _ => {
            return Err(
                CacheError::Invalid(format!("{file} is no file of a binary cache.")).into(),
            );
        }
    }
    Ok(())
}

/// A client describes the cache that it takes to be new. It has its description already, which must fit.
fn cache_info(allowed: &Allowed<Push>, text: &str) -> Result<(), CacheError> {
    let info = CacheInfo::parse(text).map_err(CacheError::invalid)?;
    let own = &allowed.cache.store_dir;
    if info.store_dir == *own {
        return Ok(());
    }
    Err(CacheError::Invalid(format!(
        "This cache is for the store {own}, not {}.",
        info.store_dir
    )))
}

async fn narinfo(
    caches: &Caches,
    allowed: &Allowed<Push>,
    hash: &str,
    text: &str,
) -> Result<(), CacheError> {
    let narinfo = NarInfo::parse(&allowed.cache.store_dir, text)
        .map_err(|it| CacheError::Invalid(format!("The narinfo cannot be read: {it}")))?;
    if narinfo.info.path.hash_part().to_string() != hash {
        return Err(CacheError::Invalid(format!(
            "{hash}.narinfo is not the place of {}.",
            narinfo.info.path
        )));
    }
    let received = stored_nar(caches, allowed, &narinfo).await?;
    caches.add(allowed, narinfo.info, &received).await?;
    Ok(())
}

/// Finds the NAR that a narinfo names: put before under this name, or here already under ours.
async fn stored_nar(
    caches: &Caches,
    allowed: &Allowed<Push>,
    narinfo: &NarInfo,
) -> Result<Received, CacheError> {
    let info = &narinfo.info;
    let url = narinfo.url.split('?').next().unwrap_or_default();
    let file = url.strip_prefix("nar/").unwrap_or(url);
    if let Some(upload) = caches.find_upload(allowed, file).await? {
        return fits(narinfo, &upload);
    }
    let own = Form::of_file(file).is_some_and(|it| it.1 == info.nar_hash.to_nix32());
    let pull = allowed.also::<Pull>()?;
    if own
        && let Some(served) = caches.find_nar(&pull, info.nar_hash).await?
        && served.nar_size == info.nar_size
    {
        return Ok(Received {
            nar_hash: info.nar_hash,
            nar_size: info.nar_size,
            added_bytes: 0,
            was_known: true,
            file_hash: info.nar_hash,
            file_size: info.nar_size,
        });
    }
    Err(CacheError::Invalid(format!(
        "{url} is not here: put the NAR before its narinfo."
    )))
}

/// Checks that a narinfo says of a NAR what was seen of it.
fn fits(narinfo: &NarInfo, upload: &Upload) -> Result<Received, CacheError> {
    let number = |it: i64| u64::try_from(it).unwrap_or(0);
    let digest = |it: &str| -> Result<Sha256, CacheError> {
        let parsed = format!("sha256:{it}").parse();
        parsed.map_err(|it| CacheError::internal("an upload has no hash", it))
    };
    let received = Received {
        nar_hash: digest(&upload.nar_digest)?,
        nar_size: number(upload.nar_size),
        added_bytes: number(upload.added_bytes),
        was_known: false,
        file_hash: digest(&upload.file_hash)?,
        file_size: number(upload.file_size),
    };
    let info = &narinfo.info;
    let differs = |what: &str, said: &dyn std::fmt::Display, came: &dyn std::fmt::Display| {
        Err(CacheError::Invalid(format!(
            "The narinfo says {what} {said}, what came has {came}."
        )))
    };
    if info.nar_hash != received.nar_hash {
        return differs("NarHash", &info.nar_hash, &received.nar_hash);
    }
    if info.nar_size != received.nar_size {
        return differs("NarSize", &info.nar_size, &received.nar_size);
    }
    match (narinfo.file_hash, narinfo.file_size) {
        (Some(rave_nix::NixHash::Sha256(said)), _) if said != received.file_hash => {
            differs("FileHash", &said, &received.file_hash)
        }
        (_, Some(said)) if said != received.file_size => {
            differs("FileSize", &said, &received.file_size)
        }
        _ => Ok(received),
    }
}

pub(super) async fn nar(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    if file.len() > NAME {
        return Err(CacheError::invalid("The file's name is too long.").into());
    }
    Ok(caches.upload_nar(&allowed, &file, incoming(body)).await?)
}

pub(super) async fn log(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, drv)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    let path: StorePath = drv.parse().map_err(CacheError::invalid)?;
    let encoding = header_text(&headers, header::CONTENT_ENCODING);
    let encoding = encoding.filter(|it| it != "identity" && !it.is_empty());
    let known = ["br", "zstd", "gzip", "xz", "bzip2"];
    if encoding.as_deref().is_some_and(|it| !known.contains(&it)) {
        return Err(
            CacheError::invalid("The log is packed in a way that clients cannot read.").into(),
        );
    }
    let incoming = incoming(body).map_err(std::io::Error::other);
    let stored = caches.put_log(&allowed, path.to_string(), encoding, Box::pin(incoming));
    Ok(stored.await?)
}

pub(super) async fn realisation(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    let realisation = Realisation::parse(&text(body).await?).map_err(CacheError::invalid)?;
    if format!("{}.doi", realisation.id) != file {
        return Err(
            CacheError::Invalid(format!("{file} is not the place of {}.", realisation.id)).into(),
        );
    }
    let stored = caches.put_realisation(
        &allowed,
        format!("realisations/{file}"),
        realisation.to_json(),
    );
    Ok(stored.await?)
}

pub(super) async fn build_trace(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, drv, file)): Path<(String, String, String)>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    trace_key(&drv, &file)?;
    let trace = BuildTrace::parse(&text(body).await?).map_err(CacheError::invalid)?;
    let stored = caches.put_realisation(
        &allowed,
        format!("build-trace-v2/{drv}/{file}"),
        trace.to_json(),
    );
    Ok(stored.await?)
}

/// Takes where the debug information of a program is: `{"archive": "../nar/…", "member": "lib/debug/…"}`.
pub(super) async fn debug_info(
    State(caches): State<Arc<Caches>>,
    visitor: Visitor,
    Path((name, file)): Path<(String, String)>,
    body: Body,
) -> Result<(), HttpError> {
    let allowed = caches.allow::<Push>(&visitor, &name).await?;
    let body = text(body).await?;
    let json: serde_json::Value = serde_json::from_str(&body).map_err(CacheError::invalid)?;
    if file.len() > NAME || !json.is_object() || body.len() > 64 * 1024 {
        return Err(CacheError::invalid("This is no debug info.").into());
    }
    let stored = caches.put_realisation(&allowed, format!("debuginfo/{file}"), json.to_string());
    Ok(stored.await?)
}
