//! The networks of a job and its services, held by a process of their own for as long as the job takes.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::PATH;
use super::launcher::Launcher;
use crate::config::{Network, SandboxPolicy};
use crate::inner::order::{self, Held, Net, Order, Ready, Told, Uplink};

/// What is not the world: private networks, the links of machines, and what providers keep their metadata in.
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
];
/// The longest answer of a holder.
const LONGEST: u32 = 1 << 20;
/// How long a holder may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The networks. Dropping it lets go of them, and they are gone with the last process in them.
pub(super) struct Pod {
    socket: Mutex<UnixStream>,
    holder: Child,
    /// The process that passes packets on, when that is none of the kernel's.
    _tap: Option<Child>,
    ready: Ready,
    privileged: bool,
    /// The text of `/etc/resolv.conf`.
    pub(super) resolver: String,
}

impl Pod {
    /// Makes the networks. Without a way out, `warn` hears of it.
    pub(super) async fn make(
        launcher: &Launcher,
        policy: &SandboxPolicy,
        services: usize,
        warn: impl Fn(&str),
    ) -> Result<Self, String> {
        let services = u8::try_from(services)
            .ok()
            .filter(|it| *it <= 100)
            .ok_or("a job may have 100 services")?;
        let tap = [
            "/usr/bin/slirp4netns",
            "/usr/local/bin/slirp4netns",
            "/run/current-system/sw/bin/slirp4netns",
        ];
        let tap = tap.into_iter().find(|it| Path::new(it).exists());
        let uplink = match (policy.network, launcher.privileged, tap) {
            (Network::None, ..) => Uplink::None,
            (_, true, _) => Uplink::Device,
            (_, false, Some(_)) => Uplink::Tap,
            (_, false, None) => {
                warn(
                    "WARNING: the job reaches nothing but its services: without root, the way out needs the program slirp4netns",
                );
                Uplink::None
            }
        };
        let closed = policy.network == Network::Own && !policy.private_addresses;
        let servers = Servers::of_machine();
        if uplink == Uplink::Device && servers.addresses.is_empty() {
            warn(
                "WARNING: names cannot be looked up: the machine's only resolver is on its loopback device",
            );
        }
        let pod = order::Pod {
            privileged: launcher.privileged,
            services,
            uplink,
            blocked: if closed { blocked() } else { Vec::new() },
            resolvers: if uplink == Uplink::Device && closed {
                servers.addresses.clone()
            } else {
                Vec::new()
            },
        };
        let broken = |error: io::Error| {
            format!("cannot talk to the process that holds the job's networks: {error}")
        };
        let (ours, theirs) = StdStream::pair().map_err(broken)?;
        ours.set_nonblocking(true).map_err(broken)?;
        let mut holder = Command::new(&launcher.binary);
        holder
            .arg("__sandbox")
            .env_clear()
            .env("PATH", PATH)
            .process_group(0)
            .kill_on_drop(true);
        holder
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let holder = holder.spawn().map_err(broken)?;
        let mut socket = UnixStream::from_std(ours).map_err(broken)?;
        let ready = match ask(&mut socket, &Order::Hold(pod)).await {
            Ok(Held::Ready(ready)) => ready,
            Ok(Held::Failed(reason)) => return Err(reason),
            Ok(Held::Done(_)) => {
                return Err(
                    "the process that holds the job's networks answers something else".to_owned(),
                );
            }
            Err(error) => return Err(broken(error)),
        };
        let mut resolver = servers.text();
        let mut passing = None;
        if let (Uplink::Tap, Some(program), Some(pid)) = (uplink, tap, holder.id()) {
            let mut child = Command::new(program);
            child
                .args([
                    "--disable-host-loopback",
                    "--exit-fd",
                    "0",
                    "--mtu",
                    "65520",
                ])
                .arg(pid.to_string())
                .arg("tap0");
            child
                .env_clear()
                .env("PATH", PATH)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            // It ends when its input does, which happens also when this process is killed.
            passing = Some(
                child
                    .process_group(0)
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(|it| format!("cannot start {program}: {it}"))?,
            );
            match ask(&mut socket, &Told::Attach).await.map_err(broken)? {
                Held::Failed(reason) => {
                    return Err(format!("the job's way out by {program} fails: {reason}"));
                }
                Held::Ready(_) | Held::Done(_) => {}
            }
            resolver = ready
                .resolver
                .map_or(resolver, |it| format!("nameserver {it}\n"));
        }
        Ok(Self {
            socket: Mutex::new(socket),
            holder,
            _tap: passing,
            ready,
            privileged: launcher.privileged,
            resolver,
        })
    }

    /// Returns the job's network.
    pub(super) fn job(&self) -> Net {
        self.network(self.ready.job)
    }

    /// Returns the network of a service, and its address.
    pub(super) fn service(&self, number: usize) -> Option<(Net, Ipv4Addr)> {
        let (descriptor, address) = self.ready.services.get(number)?;
        Some((self.network(*descriptor), *address))
    }

    fn network(&self, descriptor: i32) -> Net {
        // A holder that is gone has no number any more, and nothing is found under this one.
        let process = PathBuf::from(format!("/proc/{}", self.holder.id().unwrap_or(0)));
        Net::Joined {
            user: (!self.privileged).then(|| process.join("ns/user")),
            network: process.join("fd").join(descriptor.to_string()),
        }
    }

    /// Tries whether something listens at an address of the pod.
    pub(super) async fn is_open(&self, address: Ipv4Addr, port: u16) -> bool {
        let mut socket = self.socket.lock().await;
        matches!(
            ask(&mut socket, &Told::Probe { address, port }).await,
            Ok(Held::Done(true))
        )
    }

    /// Lets go of the networks.
    pub(super) async fn end(self) {
        let Self {
            socket,
            mut holder,
            _tap: tap,
            ..
        } = self;
        drop(socket);
        if timeout(PATIENCE, holder.wait()).await.is_err() {
            let _ = holder.kill().await;
        }
        if let Some(mut tap) = tap {
            let _ = tap.kill().await;
        }
    }
}

async fn ask(socket: &mut UnixStream, message: &impl Serialize) -> io::Result<Held> {
    let asked = async {
        socket.write_all(&order::encode(message)?).await?;
        let len = socket.read_u32_le().await?;
        if len > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; len as usize];
        socket.read_exact(&mut body).await?;
        // A helper that fails says so in the words of scripts.
        match serde_json::from_slice(&body) {
            Ok(order::Report::Failed(reason)) => Ok(Held::Failed(reason)),
            _ => Ok(serde_json::from_slice(&body)?),
        }
    };
    timeout(PATIENCE, asked).await?
}

/// Returns what a closed network does not reach: private ranges, and the machine under all its addresses.
fn blocked() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let own = own_addresses(&table)
        .into_iter()
        .map(|it| format!("{it}/32"));
    PRIVATE
        .iter()
        .map(|it| (*it).to_owned())
        .chain(own)
        .collect()
}

/// Reads the machine's addresses from the kernel's table of routes.
fn own_addresses(table: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if let Some(address) =
            last.filter(|it: &Ipv4Addr| line.contains("/32 host LOCAL") && !it.is_loopback())
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// The machine's resolvers, as far as they can be reached from elsewhere.
struct Servers {
    addresses: Vec<Ipv4Addr>,
    others: String,
}

impl Servers {
    fn of_machine() -> Self {
        let read = |path: &str| Self::parse(&fs::read_to_string(path).unwrap_or_default());
        let first = read("/etc/resolv.conf");
        // A resolver on this machine names in another file those that it asks itself.
        if first.addresses.is_empty() {
            read("/run/systemd/resolve/resolv.conf")
        } else {
            first
        }
    }

    fn parse(text: &str) -> Self {
        let mut servers = Self {
            addresses: Vec::new(),
            others: String::new(),
        };
        for line in text.lines() {
            match line.strip_prefix("nameserver") {
                Some(address) => {
                    let address = address
                        .trim()
                        .parse()
                        .ok()
                        .filter(|it: &Ipv4Addr| !it.is_loopback());
                    servers.addresses.extend(address);
                }
                None if line.starts_with("search") || line.starts_with("options") => {
                    servers.others.push_str(line);
                    servers.others.push('\n');
                }
                None => {}
            }
        }
        servers
    }

    fn text(&self) -> String {
        let servers = self.addresses.iter().map(|it| format!("nameserver {it}\n"));
        servers.chain([self.others.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_on_the_machine_are_left_out() {
        let servers = Servers::parse(
            "# by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver ::1\nsearch a.example\noptions edns0\n",
        );
        assert_eq!(
            servers.text(),
            "nameserver 192.0.2.1\nsearch a.example\noptions edns0\n"
        );
    }

    #[test]
    fn the_machines_addresses_are_read() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.0\n        /24 link UNICAST\n     \
                     |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\nLocal:\n     |-- 192.0.2.2\n        /32 host LOCAL\n";
        assert_eq!(own_addresses(table), [Ipv4Addr::new(192, 0, 2, 2)]);
    }
}
