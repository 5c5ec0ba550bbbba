//! `rave demo`: the main job before a newcomer's eyes. A real project is pushed, linted, built, tested, scanned and
//! released by a server that was not there a second ago.

mod api;
mod source;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use rave_core::job::Status;
use rave_core::permission::Scope;
use rave_core::secret::{Secret, TokenKind, generate_token};

use crate::config::{self, Config, Overrides};
use crate::failure::hinted;
use crate::job_log::tail;
use crate::logging;
use crate::terminal::{Style, say};
use crate::up::{Server, Signals};
use crate::wiring::{self, Base};
use api::Api;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory for the server's data; must be empty or absent [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:8080, or any free port when that is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Exit when the pipeline has ended: 0 when it passed, 1 when not
    #[arg(long)]
    once: bool,
    /// Use the bundled project instead of GNU hello
    #[arg(long)]
    bundled: bool,
}

/// Where the demo keeps its things. A temporary directory is removed at the end.
struct Place {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Place {
    /// Leaves a temporary directory where it is.
    fn keep(self) {
        if let Some(temporary) = self.temporary {
            let _ = temporary.keep();
        }
    }
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let place = place(args.data.as_deref())?;
    let data = place.path.join("data");
    let overrides = Overrides {
        data_dir: Some(data.clone()),
        listen: Some(listen(args.listen)),
        ..Overrides::default()
    };
    let config = config::load(None, &overrides)?;
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let log = place.path.join("rave.log");
    logging::start(&config.log, &logging::Target::File(&log))?;
    crate::runner::install_tls();
    let runtime = wiring::runtime()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let (server, passed) = tokio::select! {
            performed = perform(args, &config, &place.path) => performed?,
            () = signals.wait() => return Ok(ExitCode::from(130)),
        };
        if !args.once {
            signals.wait().await;
        }
        server.stop().await;
        Ok(if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    });
    result.map_err(|error: anyhow::Error| {
        if error.is::<crate::failure::Hinted>() {
            return error;
        }
        // What went wrong is in the log, so it stays.
        place.keep();
        let hint = format!("the server's log is {}", log.display());
        hinted("the demo did not get through", hint, Some(error))
    })
}

/// Does everything up to the results. Returns the server, which goes on, and whether the pipeline passed.
async fn perform(args: &DemoArgs, config: &Config, place: &Path) -> anyhow::Result<(Server, bool)> {
    let style = Style::stderr();
    let started = std::time::Instant::now();
    let password = generate_token(TokenKind::Claim)?;
    let server = Server::start(config, Some(&password)).await?;
    let ready = format!("in {} ms", started.elapsed().as_millis());
    say(&format!(
        "{} is ready on {} {}",
        style.bold("RAVE"),
        style.cyan(&server.url),
        style.dim(&ready)
    ));

    let token = admin_token(config).await?;
    let project = source::fetch(place, args.bundled).await?;
    say(&format!("Pushing {} …", style.bold(&project.title)));
    let remote = format!("{}/root/{}.git", server.url, project.name);
    source::push(&project, &remote, &token).await?;

    let api = Api::new(&server.url, &format!("root/{}", project.name), &token)?;
    let pipeline = api.wait_for_pipeline().await?;
    let status = watch::watch(&api, pipeline).await?;
    say(&format!("\nPipeline {}", watch::painted(style, status)));
    show_results(&api, pipeline, style).await?;
    say(&format!(
        "\n  Pipeline  {}",
        style.cyan(&api.page(&format!("/-/pipelines/{pipeline}")))
    ));
    say(&format!("  Project   {}", style.cyan(&api.page(""))));
    if !args.once {
        say(&format!(
            "  Sign in   as {} with the password {}",
            style.bold("root"),
            style.bold(password.expose())
        ));
        say(&format!(
            "\nServing until you press Ctrl-C. {}",
            style.dim("The data goes with it, unless you named a directory.")
        ));
    }
    Ok((server, status == Status::Success))
}

fn place(wanted: Option<&Path>) -> anyhow::Result<Place> {
    let Some(path) = wanted else {
        let temporary = tempfile::Builder::new()
            .prefix("rave-demo-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        return Ok(Place {
            path: temporary.path().to_owned(),
            temporary: Some(temporary),
        });
    };
    let used = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        return Err(hinted(
            format!("{} is not empty", path.display()),
            "name a new directory, or start what is there with `rave up --data DIR/data`",
            None,
        ));
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    let path = path
        .canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))?;
    Ok(Place {
        path,
        temporary: None,
    })
}

fn listen(wanted: Option<SocketAddr>) -> String {
    let usual = "127.0.0.1:8080";
    match wanted {
        Some(address) => address.to_string(),
        None if std::net::TcpListener::bind(usual).is_ok() => usual.to_owned(),
        None => "127.0.0.1:0".to_owned(),
    }
}

async fn admin_token(config: &Config) -> anyhow::Result<Secret> {
    let base = Base::open(config).await?;
    let token = base
        .auth
        .issue_token("root", "demo", &[Scope::Api, Scope::WriteRepository], None)
        .await;
    base.db.close().await;
    Ok(token?)
}

async fn show_results(api: &Api, pipeline: i64, style: Style) -> anyhow::Result<()> {
    for job in api.jobs(pipeline).await? {
        if job.status == Status::Failed {
            say(&format!(
                "\n{} failed; the end of its log:",
                style.bold(&job.name)
            ));
            let trace = api.trace(job.id).await?;
            for line in tail(trace.as_bytes(), 15, false, true) {
                say(&format!("  {} {line}", style.dim("│")));
            }
        }
    }
    let made: Vec<api::Job> = api
        .jobs(pipeline)
        .await?
        .into_iter()
        .filter(|it| it.artifact_bytes.is_some())
        .collect();
    if !made.is_empty() {
        say("\nMade");
    }
    for job in made {
        let size = rave_http::component::size(job.artifact_bytes.unwrap_or_default());
        let link = api.page(&format!("/-/jobs/{}/artifacts/browse", job.id));
        say(&format!(
            "  {:<9} {:>9}  {}",
            job.name,
            size,
            style.cyan(&link)
        ));
    }
    Ok(())
}
