//! NAR, the archive format of Nix: one file, link or directory, without times, owners and any choice.

mod digest;
mod encode;
mod error;
mod listing;
mod pack;
mod parser;
#[cfg(test)]
mod tests;
mod unpack;

pub use digest::{NarDigest, NarSummary};
pub use encode::NarEncoder;
pub use error::{NarError, NarProblem};
pub use listing::{ListingWriter, NarListing, NarNode};
pub use pack::{PackError, pack};
pub use parser::{Event, NarParser};
pub use unpack::{UnpackError, Unpacker};

/// The deepest that directories may be nested. These bounds are those of Nix 2.36.
pub const MAX_DEPTH: usize = 64;
/// The longest name of a directory's entry.
pub const MAX_NAME: usize = 255;
/// The longest target of a symbolic link.
pub const MAX_TARGET: usize = 4095;

const MAGIC: &[u8] = b"nix-archive-1";

/// The number of zeros that follow a string of some length.
fn padding(len: u64) -> usize {
    usize::try_from((8 - len % 8) % 8).expect("less than eight")
}
