//! The wake-up call of the event log: it says "look", the log itself says what.

use tokio::sync::watch;

/// Tells that events may have been appended. A missed or spurious call is harmless: readers have cursors.
#[derive(Clone, Debug)]
pub struct EventSignal(watch::Receiver<u64>);

impl EventSignal {
    /// Waits until events may have been appended since the last call returned, by any process. May be dropped at any
    /// await point. Waits forever once the store is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The side that calls.
#[derive(Clone, Debug)]
pub(crate) struct Bell(watch::Sender<u64>);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(crate) fn ring(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn signal(&self) -> EventSignal {
        EventSignal(self.0.subscribe())
    }
}
