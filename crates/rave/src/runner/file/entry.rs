//! One `[[runners]]` of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rave_core::secret::Secret;
use rave_runner::{SandboxPolicy, VmPolicy};

use super::{Container, Entry, Images, cache, policy, why};
use crate::config::Executor;
use crate::runner::table::{Lines, Table};
use crate::runner::tls::TlsFiles;

/// The disk of a virtual machine that does not say it, as elsewhere.
const VM_DISK_BYTES: u64 = 8 << 30;

/// Reads an entry. `None` when something is missing that nothing can stand for, which is noted.
pub(super) fn read(
    lines: &mut Lines<'_>,
    mut table: Table<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<Entry> {
    let expanded = |text: Option<String>| text.map(|it| expand(&it, environment));
    let url = expanded(table.need_text(lines, "url"))?;
    let token = expanded(table.need_text(lines, "token"))?;
    let at = table.offset("executor");
    let executor_name = table.need_text(lines, "executor")?;
    let executor = executor_of(lines, at, &executor_name);
    let count = |table: &mut Table<'_>, lines: &mut Lines<'_>, key: &str| {
        table.count(lines, key).filter(|it| *it > 0)
    };
    let id = count(&mut table, lines, "id").and_then(|it| i64::try_from(it).ok());
    let mut entry = Entry {
        name: table.text(lines, "name").unwrap_or_default(),
        url,
        id,
        token: Secret::new(token),
        token_obtained_at: table.time(lines, "token_obtained_at"),
        token_expires_at: table.time(lines, "token_expires_at"),
        executor,
        executor_name,
        limit: count(&mut table, lines, "limit"),
        output_limit_bytes: count(&mut table, lines, "output_limit").map(|it| it as u64 * 1024),
        builds_dir: table.text(lines, "builds_dir").map(PathBuf::from),
        cache_dir: table.text(lines, "cache_dir").map(PathBuf::from),
        clone_url: table.text(lines, "clone_url"),
        environment: BTreeMap::new(),
        tls: TlsFiles {
            ca: table.text(lines, "tls-ca-file").map(PathBuf::from),
            cert: table.text(lines, "tls-cert-file").map(PathBuf::from),
            key: table.text(lines, "tls-key-file").map(PathBuf::from),
        },
        pre_get_sources_script: table
            .text(lines, "pre_get_sources_script")
            .or_else(|| table.text(lines, "pre_clone_script")),
        post_get_sources_script: table
            .text(lines, "post_get_sources_script")
            .or_else(|| table.text(lines, "post_clone_script")),
        pre_build_script: table.text(lines, "pre_build_script"),
        post_build_script: table.text(lines, "post_build_script"),
        unhealthy_interval: table
            .duration(lines, "unhealthy_interval")
            .unwrap_or(Duration::from_secs(3600)),
        memory_bytes: None,
        cpus: None,
        request_concurrency: count(&mut table, lines, "request_concurrency").unwrap_or(1),
        sandbox: SandboxPolicy::default(),
        vm: VmPolicy {
            disk_bytes: Some(VM_DISK_BYTES),
            ..VmPolicy::default()
        },
        cache: None,
        custom_build_dir: None,
        images: Images::default(),
        container: Container::default(),
    };
    let at = table.offset("environment");
    for pair in table.list(lines, "environment") {
        match pair.split_once('=') {
            Some((key, value)) if is_name(key) => {
                entry.environment.insert(key.to_owned(), value.to_owned());
            }
            _ => lines.complain(
                at,
                format!("runners.environment: {pair:?} is not NAME=value"),
            ),
        }
    }
    for name in ["docker", "sandbox"] {
        for mut table in table.tables(lines, name) {
            policy::limits(lines, &mut table, &mut entry);
            entry.images = policy::images(lines, &mut table);
            table.rest(lines, policy::why);
        }
    }
    // Empty tables of these are what `register` of the stock runner writes.
    table.skip_empty(&["cache", "custom_build_dir", "feature_flags", "artifact"]);
    for mut it in table.tables(lines, "custom_build_dir") {
        entry.custom_build_dir = it.flag(lines, "enabled");
        it.rest(lines, why);
    }
    for mut it in table.tables(lines, "vm") {
        policy::vm(lines, &mut it, &mut entry.vm);
        it.rest(lines, why);
    }
    for it in table.tables(lines, "cache") {
        entry.cache = cache::read(lines, it, environment);
    }
    table.rest(lines, why);
    Some(entry)
}

/// Which executor carries out what the stock runner's one stands for.
fn executor_of(lines: &mut Lines<'_>, at: usize, name: &str) -> Executor {
    match name {
        "shell" => return Executor::Shell,
        "sandbox" => {}
        "docker" | "container" => return Executor::Container,
        "vm" => return Executor::Vm,
        _ => lines.complain(
            at,
            format!("runners.executor: {name:?} does not exist here; there are \"sandbox\", \"docker\", \"vm\" and \"shell\""),
        ),
    }
    Executor::Sandbox
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
        && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

/// Puts values of the environment in place of `$NAME` and `${NAME}`; what is not set is empty.
pub(super) fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, after) = match rest.strip_prefix('{').and_then(|it| it.split_once('}')) {
            Some(braced) => braced,
            None => {
                let end = rest
                    .find(|it: char| !(it.is_ascii_alphanumeric() || it == '_'))
                    .unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        if name.is_empty() {
            out.push('$');
        } else {
            out.push_str(&environment(name).unwrap_or_default());
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
