//! What the runner and its helper process say to each other over the socket that is the helper's standard input.
//!
//! Each message is its length and JSON. After the orders the runner sends single bytes: [`TERMINATE`] and [`KILL`].
//! The helper answers with one [`Report`].

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Asks every process of the job to end.
pub(crate) const TERMINATE: u8 = b'T';
/// Ends every process of the job. So does closing the socket.
pub(crate) const KILL: u8 = b'K';

/// The longest message: scripts carry every variable of a job.
const LONGEST: u32 = 64 << 20;

/// What a helper process is for. It is told when it is already in its cgroup.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Make namespaces and start a second helper in them, which reads the next order.
    Isolate {
        network: Net,
        /// Whether the runner is root. If not, its own user is all that can be mapped.
        privileged: bool,
    },
    /// Build the view of a sandbox, become the job's user, and run a script.
    Enclose(Box<View>, Script),
    /// Run a script as the runner's user, or as another user of the machine.
    Supervise(Option<Person>, Script),
    /// Make the networks of a job and its services, and hold them.
    Hold(Pod),
    /// Build the view of a sandbox, become the root of its users, and run a virtual machine.
    Emulate(Box<View>, Machine),
    /// In a virtual machine: run a script in the job's root, as one of its users.
    Inside {
        root: PathBuf,
        user: String,
        script: Script,
    },
}

/// The networks of a job and its services.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// Whether the runner is root.
    pub(crate) privileged: bool,
    /// How many services there are.
    pub(crate) services: u8,
    pub(crate) uplink: Uplink,
    /// Ranges of addresses that are out of reach.
    pub(crate) blocked: Vec<String>,
    /// The machine's resolvers, which answer questions for names whatever is blocked.
    pub(crate) resolvers: Vec<Ipv4Addr>,
}

/// How a pod reaches the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Uplink {
    None,
    /// By a device whose other end is the machine's, which translates addresses. Needs root.
    Device,
    /// By a device that `slirp4netns` makes.
    Tap,
}

/// What the holder of a pod is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The device of `slirp4netns` is being made: take it in.
    Attach,
    /// Try whether something listens.
    Probe { address: Ipv4Addr, port: u16 },
}

/// What the holder of a pod answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Held {
    Ready(Ready),
    /// What was told is done, and whether with success.
    Done(bool),
    Failed(String),
}

/// What a pod consists of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The holder's descriptor of the job's network.
    pub(crate) job: i32,
    /// Those of the services, with their addresses.
    pub(crate) services: Vec<(i32, Ipv4Addr)>,
    /// A resolver in the pod.
    pub(crate) resolver: Option<Ipv4Addr>,
}

/// The network of what runs in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Net {
    /// The machine's.
    Machine,
    /// A loopback device of its own.
    None,
    /// One of a pod.
    Joined {
        /// The user namespace that it belongs to, if the runner is not root.
        user: Option<PathBuf>,
        network: PathBuf,
    },
}

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// A script and what it runs with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Script {
    /// Text for the shell. It carries the job's variables, so that none is visible in the process list.
    pub(crate) text: String,
    /// The environment of the shell.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) program: Program,
}

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Program {
    /// The machine's shell.
    Shell {
        /// Whether it reads the profile of its user.
        login: bool,
    },
    /// The image's shell, by the image's entrypoint if it has one.
    ImageShell {
        entrypoint: Vec<String>,
        /// Where it starts.
        directory: String,
    },
    /// A service's own program.
    Command {
        arguments: Vec<String>,
        /// Where it starts.
        directory: String,
    },
}

/// What a sandbox contains.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) root: Root,
    /// Directories to write: where each is outside, and inside. Without an image there is at least one.
    pub(crate) writable: Vec<(PathBuf, PathBuf)>,
    /// The text of `/etc/hosts`, unless it is the machine's.
    pub(crate) hosts: Option<String>,
    /// The text of `/etc/resolv.conf`, unless it is the machine's.
    pub(crate) resolver: Option<String>,
    /// More paths to read, the same inside and outside.
    pub(crate) read_only: Vec<PathBuf>,
    /// More devices. Absent ones are left out.
    pub(crate) devices: Vec<PathBuf>,
    /// The user and group to run as outside, when the runner is root; the first of an image's.
    pub(crate) outer_id: Option<u32>,
    /// Whether the job may make user namespaces.
    pub(crate) nested_namespaces: bool,
}

/// What is below everything else in a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Root {
    /// The machine's system, read-only and without what is private.
    System,
    /// An image, which the job may change for itself.
    Image(ImageRoot),
}

/// An image as a root.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ImageRoot {
    /// Its layers, from the lowest.
    pub(crate) layers: Vec<PathBuf>,
    /// A directory for what the job changes.
    pub(crate) scratch: PathBuf,
    /// Who runs in it, by the image's names or numbers.
    pub(crate) user: String,
}

/// The programs of a virtual machine, each with its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Run one after the other before it starts.
    pub(crate) before: Vec<Vec<String>>,
    /// Shares files with it, over a socket of its own.
    pub(crate) files: Vec<String>,
    pub(crate) files_socket: PathBuf,
    pub(crate) emulator: Vec<String>,
}

/// What a virtual machine is told before its first script. Paths are those of the files that are shared with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Guest {
    /// The layers of the job's image, from the lowest; none: the job sees the system.
    pub(crate) layers: Vec<PathBuf>,
    /// Directories that the job sees as they are outside.
    pub(crate) shown: Vec<PathBuf>,
    /// Whether there is a disk for what the job changes elsewhere.
    pub(crate) disk: bool,
    pub(crate) network: bool,
    pub(crate) hosts: String,
    pub(crate) host_name: String,
}

/// How a script in a virtual machine ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) report: Report,
    /// How often the machine's kernel killed for want of memory.
    pub(crate) oom_kills: u64,
}

/// The messages between the runner and a virtual machine: a byte that says what it is, and for most of them their length
/// and content.
pub(crate) mod frame {
    use std::io;

    /// To the machine: a [`super::Guest`], first of all; a [`super::Script`] with its user; [`super::TERMINATE`] and
    /// [`super::KILL`] have no content.
    pub(crate) const GUEST: u8 = b'G';
    pub(crate) const SCRIPT: u8 = b'S';
    /// From the machine: it is ready, or why it is not; what the script prints; an [`super::Ended`].
    pub(crate) const READY: u8 = b'R';
    pub(crate) const FAILED: u8 = b'F';
    pub(crate) const OUTPUT: u8 = b'O';
    pub(crate) const ENDED: u8 = b'E';

    /// Returns a message.
    pub(crate) fn encode(tag: u8, body: &[u8]) -> io::Result<Vec<u8>> {
        Ok([&[tag][..], &super::encode_bytes(body)?].concat())
    }
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It never started.
    Failed(String),
}

/// Sends one message.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    encode_bytes(&serde_json::to_vec(message)?)
}

fn encode_bytes(body: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(body.len()).ok().filter(|it| *it <= LONGEST);
    let len = len.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the job's script is too long")
    })?;
    Ok([&len.to_le_bytes()[..], body].concat())
}

/// Sends one message.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Receives one message, and not a byte more, because the rest may be for another process.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    Ok(serde_json::from_slice(&receive_bytes(from)?)?)
}

/// Receives the content of one message.
pub(super) fn receive_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is too long",
        ));
    }
    let mut body = vec![0; len as usize];
    from.read_exact(&mut body)?;
    Ok(body)
}
