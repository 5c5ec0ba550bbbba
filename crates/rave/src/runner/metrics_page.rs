//! The page on which a runner without a server of its own shows its metrics: two addresses, plain HTTP, one answer per
//! connection.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rave_runner::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The port that is meant when none is given.
const PORT: u16 = 9252;
/// How long one connection may take, and how many there may be at once.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 16;
/// Longest head of a request.
const HEAD: usize = 8192;

/// Serves the metrics at an address until told to stop.
pub(super) async fn serve(
    address: &str,
    metrics: Arc<Metrics>,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let address = with_port(address);
    let listener = TcpListener::bind(&address)
        .await
        .with_context(|| format!("cannot serve metrics at {address}"))?;
    let local = listener
        .local_addr()
        .context("the listener has no address")?;
    tracing::info!(%local, "serving metrics");
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (all, connections) = (tasks.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                // The machine lacks something, such as file descriptors.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (metrics, stop) = (metrics.clone(), connections.clone());
            all.spawn(async move {
                tokio::select! {
                    _ = tokio::time::timeout(PATIENCE, answer(stream, &metrics)) => {}
                    () = stop.cancelled() => {}
                }
                drop(place);
            });
        }
    });
    Ok(())
}

fn with_port(address: &str) -> String {
    let tail = address.rsplit(']').next().unwrap_or(address);
    match tail.contains(':') {
        true if address.starts_with(':') => format!("0.0.0.0{address}"),
        true => address.to_owned(),
        false => format!("{address}:{PORT}"),
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        let read = stream.read_buf(&mut head).await?;
        if read == 0 || head.len() > HEAD {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (method, path) {
        (Some("GET" | "HEAD"), "/metrics") => (
            "200 OK",
            "text/plain; version=0.0.4; charset=utf-8",
            metrics.prometheus(),
        ),
        (Some("GET" | "HEAD"), "/health/ready") => ("200 OK", "text/plain", "ready\n".to_owned()),
        (Some("GET" | "HEAD"), _) => (
            "404 Not Found",
            "text/plain",
            "there are /metrics and /health/ready\n".to_owned(),
        ),
        _ => ("405 Method Not Allowed", "text/plain", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if method != Some("HEAD") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn an_address_without_a_port_gets_the_usual_one() {
        for (given, expected) in [
            ("127.0.0.1", "127.0.0.1:9252"),
            (":9000", "0.0.0.0:9000"),
            ("[::1]", "[::1]:9252"),
            ("[::1]:80", "[::1]:80"),
            ("localhost:1", "localhost:1"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }
}
