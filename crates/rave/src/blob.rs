//! `rave blob`: what the object store holds, whether it is sound, and what no one needs of it.
//!
//! Everything here works beside a server that is running. Only `gc` does less then: packs that grow are the server's own.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rave_blob::{Blobs, Stats, Swept, Verified, VerifyProgress};
use serde_json::json;

use crate::cli::ServerArgs;
use crate::config::{self, Config};
use crate::data_dir::DataDirError;
use crate::failure::hinted;
use crate::terminal::{Style, print, say};
use crate::wiring::{self, Base, Parts};

#[derive(Debug, Subcommand)]
pub(crate) enum BlobCommand {
    /// Say what the store holds and what it costs
    #[command(after_help = "Examples:
  rave blob stats
  rave blob stats --data /var/lib/rave --json")]
    Stats(StatsArgs),
    /// Read everything and name what is damaged
    #[command(
        after_help = "Exits 0 when everything is sound and 1 when something is not.
What is damaged is not served from then on, and is whole again when the same content is put again.

Examples:
  rave blob verify
  rave blob verify --repair    after the files came back from a backup: serve what is whole again"
    )]
    Verify(VerifyArgs),
    /// Delete what nothing refers to, once, instead of waiting for the server's hourly sweep
    #[command(
        after_help = "An object goes when nothing has referred to it for six hours, its chunks twelve hours later at most,
and packs when half of them is dead. While a server runs, emptying packs is left to it.

Examples:
  rave blob gc --dry-run
  rave blob gc --data /var/lib/rave"
    )]
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Serve what was marked as damaged and is whole again, and delete files that are no pack of the store
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Say what would go now, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &BlobCommand) -> anyhow::Result<ExitCode> {
    match command {
        BlobCommand::Stats(args) => stats(args),
        BlobCommand::Verify(args) => verify(args),
        BlobCommand::Gc(args) => gc(args),
    }
}

fn load(server: &ServerArgs) -> anyhow::Result<Config> {
    let config = config::load(server.config.as_deref(), &server.overrides())?;
    if !config.data_dir.exists() {
        let text = format!("there is no data directory {}", config.data_dir.display());
        let hint = "name it with --data DIR, or make one with `rave up`";
        return Err(hinted(text, hint, None));
    }
    Ok(config)
}

/// Opens the store as a process that does not own it.
async fn open(base: &Base, config: &Config) -> anyhow::Result<Blobs> {
    let blobs = wiring::open_blobs(&base.db, &base.dir, config.blobs.as_ref()).await;
    blobs.context("cannot open the object store")
}

fn stats(args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.server)?;
    let stats = wiring::runtime()?.block_on(async {
        let base = Base::open(&config).await?;
        let stats = open(&base, &config).await?.stats().await;
        base.db.close().await;
        stats.context("cannot count what is in the object store")
    })?;
    print(&match args.json {
        true => stats_json(&stats),
        false => stats_text(&stats),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn stats_json(it: &Stats) -> String {
    let value = json!({
        "objects": it.objects,
        "damaged_objects": it.damaged_objects,
        "logical_bytes": it.logical_bytes,
        "chunks": it.chunks,
        "damaged_chunks": it.damaged_chunks,
        "unique_bytes": it.unique_bytes,
        "stored_bytes": it.stored_bytes,
        "dedup_ratio": it.dedup_ratio(),
        "compression_ratio": it.compression_ratio(),
        "packs": {"open": it.open_packs, "sealed": it.sealed_packs, "doomed": it.doomed_packs},
        "pack_bytes": it.pack_bytes,
        "dead_bytes": it.dead_bytes,
    });
    format!("{value:#}\n")
}

fn stats_text(it: &Stats) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    let damaged = |count: u64| match count {
        0 => String::new(),
        count => format!(", {count} of them damaged"),
    };
    let (objects, chunks) = (damaged(it.damaged_objects), damaged(it.damaged_chunks));
    line(
        "objects",
        format!("{}{objects}, {} long", it.objects, size(it.logical_bytes)),
    );
    line(
        "chunks",
        format!(
            "{}{chunks}, {} long, {} compressed",
            it.chunks,
            size(it.unique_bytes),
            size(it.stored_bytes)
        ),
    );
    line(
        "saved",
        format!(
            "{:.2} x by deduplication, {:.2} x by compression",
            it.dedup_ratio(),
            it.compression_ratio()
        ),
    );
    line(
        "packs",
        format!(
            "{} sealed, {} open, {} about to go",
            it.sealed_packs, it.open_packs, it.doomed_packs
        ),
    );
    let dead = format!(
        "{}, {} of it dead",
        size(it.pack_bytes),
        size(it.dead_bytes)
    );
    line("on disk", dead);
    out
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.server)?;
    let bar = indicatif::ProgressBar::new(0);
    let style = "{bar:30} {bytes} of {total_bytes} {bytes_per_sec} {msg}";
    bar.set_style(indicatif::ProgressStyle::with_template(style)?);
    let show = |it: VerifyProgress| {
        bar.set_length(it.of_stored_bytes);
        bar.set_position(it.stored_bytes);
        bar.set_message(format!("{} chunks", it.chunks));
    };
    let found = wiring::runtime()?.block_on(async {
        let base = Base::open(&config).await?;
        let found = open(&base, &config).await?.verify(args.repair, show).await;
        base.db.close().await;
        found.context("cannot read everything in the object store")
    });
    bar.finish_and_clear();
    let found = found?;
    print(&match args.json {
        true => verified_json(&found),
        false => verified_text(&found, Style::stdout()),
    })?;
    Ok(match found.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn verified_json(it: &Verified) -> String {
    let damaged: Vec<_> = it
        .damaged
        .iter()
        .map(|it| {
            json!({
                "pack": it.pack,
                "position": it.position,
                "stored_bytes": it.stored_bytes,
                "what": it.what,
            })
        })
        .collect();
    let strays: Vec<_> = it
        .strays
        .iter()
        .map(|it| json!({"pack": it.pack, "size_bytes": it.size_bytes, "age_secs": it.age_secs}))
        .collect();
    let not_served: Vec<_> = it.not_served.iter().map(ToString::to_string).collect();
    let value = json!({
        "sound": it.is_sound(),
        "repaired": it.repaired,
        "packs": it.packs,
        "chunks": it.chunks,
        "stored_bytes": it.stored_bytes,
        "objects": it.objects,
        "damaged_chunks": it.damaged_chunks,
        "damaged": damaged,
        "damaged_objects": it.damaged_objects,
        "not_served": not_served,
        "whole_again": it.whole_again,
        "lost_packs": it.lost_packs,
        "strays": strays,
    });
    format!("{value:#}\n")
}

fn verified_text(it: &Verified, style: Style) -> String {
    let mut out = String::new();
    for pack in &it.lost_packs {
        let _ = writeln!(out, "{} pack {pack} has no file", style.red("lost"));
    }
    for chunk in &it.damaged {
        let _ = writeln!(
            out,
            "{} pack {}, byte {}: {}",
            style.red("damaged"),
            chunk.pack,
            chunk.position,
            chunk.what
        );
    }
    for digest in &it.not_served {
        let _ = writeln!(out, "{} object {digest}", style.red("not served"));
    }
    for stray in &it.strays {
        let _ = writeln!(
            out,
            "{} pack {} is in no list: {}, {} hours old{}",
            style.yellow("stray"),
            stray.pack,
            size(stray.size_bytes),
            stray.age_secs / 3600,
            if it.repaired { ", deleted" } else { "" }
        );
    }
    if it.whole_again > 0 {
        let _ = match it.repaired {
            true => writeln!(out, "{} objects are served again", it.whole_again),
            false => writeln!(
                out,
                "{} objects are whole again: serve them with --repair",
                it.whole_again
            ),
        };
    }
    let verdict = match it.is_sound() {
        true => style.green("sound"),
        false => style.red("damaged"),
    };
    let _ = writeln!(
        out,
        "{verdict}: {} objects, {} chunks in {} packs, {}; {} chunks and {} objects damaged",
        it.objects,
        it.chunks,
        it.packs,
        size(it.stored_bytes),
        it.damaged_chunks,
        it.damaged_objects
    );
    out
}

fn gc(args: &GcArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.server)?;
    let swept = wiring::runtime()?.block_on(async {
        let base = Base::open(&config).await?;
        // With the lock, no server begins meanwhile, and what grows in the directory is ours.
        let lock = match args.dry_run {
            true => None,
            false => match base.dir.lock() {
                Ok(lock) => Some(lock),
                Err(DataDirError::InUse { .. }) => None,
                Err(other) => return Err(other.into()),
            },
        };
        // What refers to objects is known to the parts, all of which a server has. None of them is started.
        let parts = Parts::assemble(&base, &config, "http://127.0.0.1").await?;
        let sweeper = parts.sweeper();
        let swept = if args.dry_run {
            sweeper.preview().await
        } else if lock.is_some() {
            let recovered = parts.blobs.recover().await;
            recovered.context("cannot finish what a server left in the object store")?;
            let swept = sweeper.sweep().await;
            // The pack that the living moved to is finished, as a server's next start would.
            let recovered = parts.blobs.recover().await;
            recovered.context("cannot finish the pack that was written")?;
            swept
        } else {
            say("a server is running: packs that are half dead are left to it");
            sweeper.beside_the_owner().sweep().await
        };
        base.db.close().await;
        swept.context("cannot sweep the object store")
    })?;
    print(&match args.json {
        true => swept_json(&swept, args.dry_run),
        false => swept_text(&swept, args.dry_run),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn swept_json(it: &Swept, dry_run: bool) -> String {
    let value = json!({
        "dry_run": dry_run,
        "objects": it.objects,
        "chunks": it.chunks,
        "chunk_bytes": it.chunk_bytes,
        "packs_emptied": it.packs_emptied,
        "packs": it.packs,
        "pack_bytes": it.pack_bytes,
    });
    format!("{value:#}\n")
}

fn swept_text(it: &Swept, dry_run: bool) -> String {
    let (deleted, emptied) = match dry_run {
        true => ("would delete", "would empty"),
        false => ("deleted", "emptied"),
    };
    format!(
        "{deleted} {} objects, {} chunks ({}), {} packs ({}); {emptied} {} packs\n",
        it.objects,
        it.chunks,
        size(it.chunk_bytes),
        it.packs,
        size(it.pack_bytes),
        it.packs_emptied
    )
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_is_wrong_and_ends_with_the_verdict() {
        let found = Verified {
            objects: 3,
            chunks: 5,
            packs: 1,
            stored_bytes: 2048,
            damaged_chunks: 1,
            damaged_objects: 1,
            lost_packs: vec!["p".to_owned()],
            whole_again: 1,
            ..Verified::default()
        };
        insta::assert_snapshot!(verified_text(&found, Style::plain()), @r"
        lost pack p has no file
        1 objects are whole again: serve them with --repair
        damaged: 3 objects, 5 chunks in 1 packs, 2.00 KiB; 1 chunks and 1 objects damaged
        ");
    }
}
