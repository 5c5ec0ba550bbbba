#![doc = include_str!("../README.md")]

mod blobs;
mod chunk;
mod digest;
mod error;
mod frame;
mod get;
mod import;
mod manifest;
mod marks;
mod metrics;
mod options;
mod put;
mod reader;
mod seek;
mod shelf;
mod stats;
mod sweep;
mod table;
mod verify;

pub use blobs::{Blobs, Described, Listed};
pub use chunk::ChunkSizes;
pub use digest::{Digest, DigestError};
pub use error::{GetError, PutError, StoreError};
pub use options::Options;
pub use put::{PutOptions, Stored};
pub use reader::{BlobReader, ByteStream, FrameReader};
pub use seek::BlobFile;
pub use shelf::Bucket;
#[doc(hidden)]
pub use shelf::{Faults, Unsettled};
pub use stats::Stats;
pub use sweep::{Referrer, Sweeper, Swept};
pub use table::MIGRATIONS;
pub use verify::{DamagedChunk, Stray, Verified, VerifyProgress};
