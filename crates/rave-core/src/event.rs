//! The events of the log: what happened, appended in the transaction of the change.
//!
//! Consumers (pipeline creation, live pages, later webhooks, chat, metrics and audit) read the log by durable cursors.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::ProjectId;
use crate::time::Timestamp;
use crate::trace::TraceContext;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $label:literal),+ $(,)?) => {
        /// What happened. The label is stored and never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind { $($(#[$doc])* #[serde(rename = $label)] $name),+ }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the label, such as `push.received`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }
        }
    };
}

kinds! {
    /// A user was made.
    UserCreated = "user.created",
    /// A group was made.
    GroupCreated = "group.created",
    /// A group was deleted; its projects have events of their own.
    GroupDeleted = "group.deleted",
    /// A project was made.
    ProjectCreated = "project.created",
    /// A project's settings changed.
    ProjectUpdated = "project.updated",
    /// A project was deleted; its repository may still be on disk.
    ProjectDeleted = "project.deleted",
    /// One reference moved, was made or deleted. The payload is a [`RefChange`].
    PushReceived = "push.received",
    /// A schedule's time came, or somebody played it.
    ScheduleDue = "schedule.due",
    /// A pipeline was made, perhaps one that failed at once.
    PipelineCreated = "pipeline.created",
    /// A pipeline's status changed.
    PipelineChanged = "pipeline.changed",
    /// A pipeline reached its end.
    PipelineFinished = "pipeline.finished",
    /// A job's state changed.
    JobChanged = "job.changed",
    /// A job reached its end.
    JobFinished = "job.finished",
    /// What a job found out was read: tests, findings, coverage.
    JobReported = "job.reported",
    /// A consumer gave an event up; the payload says which and why.
    ConsumerFailed = "consumer.failed",
}

impl EventKind {
    /// Returns the kind with this label.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.label() == label)
    }
}

/// An event that is about to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// The project it happened in, if any.
    pub project: Option<ProjectId>,
    /// The thing it happened to, such as `job/12`.
    pub subject: String,
    /// The details. Never a secret.
    pub payload: serde_json::Value,
    /// The trace it belongs to.
    pub trace: Option<TraceContext>,
    /// The task of an agent it belongs to, if any.
    pub task_id: Option<String>,
}

impl NewEvent {
    /// Makes an event without project, payload and trace; the builder methods add them.
    #[must_use]
    pub fn new(kind: EventKind, subject: impl Into<String>) -> Self {
        Self {
            kind,
            project: None,
            subject: subject.into(),
            payload: serde_json::Value::Null,
            trace: None,
            task_id: None,
        }
    }

    /// Sets the project.
    #[must_use]
    pub fn project(mut self, project: ProjectId) -> Self {
        self.project = Some(project);
        self
    }

    /// Sets the details.
    #[must_use]
    pub fn payload(mut self, payload: serde_json::Value) -> Self {
        self.payload = payload;
        self
    }

    /// Sets the trace.
    #[must_use]
    pub fn trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }
}

/// An event of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The position in the log. Later commits have larger positions; there may be gaps.
    pub seq: i64,
    /// The id that the outside sees, a UUIDv7.
    pub id: Uuid,
    /// When it was appended.
    pub at: Timestamp,
    /// What was appended.
    pub what: NewEvent,
}

/// The payload of [`EventKind::PushReceived`]: one reference that moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefChange {
    /// The full name, such as `refs/heads/main`.
    pub reference: String,
    /// The object before, all zeros when the reference is new.
    pub before: String,
    /// The object after, all zeros when the reference was deleted.
    pub after: String,
    /// Who pushed. `None` when the change was found on disk.
    pub user: Option<i64>,
    /// Push options, such as `ci.skip`.
    #[serde(default)]
    pub options: Vec<String>,
    /// How many references the same push moved before this one. Only the first few get pipelines.
    #[serde(default)]
    pub position: usize,
}
