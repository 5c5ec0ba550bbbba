//! Why a waiting job has no runner yet, judged by the runners that may serve its project.

use std::collections::BTreeMap;

use rave_core::id::{JobId, RunnerId};
use rave_core::permission::{Access, Project, ReadPipelines};
use rave_core::port::Slice;
use rave_core::time::Timestamp;

use super::Ci;
use super::memory::Lack;
use crate::error::CiError;
use crate::model::{Job, Manager, Runner, RunnerStatus, RunnerType, Stuck, missing_features};
use crate::store;
use crate::store::queue::{Candidate, Wants};
use crate::store::runner::RunnerFilter;

/// How many runners of one project are looked at.
const RUNNERS: u64 = 1000;

/// A runner that may serve a project.
#[derive(Clone, Debug)]
struct Server {
    runner: Runner,
    managers: Vec<Manager>,
    /// Whether it has a job now.
    active: bool,
}

/// What the runners of a project can do about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// None will take it.
    Never(Stuck),
    /// One that has nothing to do takes it in a moment.
    Soon,
    /// These take it when they have done other things.
    Later(Vec<RunnerId>),
}

/// Judges what becomes of a job: each step leaves out runners, and what left none over is the reason.
fn judge(servers: &[Server], wants: &Wants, now: Timestamp) -> Verdict {
    use Verdict::Never;
    if servers.is_empty() {
        return Never(Stuck::NoRunner);
    }
    let mut left: Vec<&Server> = servers.iter().collect();
    left.retain(|it| it.runner.fits(&wants.tags, true));
    if left.is_empty() {
        return Never(Stuck::NoTags);
    }
    left.retain(|it| it.runner.fits(&wants.tags, wants.protected));
    if left.is_empty() {
        return Never(Stuck::ProtectedOnly);
    }
    left.retain(|it| !it.runner.paused);
    if left.is_empty() {
        return Never(Stuck::Paused);
    }
    left.retain(|it| it.runner.status(now) == RunnerStatus::Online);
    if left.is_empty() {
        return Never(Stuck::Offline);
    }
    let lacking = |it: &&Server| lacks(it, wants, now);
    if let Some(least) = left.iter().map(lacking).min_by_key(Vec::len)
        && !least.is_empty()
    {
        return Never(Stuck::Features(least));
    }
    left.retain(|it| lacking(it).is_empty());
    if let Some(needs_bytes) = wants.memory_bytes {
        let most = left.iter().filter_map(|it| most_memory(it, now)).max();
        left.retain(|it| most_memory(it, now).is_none_or(|it| it >= needs_bytes));
        if let (true, Some(most_bytes)) = (left.is_empty(), most) {
            return Never(Stuck::TooLarge {
                needs_bytes,
                most_bytes,
            });
        }
    }
    match left.iter().any(|it| !it.active) {
        true => Verdict::Soon,
        false => Verdict::Later(left.iter().map(|it| it.runner.id).collect()),
    }
}

/// Returns what the best of a runner's machines that are there lacks for a job.
fn lacks(server: &Server, wants: &Wants, now: Timestamp) -> Vec<String> {
    let online = |it: &&Manager| it.status(now) == RunnerStatus::Online;
    let missing = |it: &Manager| missing_features(&wants.features, it.info.features.as_deref());
    let there = server.managers.iter().filter(online).map(missing);
    there.min_by_key(Vec::len).unwrap_or_default()
}

/// Returns the most memory that a machine of a runner that is there gives one job. `None`: one does not say, or none is
/// known.
fn most_memory(server: &Server, now: Timestamp) -> Option<u64> {
    let online = |it: &&Manager| it.status(now) == RunnerStatus::Online;
    let there = server.managers.iter().filter(online);
    let most: Option<Vec<u64>> = there.map(|it| it.info.memory_bytes).collect();
    most?.into_iter().max()
}

impl Ci {
    /// Says of each of these jobs of one project that waits for a runner what keeps it from one, if anything does.
    pub(crate) async fn why_stuck(
        &self,
        access: &Access<ReadPipelines>,
        jobs: &[Job],
    ) -> Result<BTreeMap<JobId, Stuck>, CiError> {
        let waiting = |it: &&Job| it.state == rave_core::job::JobState::Pending;
        let ids: Vec<JobId> = jobs.iter().filter(waiting).map(|it| it.id).collect();
        let mut found = BTreeMap::new();
        if ids.is_empty() {
            return Ok(found);
        }
        let servers = self.servers(access.project()).await?;
        let wants = self
            .db
            .read("ci_wants", move |tx| {
                Ok::<_, CiError>(store::queue::wants(tx, &ids)?)
            })
            .await?;
        let now = self.now();
        // Jobs that want the same wait for the same runners.
        let mut judged: Vec<(Wants, Verdict)> = Vec::new();
        for (job, wants) in wants {
            let known = judged.iter().find(|it| it.0 == wants);
            let verdict = match known {
                Some((_, verdict)) => verdict.clone(),
                None => {
                    let verdict = judge(&servers, &wants, now);
                    judged.push((wants, verdict.clone()));
                    verdict
                }
            };
            let lack = self.queue.passed.lack_of(job);
            let stuck = match (verdict, lack) {
                (Verdict::Never(stuck), _) => stuck,
                (_, Some(Lack::Memory(shortage))) => Stuck::Memory(shortage),
                (_, Some(Lack::Refused(reason))) => Stuck::Refused(reason),
                (Verdict::Soon, None) => continue,
                (Verdict::Later(busy), None) => {
                    let of = |it: &&Server| busy.contains(&it.runner.id);
                    let busy: Vec<&Server> = servers.iter().filter(of).collect();
                    Stuck::Busy(self.jobs_before(job, access.project(), &busy).await?)
                }
            };
            found.insert(job, stuck);
        }
        Ok(found)
    }

    /// Whether a runner that is online can do what a job needs, which another cannot.
    pub(super) async fn is_supported(&self, candidate: &Candidate) -> Result<bool, CiError> {
        let Some(project) = self.directory.load_project(candidate.project).await? else {
            return Ok(true);
        };
        let servers = self.servers(&project).await?;
        let verdict = judge(&servers, &candidate.wants, self.now());
        let lacking = |it: &Stuck| matches!(it, Stuck::Features(_) | Stuck::TooLarge { .. });
        Ok(!matches!(verdict, Verdict::Never(stuck) if lacking(&stuck)))
    }

    /// Returns the runners that may serve a project.
    async fn servers(&self, project: &Project) -> Result<Vec<Server>, CiError> {
        let groups = self.namespaces_above(project).await?;
        let filter = RunnerFilter {
            usable_by: Some((project.id, groups)),
            ..RunnerFilter::default()
        };
        let all = Slice {
            offset: 0,
            limit: RUNNERS,
        };
        self.db
            .read("ci_servers", move |tx| {
                let runners = store::runner::list(tx, &filter, all)?.items;
                let ids: Vec<RunnerId> = runners.iter().map(|it| it.id).collect();
                let mut managers = store::runner_manager::of_runners(tx, &ids)?;
                let active = store::runner::active(tx, &ids)?;
                let server = |runner: Runner| Server {
                    managers: managers.remove(&runner.id).unwrap_or_default(),
                    active: active.contains_key(&runner.id),
                    runner,
                };
                Ok(runners.into_iter().map(server).collect())
            })
            .await
    }

    /// Counts the jobs that came before one and that one of these runners may take too.
    async fn jobs_before(
        &self,
        job: JobId,
        project: &Project,
        busy: &[&Server],
    ) -> Result<usize, CiError> {
        let classes = self
            .db
            .read("ci_jobs_before", move |tx| {
                Ok::<_, CiError>(store::queue::classes(tx, Some(job))?)
            })
            .await?;
        // Whether others' jobs reach a group's runner is not looked up: the number is for a person who waits.
        let reaches = |it: &&Server, of| it.runner.kind == RunnerType::Instance || of == project.id;
        let before = classes.iter().filter(|class| {
            busy.iter().any(|it| {
                reaches(it, class.project)
                    && it.runner.fits(&class.wants.tags, class.wants.protected)
            })
        });
        let jobs: u64 = before.map(|it| it.jobs).sum();
        Ok(usize::try_from(jobs).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MachineInfo;
    use crate::model::tests::runner;

    fn server(tags: &[&str], change: impl FnOnce(&mut Server)) -> Server {
        let mut server = Server {
            runner: runner(tags, true, false),
            managers: Vec::new(),
            active: false,
        };
        change(&mut server);
        server
    }

    fn machine(features: Option<&[&str]>) -> Manager {
        let names = |it: &[&str]| it.iter().map(ToString::to_string).collect();
        Manager {
            id: 1,
            runner: RunnerId(1),
            info: MachineInfo {
                system_id: "s_1".into(),
                features: features.map(names),
                ..MachineInfo::default()
            },
            created_at: Timestamp(0),
            contacted_at: Timestamp(0),
        }
    }

    #[test]
    fn what_leaves_no_runner_over_is_the_reason() {
        let check = |servers: &[Server], tags: &[&str], features: &[&str], expected: Verdict| {
            let wants = Wants {
                tags: tags.iter().map(ToString::to_string).collect(),
                protected: false,
                features: features.iter().map(ToString::to_string).collect(),
                memory_bytes: None,
            };
            assert_eq!(judge(servers, &wants, Timestamp(1000)), expected);
        };
        let never = Verdict::Never;
        let plain = || server(&["x"], |_| {});
        check(&[], &[], &[], never(Stuck::NoRunner));
        check(&[plain()], &["y"], &[], never(Stuck::NoTags));
        check(&[plain()], &["x"], &[], Verdict::Soon);
        let protected = server(&["x"], |it| it.runner.protected = true);
        check(
            std::slice::from_ref(&protected),
            &["x"],
            &[],
            never(Stuck::ProtectedOnly),
        );
        check(&[protected, plain()], &["x"], &[], Verdict::Soon);
        let paused = server(&["x"], |it| it.runner.paused = true);
        check(&[paused], &["x"], &[], never(Stuck::Paused));
        let away = server(&["x"], |it| it.runner.contacted_at = None);
        check(&[away], &["x"], &[], never(Stuck::Offline));
        let old = || server(&["x"], |it| it.managers = vec![machine(Some(&["cache"]))]);
        let lacking = Stuck::Features(vec!["artifacts_exclude".into()]);
        check(
            &[old()],
            &["x"],
            &["cache", "artifacts_exclude"],
            never(lacking),
        );
        let silent = server(&["x"], |it| it.managers = vec![machine(None)]);
        check(&[old(), silent], &["x"], &["exclude"], Verdict::Soon);
        let busy = server(&["x"], |it| it.active = true);
        check(&[busy], &["x"], &[], Verdict::Later(vec![RunnerId(1)]));
    }
}
