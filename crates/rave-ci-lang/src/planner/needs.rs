//! What a job waits for, once it is known which jobs there are.

use super::candidates::Candidate;
use super::{Decided, Planner};
use crate::Need;
use crate::entry::{NeedEntry, Needs};
use crate::event::set_by;
use crate::report::Report;

impl<'a> Planner<'a> {
    /// Returns the jobs that one waits for. `Some(None)`: it waits for its stage. `None` after an error.
    pub(super) fn needs_of(
        &self,
        decided: &Decided<'a>,
        all: &[Option<Decided<'a>>],
        report: &mut Report,
    ) -> Option<Option<Vec<Need>>> {
        let written = decided.candidate.job.needs.as_ref();
        // GitLab looks for the job's own needs even if those of a rule replace them.
        let own = match written {
            Some(needs) => Some(self.own_needs(decided.candidate, needs, all, report)?),
            None => None,
        };
        if let Some(needs) = decided.decision.rule.map(|it| &it.needs)
            && !needs.jobs.is_empty()
        {
            return Some(Some(self.needs_of_rule(needs, all)));
        }
        // A bridge that follows another pipeline waits for its stage.
        let follows = written.is_some_and(|it| !it.mirrors.is_empty());
        Some(own.filter(|_| !follows))
    }

    /// Returns the needs that exist. One that the rules left out is an error unless it is optional.
    fn own_needs(
        &self,
        candidate: &Candidate<'_>,
        written: &Needs,
        all: &[Option<Decided<'a>>],
        report: &mut Report,
    ) -> Option<Vec<Need>> {
        let mut needs = Vec::with_capacity(written.jobs.len());
        let mut count = 0;
        for entry in &written.jobs {
            let targets = self.candidates.needed(candidate, entry).ok()?;
            count += targets.len();
            for index in targets.iter().filter_map(|it| it.index) {
                if all[index].is_some() {
                    needs.push(self.need(index, entry));
                } else if !entry.optional {
                    let name = &self.candidates.all[index].name;
                    let message = format!(
                        "'{}' job needs '{name}' job, but '{name}' does not exist in the pipeline. This might be \
                         because of the only, except, or rules keywords. To need a job that sometimes does not exist \
                         in the pipeline, use needs:optional.",
                        candidate.name,
                    );
                    report.error(entry.span, message);
                    return None;
                }
            }
        }
        let limit = self.facts.limits.needs;
        if count > limit {
            let message = format!(
                "{}: one job can only need {limit} others, but you have listed {count}. See needs keyword \
                 documentation for more details",
                candidate.name,
            );
            report.error_with_hint(written.span, message, set_by("max_needs"));
            return None;
        }
        Some(needs)
    }

    /// Returns the needs of a rule that exist. They name each copy of a parallel job by itself.
    fn needs_of_rule(&self, written: &Needs, all: &[Option<Decided<'a>>]) -> Vec<Need> {
        let found = |it: &NeedEntry| {
            self.candidates
                .find(&it.job)
                .filter(|it| all[*it].is_some())
        };
        let needs = written.jobs.iter();
        needs
            .filter_map(|it| Some(self.need(found(it)?, it)))
            .collect()
    }

    fn need(&self, index: usize, entry: &NeedEntry) -> Need {
        Need {
            job: self.candidates.all[index].name.clone(),
            artifacts: entry.artifacts,
            optional: entry.optional,
        }
    }

    /// Returns the jobs that exist of those whose artifacts are wanted.
    pub(super) fn dependencies(
        &self,
        names: &[String],
        all: &[Option<Decided<'a>>],
    ) -> Vec<String> {
        names
            .iter()
            .flat_map(|it| self.candidates.named(it))
            .filter(|it| it.index.is_some_and(|it| all[it].is_some()))
            .map(|it| it.name.into_owned())
            .collect()
    }
}
