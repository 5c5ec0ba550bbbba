//! Which system calls a job is refused, and which of the machine's sockets.
//!
//! Namespaces, ids and mounts already keep a job from the machine; what is refused here are doors to parts of the kernel that
//! builds do not need and that had holes. Everything else is allowed: a list of what builds do need would be wrong next year.
//! Debuggers work, because a process can only trace others of its own job.

use nix::errno::Errno;
use nix::libc::{self, c_long};

use super::failed;

/// What is refused to every job.
const REFUSED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// What is refused to jobs that may not make namespaces.
const NESTING: &[c_long] = &[
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
];

/// The flags of `clone` and `unshare` that make namespaces.
const NAMESPACES: u32 = 0x7e02_0000;
/// Sockets to a hypervisor and to neighbouring virtual machines.
const AF_VSOCK: u32 = 40;

/// An architecture: its number in the kernel's records, and the system calls that mean something special.
struct Table {
    audit: u32,
    refused: Vec<u32>,
    nesting: Vec<u32>,
    clone: u32,
    unshare: u32,
    clone3: u32,
    socket: u32,
}

#[cfg(target_arch = "x86_64")]
const AUDIT: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT: u32 = 0xc000_00b7;

fn native() -> Table {
    let numbers = |calls: &[c_long]| calls.iter().map(|it| number(*it)).collect();
    Table {
        audit: AUDIT,
        refused: numbers(REFUSED),
        nesting: numbers(NESTING),
        clone: number(libc::SYS_clone),
        unshare: number(libc::SYS_unshare),
        clone3: number(libc::SYS_clone3),
        socket: number(libc::SYS_socket),
    }
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// The same for 32-bit programs, which compilers make for tests. Their numbers are others.
#[cfg(target_arch = "x86_64")]
fn compatible() -> Option<Table> {
    Some(Table {
        audit: 0x4000_0003,
        refused: vec![
            51, 286, 357, 343, 405, 264, 404, 25, 129, 338, 350, 128, 425, 426, 427, 283, 288, 253,
            169, 342, 336, 131, 88, 287, 79, 115, 87, 103, 374, 111, 101, 110,
        ],
        nesting: vec![431, 432, 430, 433, 21, 442, 429, 428, 217, 346, 22, 52],
        clone: 120,
        unshare: 310,
        clone3: 435,
        socket: 359,
    })
}

#[cfg(not(target_arch = "x86_64"))]
const fn compatible() -> Option<Table> {
    None
}

/// Refuses system calls from now on, to this process and all that it starts.
pub(super) fn install(nested_namespaces: bool) -> Result<(), String> {
    keep_from_abstract_sockets();
    let program = program(nested_namespaces);
    let what = "cannot install the filter of system calls";
    let description = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(failed(what))?,
        filter: program.as_ptr().cast_mut(),
    };
    #[expect(unsafe_code, reason = "no crate here wraps this call")]
    // SAFETY: the description points to as many instructions as it says, and both outlive the call, which copies them.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const description,
        )
    };
    Errno::result(done).map(drop).map_err(failed(what))
}

fn program(nested_namespaces: bool) -> Vec<libc::sock_filter> {
    let mut code = vec![load(4)];
    for table in [Some(native()), compatible()].into_iter().flatten() {
        let rules = table.rules(nested_namespaces);
        code.push(jump(libc::BPF_JEQ, table.audit, 1, 0));
        // Past the rules of this architecture, which are more than a conditional jump can pass.
        let past = u32::try_from(rules.len()).unwrap_or(u32::MAX);
        code.push(statement(libc::BPF_JMP | libc::BPF_JA, past));
        code.extend(rules);
    }
    code.push(refuse(libc::ENOSYS));
    code
}

impl Table {
    fn rules(&self, nested_namespaces: bool) -> Vec<libc::sock_filter> {
        let mut code = vec![load(0)];
        if self.audit == 0xc000_003e {
            // Another set of numbers for the same calls, which hardly anybody uses.
            code.extend([jump(libc::BPF_JGE, 0x4000_0000, 0, 1), refuse(libc::ENOSYS)]);
        }
        let mut refused = self.refused.clone();
        if !nested_namespaces {
            refused.extend(&self.nesting);
            // Its flags are in memory, where a filter cannot look. Programs try `clone` next.
            code.extend([jump(libc::BPF_JEQ, self.clone3, 0, 1), refuse(libc::ENOSYS)]);
            for call in [self.clone, self.unshare] {
                code.extend(by_argument(call, libc::BPF_JSET, NAMESPACES, libc::EPERM));
            }
        }
        code.extend(by_argument(
            self.socket,
            libc::BPF_JEQ,
            AF_VSOCK,
            libc::EAFNOSUPPORT,
        ));
        for call in refused {
            code.extend([jump(libc::BPF_JEQ, call, 0, 1), refuse(libc::EPERM)]);
        }
        code.push(statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW));
        code
    }
}

/// Refuses a call by the lower half of its first argument, and has the call's number loaded afterwards.
fn by_argument(call: u32, test: u32, value: u32, error: i32) -> [libc::sock_filter; 5] {
    let low = if cfg!(target_endian = "little") {
        16
    } else {
        20
    };
    [
        jump(libc::BPF_JEQ, call, 0, 4),
        load(low),
        jump(test, value, 0, 1),
        refuse(error),
        load(0),
    ]
}

/// Loads a word of what the kernel tells of a call.
fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn refuse(error: i32) -> libc::sock_filter {
    statement(
        libc::BPF_RET,
        libc::SECCOMP_RET_ERRNO | error.unsigned_abs(),
    )
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = (libc::BPF_JMP | test | libc::BPF_K) as u16;
    libc::sock_filter { code, jt, jf, k }
}

/// Keeps jobs that share the machine's network from its abstract sockets, which have no path that could be hidden. Needs
/// Linux 6.12; older kernels only lack this.
fn keep_from_abstract_sockets() {
    #[repr(C)]
    struct Ruleset {
        handled_access_fs: u64,
        handled_access_net: u64,
        scoped: u64,
    }
    const CREATE: c_long = 444;
    const RESTRICT_SELF: c_long = 446;
    let ruleset = Ruleset {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: 1,
    };
    #[expect(unsafe_code, reason = "no crate here wraps these calls")]
    // SAFETY: the kernel reads as much of the value as its size says, and the descriptor is closed once, here.
    unsafe {
        let rules = libc::syscall(CREATE, &raw const ruleset, size_of::<Ruleset>(), 0);
        if let Ok(rules) = i32::try_from(rules)
            && rules >= 0
        {
            libc::syscall(RESTRICT_SELF, rules, 0);
            libc::close(rules);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program of the filter on a call, as the kernel does.
    fn judge(code: &[libc::sock_filter], arch: u32, call: u32, argument: u32) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let it = code[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { it.jt } else { it.jf });
            match u32::from(it.code) {
                code if code == libc::BPF_RET => return it.k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += it.k as usize,
                code if code == libc::BPF_JMP | libc::BPF_JEQ => at += jump(word == it.k),
                code if code == libc::BPF_JMP | libc::BPF_JGE => at += jump(word >= it.k),
                code if code == libc::BPF_JMP | libc::BPF_JSET => at += jump(word & it.k != 0),
                _ => word = [call, arch, 0, 0, argument][it.k as usize / 4],
            }
        }
    }

    #[test]
    fn calls_are_refused_by_number_and_argument() {
        let refused = |error: i32| libc::SECCOMP_RET_ERRNO | error.unsigned_abs();
        let (strict, nested) = (program(false), program(true));
        for table in [Some(native()), compatible()].into_iter().flatten() {
            let strictly = |call, argument| judge(&strict, table.audit, call, argument);
            let nesting = |call, argument| judge(&nested, table.audit, call, argument);
            for call in &table.refused {
                assert_eq!(
                    (strictly(*call, 0), nesting(*call, 0)),
                    (refused(libc::EPERM), refused(libc::EPERM))
                );
            }
            for call in &table.nesting {
                assert_eq!(
                    (strictly(*call, 0), nesting(*call, 0)),
                    (refused(libc::EPERM), libc::SECCOMP_RET_ALLOW)
                );
            }
            assert_eq!(strictly(table.clone3, 0), refused(libc::ENOSYS));
            assert_eq!(
                strictly(table.clone, 0x1000_0011),
                refused(libc::EPERM),
                "CLONE_NEWUSER"
            );
            assert_eq!(
                strictly(table.clone, 0x003d_0f00),
                libc::SECCOMP_RET_ALLOW,
                "a thread"
            );
            assert_eq!(
                strictly(table.unshare, 0x0400),
                libc::SECCOMP_RET_ALLOW,
                "CLONE_FILES"
            );
            assert_eq!(nesting(table.unshare, 0x1000_0000), libc::SECCOMP_RET_ALLOW);
            assert_eq!(
                strictly(table.socket, AF_VSOCK),
                refused(libc::EAFNOSUPPORT)
            );
            assert_eq!(strictly(table.socket, 2), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(
            judge(&strict, 1, 0, 0),
            refused(libc::ENOSYS),
            "an unknown architecture"
        );
        assert_eq!(
            judge(&strict, AUDIT, number(libc::SYS_ptrace), 0),
            libc::SECCOMP_RET_ALLOW
        );
    }
}
