#![doc = include_str!("../README.md")]

mod cache_info;
mod compression;
mod content_address;
mod content_check;
mod hash;
mod key;
pub mod nar;
mod narinfo;
pub mod nix32;
mod path_info;
mod realisation;
mod references;
mod store_path;

pub use cache_info::{CacheInfo, NotACacheInfo};
pub use compression::{Compression, UnknownCompression};
pub use content_address::{ContentAddress, NoStorePath, NotAContentAddress};
pub use content_check::{ContentCheck, WrongContent};
pub use hash::{Algorithm, NixHash, NotAHash, Sha256};
pub use key::{KeyError, PublicKey, SecretKey, Signature};
pub use narinfo::{NarInfo, NarInfoError, NarInfoProblem};
pub use path_info::PathInfo;
pub use realisation::{BuildTrace, BuildTraceKey, DrvOutput, NotARealisation, Realisation};
pub use references::{ReferenceScanner, Sighting};
pub use store_path::{HashPart, InvalidStorePath, StoreDir, StorePath};
