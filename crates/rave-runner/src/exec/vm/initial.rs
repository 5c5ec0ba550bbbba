//! The initial root of a virtual machine: this program with its libraries, and the kernel's modules that it loads.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::modules;
use super::newc::Archive;
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
    copy(&mut archive, program, Path::new(PROGRAM))?;
    for library in libraries(program)? {
        copy(&mut archive, &library, &library)?;
    }
    let mut list = String::new();
    for (number, module) in modules.iter().enumerate() {
        let ending = modules::ending(module);
        let place = format!("/m/{number}.{ending}");
        copy(&mut archive, module, Path::new(&place))?;
        list += &format!("{place}\n");
    }
    archive.file(Path::new(MODULES), 0o644, list.as_bytes());
    put(to, &archive.finish()).map_err(|error| format!("cannot write {}: {error}", to.display()))
}

fn copy(archive: &mut Archive, from: &Path, to: &Path) -> Result<(), String> {
    let body =
        fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    archive.file(to, 0o755, &body);
    Ok(())
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

/// Writes a file that everybody may read.
pub(super) fn put(to: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(to, bytes)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

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
