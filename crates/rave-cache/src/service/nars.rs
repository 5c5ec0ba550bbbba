//! NARs that are stored: sent, listed, read again, and forgotten when they are damaged.

use std::ops::Range;

use futures_util::StreamExt as _;
use rave_blob::{ByteStream, Digest};
use rave_nix::nar::{ListingWriter, NarParser};
use rave_nix::{ContentAddress, ContentCheck, PathInfo, Sha256};

use super::Caches;
use crate::bytes::Form;
use crate::error::CacheError;
use crate::memory::Served;
use crate::rights::{Allowed, Kind};
use crate::store::paths;

/// How long a listing may be: about half a million files.
const LISTING_BYTES: usize = 64 << 20;

impl Caches {
    /// Opens a stored NAR.
    pub(crate) async fn open_nar(&self, nar: Sha256) -> Result<ByteStream<'static>, CacheError> {
        let opened = self.objects.get(&Digest::new(nar.0)).await?;
        self.or_forget(nar, opened).await
    }

    /// Opens a part of a stored NAR in a form.
    pub(crate) async fn open_part(
        &self,
        nar: Sha256,
        form: Form,
        range: Range<u64>,
    ) -> Result<ByteStream<'static>, CacheError> {
        let opened = self.objects.part(&Digest::new(nar.0), form, range).await?;
        self.or_forget(nar, opened).await
    }

    /// Returns how long a stored NAR is in a form.
    pub(crate) async fn nar_length(&self, nar: Sha256, form: Form) -> Result<u64, CacheError> {
        let found = self.objects.length(&Digest::new(nar.0), form).await?;
        self.or_forget(nar, found).await
    }

    /// Has a NAR that is gone forgotten by all caches, so that it is pushed or fetched again.
    async fn or_forget<T>(&self, nar: Sha256, found: Option<T>) -> Result<T, CacheError> {
        match found {
            Some(it) => Ok(it),
            None => {
                self.forget_nar(nar).await?;
                Err(CacheError::NoSuchObject("NAR"))
            }
        }
    }

    /// Forgets the paths whose NAR is gone or damaged: a client that finds none asks elsewhere or builds.
    async fn forget_nar(&self, nar: Sha256) -> Result<(), CacheError> {
        let digest = nar.to_base16();
        let gone = self
            .db
            .write("cache_forget_nar", move |tx| {
                paths::delete_by_nar(tx, &digest)
            })
            .await?;
        tracing::error!(%nar, paths = gone.join(" "), "a NAR is gone or damaged: its paths are no longer served");
        self.index.clear();
        Ok(())
    }

    /// Returns the listing of a path's NAR, made by reading through it.
    pub(crate) async fn listing<K: Kind>(
        &self,
        allowed: &Allowed<K>,
        served: &Served,
    ) -> Result<String, CacheError> {
        self.fetch_if_needed(allowed, served).await?;
        let mut stream = self.open_nar(served.nar_hash).await?;
        let (mut parser, mut listing) = (NarParser::new(), ListingWriter::new(LISTING_BYTES));
        let broken = |it: std::io::Error| CacheError::internal("cannot read a NAR", it);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(broken)?;
            let mut rest: &[u8] = &piece;
            while let Some(event) = parser
                .next(&mut rest)
                .map_err(|it| CacheError::internal("a stored NAR is none", it))?
            {
                listing.event(&event);
            }
        }
        listing
            .finish()
            .ok_or_else(|| CacheError::invalid("The listing of this path would be too long."))
    }

    /// Checks a stored NAR against a content address by reading through it.
    pub(crate) async fn reread(
        &self,
        info: &PathInfo,
        address: ContentAddress,
    ) -> Result<(), CacheError> {
        let Some(mut check) = ContentCheck::new(address, &info.path) else {
            return Err(CacheError::Invalid(format!(
                "Content addresses like {address} are not taken."
            )));
        };
        let mut stream = self.open_nar(info.nar_hash).await?;
        let mut parser = NarParser::new();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|it| CacheError::internal("cannot read a NAR", it))?;
            check.push(&piece);
            let mut rest: &[u8] = &piece;
            while let Some(event) = parser
                .next(&mut rest)
                .map_err(|it| CacheError::internal("a stored NAR is none", it))?
            {
                check.event(&event);
            }
        }
        check.finish().map_err(|it| {
            CacheError::Invalid(format!(
                "The NAR of {} is not what its content address says: {it}",
                info.path
            ))
        })
    }
}
