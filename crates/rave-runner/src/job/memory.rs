//! The part of a job that is about memory: how much it gets, that it waits for it, and what its tools are told of it.

use std::time::Duration;

use rave_core::id::JobId;
use rave_core::memory::{Asked, Run, shown};

use super::stages::{Failure, blocking};
use crate::budget::builds::{self, Size};
use crate::budget::size::{Share, Terms};
use crate::host::{Grant, Usage};
use crate::report::{Stops, Verdict};
use crate::runner::Shared;
use crate::trace::{Tone, Trace};
use crate::variables::Variables;
use crate::wire;

/// How long a job that a server gave is held when there is no room for it. It cannot be given back.
const HOLD: Duration = Duration::from_secs(30 * 60);

/// Settles what a job gets, and tells its tools.
pub(super) fn settle(
    shared: &Shared,
    job: &wire::Job,
    variables: &mut Variables,
    trace: &Trace,
) -> Result<Share, Failure> {
    for name in Asked::VARIABLES {
        let value = variables.get(name);
        let asked = Asked::of([(name, value)]);
        if !value.is_empty() && asked == Asked::default() {
            let text = format!(
                "WARNING: {name} is {value:?}, which is no size such as 512Mi or 2Gi, and is ignored"
            );
            trace.line(Tone::Warning, &text);
        }
    }
    let terms = shared.host.terms();
    let info = &job.job_info;
    let given = job.memory.given_bytes.map(|it| it.min(terms.most_bytes));
    if let Some(given) = given {
        let text = format!(
            "The job needed more memory than it had: this try may have {}.",
            shown(given)
        );
        trace.line(Tone::Notice, &text);
    }
    let asked = match given {
        Some(_) => Asked {
            request_bytes: given,
            limit_bytes: given,
        },
        None => Asked::of(variables.list()),
    };
    let expected = job.memory.expected_bytes.or_else(|| {
        let url = &shared.config.url;
        shared.learned.expected(url, info.project_id, &info.name)
    });
    let share = terms.share(asked, expected).map_err(Failure::TooLarge)?;
    let size = Size {
        memory_bytes: told(&share, &terms),
        cpus: shared.host.cpus(&terms),
        profile: terms.profile,
    };
    for (key, value) in builds::told(&size) {
        variables.set_default(key, value);
    }
    Ok(share)
}

/// Returns how large a job's tools are to think that it is: as large as it may be, where that is its own choice; otherwise
/// an equal part of what there is, unless it is expected to need more.
fn told(share: &Share, terms: &Terms) -> u64 {
    if share.explicit {
        return share.limit_bytes;
    }
    let part = terms.budget_bytes / terms.concurrency.max(1) as u64;
    part.max(share.request_bytes).min(share.limit_bytes)
}

/// Waits until a job has its memory, and says in the log for what it waits.
pub(super) async fn admit(
    shared: &Shared,
    job: &wire::Job,
    share: Share,
    trace: &Trace,
    stops: &Stops,
) -> Result<Grant, Failure> {
    let say = |shortage: &rave_core::memory::Shortage| {
        trace.line(Tone::Notice, &format!("{}...", shortage.sentence()));
    };
    tokio::select! {
        // A job that fits begins, whatever else is ready.
        biased;
        grant = shared.host.admit(JobId(job.id), share, say) => Ok(grant),
        () = stops.all.cancelled() => Err(match stops.interrupted.is_cancelled() {
            true => Failure::Interrupted,
            false => Failure::Canceled,
        }),
        () = stops.script.cancelled() => Err(Failure::Canceled),
        () = tokio::time::sleep(HOLD) => Err(Failure::System(format!(
            "{} of memory did not come free in {} minutes",
            shown(share.request_bytes),
            HOLD.as_secs() / 60,
        ))),
    }
}

/// Remembers what a job needed, where the server does not.
pub(super) async fn learn(shared: &Shared, job: &wire::Job, usage: &Usage, verdict: &Verdict) {
    if shared.client.knows_offers() || usage.peak_bytes == 0 {
        return;
    }
    let run = Run {
        peak_bytes: usage.peak_bytes,
        outgrew: usage.outgrew,
    };
    let (learned, url) = (shared.learned.clone(), shared.config.url.clone());
    let (project, name) = (job.job_info.project_id, job.job_info.name.clone());
    let success = *verdict == Verdict::Success;
    let noted = blocking(move || learned.note(&url, project, &name, run, success)).await;
    if let Err(error) = noted {
        tracing::warn!(job.id = job.id, %error, "cannot write down what a job needed of memory");
    }
}
