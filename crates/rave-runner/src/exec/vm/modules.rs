//! Which modules of a kernel a virtual machine loads, and in which order.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What every machine needs, by the names of the modules. One that is built in or does not exist is left out; that what it
/// is for does not work shows at the trial.
const WANTED: [&str; 8] = [
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtiofs",
    "overlay",
    "ext4",
    "crc32c_generic",
];

/// Returns the files of the modules, those that others depend on first.
///
/// # Errors
/// When there is no table of modules.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let table = dir.join("modules.dep");
    let text = fs::read_to_string(&table).map_err(|error| {
        format!(
            "cannot read {}: {error}; it lists the kernel's modules, and depmod makes it",
            table.display()
        )
    })?;
    Ok(ordered(&text).into_iter().map(|it| dir.join(it)).collect())
}

/// Returns how the name of a module's file ends, such as `ko` or `ko.xz`.
pub(super) fn ending(path: &Path) -> &str {
    let name = path.file_name().and_then(|it| it.to_str());
    name.and_then(|it| it.split_once('.'))
        .map_or("ko", |it| it.1)
}

/// Reads lines of `file: file file`: a module, and all that it depends on, of which the last depends on nothing.
fn ordered(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|it| it.split_once(':'));
    let known: HashMap<String, (&str, &str)> = lines
        .map(|(file, needs)| (name(file), (file, needs)))
        .collect();
    let mut found: Vec<&str> = Vec::new();
    for (file, needs) in WANTED.iter().filter_map(|it| known.get(*it)) {
        let needs = needs.split_whitespace().rev();
        for file in needs.chain([*file]) {
            if !found.contains(&file) {
                found.push(file);
            }
        }
    }
    found
}

/// Returns the name of a module, which has underscores where its file may have dashes.
fn name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = name.split('.').next().unwrap_or(name);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first_and_once() {
        let text = "kernel/fs/fuse/virtiofs.ko.xz: kernel/fs/fuse/fuse.ko.xz kernel/virtio.ko.xz\n\
                    kernel/fs/fuse/fuse.ko.xz:\n\
                    kernel/virtio-pci.ko.xz: kernel/ring.ko.xz kernel/virtio.ko.xz\n\
                    kernel/other.ko:\n";
        let expected = [
            "kernel/virtio.ko.xz",
            "kernel/ring.ko.xz",
            "kernel/virtio-pci.ko.xz",
            "kernel/fs/fuse/fuse.ko.xz",
            "kernel/fs/fuse/virtiofs.ko.xz",
        ];
        assert_eq!(ordered(text), expected);
        assert_eq!(ending(Path::new("/a.d/virtiofs.ko.xz")), "ko.xz");
    }
}
