//! Files that were fetched lately. How old a file may be is up to whoever asks for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rave_core::time::Timestamp;

const MAX_FILES: usize = 256;
const MAX_BYTES: usize = 16 << 20;

#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<String, Entry>>);

struct Entry {
    text: Arc<str>,
    fetched_at: Timestamp,
}

impl Cache {
    /// Returns the text of a URL that was fetched in the last `max_age_secs`.
    pub(super) fn find(&self, url: &str, max_age_secs: u64, now: Timestamp) -> Option<String> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(url)?;
        let age_ms = u64::try_from(now.0 - entry.fetched_at.0).unwrap_or(0);
        (age_ms < max_age_secs.saturating_mul(1000)).then(|| entry.text.to_string())
    }

    /// Keeps a text; the oldest make room.
    pub(super) fn put(&self, url: &str, text: &str, now: Timestamp) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(url);
        let bytes = |entries: &HashMap<String, Entry>| -> usize {
            entries.iter().map(|it| it.0.len() + it.1.text.len()).sum()
        };
        let size = url.len() + text.len();
        if size > MAX_BYTES {
            return;
        }
        while entries.len() >= MAX_FILES || bytes(&entries) + size > MAX_BYTES {
            let oldest = entries.iter().min_by_key(|it| it.1.fetched_at.0);
            let Some(oldest) = oldest.map(|it| it.0.clone()) else {
                break;
            };
            entries.remove(&oldest);
        }
        let entry = Entry {
            text: text.into(),
            fetched_at: now,
        };
        entries.insert(url.to_owned(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_says_how_old_a_file_may_be() {
        let cache = Cache::default();
        cache.put("u", "text", Timestamp(10_000));
        assert_eq!(
            cache.find("u", 60, Timestamp(69_999)).as_deref(),
            Some("text")
        );
        assert_eq!(cache.find("u", 60, Timestamp(70_000)), None);
        assert_eq!(cache.find("u", 0, Timestamp(10_000)), None);
        assert_eq!(cache.find("v", 60, Timestamp(10_000)), None);
        cache.put("u", "new", Timestamp(70_000));
        assert_eq!(
            cache.find("u", 60, Timestamp(70_000)).as_deref(),
            Some("new")
        );
    }

    #[test]
    fn the_oldest_make_room() {
        let cache = Cache::default();
        let large = "x".repeat(MAX_BYTES / 4);
        for at in 0..5 {
            cache.put(&format!("u{at}"), &large, Timestamp(at));
        }
        let known = |at: i64| cache.find(&format!("u{at}"), 60, Timestamp(9)).is_some();
        assert_eq!([known(0), known(1), known(4)], [false, false, true]);
        for at in 5..1000 {
            cache.put(&format!("u{at}"), "", Timestamp(at));
        }
        assert!(!known(4) && known(999));
        cache.put("huge", &"x".repeat(MAX_BYTES), Timestamp(9));
        assert_eq!(cache.find("huge", 60, Timestamp(9)), None);
    }
}
