//! The protocol's own retries: five attempts at answers that say "later".

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};

use super::{ClientError, retry_after};

const ATTEMPTS: u32 = 5;

/// Says whether the same request may succeed a little later.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504 | 512..)
}

/// Returns the pause after failed attempt number `attempt`: 100 ms, doubling up to a minute, with jitter.
pub(crate) fn pause(attempt: u32) -> Duration {
    let base = 100_u64.saturating_mul(1 << attempt.min(10)).min(60_000);
    Duration::from_millis(base / 2 + RandomState::new().hash_one(attempt) % (base / 2 + 1))
}

/// Sends a request until its answer is not transient, and returns the last answer.
pub(super) async fn send(
    what: &'static str,
    request: impl Fn() -> RequestBuilder,
) -> Result<Response, ClientError> {
    for attempt in 1.. {
        let response = request()
            .send()
            .await
            .map_err(|source| ClientError::Network { what, source })?;
        if attempt == ATTEMPTS || !is_transient(response.status()) {
            return Ok(response);
        }
        let wait = retry_after(response.headers()).unwrap_or_else(|| pause(attempt));
        tracing::debug!(what, status = %response.status(), attempt, "the server asks to try again");
        tokio::time::sleep(wait).await;
    }
    unreachable!("the loop returns at its last attempt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for attempt in 0..40 {
            let base = 100_u64.saturating_mul(1 << attempt.min(10)).min(60_000);
            let pause = u64::try_from(pause(attempt).as_millis()).expect("short");
            assert!(
                (base / 2..=base).contains(&pause),
                "{pause} after attempt {attempt}"
            );
        }
    }
}
