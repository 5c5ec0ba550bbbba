//! Why a job waits for memory, for people.

use super::shown;
use crate::id::JobId;

/// What a waiting job lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// What it needs.
    pub needs_bytes: u64,
    /// What is free where it could run.
    pub free_bytes: u64,
    /// The jobs that hold the rest, the first that began first.
    pub holders: Vec<JobId>,
    /// The job before it that has waited too long, and with which it waits.
    pub behind: Option<JobId>,
}

impl Shortage {
    /// Returns it in words, without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (needs, free) = (shown(self.needs_bytes), shown(self.free_bytes));
        let first = format!("Needs {needs} of memory, {free} free");
        if let Some(behind) = self.behind {
            return format!("{first}: goes after job {behind}, which has waited longer");
        }
        match self.holders.as_slice() {
            [] => first,
            [one] => format!("{first}: waits for job {one}"),
            [one, two] => format!("{first}: waits for jobs {one} and {two}"),
            [one, rest @ ..] => format!("{first}: waits for job {one} and {} more", rest.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_figures_and_jobs() {
        let check = |holders: &[i64], behind: Option<i64>, expected: &str| {
            let shortage = Shortage {
                needs_bytes: 6 << 30,
                free_bytes: 2 << 30,
                holders: holders.iter().copied().map(JobId).collect(),
                behind: behind.map(JobId),
            };
            let start = "Needs 6 GiB of memory, 2 GiB free";
            assert_eq!(shortage.sentence(), format!("{start}{expected}"));
        };
        check(&[], None, "");
        check(&[17], None, ": waits for job 17");
        check(&[17, 18], None, ": waits for jobs 17 and 18");
        check(&[17, 18, 19], None, ": waits for job 17 and 2 more");
        check(
            &[17],
            Some(12),
            ": goes after job 12, which has waited longer",
        );
    }
}
