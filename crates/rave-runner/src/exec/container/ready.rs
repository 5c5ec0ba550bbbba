//! Waits until a service answers, as far as one can tell from outside: until one of its ports takes a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How many ports of an image are tried.
const MOST_PORTS: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Returns the ports to try: the one that `HEALTHCHECK_TCP_PORT` names, or the lowest that the image exposes.
pub(super) fn ports(wanted: Option<&str>, exposed: &BTreeMap<String, Value>) -> Vec<u16> {
    if let Some(port) = wanted.and_then(|it| it.trim().parse().ok()) {
        return vec![port];
    }
    let tcp = |key: &String| match key.split_once('/') {
        None => key.parse().ok(),
        Some((port, "tcp")) => port.parse().ok(),
        Some(_) => None,
    };
    let mut ports: Vec<u16> = exposed.keys().filter_map(tcp).collect();
    ports.sort_unstable();
    ports.truncate(MOST_PORTS);
    ports
}

/// Waits until one of the ports takes a connection; `false` when none does in time.
pub(super) async fn wait(address: IpAddr, ports: &[u16], patience: Duration) -> bool {
    let mut tries: FuturesUnordered<_> = ports
        .iter()
        .map(|port| async move {
            loop {
                let connected = TcpStream::connect(SocketAddr::new(address, *port)).await;
                if connected.is_ok() {
                    return;
                }
                sleep(BETWEEN_TRIES).await;
            }
        })
        .collect();
    timeout(patience, tries.next()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_ports_are_tried_unless_one_is_named() {
        let exposed: BTreeMap<String, Value> = ["8080/tcp", "53/udp", "443/tcp", "9000"]
            .into_iter()
            .map(|it| (it.to_owned(), Value::Null))
            .collect();
        assert_eq!(ports(None, &exposed), [443, 8080, 9000]);
        assert_eq!(ports(Some("5432"), &exposed), [5432]);
        assert_eq!(ports(Some("none"), &exposed), [443, 8080, 9000]);
        let many = (1..100_u16)
            .map(|it| (format!("{it}/tcp"), Value::Null))
            .collect();
        assert_eq!(ports(None, &many).len(), MOST_PORTS);
    }

    #[tokio::test]
    async fn a_port_that_answers_ends_the_wait() {
        let open = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("bound");
        let address = open.local_addr().expect("bound");
        let patience = Duration::from_secs(30);
        assert!(wait(address.ip(), &[1, address.port()], patience).await);
    }
}
