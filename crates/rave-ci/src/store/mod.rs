//! The SQL of this part, in functions named for the question they answer, each in the transaction it is given.

pub(crate) mod artifact;
pub(crate) mod chore;
pub(crate) mod dotenv;
pub(crate) mod downstream;
pub(crate) mod given;
pub(crate) mod job;
pub(crate) mod origin;
pub(crate) mod pipeline;
pub(crate) mod progress;
pub(crate) mod push;
pub(crate) mod queue;
pub(crate) mod registration;
pub(crate) mod report;
pub(crate) mod resource;
pub(crate) mod runner;
pub(crate) mod runner_manager;
pub(crate) mod runner_project;
pub(crate) mod schedule;
pub(crate) mod setting;
pub(crate) mod trace;
pub(crate) mod trigger;
pub(crate) mod usage;

use rave_core::id::RunnerId;
use rave_core::job::{FailureReason, JobState, Status};
use rave_core::port::Slice;
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Makes the error of a row that holds what this program never writes.
pub(crate) fn corrupt(what: impl Into<String>) -> Error {
    Error::Corrupt {
        what: what.into(),
        source: None,
    }
}

/// Reads a column that holds JSON.
pub(crate) fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T, Error> {
    serde_json::from_str(&row.text(column)?).map_err(|source| Error::Corrupt {
        what: format!("column {column} does not hold what it should"),
        source: Some(source.into()),
    })
}

/// Reads a column that holds JSON or nothing.
pub(crate) fn opt_json<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>, Error> {
    match row.opt_text(column)? {
        Some(_) => json(row, column).map(Some),
        None => Ok(None),
    }
}

/// Writes a value for a column that holds JSON.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Corrupt {
        what: "a value has no JSON form".into(),
        source: Some(source.into()),
    })
}

/// Reads a column that holds one of a set of labels.
pub(crate) fn label<T>(
    row: &Row,
    column: &str,
    from: impl Fn(&str) -> Option<T>,
) -> Result<T, Error> {
    let text = row.text(column)?;
    from(&text).ok_or_else(|| corrupt(format!("column {column} holds `{text}`")))
}

/// Reads a column that counts.
pub(crate) fn count(row: &Row, column: &str) -> Result<u64, Error> {
    u64::try_from(row.int(column)?).map_err(|_| corrupt(format!("column {column} is negative")))
}

/// Reads a count that may be absent.
pub(crate) fn opt_count(row: &Row, column: &str) -> Result<Option<u64>, Error> {
    let count = row.opt_int(column)?.map(u64::try_from).transpose();
    count.map_err(|_| corrupt(format!("column {column} is negative")))
}

/// Returns a count as the database stores it.
pub(crate) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns a position as the database stores it.
pub(crate) fn number(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Returns `LIMIT` and `OFFSET` of a slice.
pub(crate) fn limits(slice: Slice) -> (i64, i64) {
    (int(slice.limit), int(slice.offset))
}

/// The stored name of a job's state: its status, except where that does not tell states apart.
pub(crate) fn state_label(state: JobState) -> &'static str {
    match state {
        JobState::Assigned { .. } => "assigned",
        JobState::Triggering => "triggering",
        JobState::Following { blocked: false } => "following",
        JobState::Following { blocked: true } => "blocked",
        other => other.status().label(),
    }
}

/// Returns the stored names of the states with a status.
pub(crate) fn labels_of(status: Status) -> &'static [&'static str] {
    match status {
        Status::Pending => &["pending", "assigned", "triggering"],
        Status::Running => &["running", "following"],
        Status::Manual => &["manual", "blocked"],
        Status::Created => &["created"],
        Status::Scheduled => &["scheduled"],
        Status::WaitingForResource => &["waiting_for_resource"],
        Status::Canceling => &["canceling"],
        Status::Success => &["success"],
        Status::Failed => &["failed"],
        Status::Canceled => &["canceled"],
        Status::Skipped => &["skipped"],
    }
}

/// Reads a job's state out of `status`, `runner_id`, `failure_reason` and `scheduled_at`.
pub(crate) fn state_of(row: &Row) -> Result<JobState, Error> {
    let label = row.text("status")?;
    let runner = || {
        row.opt_int("runner_id")?
            .map(RunnerId)
            .ok_or_else(|| corrupt("a job that a runner has names none"))
    };
    match label.as_str() {
        "assigned" => return Ok(JobState::Assigned { runner: runner()? }),
        "triggering" => return Ok(JobState::Triggering),
        "following" => return Ok(JobState::Following { blocked: false }),
        "blocked" => return Ok(JobState::Following { blocked: true }),
        _ => {}
    }
    let status =
        Status::from_label(&label).ok_or_else(|| corrupt(format!("a job has status `{label}`")))?;
    Ok(match status {
        Status::Created => JobState::Created,
        Status::Manual => JobState::Manual,
        Status::Scheduled => JobState::Scheduled {
            at: row.opt_time("scheduled_at")?.unwrap_or(Timestamp(0)),
        },
        Status::WaitingForResource => JobState::WaitingForResource,
        Status::Pending => JobState::Pending,
        Status::Running => JobState::Running { runner: runner()? },
        Status::Canceling => JobState::Canceling { runner: runner()? },
        Status::Success => JobState::Success,
        Status::Failed => JobState::Failed(FailureReason::from_label(
            row.opt_text("failure_reason")?
                .as_deref()
                .unwrap_or_default(),
        )),
        Status::Canceled => JobState::Canceled,
        Status::Skipped => JobState::Skipped,
    })
}

/// Collects conditions and their parameters for a list that can be filtered.
#[derive(Default)]
pub(crate) struct Conditions {
    sql: Vec<String>,
    params: Vec<Value>,
}

impl Conditions {
    /// Adds a parameter and returns its place, such as `$3`.
    pub(crate) fn param(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("${}", self.params.len())
    }

    /// Adds a condition whose `?` is the parameter's place.
    pub(crate) fn add(&mut self, sql: &str, value: impl Into<Value>) {
        let place = self.param(value);
        self.sql.push(sql.replace('?', &place));
    }

    /// Adds a condition without parameter.
    pub(crate) fn add_plain(&mut self, sql: &str) {
        self.sql.push(sql.to_owned());
    }

    /// Adds that a column is one of some values. An empty list is no condition.
    pub(crate) fn add_any<V: Into<Value>>(
        &mut self,
        column: &str,
        values: impl IntoIterator<Item = V>,
    ) {
        let places: Vec<String> = values.into_iter().map(|it| self.param(it)).collect();
        if !places.is_empty() {
            self.sql
                .push(format!("{column} IN ({})", places.join(", ")));
        }
    }

    /// Returns the text after `WHERE`.
    pub(crate) fn sql(&self) -> String {
        if self.sql.is_empty() {
            "1 = 1".to_owned()
        } else {
            self.sql.join(" AND ")
        }
    }

    /// Returns the parameters so far.
    pub(crate) fn params(&self) -> &[Value] {
        &self.params
    }
}
