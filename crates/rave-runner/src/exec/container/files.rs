//! Gives the files of a job to whom needs them next. Runs while no process of the job does.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

/// Who is to be able to do everything with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// One user, to whom they belong from then on.
    User(u32),
    /// Whoever is in the job's container.
    Anybody,
}

/// Gives away everything in a directory. Links are changed themselves, not followed.
///
/// # Errors
/// When something in it cannot be changed.
pub(super) fn hand_over(path: &Path, to: Holder) -> io::Result<()> {
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path)?;
        match to {
            Holder::User(id) if meta.uid() != id || meta.gid() != id => {
                lchown(&path, Some(id), Some(id))?;
            }
            Holder::Anybody if !meta.is_symlink() => {
                let mode = meta.mode() & 0o7777;
                // Like `a+rwX`: what somebody may execute or enter, everybody may.
                let more = if meta.is_dir() || mode & 0o111 != 0 {
                    0o777
                } else {
                    0o666
                };
                if mode | more != mode {
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode | more))?;
                }
            }
            Holder::User(_) | Holder::Anybody => {}
        }
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_may_then_do_everything_and_links_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("job")).expect("made");
        fs::write(at("job/tool"), "").expect("written");
        fs::set_permissions(at("job/tool"), fs::Permissions::from_mode(0o700)).expect("set");
        fs::write(at("job/text"), "").expect("written");
        fs::set_permissions(at("job/text"), fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(at("outside"), "").expect("written");
        fs::set_permissions(at("outside"), fs::Permissions::from_mode(0o600)).expect("set");
        std::os::unix::fs::symlink(at("outside"), at("job/link")).expect("linked");
        hand_over(&at("job"), Holder::Anybody).expect("given");
        let mode = |name: &str| fs::metadata(at(name)).expect("there").mode() & 0o777;
        assert_eq!(
            ["job", "job/tool", "job/text", "outside"].map(mode),
            [0o777, 0o777, 0o666, 0o600]
        );
        let own = nix::unistd::geteuid().as_raw();
        hand_over(&at("job"), Holder::User(own)).expect("given");
    }
}
