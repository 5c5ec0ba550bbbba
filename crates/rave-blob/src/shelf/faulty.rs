//! A shelf on which a process ends where a test says, so that what its successor finds can be tested at every step.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rave_core::time::Timestamp;

use super::{OnShelf, Shelf, Spot};
use crate::error::PutError;
use crate::frame::Frame;

/// Where the process that uses a store ends. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    /// How many changes of packs are still made, and whether the one after them is made without anyone being told.
    left: Option<(u32, bool)>,
    dead: bool,
    unsettled: Vec<Unsettled>,
}

/// What was appended, and may not survive a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    /// The number of the pack's row.
    pub pack: i64,
    pub position: u64,
    pub length_bytes: u64,
}

/// What becomes of a change.
enum Fate {
    Done,
    DoneUntold,
    Undone,
}

impl Faults {
    /// Ends the process at a change of packs, the first being 0: before it is made or, if `untold`, once it is made but before
    /// it is known to be. From then on nothing works.
    pub fn end_at(&self, change: u32, untold: bool) {
        self.plan().left = Some((change, untold));
    }

    /// Returns whether the process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.plan().dead
    }

    /// Returns what a power failure may take at this moment.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Unsettled> {
        self.plan().unsettled.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Fate {
        let mut plan = self.plan();
        if plan.dead {
            return Fate::Undone;
        }
        match &mut plan.left {
            Some((0, untold)) => {
                let untold = *untold;
                plan.dead = true;
                match untold {
                    true => Fate::DoneUntold,
                    false => Fate::Undone,
                }
            }
            Some((left, _)) => {
                *left -= 1;
                Fate::Done
            }
            None => Fate::Done,
        }
    }
}

/// A shelf with faults.
pub(crate) struct FaultyShelf {
    pub(crate) inner: Box<dyn Shelf>,
    pub(crate) faults: Faults,
}

impl FaultyShelf {
    async fn change<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send,
        ended: impl Fn(io::Error) -> E + Send + Sync,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send,
    {
        let over = || ended(io::Error::other("the process has ended"));
        match self.faults.next() {
            Fate::Done => work.await,
            Fate::DoneUntold => work.await.and_then(|_| Err(over())),
            Fate::Undone => Err(over()),
        }
    }
}

#[async_trait]
impl Shelf for FaultyShelf {
    async fn append(&self, frames: &[Frame]) -> Result<Vec<Spot>, PutError> {
        let append = async {
            let spots = self.inner.append(frames).await?;
            let written = spots.iter().zip(frames).map(|(spot, frame)| Unsettled {
                pack: spot.pack,
                position: spot.position,
                length_bytes: frame.bytes.len() as u64,
            });
            self.faults.plan().unsettled.extend(written);
            Ok(spots)
        };
        self.change(append, PutError::Io).await
    }

    async fn settle(&self, packs: &[i64]) -> Result<(), PutError> {
        let settle = async {
            let covered = self.faults.unsettled();
            self.inner.settle(packs).await?;
            let is_safe = |it: &Unsettled| packs.contains(&it.pack) && covered.contains(it);
            self.faults.plan().unsettled.retain(|it| !is_safe(it));
            Ok(())
        };
        self.change(settle, PutError::Io).await
    }

    async fn read(&self, pack: &Arc<str>, range: Range<u64>) -> io::Result<Bytes> {
        match self.faults.has_ended() {
            true => Err(io::Error::other("the process has ended")),
            false => self.inner.read(pack, range).await,
        }
    }

    async fn list(&self) -> io::Result<Vec<OnShelf>> {
        self.inner.list().await
    }

    async fn remove(&self, pack: &str) -> io::Result<()> {
        self.change(self.inner.remove(pack), |it| it).await
    }

    fn is_owned(&self) -> bool {
        self.inner.is_owned()
    }

    async fn rotate(&self, before: Timestamp) -> Result<(), PutError> {
        self.change(self.inner.rotate(before), PutError::Io).await
    }

    async fn truncate(&self, pack: &str, length_bytes: u64) -> io::Result<()> {
        self.change(self.inner.truncate(pack, length_bytes), |it| it)
            .await
    }
}
