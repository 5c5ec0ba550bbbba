//! The initial root of a virtual machine: this program with its libraries, and the kernel's modules that it loads.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::modules;
use crate::inner::{MODULES, PROGRAM};

/// Writes the initial root. `program` is what `__vm` is a subcommand of.
///
/// # Errors
/// Says what failed.
pub(super) fn write(to: &Path, program: &Path, modules: &[PathBuf]) -> Result<(), String> {
    let mut archive = Archive::default();
    for name in ["proc", "sys", "dev"] {
        archive.dirs(&Path::new("/").join(name).join("x"));
    }
    archive.copy(program, Path::new(PROGRAM))?;
    for library in libraries(program)? {
        archive.copy(&library, &library)?;
    }
    let mut list = String::new();
    for (number, module) in modules.iter().enumerate() {
        let ending = modules::ending(module);
        let place = format!("/m/{number}.{ending}");
        archive.copy(module, Path::new(&place))?;
        list += &format!("{place}\n");
    }
    archive.file(Path::new(MODULES), 0o644, list.as_bytes());
    archive.write(to)
}

/// Returns the shared libraries of a program and its loader, as the loader itself names them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new(program)
        .env_clear()
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.lines().filter_map(|line| {
        let it = line.split("=>").last()?.trim();
        let path = it.split(" (").next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    });
    Ok(paths.collect())
}

/// A file system in the kernel's `newc` format.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
    entries: u32,
}

impl Archive {
    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), String> {
        let body =
            fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
        self.file(to, 0o755, &body);
        Ok(())
    }

    /// Adds a file and the directories above it.
    fn file(&mut self, path: &Path, mode: u32, body: &[u8]) {
        self.dirs(path);
        if self.known.insert(path.to_owned()) {
            self.entry(path, 0o100_000 | mode, body);
        }
    }

    /// Adds the directories above a path.
    fn dirs(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in above.into_iter().rev().filter(|it| *it != Path::new("/")) {
            if self.known.insert(dir.to_owned()) {
                self.entry(dir, 0o040_755, &[]);
            }
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, body: &[u8]) {
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

    fn write(mut self, to: &Path) -> Result<(), String> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        put(to, &self.bytes).map_err(|error| format!("cannot write {}: {error}", to.display()))
    }
}

/// Writes a file that everybody may read.
pub(super) fn put(to: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(to, bytes)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_directories_before_files_and_ends_with_a_trailer() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/c"), 0o755, b"12345");
        archive.file(Path::new("/a/b/d"), 0o644, b"");
        let text = String::from_utf8(archive.bytes.clone()).expect("text");
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|it| it[104..].trim_end_matches('\0'))
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c\x0012345", "a/b/d"]);
        assert!(archive.bytes.len().is_multiple_of(4));
    }

    #[test]
    fn this_program_has_a_loader_and_a_c_library() {
        let own = std::env::current_exe().expect("this test");
        let found = libraries(&own).expect("libraries");
        let has = |part: &str| {
            found
                .iter()
                .any(|it| it.display().to_string().contains(part))
        };
        assert!(has("ld-linux") && has("libc.so"), "{found:?}");
    }
}
