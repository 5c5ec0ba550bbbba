//! Listening: connections, and an end that lets running requests finish.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;

use crate::app::App;

/// How long a connection may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long running requests may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves until [`crate::Shared::shutdown`] is cancelled, then waits for running requests, at most 30 seconds.
///
/// # Errors
/// When the listener's own address cannot be read. Errors of single connections end those.
pub async fn serve(listener: TcpListener, app: App) -> io::Result<()> {
    let shared = app.shared.clone();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let graceful = GracefulShutdown::new();
    tracing::info!(address = %listener.local_addr()?, "listening");
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(it) => it,
                Err(error) => {
                    // Out of descriptors, most likely: the connections that exist have to end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shared.shutdown.cancelled() => break,
        };
        // Answers are written in few pieces; waiting to fill a segment only adds latency to live logs.
        let _ = stream.set_nodelay(true);
        let app = app.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let app = app.clone();
            async move {
                let request = request.map(axum::body::Body::new);
                Ok::<_, Infallible>(app.answer(request, peer).await)
            }
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = graceful.watch(connection);
        shared.tasks.spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(error = %crate::error::chain(error.as_ref()), "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
    Ok(())
}
