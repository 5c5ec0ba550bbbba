//! File systems in the kernel's `newc` format, as it unpacks them for its initial root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file system in the kernel's `newc` format.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    /// Adds a file and the directories above it.
    pub(crate) fn file(&mut self, path: &Path, mode: u32, body: &[u8]) {
        self.dirs(path);
        if self.known.insert(path.to_owned()) {
            self.entry(path, 0o100_000 | mode, body);
        }
    }

    /// Adds the directories above a path.
    pub(crate) fn dirs(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in above.into_iter().rev().filter(|it| *it != Path::new("/")) {
            if self.known.insert(dir.to_owned()) {
                self.entry(dir, 0o040_755, &[]);
            }
        }
    }

    /// Adds an entry of any type; a link's body is its target.
    pub(crate) fn entry(&mut self, path: &Path, mode: u32, body: &[u8]) {
        let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
        let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
        self.entries += 1;
        // Number, mode, user, group, links, time, size, four device numbers, length of the name, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            number(body.len()),
            0,
            0,
            0,
            0,
            number(name.len() + 1),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(body);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }

    /// Returns the archive, with its end.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_directories_before_files_and_ends_with_a_trailer() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/c"), 0o755, b"12345");
        archive.file(Path::new("/a/b/d"), 0o644, b"");
        archive.entry(Path::new("/a/e"), 0o120_777, b"b/c");
        let text = String::from_utf8(archive.bytes.clone()).expect("text");
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|it| it[104..].trim_end_matches('\0'))
            .collect();
        assert_eq!(
            names,
            ["a", "a/b", "a/b/c\x0012345", "a/b/d", "a/e\0\0\0b/c"]
        );
        assert!(archive.bytes.len().is_multiple_of(4));
    }
}
