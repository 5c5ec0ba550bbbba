//! `rave cache ls|rm|pin|unpin|pins|gc|stats`: what is in a cache. This is RAVE's own part of the API; other servers lack it.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rave_core::time::{Clock as _, SystemClock, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, store_dir};
use super::fetch;
use super::files;
use super::local_store::LocalStore;
use super::manage::seconds;
use super::progress::size;
use super::push::counted;
use super::servers::Files;
use crate::terminal::{Style, print, say};

/// Paths asked for at once.
const PAGE: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The cache: NAME, SERVER:NAME or its URL; SERVER: or nothing lists the caches of a server
    cache: Option<String>,
    /// Only paths whose name contains this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// What comes first
    #[arg(long, value_enum, default_value = "newest")]
    order: Order,
    /// The most paths that are listed; 0 lists all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Newest,
    Downloads,
    Size,
    Unused,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Store paths
    #[arg(required = true)]
    paths: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PinArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// What the pin is called; a pin of that name moves to the path
    name: String,
    /// A store path
    path: String,
    /// Let the pin go after so long, such as `90 days`
    #[arg(long = "for", value_name = "DURATION")]
    period: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnpinArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// What the pin is called
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// The cache: NAME, SERVER:NAME or its URL
    cache: String,
    /// Only say what would go, and why
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Page {
    paths: Vec<Value>,
    total: usize,
}

/// The client of a cache, and where RAVE's own part of its API is.
async fn open(cache: &str, places: &Files) -> anyhow::Result<(Client, String)> {
    let (client, _) = Client::open(places.find(cache)?).await?;
    let tail = format!("_api/v1/caches/{}", client.name);
    Ok((client, tail))
}

pub(super) async fn list(args: &ListArgs, places: &Files) -> anyhow::Result<()> {
    let cache = match args.cache.as_deref() {
        Some(cache) if !cache.ends_with(':') => cache,
        server => return caches(server, args.json, places).await,
    };
    let (client, tail) = open(cache, places).await?;
    let order = args
        .order
        .to_possible_value()
        .context("every order has a name")?;
    let search = args.search.as_deref().unwrap_or_default();
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let asked = [("order", order.get_name()), ("search", search)];
    let (mut paths, total) = pages(&client, &tail, &asked, limit).await?;
    paths.truncate(limit);
    if args.json {
        print(&format!("{}\n", json!({"paths": paths, "total": total})))?;
        return Ok(());
    }
    let style = Style::stdout();
    let mut text = String::new();
    for path in &paths {
        let bytes = size(path["nar_size"].as_u64().unwrap_or_default());
        let downloads = path["downloads"].as_u64().unwrap_or_default();
        let used = path["last_accessed_at"]
            .as_str()
            .unwrap_or_default()
            .get(..10)
            .unwrap_or_default();
        let path = path["store_path"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{bytes:>10}  {downloads:>6}×  {}  {path}",
            style.dim(used)
        );
    }
    print(&text)?;
    if total == 0 {
        say("Nothing is there. Next: rave cache push CACHE PATH...");
    } else if paths.len() < total {
        say(&format!(
            "{} of {}; -n 0 lists all.",
            paths.len(),
            counted(total)
        ));
    }
    Ok(())
}

/// Asks for the paths of a cache page by page, until there are enough or all.
async fn pages(
    client: &Client,
    tail: &str,
    asked: &[(&str, &str)],
    limit: usize,
) -> anyhow::Result<(Vec<Value>, usize)> {
    let mut paths: Vec<Value> = Vec::new();
    let per_page = PAGE.to_string();
    loop {
        let page = (paths.len() / PAGE + 1).to_string();
        let query = [asked, &[("page", &page), ("per_page", &per_page)]].concat();
        let doing = "cannot list the cache";
        let answer: Page = client
            .query(&format!("{tail}/paths"), &query, doing)
            .await?;
        let is_last = answer.paths.len() < PAGE;
        paths.extend(answer.paths);
        if is_last || paths.len() >= limit.min(answer.total) {
            return Ok((paths, answer.total));
        }
    }
}

/// Returns all paths of a cache, where a RAVE server can list them.
pub(super) async fn all(client: &Client) -> anyhow::Result<Vec<String>> {
    let tail = format!("_api/v1/caches/{}", client.name);
    let (paths, _) = pages(client, &tail, &[("order", "newest")], usize::MAX).await?;
    let path = |it: &Value| it["store_path"].as_str().map(str::to_owned);
    Ok(paths.iter().filter_map(path).collect())
}

async fn caches(server: Option<&str>, as_json: bool, places: &Files) -> anyhow::Result<()> {
    // Any name does: it says which server is asked.
    let place = places.find(&format!("{}x", server.unwrap_or_default()))?;
    let answer: Value = Client::new(place)?
        .query("_api/v1/caches", &[], "cannot list the caches")
        .await?;
    if as_json {
        print(&format!("{answer}\n"))?;
        return Ok(());
    }
    let mut text = String::new();
    for cache in answer["caches"].as_array().into_iter().flatten() {
        let who = if cache["is_public"] == true {
            "public"
        } else {
            "private"
        };
        let name = cache["name"].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "{name:<24} {who:<8} {}",
            cache["substituter_endpoint"].as_str().unwrap_or_default()
        );
    }
    print(&text)?;
    if text.is_empty() {
        say("There are no caches that you may see. Next: rave cache create NAME");
    }
    Ok(())
}

/// Reads an argument that names a path of the cache's store, also a link to it in the local one.
fn path_of(text: &str, dir: &rave_nix::StoreDir) -> anyhow::Result<rave_nix::HashPart> {
    fetch::hash_part(dir, text).or_else(|error| {
        match LocalStore::open(None, files::environment)?.resolve(text) {
            Ok(path) => Ok(path.hash_part()),
            Err(_) => Err(error),
        }
    })
}

pub(super) async fn remove(args: &RemoveArgs, places: &Files) -> anyhow::Result<()> {
    let (client, config) = Client::open(places.find(&args.cache)?).await?;
    let dir = store_dir(&config)?;
    for path in &args.paths {
        let tail = format!(
            "_api/v1/caches/{}/paths/{}",
            client.name,
            path_of(path, &dir)?
        );
        client
            .command(
                Method::DELETE,
                &tail,
                None::<&()>,
                &format!("cannot remove {path}"),
            )
            .await?;
        say(&format!("Removed {path} from {}.", client.name));
    }
    Ok(())
}

pub(super) async fn pin(args: &PinArgs, places: &Files) -> anyhow::Result<()> {
    let (client, config) = Client::open(places.find(&args.cache)?).await?;
    let path = path_of(&args.path, &store_dir(&config)?)?;
    let until = match &args.period {
        None => None,
        Some(text) => {
            Some(Timestamp(SystemClock.now().0 + i64::from(seconds(text)?) * 1000).rfc3339())
        }
    };
    let tail = format!(
        "_api/v1/caches/{}/pins/{}",
        client.name,
        segment(&args.name)
    );
    let body = json!({"store_path": path.to_string(), "expires_at": until});
    client
        .command(
            Method::PUT,
            &tail,
            Some(&body),
            &format!("cannot pin {}", args.path),
        )
        .await?;
    let until = until.map(|it| format!(" until {it}")).unwrap_or_default();
    say(&format!(
        "{} and what it refers to stays in {}{until}.",
        args.path, client.name
    ));
    Ok(())
}

pub(super) async fn unpin(args: &UnpinArgs, places: &Files) -> anyhow::Result<()> {
    let (client, tail) = open(&args.cache, places).await?;
    let tail = format!("{tail}/pins/{}", segment(&args.name));
    client
        .command(
            Method::DELETE,
            &tail,
            None::<&()>,
            &format!("cannot remove the pin {}", args.name),
        )
        .await?;
    say(&format!("The pin {} is gone.", args.name));
    Ok(())
}

/// Escapes a name that becomes a part of an address.
fn segment(name: &str) -> String {
    name.bytes()
        .map(|it| match it {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                char::from(it).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

pub(super) async fn pins(args: &OneArgs, places: &Files) -> anyhow::Result<()> {
    let (client, tail) = open(&args.cache, places).await?;
    let answer: Value = client
        .query(&format!("{tail}/pins"), &[], "cannot list the pins")
        .await?;
    if args.json {
        print(&format!("{answer}\n"))?;
        return Ok(());
    }
    let mut text = String::new();
    for pin in answer["pins"].as_array().into_iter().flatten() {
        let of = |key: &str| pin[key].as_str().unwrap_or_default();
        let until = pin["expires_at"]
            .as_str()
            .map(|it| format!("  until {it}"))
            .unwrap_or_default();
        let _ = writeln!(text, "{:<24} {}{until}", of("name"), of("store_path"));
    }
    print(&text)?;
    if text.is_empty() {
        say("Nothing is pinned. Next: rave cache pin CACHE NAME PATH");
    }
    Ok(())
}

pub(super) async fn collect(args: &CollectArgs, places: &Files) -> anyhow::Result<()> {
    let (client, tail) = open(&args.cache, places).await?;
    let tail = format!("{tail}/gc");
    let doing = "cannot collect";
    let answer: Value = match args.dry_run {
        true => client.query(&tail, &[], doing).await?,
        false => {
            let response = client
                .command(Method::POST, &tail, None::<&()>, doing)
                .await?;
            response
                .json()
                .await
                .context("the server answers wrongly")?
        }
    };
    if args.json {
        print(&format!("{answer}\n"))?;
        return Ok(());
    }
    let mut text = String::new();
    for path in answer["paths"].as_array().into_iter().flatten() {
        let of = |key: &str| path[key].as_str().unwrap_or_default();
        let bytes = size(path["nar_size"].as_u64().unwrap_or_default());
        let _ = writeln!(
            text,
            "{bytes:>10}  {}  {}",
            of("store_path"),
            Style::stdout().dim(of("message"))
        );
    }
    print(&text)?;
    let number = |key: &str| answer[key].as_u64().unwrap_or_default();
    let paths = |key: &str| counted(usize::try_from(number(key)).unwrap_or_default());
    let verb = if args.dry_run { "Would go" } else { "Gone" };
    say(&format!(
        "{verb}: {} ({}); {} ({}) stay.",
        paths("total"),
        size(number("nar_bytes")),
        paths("kept_paths"),
        size(number("kept_bytes"))
    ));
    Ok(())
}

pub(super) async fn statistics(args: &OneArgs, places: &Files) -> anyhow::Result<()> {
    let (client, tail) = open(&args.cache, places).await?;
    let answer: Value = client
        .query(
            &format!("{tail}/statistics"),
            &[],
            "cannot ask for statistics",
        )
        .await?;
    if args.json {
        print(&format!("{answer}\n"))?;
        return Ok(());
    }
    let totals = &answer["totals"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let (hits, misses) = (number(&totals["hits"]), number(&totals["misses"]));
    let share = (hits * 100).checked_div(hits + misses).unwrap_or_default();
    let mut text = format!("{}\n", Style::stdout().bold(&client.name));
    let mut line = |name: &str, value: String| text += &format!("  {name:<12}{value}\n");
    line(
        "Paths",
        format!(
            "{} ({})",
            number(&answer["paths"]),
            size(number(&answer["nar_bytes"]))
        ),
    );
    line(
        "Asked for",
        format!("{hits} hits, {misses} misses ({share} % hits)"),
    );
    line("Served", size(number(&totals["bytes_served"])));
    line(
        "Pushed",
        format!(
            "{} paths ({})",
            number(&totals["paths_added"]),
            size(number(&totals["bytes_pushed"]))
        ),
    );
    line(
        "Stored",
        format!(
            "{} ({} saved)",
            size(number(&totals["bytes_stored"])),
            size(number(&totals["bytes_saved"]))
        ),
    );
    print(&text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_stay_one_part_of_an_address() {
        assert_eq!(super::segment("release-1"), "release-1");
        assert_eq!(super::segment("../a b"), "%2E%2E%2Fa%20b");
    }
}
