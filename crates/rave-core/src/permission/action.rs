//! What is done to projects, and what each of it takes.

use super::{Role, Scope};

/// Something that is done to a project. Implemented by the marker types of this module only.
pub trait Action: sealed::Sealed + Send + Sync + 'static {
    /// Names the action in messages.
    const NAME: &'static str;
    /// The weakest role that suffices.
    const ROLE: Role;
    /// Whether whoever may see the project may do it.
    const OPEN: bool;
    /// Scopes of which a token needs one.
    const SCOPES: &'static [Scope];
    /// Whether a job's token suffices, for the job's own project.
    const JOBS: bool;
    /// Whether the action changes what an archived project keeps as it is.
    const WRITES: bool;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $text:literal, $role:ident, open $open:literal, jobs $jobs:literal, writes $writes:literal,
        [$($scope:ident),+];)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Action for $name {
            const NAME: &'static str = $text;
            const ROLE: Role = Role::$role;
            const OPEN: bool = $open;
            const SCOPES: &'static [Scope] = &[$(Scope::$scope),+];
            const JOBS: bool = $jobs;
            const WRITES: bool = $writes;
        }
    )+};
}

actions! {
    /// See that the project exists, and its name and description.
    ReadProject: "read the project", Guest, open true, jobs true, writes false, [Api, ReadApi];
    /// Browse files and history.
    ReadCode: "read the repository", Reporter, open true, jobs true, writes false, [Api, ReadApi, ReadRepository];
    /// Clone and fetch.
    FetchCode: "download the code", Reporter, open true, jobs true, writes false, [Api, ReadRepository, WriteRepository];
    /// Push to branches that are not protected against it.
    PushCode: "push code", Developer, open false, jobs false, writes true, [Api, WriteRepository];
    /// See pipelines, jobs, logs and artifacts.
    ReadPipelines: "read pipelines", Guest, open true, jobs true, writes false, [Api, ReadApi];
    /// Start, retry and cancel pipelines and jobs, play manual ones, erase and keep artifacts.
    RunPipelines: "run pipelines", Developer, open false, jobs false, writes true, [Api];
    /// Change settings, members, protected branches and runners.
    ManageProject: "manage the project", Maintainer, open false, jobs false, writes false, [Api];
    /// Delete the project.
    DeleteProject: "delete the project", Owner, open false, jobs false, writes false, [Api];
}
