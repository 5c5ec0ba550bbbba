#![doc = include_str!("../README.md")]

mod digest;
mod disk;
mod reader;
mod store;

pub use digest::{Digest, DigestError};
pub use disk::DiskStore;
pub use reader::BlobReader;
pub use store::{
    BlobEntry, BlobRef, BlobStore, ByteStream, GetError, PutError, StoreError, VerifyError,
};
