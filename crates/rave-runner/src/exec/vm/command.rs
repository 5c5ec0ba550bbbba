//! The programs that a virtual machine consists of, with their arguments.

use std::path::{Path, PathBuf};

use crate::config::Accelerator;
use crate::inner::order::Machine;
use crate::inner::{PORT, PROGRAM, TAG, WORD};

/// Where the programs find the machine's directory.
pub(super) const INSIDE: &str = "/run/vm";
/// What they make there.
pub(super) const AGENT: &str = "agent";
const FILES: &str = "files";
const DISK: &str = "disk";

/// Where programs that share files may be.
const FILE_SERVERS: [&str; 3] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/bin/virtiofsd",
];
const EMULATORS: [&str; 2] = ["/usr/bin/qemu-system-x86_64", "/usr/libexec/qemu-kvm"];

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) kernel: PathBuf,
    pub(super) initial: PathBuf,
    emulator: PathBuf,
    file_server: PathBuf,
}

impl Parts {
    /// Finds the programs.
    ///
    /// # Errors
    /// Says which one is missing.
    pub(super) fn find(kernel: PathBuf, initial: PathBuf) -> Result<Self, String> {
        let find = |places: &[&str], what: &str| {
            let found = places.iter().map(PathBuf::from).find(|it| it.exists());
            found.ok_or_else(|| {
                format!(
                    "{what} is not installed: it is none of {}",
                    places.join(", ")
                )
            })
        };
        Ok(Self {
            kernel,
            initial,
            emulator: find(&EMULATORS, "QEMU")?,
            file_server: find(&FILE_SERVERS, "virtiofsd")?,
        })
    }

    /// Returns the programs for one machine.
    pub(super) fn machine(&self, size: &Size) -> Machine {
        let at = |name: &str| Path::new(INSIDE).join(name).display().to_string();
        let words = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let before = size.disk_bytes.map(|bytes| {
            let (disk, kib) = (at(DISK), format!("{}k", bytes >> 10));
            words(&[
                "mke2fs",
                "-q",
                "-t",
                "ext4",
                "-m",
                "0",
                "-O",
                "^has_journal",
                &disk,
                &kib,
            ])
        });
        let files = words(&[
            &self.file_server.display().to_string(),
            &format!("--socket-path={}", at(FILES)),
            // The machine does not let it raise the limit.
            "--rlimit-nofile=0",
            "-o",
            "source=/",
            "-o",
            "sandbox=chroot",
            "-o",
            "cache=auto",
            "-o",
            "xattr",
        ]);
        Machine {
            before: before.into_iter().collect(),
            files,
            files_socket: at(FILES).into(),
            emulator: self.emulator(size, &at),
        }
    }

    fn emulator(&self, size: &Size, at: &dyn Fn(&str) -> String) -> Vec<String> {
        let mebibytes = (size.memory_bytes >> 20).max(1);
        let mut words: Vec<String> = vec![self.emulator.display().to_string()];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        match size.accelerator {
            Accelerator::Kvm => {
                add("-accel", "kvm".to_owned());
                add("-cpu", "host".to_owned());
            }
            Accelerator::Tcg => {
                // What is translated is kept apart from the machine's memory.
                add("-accel", "tcg,tb-size=128".to_owned());
                add("-cpu", "max".to_owned());
            }
        }
        add("-machine", "q35,memory-backend=memory".to_owned());
        add(
            "-object",
            format!("memory-backend-memfd,id=memory,size={mebibytes}M,share=on"),
        );
        add("-m", format!("{mebibytes}M"));
        add("-smp", size.cpus.to_string());
        add("-kernel", self.kernel.display().to_string());
        add("-initrd", self.initial.display().to_string());
        add(
            "-append",
            format!("console=ttyS0 quiet panic=-1 reboot=t rdinit={PROGRAM} -- {WORD}"),
        );
        add("-serial", "stdio".to_owned());
        add(
            "-chardev",
            format!("socket,id=agent,path={},server=on,wait=off", at(AGENT)),
        );
        add("-device", "virtio-serial-pci".to_owned());
        add(
            "-device",
            format!("virtserialport,chardev=agent,name={PORT}"),
        );
        add("-chardev", format!("socket,id=files,path={}", at(FILES)));
        add(
            "-device",
            format!("vhost-user-fs-pci,chardev=files,tag={TAG}"),
        );
        if size.disk_bytes.is_some() {
            add(
                "-drive",
                format!(
                    "file={},if=none,id=disk,format=raw,discard=unmap,cache=unsafe",
                    at(DISK)
                ),
            );
            add("-device", "virtio-blk-pci,drive=disk".to_owned());
        }
        if size.network {
            add("-netdev", "user,id=net,ipv6=off".to_owned());
            add("-device", "virtio-net-pci,netdev=net,romfile=".to_owned());
        }
        add(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned(),
        );
        add("-display", "none".to_owned());
        words.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
        words
    }
}

/// How large a machine is, and what it has.
#[derive(Clone, Debug)]
pub(super) struct Size {
    pub(super) accelerator: Accelerator,
    pub(super) memory_bytes: u64,
    pub(super) cpus: u32,
    pub(super) disk_bytes: Option<u64>,
    pub(super) network: bool,
}
