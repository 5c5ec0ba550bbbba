//! Identifiers. Those that clients see are integers, because clients of the forge API expect integers.

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A person, or a bot that acts as one.
    UserId,
    /// A user's or group's namespace, under which projects live.
    NamespaceId,
    /// A project.
    ProjectId,
    /// A pipeline, unique on the instance.
    PipelineId,
    /// A job, unique on the instance. A retry is a new job.
    JobId,
    /// A runner: one authentication token, any number of machines.
    RunnerId,
    /// A personal access token.
    TokenId,
}
