//! The network of a virtual machine: the loopback device, and one behind the emulator, whose addresses are fixed.

use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::await_some;

/// What the emulator's own network has.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// Switches on the loopback device.
pub(super) fn loopback() -> Result<(), String> {
    Links::open()?.up("lo")
}

/// Switches on both devices, and leads everything to the emulator's.
pub(super) fn up() -> Result<(), String> {
    loopback()?;
    let name = await_some("the network device", || {
        let names = std::fs::read_dir("/sys/class/net").ok()?;
        let mut names = names.flatten().map(|it| it.file_name());
        names.find_map(|it| it.into_string().ok().filter(|it| it != "lo"))
    })?;
    let links = Links::open()?;
    links.address(&name, libc::SIOCSIFADDR, ADDRESS)?;
    links.address(&name, libc::SIOCSIFNETMASK, MASK)?;
    links.up(&name)?;
    links.default_route()
}

/// Changes devices and routes.
struct Links(std::os::fd::OwnedFd);

impl Links {
    fn open() -> Result<Self, String> {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Inet, SockType::Datagram, flags, None)
            .map(Self)
            .map_err(super::super::failed("cannot set up the network"))
    }

    fn up(&self, name: &str) -> Result<(), String> {
        let mut request = request(name);
        let flags = libc::IFF_UP | libc::IFF_RUNNING;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or_default();
        self.ask(libc::SIOCSIFFLAGS, &raw mut request, name)
    }

    fn address(&self, name: &str, what: libc::Ioctl, address: Ipv4Addr) -> Result<(), String> {
        let mut request = request(name);
        request.ifr_ifru.ifru_addr = socket_address(address);
        self.ask(what, &raw mut request, name)
    }

    fn default_route(&self) -> Result<(), String> {
        #[expect(unsafe_code, reason = "the kernel's structure has no safe maker")]
        // SAFETY: it is numbers and pointers that may be null.
        let mut route: libc::rtentry = unsafe { zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = socket_address(GATEWAY);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        self.ask(libc::SIOCADDRT, &raw mut route, "the route")
    }

    fn ask<T>(&self, what: libc::Ioctl, about: *mut T, name: &str) -> Result<(), String> {
        #[expect(unsafe_code, reason = "no crate here wraps these calls")]
        // SAFETY: `about` leads to a structure of the kind that the call reads, which outlives it.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), what, about) };
        match done {
            0 => Ok(()),
            _ => Err(format!("cannot set up {name}: {}", Errno::last())),
        }
    }
}

fn request(name: &str) -> libc::ifreq {
    #[expect(unsafe_code, reason = "the kernel's structure has no safe maker")]
    // SAFETY: it is numbers only.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sa_data: data,
    }
}
