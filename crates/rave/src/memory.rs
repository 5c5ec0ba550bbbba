//! How this process deals with memory: large pieces of it, and what happens to it when the machine has none left.

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

/// Where the kernel is told whom to end first when the machine has no memory left.
const SCORE: &str = "/proc/self/oom_score_adj";
/// The server goes after everything that was not asked to survive.
const SERVER: i32 = -500;

/// Lets the kernel end others before the server when the machine has no memory left, where this process may say so. Jobs and
/// git processes raise their own score again.
pub(crate) fn outlive_others() {
    let score = std::fs::read_to_string(SCORE).unwrap_or_default();
    // Whoever started it may want it to live even longer.
    if score.trim().parse().is_ok_and(|it: i32| it <= SERVER) {
        return;
    }
    if let Err(error) = std::fs::write(SCORE, SERVER.to_string()) {
        tracing::debug!(%error, "the server cannot ask to be ended last when memory runs out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_outlive_others_is_a_wish() {
        let score = || -> i32 {
            let text = std::fs::read_to_string(SCORE).expect("Linux");
            text.trim().parse().expect("a number")
        };
        let before = score();
        outlive_others();
        // Without the right to it nothing changes, and nothing fails.
        assert!(score() == before || score() == SERVER);
    }

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
