//! The compressions that a narinfo can name.

use std::fmt;
use std::str::FromStr;

/// A compression by the name that a narinfo has for it.
///
/// Every Nix since 2.4 reads `none`, `xz`, `bzip2`, `br`, `zstd` and `gzip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Xz,
    /// What a narinfo without a name means.
    Bzip2,
    Gzip,
    Zstd,
    Brotli,
    Lz4,
    Lzip,
    Lzma,
    Lzop,
    Compress,
    Grzip,
    Lrzip,
}

/// Each with its name, and what ends the name of a file that is packed with it.
const NAMES: &[(Compression, &str, &str)] = &[
    (Compression::None, "none", ""),
    (Compression::Xz, "xz", ".xz"),
    (Compression::Bzip2, "bzip2", ".bz2"),
    (Compression::Gzip, "gzip", ".gz"),
    (Compression::Zstd, "zstd", ".zst"),
    (Compression::Brotli, "br", ".br"),
    (Compression::Lz4, "lz4", ".lz4"),
    (Compression::Lzip, "lzip", ".lzip"),
    (Compression::Lzma, "lzma", ".lzma"),
    (Compression::Lzop, "lzop", ".lzo"),
    (Compression::Compress, "compress", ".Z"),
    (Compression::Grzip, "grzip", ".grz"),
    (Compression::Lrzip, "lrzip", ".lrz"),
];

impl Compression {
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns what follows `.nar` in the name of a file, such as `.zst`.
    pub fn suffix(self) -> &'static str {
        self.row().2
    }

    /// Returns the compression of a file by its name. A name without a known ending says that there is none.
    pub fn of_file_name(name: &str) -> Self {
        let packed = NAMES.iter().filter(|it| !it.2.is_empty());
        let mut found = packed.filter(|it| name.ends_with(it.2));
        found.next().map_or(Self::None, |it| it.0)
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        let mut rows = NAMES.iter().filter(|it| it.0 == self);
        rows.next().expect("every compression has a row")
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name that is no compression's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a compression that Nix knows")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Self, UnknownCompression> {
        let mut rows = NAMES.iter().filter(|it| it.1 == name);
        match rows.next() {
            Some(row) => Ok(row.0),
            None => Err(UnknownCompression(name.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_endings_lead_back() {
        for (compression, name, suffix) in NAMES {
            assert_eq!((compression.name(), compression.suffix()), (*name, *suffix));
            assert_eq!(name.parse(), Ok(*compression));
            assert_eq!(
                Compression::of_file_name(&format!("x.nar{suffix}")),
                *compression
            );
        }
        assert!("zip".parse::<Compression>().is_err());
        assert!("".parse::<Compression>().is_err());
    }
}
