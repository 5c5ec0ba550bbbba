//! How the C library's allocator deals with large pieces of memory.

/// From this size on a piece comes from the system and goes back to it when it is freed.
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Makes freed memory go back to the system.
///
/// The allocator of glibc raises its own bound for large pieces whenever one is freed, and then keeps pieces of that size
/// with each thread: after some sign-ins, whose hashing takes 19 MiB each, the server stayed at 80 MiB instead of 25. A
/// bound that is set stays where it is. mimalloc was measured as well: it idles at 51 MiB.
pub(crate) fn return_large_pieces() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(
            unsafe_code,
            reason = "the C library has no other way, and no safe crate wraps it"
        )]
        // SAFETY: called at the start of the program while it has one thread; the function takes numbers only.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status
            .lines()
            .find_map(|it| it.strip_prefix("VmRSS:"))
            .expect("has a size");
        line.split_whitespace()
            .next()
            .and_then(|it| it.parse().ok())
            .expect("a number")
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn large_pieces_go_back_when_they_are_freed() {
        return_large_pieces();
        let before = resident_kib();
        // The second piece of a size is the one that glibc would keep.
        let use_some = || drop(std::hint::black_box(vec![1_u8; 20 << 20]));
        for _ in 0..4 {
            std::thread::spawn(move || (0..4).for_each(|_| use_some()))
                .join()
                .expect("ends");
        }
        let after = resident_kib();
        assert!(
            after < before + (15 << 10),
            "{before} KiB grew to {after} KiB"
        );
    }
}
