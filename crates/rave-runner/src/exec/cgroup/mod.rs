//! Control groups: what limits a job and what kills all of it.
//!
//! Three layouts exist: v2, v1, and v1 controllers beside a v2 tree without any, where limits are of v1 and killing
//! at once is of v2. All three are the same here: a list of directories, each with the controllers it has.
//!
//! A job has one group, which has its limits, and in which everything of it is. Each script, service or other process that
//! can be ended alone has a group below it, in one hierarchy: where killing works best.

mod figures;
mod group;
mod kernel_log;
mod layout;
mod place;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use figures::{Consumption, Sample};
pub(crate) use group::{JobGroup, Overrun, ScriptGroup};
use layout::find_places;
use place::{Place, Version};

const PREFIX: &str = "rave-job-";
/// Where this process moves to, so that its v2 group can be divided among jobs.
const LEAF: &str = "rave-main";

/// What a job may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpus: Option<f64>,
    pub(crate) pids: Option<u64>,
}

/// The places where this process may make groups.
#[derive(Debug)]
pub(crate) struct Cgroups {
    places: Vec<Place>,
}

/// Why jobs run without some limit or all of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("no hierarchy of control groups is mounted")]
    None,
    #[error("cannot make a control group below {dir}")]
    Make { dir: PathBuf, source: io::Error },
    #[error(
        "the control group {dir} holds other processes too, so that its limits cannot be shared out"
    )]
    Shared { dir: PathBuf },
    #[error("cannot write {value:?} to {path}")]
    Write {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
}

impl Cgroups {
    /// Finds the hierarchies and tries whether a group can be made in each.
    pub(crate) fn open() -> Result<Self, CgroupError> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| CgroupError::Read {
                path: path.into(),
                source,
            })
        };
        let mut places = find_places(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let mut failure = CgroupError::None;
        for place in places.iter_mut().filter(|it| it.version == Version::Two) {
            if let Err(error) = place.delegate() {
                // Without controllers the group still serves to kill a job at once.
                place.controllers.clear();
                failure = error;
            }
        }
        places.retain(|place| match place.probe() {
            Ok(()) => true,
            Err(error) => {
                failure = error;
                false
            }
        });
        if places.is_empty() {
            return Err(failure);
        }
        if places.iter().any(|it| it.version == Version::Two) {
            // The v2 tree does it as well, and each hierarchy costs every job a little.
            let spare = |it: &String| matches!(it.as_str(), "cpuacct" | "freezer");
            places.retain(|it| it.version == Version::Two || !it.controllers.iter().all(spare));
        }
        Ok(Self { places })
    }

    /// Names the controllers that are missing for the given limits.
    pub(crate) fn missing(&self, limits: &Limits) -> Vec<&'static str> {
        let wanted = [
            ("memory", limits.memory_bytes.is_some()),
            ("pids", limits.pids.is_some()),
        ];
        let has = |name: &str| {
            self.places
                .iter()
                .any(|it| it.controllers.iter().any(|it| it == name))
        };
        let wanted = wanted.into_iter().chain([("cpu", limits.cpus.is_some())]);
        wanted
            .filter(|(name, wanted)| *wanted && !has(name))
            .map(|it| it.0)
            .collect()
    }

    /// Opens them, or says once why jobs run without limits, or without some.
    pub(crate) fn open_or_warn(limits: &Limits) -> Option<Self> {
        match Self::open() {
            Ok(cgroups) => {
                let missing = cgroups.missing(limits);
                if !missing.is_empty() {
                    tracing::warn!(
                        ?missing,
                        "some limits of jobs have no effect: control groups lack the controllers"
                    );
                }
                Some(cgroups)
            }
            Err(error) => {
                let reason = crate::client::chain(&error);
                tracing::warn!(
                    reason,
                    "jobs run without limits: control groups cannot be used"
                );
                None
            }
        }
    }

    /// Returns the least memory limit that this process is under, itself or with others.
    pub(crate) fn own_memory_limit(&self) -> Option<u64> {
        let place = self.places.iter().find(|it| it.has("memory"))?;
        place.memory_limit_above()
    }

    /// Makes the group of one job.
    pub(crate) fn make(&self, limits: Limits) -> Result<Arc<JobGroup>, CgroupError> {
        let name = format!("{PREFIX}{}-{}", std::process::id(), next_number());
        JobGroup::make(&self.places, &name, limits).map(Arc::new)
    }
}

/// Numbers the groups of this process.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
