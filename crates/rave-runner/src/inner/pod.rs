//! Holds the networks of a job and its services, as long as the runner wants them.
//!
//! Each of them has a network namespace of its own, so that all can listen on the same port; a bridge in the job's joins them.
//! This process makes them, stays in the job's, and looks from there whether services answer. When it ends and the jobs with
//! it, the kernel takes everything away. Whatever is made is reached by this process's descriptors.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

use super::order::{self, Held, Pod, Told, Uplink};
use super::{failed, privileges};

/// The range out of which each pod with a device on the machine has 256 addresses. Few networks use it.
const RANGE: &str = "10.231.0.0/16";
/// The machine's end, in such a pod.
const MACHINE: u8 = 254;
/// What `slirp4netns` is, in a pod without one: its gateway and its resolver.
const TAP_GATEWAY: u8 = 2;
const TAP_RESOLVER: u8 = 3;
const TAP: &str = "tap0";

/// Makes the networks, says what there is, and does what it is told until the runner closes the socket.
pub(super) fn hold(socket: &mut UnixStream, pod: &Pod) -> Result<ExitCode, String> {
    if !pod.privileged {
        let (uid, gid) = (geteuid(), getegid());
        let what = "the kernel refuses to make namespaces for an ordinary user";
        unshare(CloneFlags::CLONE_NEWUSER).map_err(failed(what))?;
        privileges::map_own(&format!("0 {uid} 1"), &format!("0 {gid} 1"))?;
    }
    let networks = Networks::make(pod)?;
    let gone = failed("cannot answer the runner");
    order::send(socket, &Held::Ready(networks.ready(pod))).map_err(gone)?;
    while let Ok(told) = order::receive::<Told>(socket) {
        let answer = match told {
            Told::Attach => networks
                .attach(pod)
                .map_or_else(Held::Failed, |()| Held::Done(true)),
            Told::Probe { address, port } => {
                let address = SocketAddr::from((address, port));
                let open = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
                Held::Done(open)
            }
        };
        if order::send(socket, &answer).is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Networks {
    /// The first three bytes of all addresses.
    prefix: [u8; 3],
    hub: File,
    services: Vec<File>,
}

impl Networks {
    fn make(pod: &Pod) -> Result<Self, String> {
        let machine = current()?;
        let device = match pod.uplink {
            Uplink::Device => Some(Device::make()?),
            Uplink::None | Uplink::Tap => None,
        };
        let prefix = match (&device, pod.uplink) {
            (Some(device), _) => [10, 231, device.number],
            (None, Uplink::Tap) => [10, 0, 2],
            (None, _) => [10, 231, 0],
        };
        let hub = new_network()?;
        let mut networks = Self {
            prefix,
            hub,
            services: Vec::new(),
        };
        networks.configure_hub()?;
        for number in 0..pod.services {
            networks.add_service(number)?;
        }
        if let Some(device) = device {
            enter(&machine)?;
            device.connect(&networks)?;
            enter(&networks.hub)?;
            ip(&format!(
                "link set up0 master br0 up\n{}",
                networks.routes(pod, MACHINE)
            ))?;
            for service in &networks.services {
                enter(service)?;
                ip(&networks.routes(pod, MACHINE))?;
            }
        }
        enter(&networks.hub)?;
        Ok(networks)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last)
    }

    /// The job's address. The low ones are those of `slirp4netns`.
    const HUB: u8 = 10;

    const fn service(number: u8) -> u8 {
        Self::HUB + 1 + number
    }

    fn ready(&self, pod: &Pod) -> order::Ready {
        let descriptor = |file: &File| file.as_raw_fd();
        order::Ready {
            job: descriptor(&self.hub),
            services: (0..)
                .zip(&self.services)
                .map(|(number, it)| (descriptor(it), self.address(Self::service(number))))
                .collect(),
            resolver: (pod.uplink == Uplink::Tap).then(|| self.address(TAP_RESOLVER)),
        }
    }

    fn configure_hub(&self) -> Result<(), String> {
        let address = self.address(Self::HUB);
        ip(&format!(
            "link set lo up\nlink add br0 type bridge\naddr add {address}/24 dev br0\nlink set br0 up\n"
        ))?;
        open_low_ports();
        Ok(())
    }

    fn add_service(&mut self, number: u8) -> Result<(), String> {
        let service = new_network()?;
        let (pid, fd) = (std::process::id(), service.as_raw_fd());
        enter(&self.hub)?;
        ip(&format!(
            "link add s{number} type veth peer name eth0 netns /proc/{pid}/fd/{fd}\nlink set s{number} master br0 up\n"
        ))?;
        enter(&service)?;
        let address = self.address(Self::service(number));
        ip(&format!(
            "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n"
        ))?;
        open_low_ports();
        enter(&self.hub)?;
        self.services.push(service);
        Ok(())
    }

    /// Returns the commands that lead everything to a gateway but what is blocked.
    fn routes(&self, pod: &Pod, gateway: u8) -> String {
        let (via, mut text) = (self.address(gateway), String::new());
        text.push_str(&format!("route add default via {via} onlink dev DEVICE\n"));
        // The pods of other jobs, and what is closed by policy. What is nearer, such as the own pod, has a route of its own.
        for range in std::iter::once(RANGE).chain(pod.blocked.iter().map(String::as_str)) {
            text.push_str(&format!("route replace prohibit {range}\n"));
        }
        if pod.uplink == Uplink::Device && !pod.blocked.is_empty() {
            // The machine's own end, which is the way out and nothing else.
            text.push_str(&format!("route replace prohibit {via}/32\n"));
        }
        // Questions for names go through, also to resolvers in what is blocked.
        for resolver in &pod.resolvers {
            for protocol in ["udp", "tcp"] {
                text.push_str(&format!(
                    "rule add to {resolver} ipproto {protocol} dport 53 lookup 53\n"
                ));
            }
        }
        text.push_str(&format!(
            "route add default via {via} onlink dev DEVICE table 53\n"
        ));
        text
    }

    /// Takes in the device that `slirp4netns` makes.
    fn attach(&self, pod: &Pod) -> Result<(), String> {
        let there = || {
            fs::exists(format!("/sys/class/net/{TAP}")).unwrap_or(false)
                || ip_quietly(&format!("link show {TAP}"))
        };
        for _ in 0..100 {
            if there() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        ip(&format!(
            "link set {TAP} master br0 up\n{}",
            self.routes(pod, TAP_GATEWAY)
        ))?;
        for service in &self.services {
            enter(service)?;
            ip(&self.routes(pod, TAP_GATEWAY))?;
        }
        enter(&self.hub)
    }
}

/// A pair of devices, one end of which stays on the machine.
struct Device {
    number: u8,
}

impl Device {
    /// Takes the first number that is free on the machine, where other runners may look for one, too.
    fn make() -> Result<Self, String> {
        for number in 0..=u8::MAX {
            if ip_quietly(&format!(
                "link add rave{number} type veth peer name raveup{number}"
            )) {
                return Ok(Self { number });
            }
        }
        Err(
            "cannot make a network device for the job: is the program `ip` of iproute2 there?"
                .to_owned(),
        )
    }

    /// Gives the other end to the job's network, and lets the machine translate addresses.
    fn connect(&self, networks: &Networks) -> Result<(), String> {
        let (number, pid, fd) = (self.number, std::process::id(), networks.hub.as_raw_fd());
        let address = networks.address(MACHINE);
        let done = ip(&format!(
            "addr add {address}/24 dev rave{number}\nlink set rave{number} up\nlink set raveup{number} name up0 netns /proc/{pid}/fd/{fd}\n"
        ));
        let done = done.and_then(|()| translate_addresses());
        if done.is_err() {
            ip_quietly(&format!("link del rave{number}"));
        }
        done
    }
}

/// Lets the machine forward what pods send, under its own address.
fn translate_addresses() -> Result<(), String> {
    let forward = "/proc/sys/net/ipv4/ip_forward";
    if fs::read_to_string(forward).is_ok_and(|it| it.trim() == "0") {
        fs::write(forward, "1").map_err(failed("cannot let the machine forward packets"))?;
    }
    let rules = format!(
        "add table ip rave\nadd chain ip rave postrouting {{ type nat hook postrouting priority 100; }}\n\
         flush chain ip rave postrouting\n\
         add rule ip rave postrouting ip saddr {RANGE} ip daddr != {RANGE} masquerade\n"
    );
    feed("nft", &["-f", "-"], &rules).or_else(|error| {
        let rule = ["POSTROUTING", "-s", RANGE, "!", "-d", RANGE, "-j", "MASQUERADE"];
        let table = |what| [&["-t", "nat", what][..], &rule].concat();
        feed("iptables", &table("-C"), "").or_else(|_| feed("iptables", &table("-A"), "")).map_err(|_| {
            format!("cannot translate addresses: {error}; hint: install nftables, or set network to host or none")
        })
    })
}

/// Lets everybody in this network listen on all ports and send echo requests, as containers do.
fn open_low_ports() {
    // Where /proc is not to be written, low ports stay root's, and the service says so.
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

fn current() -> Result<File, String> {
    File::open("/proc/self/ns/net").map_err(failed("cannot open a network"))
}

fn new_network() -> Result<File, String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(failed("the kernel refuses to make a network"))?;
    current()
}

fn enter(network: &File) -> Result<(), String> {
    setns(network, CloneFlags::CLONE_NEWNET).map_err(failed("cannot enter a network"))
}

/// Runs commands of `ip` in the current network.
fn ip(commands: &str) -> Result<(), String> {
    let device = if ip_quietly("link show br0") {
        "br0"
    } else {
        "eth0"
    };
    feed("ip", &["-batch", "-"], &commands.replace("DEVICE", device))
}

fn ip_quietly(command: &str) -> bool {
    let mut ip = Command::new("ip");
    ip.args(command.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ip.status().is_ok_and(|it| it.success())
}

fn feed(program: &str, arguments: &[&str], text: &str) -> Result<(), String> {
    let what = format!("cannot run {program}");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed(&what))?;
    if let Some(mut input) = child.stdin.take() {
        // One that ends early says why.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed(&what))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
