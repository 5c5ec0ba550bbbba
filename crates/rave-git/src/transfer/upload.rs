//! `POST git-upload-pack`: a fetch.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use rave_http::HttpError;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::error::GitError;
use crate::git::child::Group;
use crate::service::Git;
use crate::transfer::body::{BodyError, RequestBody};
use crate::transfer::child::{self, LIFETIME, Pieces, STALL};
use crate::transfer::gate::Visitor;
use crate::transfer::{Service, finish, protocol};

/// Answers one round of a fetch. Each round is a child of its own: git's stateless mode.
pub(crate) async fn upload_pack(
    State(git): State<Arc<Git>>,
    request: Request,
) -> Result<Response, HttpError> {
    let (parts, body) = request.into_parts();
    let service = Service::UploadPack;
    let access = git.may_fetch(&Visitor::of(&parts)?).await?;
    service.check_content_type(&parts.headers)?;
    let repository = git.repository(access.project()).await?;
    let version = protocol(&parts.headers, service);
    let mut command = child::command(&git.runner, service, &repository, version, &[]);
    command.arg(&repository).stdin(Stdio::piped());
    let permit = git.uploads.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let (mut group, pieces) = child::start(&mut command, service.command())?;
    let broken = Arc::new(AtomicBool::new(false));
    if let Some(stdin) = group.child().stdin.take() {
        let (body, broken) = (RequestBody::new(&parts.headers, body), broken.clone());
        let mut stdin = stdin;
        git.tasks.spawn(async move {
            if let Err(error) = feed(body, &mut stdin).await {
                tracing::debug!(error = %rave_http::error::chain(&error), "a fetch broke off");
                broken.store(true, Ordering::Release);
            }
            // Only now the child sees a request that ends too early, and ends.
            drop(stdin);
        });
    }
    let body = answer(&git, service.command(), group, pieces, Bytes::new(), permit).await;
    let body = body.map_err(|error| match broken.load(Ordering::Acquire) {
        true => HttpError::bad_request("The request's body cannot be read."),
        false => error,
    })?;
    Ok(finish(
        body.into_response(),
        &service.content_type("result"),
    ))
}

/// Copies a request's body into a child.
async fn feed(mut body: RequestBody, stdin: &mut ChildStdin) -> Result<(), BodyError> {
    while let Some(piece) = body.next().await? {
        if stdin.write_all(&piece).await.is_err() {
            // The child has seen enough, or has ended; its output tells.
            break;
        }
    }
    Ok(())
}

/// Waits for a child's first words and streams the rest. A child that says nothing at all is an error.
pub(crate) async fn answer(
    git: &Git,
    name: &'static str,
    mut group: Group,
    mut pieces: Pieces,
    greeting: Bytes,
    permit: OwnedSemaphorePermit,
) -> Result<Body, HttpError> {
    let failed = |source| GitError::Child {
        command: name,
        source,
    };
    let first = pieces.next().await.map_err(failed)?;
    let Some(first) = first else {
        let status = group.wait().await.map_err(failed)?;
        if status.success() {
            return Ok(Body::from(greeting));
        }
        return Err(GitError::Failed {
            command: name,
            status: status.to_string(),
            message: "it said nothing".into(),
        }
        .into());
    };
    let (sender, body) = child::channel();
    let span = tracing::info_span!("git", git.command = name);
    let work = async move {
        let _permit = permit;
        let copied = timeout(LIFETIME, copy(&sender, [greeting, first], &mut pieces)).await;
        if copied.is_ok_and(|it| it.is_ok()) {
            // Its output is closed; the client need not wait for its exit.
            drop(sender);
            let _ = timeout(STALL, group.wait()).await;
        } else {
            drop(sender);
            group.terminate().await;
        }
    };
    git.tasks.spawn(work.instrument(span));
    Ok(body)
}

/// The client is gone, or as good as gone.
struct Gone;

async fn copy(
    sender: &mpsc::Sender<Bytes>,
    first: [Bytes; 2],
    pieces: &mut Pieces,
) -> Result<(), Gone> {
    for piece in first.into_iter().filter(|it| !it.is_empty()) {
        send(sender, piece).await?;
    }
    loop {
        let next = tokio::select! {
            next = pieces.next() => next,
            () = sender.closed() => return Err(Gone),
        };
        match next {
            Ok(Some(piece)) => send(sender, piece).await?,
            Ok(None) => return Ok(()),
            Err(_) => return Err(Gone),
        }
    }
}

async fn send(sender: &mpsc::Sender<Bytes>, piece: Bytes) -> Result<(), Gone> {
    match timeout(STALL, sender.send(piece)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}
