//! The group of one job, and those of its scripts below it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{CgroupError, Limits, Place, Version};

/// The group of one job: its limits, and everything that runs for it. It is killed and removed by [`JobGroup::remove`], or at
/// the latest when dropped.
#[derive(Debug)]
pub(crate) struct JobGroup {
    pub(super) places: Vec<Place>,
    /// Which of them has a group for each script.
    divided: usize,
    scripts: AtomicU64,
    /// Why the runner ended the job, if it did.
    overrun: OnceLock<Overrun>,
}

/// What of the machine a job had too much of, so that the runner ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// Memory that others need.
    Memory,
}

impl JobGroup {
    pub(super) fn make(parents: &[Place], name: &str, limits: Limits) -> Result<Self, CgroupError> {
        let mut group = Self {
            places: Vec::new(),
            divided: divided(parents),
            scripts: AtomicU64::new(0),
            overrun: OnceLock::new(),
        };
        for place in parents {
            let dir = place.dir.join(name);
            make_dir(place, &dir)?;
            group.places.push(Place {
                dir,
                ..place.clone()
            });
        }
        // An error from here on drops the group, which removes what was made.
        group.places.iter().try_for_each(|it| it.limit(limits))?;
        Ok(group)
    }

    /// Makes a group for a part of the job that can be ended alone.
    pub(crate) fn script(self: &Arc<Self>) -> Result<ScriptGroup, CgroupError> {
        let number = self.scripts.fetch_add(1, Ordering::Relaxed);
        let mut place = self.places[self.divided].clone();
        let dir = place.dir.join(format!("script-{number}"));
        make_dir(&place, &dir)?;
        place.dir = dir;
        Ok(ScriptGroup {
            job: self.clone(),
            place,
        })
    }

    /// Ends the job because it has too much of something.
    pub(crate) fn end(&self, overrun: Overrun) {
        // The first reason is the one that counts.
        let _ = self.overrun.set(overrun);
        self.kill();
    }

    /// Returns why the runner ended the job, if it did.
    pub(crate) fn overrun(&self) -> Option<&Overrun> {
        self.overrun.get()
    }

    /// Kills everything of the job, by the v2 tree's single write where there is one.
    pub(crate) fn kill(&self) {
        // Where some processes may stand still, they have to go on to end.
        self.freeze(false);
        if let Some(place) = self.places.get(self.divided) {
            place.kill();
        }
    }

    /// Makes everything of the job stand still, or go on. Returns whether the machine can do that.
    pub(crate) fn freeze(&self, frozen: bool) -> bool {
        let two = self.places.iter().find(|it| it.version == Version::Two);
        let place = two.or_else(|| self.places.iter().find(|it| it.has("freezer")));
        place.is_some_and(|it| it.freeze(frozen))
    }

    /// Kills what is left and removes the group. The kernel needs a moment to see that it is empty.
    pub(crate) async fn remove(&self) {
        self.kill();
        for _ in 0..100 {
            if self.try_remove() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let dirs: Vec<&Path> = self.places.iter().map(|it| it.dir.as_path()).collect();
        tracing::warn!(?dirs, "control groups of a job cannot be removed");
    }

    fn try_remove(&self) -> bool {
        self.places.iter().filter(|it| !it.try_remove()).count() == 0
    }
}

impl Drop for JobGroup {
    fn drop(&mut self) {
        if !self.try_remove() {
            self.kill();
            self.try_remove();
        }
    }
}

/// The group of one script. It is killed and removed by [`ScriptGroup::remove`], or at the latest when dropped.
#[derive(Debug)]
pub(crate) struct ScriptGroup {
    pub(crate) job: Arc<JobGroup>,
    /// In the divided hierarchy.
    place: Place,
}

impl ScriptGroup {
    /// Puts a process into the group; what it starts later is in the group too.
    pub(crate) fn add(&self, pid: u32) -> Result<(), CgroupError> {
        let pid = pid.to_string();
        for (at, place) in self.job.places.iter().enumerate() {
            let place = if at == self.job.divided {
                &self.place
            } else {
                place
            };
            place.write("cgroup.procs", &pid)?;
        }
        Ok(())
    }

    /// Kills everything in the group.
    pub(crate) fn kill(&self) {
        self.job.freeze(false);
        self.place.kill();
    }

    /// Kills what is left and removes the group.
    pub(crate) async fn remove(self) {
        self.kill();
        for _ in 0..100 {
            if self.place.try_remove() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let dir = &self.place.dir;
        tracing::warn!(?dir, "the control group of a script cannot be removed");
    }
}

impl Drop for ScriptGroup {
    fn drop(&mut self) {
        if !self.place.try_remove() {
            self.kill();
            self.place.try_remove();
        }
    }
}

/// Chooses the hierarchy in which scripts have groups: the v2 tree, whose kill is one write. In a v1 hierarchy of memory
/// they would count for themselves, so that is the last choice.
fn divided(places: &[Place]) -> usize {
    let two = places.iter().position(|it| it.version == Version::Two);
    let other = || places.iter().position(|it| !it.has("memory"));
    two.or_else(other).unwrap_or(0)
}

fn make_dir(parent: &Place, dir: &PathBuf) -> Result<(), CgroupError> {
    fs::create_dir(dir).map_err(|source| CgroupError::Make {
        dir: parent.dir.clone(),
        source,
    })
}
