//! What a cache wants to know of a NAR that streams by: that it is one, its size, its hash, its listing.

use ring::digest::{Context, SHA256};

use super::error::{NarError, NarProblem};
use super::listing::ListingWriter;
use super::parser::{Event, NarParser};
use crate::hash::Sha256;

/// Reads a NAR that comes in pieces.
pub struct NarDigest {
    parser: NarParser,
    hash: Context,
    listing: ListingWriter,
}

/// What became known of a NAR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarSummary {
    pub nar_hash: Sha256,
    pub nar_size: u64,
    /// The JSON of its `.ls`. `None`: too long, or a name is no text.
    pub listing: Option<String>,
}

impl NarDigest {
    /// Begins a NAR whose listing may have so many bytes.
    pub fn new(listing_limit: usize) -> Self {
        Self {
            parser: NarParser::new(),
            hash: Context::new(&SHA256),
            listing: ListingWriter::new(listing_limit),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NarError> {
        self.push_with(bytes, |_| {})
    }

    /// Takes the next bytes, and hands on what they mean.
    pub fn push_with(
        &mut self,
        bytes: &[u8],
        mut on: impl FnMut(&Event<'_>),
    ) -> Result<(), NarError> {
        self.hash.update(bytes);
        let mut rest = bytes;
        while let Some(event) = self.parser.next(&mut rest)? {
            self.listing.event(&event);
            on(&event);
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(NarError {
                offset: self.parser.offset(),
                problem: NarProblem::Trailing,
            }),
        }
    }

    /// Returns how many bytes came so far.
    pub fn offset(&self) -> u64 {
        self.parser.offset()
    }

    pub fn finish(self) -> Result<NarSummary, NarError> {
        self.parser.finish()?;
        Ok(NarSummary {
            nar_hash: Sha256::from_digest(&self.hash.finish()),
            nar_size: self.parser.offset(),
            listing: self.listing.finish(),
        })
    }
}
