//! `POST git-receive-pack`: a push, from its commands to the event and the lines that the pusher reads.
//!
//! 1. The commands are read, and the policy for them is decided.
//! 2. A row says that a push is on its way. Without the database nothing is received: 503.
//! 3. `git receive-pack` takes the pack into a quarantine; the hook holds the commands against the policy.
//! 4. The references are compared with what is recorded; each that moved gets its event; the row goes.
//! 5. The last packet of git's answer is held back until the pipelines are known, so that the pusher reads of them.
//!
//! From step 2 on, a task does the work that a client who hangs up must not interrupt.

use std::fs::File;
use std::process::Stdio;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use rave_core::permission::{Access, PushCode};
use rave_http::HttpError;
use rave_http::request_log::Trace;
use rave_store::Error as StoreError;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::error::GitError;
use crate::git::child::Group;
use crate::hook;
use crate::policy::PushPolicy;
use crate::service::{Claim, Git};
use crate::store::{self, Occasion};
use crate::sync::Scope;
use crate::transfer::body::RequestBody;
use crate::transfer::child::{self, LIFETIME, Pieces, STALL};
use crate::transfer::commands::{self, Opening, OpeningError};
use crate::transfer::gate::Visitor;
use crate::transfer::{Service, finish, pkt, protocol};

/// Answers a push.
pub(crate) async fn receive_pack(
    State(git): State<Arc<Git>>,
    request: Request,
) -> Result<Response, HttpError> {
    let (parts, body) = request.into_parts();
    let service = Service::ReceivePack;
    let access = git.may_push(&Visitor::of(&parts)?).await?;
    service.check_content_type(&parts.headers)?;
    let content_type = service.content_type("result");
    let mut body = RequestBody::new(&parts.headers, body);
    let opening = commands::read(&mut body).await.map_err(refuse)?;
    if opening.commands.is_empty() {
        return Ok(finish(Body::empty().into_response(), &content_type));
    }
    let occasion = Occasion {
        user: access.principal().user_id(),
        options: opening.options.clone(),
        trace: parts.extensions.get::<Trace>().map(|it| it.0),
    };
    let version = protocol(&parts.headers, service);
    let push = Push::begin(&git, access, opening, occasion, version).await?;
    let (sender, answer) = child::channel();
    let span = tracing::info_span!(
        "git",
        git.command = "receive-pack",
        project.id = push.access.project().id.0
    );
    git.tasks.spawn(push.run(body, sender).instrument(span));
    Ok(finish(answer.into_response(), &content_type))
}

fn refuse(error: OpeningError) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, error.to_string())
}

/// A push that git is receiving.
struct Push {
    git: Arc<Git>,
    access: Access<PushCode>,
    opening: Opening,
    occasion: Occasion,
    row: i64,
    group: Group,
    stdin: Option<ChildStdin>,
    pieces: Pieces,
    /// Held while git may touch the repository.
    _receiving: tokio::sync::OwnedRwLockReadGuard<()>,
    _permit: OwnedSemaphorePermit,
    _claim: Claim,
}

impl Push {
    async fn begin(
        git: &Arc<Git>,
        access: Access<PushCode>,
        opening: Opening,
        occasion: Occasion,
        version: Option<&str>,
    ) -> Result<Self, HttpError> {
        let project = access.project();
        let id = project.id;
        let repository = git.repository(project).await?;
        let rules = git.protected_branches(id).await.map_err(GitError::from)?;
        let policy = PushPolicy::decide(&rules, access.role(), &opening.commands);
        let hooks = git.install_hook()?;
        let permit = git.receives.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let receiving = git.repositories.gate(id).pushes.clone().read_owned().await;
        let (noted, holder) = (occasion.clone(), git.db.holder().to_owned());
        let row = git
            .db
            .write::<_, StoreError, _>("git_begin_push", move |tx| {
                store::begin_push(tx, id, &holder, &noted)
            })
            .await
            .map_err(GitError::from)?;
        let claim = git.claim(row);
        let hooks = hooks.display().to_string();
        let settings = [("core.hooksPath", hooks.as_str())];
        let service = Service::ReceivePack;
        let mut command = child::command(&git.runner, service, &repository, version, &settings);
        command
            .arg(&repository)
            .stdin(Stdio::piped())
            .stderr(lock(git, row)?)
            .env(hook::BINARY, &git.config.binary)
            .env(hook::POLICY, serde_json::json!(policy).to_string());
        let (mut group, pieces) = child::start(&mut command, service.command())?;
        let stdin = group.child().stdin.take();
        Ok(Self {
            git: git.clone(),
            access,
            opening,
            occasion,
            row,
            group,
            stdin,
            pieces,
            _receiving: receiving,
            _permit: permit,
            _claim: claim,
        })
    }

    /// Receives, records, and tells. Runs to its end whether or not the client stays.
    async fn run(mut self, body: RequestBody, sender: mpsc::Sender<Bytes>) {
        let start = std::time::Instant::now();
        let fed = feed(body, self.opening.bytes.clone(), self.stdin.take());
        let told = tell(&mut self.pieces, &sender);
        let both = async {
            // A request that breaks off ends the push at once; a finished one waits for git's answer.
            tokio::pin!(told, fed);
            tokio::select! {
                fed = &mut fed => match fed {
                    Ok(()) => told.await,
                    Err(()) => Err(()),
                },
                told = &mut told => {
                    // Clients read the answer only when they have sent everything.
                    let _ = timeout(STALL, fed).await;
                    told
                }
            }
        };
        let last = timeout(LIFETIME, both).await.unwrap_or(Err(()));
        let Self {
            git,
            access,
            opening,
            occasion,
            row,
            mut group,
            ..
        } = self;
        let held = match last {
            Ok(held) => {
                if timeout(STALL, group.wait()).await.is_err() {
                    group.terminate().await;
                }
                Some(held)
            }
            Err(()) => {
                tracing::info!(project.id = access.project().id.0, "a push broke off");
                group.terminate().await;
                None
            }
        };
        let scope = Scope::Commands(&opening.commands);
        let recorded = git
            .record_refs(access.project(), scope, occasion, vec![row])
            .await;
        let complaints = std::fs::remove_file(git.repositories.receiving(row));
        if let Err(error) = complaints {
            tracing::debug!(%error, "a push's lock file is gone already");
        }
        let lines = match recorded {
            Ok(events) => {
                let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(
                    project.id = access.project().id.0,
                    moved = events.len(),
                    duration_ms,
                    "push received"
                );
                report(&git, &events, opening.side_band && held.is_some()).await
            }
            Err(error) => {
                // The row stays, and with it the worker's duty to record what moved.
                tracing::error!(project.id = access.project().id.0, error = %rave_http::error::chain(&error), "cannot record a push yet");
                vec![
                    "RAVE: The push is stored. Pipelines start later: the database is away."
                        .to_owned(),
                ]
            }
        };
        if let Some(held) = held {
            let _ = sender.send(ending(&held, &lines, opening.side_band)).await;
        }
    }
}

/// Opens the file that the child holds as its error output, locked as long as any process has it open: after a crash of
/// this server it tells whether git is still at work.
fn lock(git: &Git, row: i64) -> Result<File, GitError> {
    let path = git.repositories.receiving(row);
    let failed = |source| GitError::files(format!("lock {}", path.display()), source);
    let file = File::create(&path).map_err(failed)?;
    file.lock_shared().map_err(failed)?;
    Ok(file)
}

/// Copies the request into the child. Fails when the request breaks off.
async fn feed(mut body: RequestBody, opening: Bytes, stdin: Option<ChildStdin>) -> Result<(), ()> {
    let Some(mut stdin) = stdin else {
        return Err(());
    };
    let mut piece = opening;
    let mut open = true;
    loop {
        // A child that refuses the push stops reading. The rest is read for it.
        if open && stdin.write_all(&piece).await.is_err() {
            open = false;
        }
        match body.next().await {
            Ok(Some(next)) => piece = next,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(error = %rave_http::error::chain(&error), "a push's body broke off");
                return Err(());
            }
        }
    }
}

/// Copies the child's answer to the client, except for its last four bytes, which are returned. Fails when the client
/// is gone.
async fn tell(pieces: &mut Pieces, sender: &mpsc::Sender<Bytes>) -> Result<Bytes, ()> {
    let mut held = BytesMut::new();
    loop {
        let next = tokio::select! {
            next = pieces.next() => next,
            () = sender.closed() => return Err(()),
        };
        match next {
            Ok(Some(piece)) => held.extend_from_slice(&piece),
            Ok(None) => return Ok(held.freeze()),
            Err(_) => return Err(()),
        }
        let ready = held.split_to(held.len().saturating_sub(pkt::FLUSH.len()));
        if !ready.is_empty()
            && !matches!(
                timeout(STALL, sender.send(ready.freeze())).await,
                Ok(Ok(()))
            )
        {
            return Err(());
        }
    }
}

async fn report(git: &Git, events: &[Uuid], wanted: bool) -> Vec<String> {
    if events.is_empty() || !wanted {
        return Vec::new();
    }
    git.pipelines
        .push_report(events, git.config.report_deadline)
        .await
}

/// Puts the lines before the packet that ends the answer.
fn ending(held: &Bytes, lines: &[String], side_band: bool) -> Bytes {
    if !side_band || held != pkt::FLUSH || lines.is_empty() {
        return held.clone();
    }
    let mut bytes = BytesMut::new();
    let framed = std::iter::once("")
        .chain(lines.iter().map(String::as_str))
        .chain([""]);
    framed.for_each(|it| bytes.extend_from_slice(&pkt::remote_message(it)));
    bytes.extend_from_slice(held);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_before_the_end_and_only_for_those_who_read_them() {
        let (flush, lines) = (Bytes::from_static(b"0000"), vec!["hi".to_owned()]);
        assert_eq!(
            &ending(&flush, &lines, true)[..],
            b"0006\x02\n0008\x02hi\n0006\x02\n0000"
        );
        assert_eq!(ending(&flush, &lines, false), flush);
        assert_eq!(ending(&flush, &[], true), flush);
        assert_eq!(
            &ending(&Bytes::from_static(b"ng\n"), &lines, true)[..],
            b"ng\n"
        );
    }
}
