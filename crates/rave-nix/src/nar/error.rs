//! Why bytes are no NAR.

/// What is wrong with a NAR, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a NAR: at byte {offset} {problem}")]
pub struct NarError {
    /// Where the string or the content begins that is wrong.
    pub offset: u64,
    pub problem: NarProblem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NarProblem {
    #[error("there is `{found}` where {expected} belongs")]
    Word {
        expected: &'static str,
        found: String,
    },
    #[error("a string of {len} bytes is longer than the {limit} that it may have")]
    TooLong { len: u64, limit: u64 },
    #[error("the padding is not zero")]
    Padding,
    #[error("`{0}` cannot be a name in a directory")]
    Name(String),
    #[error("the name `{0}` is not after the one before it")]
    Order(String),
    #[error("a link's target is empty or has a zero byte")]
    Target,
    #[error("directories are nested deeper than {}", super::MAX_DEPTH)]
    Depth,
    #[error("it ends too early")]
    Truncated,
    #[error("there are bytes after its end")]
    Trailing,
}

/// Returns bytes of a message as text that a message can hold.
pub(super) fn show(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    text.chars().take(100).collect()
}
