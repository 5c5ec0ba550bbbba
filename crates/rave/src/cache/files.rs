//! Files of the user that commands change: replaced as a whole, so that nobody ever reads half of one.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::failure::hinted;

/// Who may read a file that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Only the user, also when more could read it before: it holds secrets.
    Private,
    /// Everyone, or whoever could read it before.
    Shared,
}

#[expect(
    clippy::disallowed_methods,
    reason = "where a user's files are is said by the user's environment"
)]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

/// Returns the directory of the user's configuration.
pub(super) fn config_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(environment("HOME")?).join(".config"));
    environment("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

/// Reads a text. A file that does not exist is empty.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Puts a text in the place of a file. A link stays one: what it points to is replaced.
pub(super) fn replace(path: &Path, text: &str, mode: Mode) -> anyhow::Result<()> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write(&real, text, mode).map_err(|error| {
        let hint = match real == path {
            true => "say where else it is to go; see --help".to_owned(),
            false => format!("it is a link to {}: perhaps something generates it, such as home-manager; let that write the lines, which --dry-run prints", real.display()),
        };
        hinted(format!("cannot write {}", path.display()), hint, Some(error.into()))
    })
}

fn write(path: &Path, text: &str, mode: Mode) -> std::io::Result<()> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let before = std::fs::metadata(path)
        .ok()
        .map(|it| it.permissions().mode() & 0o777);
    let bits = match mode {
        Mode::Private => 0o600,
        Mode::Shared => before.unwrap_or(0o644),
    };
    // It is made with mode 0600, so the text is never readable by more than it should be.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(bits))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_modes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "a").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mode = || std::fs::metadata(&real).unwrap().permissions().mode() & 0o777;
        replace(&link, "b", Mode::Shared).unwrap();
        assert_eq!(
            (std::fs::read_to_string(&real).unwrap().as_str(), mode()),
            ("b", 0o640)
        );
        assert!(link.is_symlink());
        replace(&link, "c", Mode::Private).unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(read(&dir.path().join("absent")).unwrap(), "");
    }
}
