//! Gives the job's directories to the user that an image runs as.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

use super::account::Account;
use super::order::View;

/// Gives away what root has in the job's directories. Runs before anything of the job does, so nobody swaps what is looked
/// at; and what cannot be given, such as a file that vanished, is the job's to miss.
pub(super) fn give(view: &View, account: &Account) {
    if account.uid == 0 {
        return;
    }
    for (_, dir) in &view.writable {
        walk(dir, account);
    }
}

fn walk(path: &Path, account: &Account) {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return;
    };
    if meta.uid() == 0 {
        let _ = lchown(path, Some(account.uid), Some(account.gid));
    }
    if meta.is_dir() {
        // Read whole, so that a deep tree does not hold a descriptor for each of its levels.
        let entries: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
        for entry in entries {
            walk(&entry.path(), account);
        }
    }
}
