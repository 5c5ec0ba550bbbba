//! What of the machine the jobs of an entry get, and which images they may use.

use std::path::PathBuf;
use std::time::Duration;

use rave_runner::{Accelerator, Network, PullPolicy, SandboxPolicy, VmPolicy};

use super::{Container, Entry, Images};
use crate::config::Executor;
use crate::runner::table::{Lines, Table};

/// The volume that the stock runner keeps caches in; here they are kept outside of containers.
const CACHE: &str = "/cache";

/// Reads what containers and the sandbox have in common.
pub(super) fn limits(lines: &mut Lines<'_>, table: &mut Table<'_>, entry: &mut Entry) {
    if let Some(bytes) = size(lines, table, "memory") {
        entry.memory_bytes = Some(bytes);
    }
    let at = table.offset("cpus");
    if let Some(text) = table.text(lines, "cpus").filter(|it| !it.is_empty()) {
        entry.cpus = text
            .parse()
            .ok()
            .filter(|it: &f64| it.is_finite() && *it > 0.0);
        if entry.cpus.is_none() {
            lines.complain(at, format!("cpus: {text:?} is no number such as \"1.5\""));
        }
    }
    if entry.executor == Executor::Container {
        container(lines, table, &mut entry.container);
    } else {
        sandbox(lines, table, &mut entry.sandbox);
        let at = table.offset("volumes");
        for volume in table.list(lines, "volumes") {
            match volume.split(':').collect::<Vec<_>>().as_slice() {
                [CACHE] => {}
                [from, to, "ro"] if from == to => {
                    entry.sandbox.read_only_paths.push(PathBuf::from(from));
                }
                _ => lines.note(
                    at,
                    format!("volumes: {volume:?} is left out; the sandbox has paths of this machine, read-only and at the same place (\"/x:/x:ro\")"),
                ),
            }
        }
    }
    if table.skip_if("wait_for_services_timeout", "-1") {
        entry.sandbox.services_timeout = Duration::ZERO;
    }
    if let Some(secs @ 1..) = table.count(lines, "wait_for_services_timeout") {
        entry.sandbox.services_timeout = Duration::from_secs(secs as u64);
    }
    table.skip_if("volumes_from", "[]");
    table.skip_if("shm_size", "0");
    table.skip_if("network_mtu", "0");
    for key in [
        "privileged",
        "disable_entrypoint_overwrite",
        "oom_kill_disable",
        "disable_cache",
        "tls_verify",
    ] {
        table.skip_if(key, "false");
    }
}

/// Reads a size, which may be zero.
fn size(lines: &mut Lines<'_>, table: &mut Table<'_>, key: &str) -> Option<u64> {
    let at = table.offset(key);
    let text = table.text(lines, key).filter(|it| !it.is_empty())?;
    let found = bytes(&text);
    if found.is_none() {
        lines.complain(at, format!("{key}: {text:?} is no size such as \"2g\""));
    }
    found
}

/// Reads what only the sandbox has.
fn sandbox(lines: &mut Lines<'_>, table: &mut Table<'_>, sandbox: &mut SandboxPolicy) {
    if table.text_is(lines, "network_mode", "none") {
        sandbox.network = Network::None;
    } else if table.text_is(lines, "network_mode", "own") {
        sandbox.network = Network::Own;
    } else {
        table.skip_if("network_mode", "host");
    }
    sandbox.nested_namespaces = table.flag(lines, "nested_namespaces").unwrap_or(false);
    if let Some(bytes @ 1..) = size(lines, table, "image_limit") {
        sandbox.image_limit_bytes = bytes;
    }
}

/// Reads what virtual machines are.
pub(super) fn vm(lines: &mut Lines<'_>, table: &mut Table<'_>, vm: &mut VmPolicy) {
    let mut path = |key: &str| {
        let text = table.text(lines, key).filter(|it| !it.is_empty());
        text.map(PathBuf::from)
    };
    (vm.kernel, vm.modules) = (path("kernel"), path("modules"));
    let some = |it: u64| (it > 0).then_some(it);
    vm.memory_bytes = size(lines, table, "memory").and_then(some);
    vm.cpus = table
        .count(lines, "cpus")
        .and_then(|it| u32::try_from(it).ok())
        .filter(|it| *it > 0);
    if let Some(bytes) = size(lines, table, "disk") {
        vm.disk_bytes = some(bytes);
    }
    let at = table.offset("accelerator");
    vm.accelerator = match table.text(lines, "accelerator").as_deref() {
        None | Some("" | "auto") => None,
        Some("kvm") => Some(Accelerator::Kvm),
        Some("tcg") => Some(Accelerator::Tcg),
        Some(other) => {
            let text = format!(
                "runners.vm.accelerator: {other:?} does not exist; there are \"auto\", \"kvm\" and \"tcg\""
            );
            lines.complain(at, text);
            None
        }
    };
}

/// Reads what containers get of the machine.
fn container(lines: &mut Lines<'_>, table: &mut Table<'_>, container: &mut Container) {
    let given = |it: &String| !it.is_empty();
    container.host = table.text(lines, "host").filter(given);
    container.network = table.text(lines, "network_mode").filter(given);
    container.privileged = table.flag(lines, "privileged").unwrap_or(false);
    let services = table.flag(lines, "services_privileged");
    container.services_privileged = services.unwrap_or(container.privileged);
    container.volumes = table.list(lines, "volumes");
    container.volumes.retain(|it| it != CACHE);
    container.devices = table.list(lines, "devices");
}

/// Reads which images jobs may use.
pub(super) fn images(lines: &mut Lines<'_>, table: &mut Table<'_>) -> Images {
    let mut policies = |table: &mut Table<'_>, key: &str| {
        let at = table.offset(key);
        let names = table.texts(lines, key);
        let known: Vec<PullPolicy> = names
            .iter()
            .filter_map(|it| PullPolicy::parse(it))
            .collect();
        if known.len() < names.len() {
            lines.complain(
                at,
                format!("{key}: there are \"always\", \"if-not-present\" and \"never\""),
            );
        }
        known
    };
    Images {
        pull_policies: policies(table, "pull_policy"),
        allowed_pull_policies: policies(table, "allowed_pull_policies"),
        image: table.text(lines, "image").filter(|it| !it.is_empty()),
        allowed_images: table.list(lines, "allowed_images"),
        allowed_services: table.list(lines, "allowed_services"),
    }
}

/// Says why a key of the stock runner means nothing in these tables.
pub(super) fn why(key: &str) -> &'static str {
    match key {
        "helper_image" | "helper_image_flavor" => "the runner needs no image of its own",
        "privileged" => "jobs in the sandbox never have more rights",
        _ => "there is no such setting here",
    }
}

/// Reads a size with one of Docker's units.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let digits = text.trim_end_matches(['k', 'm', 'g', 't']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1_u64 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("512m", Some(512 << 20)),
            ("1gb", Some(1 << 30)),
            ("7", Some(7)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
