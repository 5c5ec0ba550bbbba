//! Recording what git did: references on disk into the database, with an event for each that moved.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rave_core::id::UserId;
use rave_core::name::RefName;
use rave_core::permission::{
    Access, ManageProject, Principal, Project, ProjectFacts, PushCode, Role, UserPrincipal, Via,
    decide,
};
use rave_core::port::ProjectUpdate;
use rave_core::trace::TraceContext;
use rave_store::Error as StoreError;
use uuid::Uuid;

use crate::error::GitError;
use crate::git::refs;
use crate::git::refs::Moved;
use crate::policy::{Command, ProtectedBranch, PushPolicy};
use crate::service::Git;
use crate::store::{self, Found, Occasion};

/// Which references are compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// Those that a push named, each only if it is where the push wanted it. One that moved on belongs to the push that
    /// moved it, which records it too.
    Commands(&'a [Command]),
    /// All: nobody knows what happened.
    All,
}

impl Git {
    /// Records the references of a project as they are on disk now. `pushes` are the rows that this settles.
    pub(crate) async fn record_refs(
        &self,
        project: &Project,
        scope: Scope<'_>,
        occasion: Occasion,
        pushes: Vec<i64>,
    ) -> Result<Vec<Uuid>, GitError> {
        let repository = self.repository(project).await?;
        let gate = self.repositories.gate(project.id);
        let _recording = gate.recording.lock().await;
        let actual = refs::list_targets(&self.runner, &repository).await?;
        let id = project.id;
        let (recorded, had_branches) = self
            .db
            .read::<_, StoreError, _>("git_recorded", move |tx| {
                Ok((store::recorded(tx, id)?, store::has_branches(tx, id)?))
            })
            .await?;
        let found = match scope {
            Scope::Commands(commands) => named(commands, &actual),
            Scope::All => all(&recorded, &actual),
        };
        let first = (!had_branches)
            .then(|| first_branch(project, &actual))
            .flatten();
        if let Some(branch) = &first {
            // Before the rows are settled, so that a crash in between is noticed.
            self.adopt_default_branch(project, &repository, branch)
                .await?;
        }
        let events = self
            .db
            .write::<_, StoreError, _>("git_record", move |tx| {
                if let Some(branch) = first {
                    store::protect(tx, id, &ProtectedBranch::for_default(&branch))?;
                }
                for push in pushes {
                    store::end_push(tx, push)?;
                }
                store::record(tx, id, &found, &occasion)
            })
            .await?;
        if !events.is_empty() {
            // Only an ordering of lists depends on it.
            if let Err(error) = self.directory.touch_project(id, self.clock.now()).await {
                tracing::warn!(project.id = id.0, error = %rave_http::error::chain(&error), "cannot note the activity");
            }
        }
        Ok(events)
    }

    /// The first push decides which branch is the default, whoever makes it.
    async fn adopt_default_branch(
        &self,
        project: &Project,
        repository: &Path,
        branch: &str,
    ) -> Result<(), GitError> {
        if branch == project.default_branch {
            return Ok(());
        }
        let update = ProjectUpdate {
            default_branch: Some(branch.to_owned()),
            ..ProjectUpdate::default()
        };
        // The forge itself does this: a developer may make the first push without being allowed to change settings.
        let facts = ProjectFacts {
            project: project.clone(),
            role: Some(Role::Owner),
        };
        let Ok(access) = decide::<ManageProject>(&forge(project), facts) else {
            return Ok(());
        };
        self.directory.update_project(&access, update).await?;
        if let Ok(reference) = RefName::parse(&format!("refs/heads/{branch}")) {
            refs::set_head(&self.runner, repository, &reference).await?;
        }
        Ok(())
    }
}

/// Why a reference was not moved by a request of the API or a page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MoveError {
    /// A rule of protected branches is against it.
    #[error("{0}")]
    Refused(String),
    /// It is not where the caller thought.
    #[error("the reference has changed meanwhile")]
    Changed,
    #[error(transparent)]
    Git(#[from] GitError),
}

impl From<StoreError> for MoveError {
    fn from(error: StoreError) -> Self {
        Self::Git(error.into())
    }
}

impl Git {
    /// Moves one reference on behalf of a caller, by the rules and with the records of a push.
    pub(crate) async fn move_ref(
        self: &Arc<Self>,
        access: &Access<PushCode>,
        command: Command,
        trace: Option<TraceContext>,
    ) -> Result<(), MoveError> {
        let project = access.project();
        let id = project.id;
        let commands = [command];
        let [command] = &commands;
        let rules = self.protected_branches(id).await?;
        let policy = PushPolicy::decide(&rules, access.role(), &commands);
        // What is built on the present state by this program is a fast-forward.
        if let Some(reason) = policy.refusal(command, || true) {
            return Err(MoveError::Refused(reason));
        }
        let name =
            RefName::parse(&command.reference).map_err(|it| MoveError::Refused(it.to_string()))?;
        let repository = self.repository(project).await?;
        let occasion = Occasion {
            user: access.principal().user_id(),
            options: Vec::new(),
            trace,
        };
        let (noted, holder) = (occasion.clone(), self.db.holder().to_owned());
        let begin = move |tx: &mut rave_store::Tx<'_>| store::begin_push(tx, id, &holder, &noted);
        let row = self
            .db
            .write::<_, StoreError, _>("git_begin_move", begin)
            .await?;
        let _claim = self.claim(row);
        let moved = refs::update(
            &self.runner,
            &repository,
            &name,
            &command.before,
            &command.after,
        )
        .await?;
        let scope = Scope::Commands(&commands);
        self.record_refs(project, scope, occasion, vec![row])
            .await?;
        match moved {
            Moved::Done => Ok(()),
            Moved::Refused => Err(MoveError::Changed),
        }
    }
}

/// Returns the project's creator as one who acts without the limits of a token.
fn forge(project: &Project) -> Principal {
    Principal::User(UserPrincipal {
        id: project.creator.unwrap_or(UserId(0)),
        username: String::new(),
        name: String::new(),
        admin: false,
        via: Via::Password,
    })
}

fn named(commands: &[Command], actual: &BTreeMap<String, String>) -> Vec<Found> {
    let settled = commands
        .iter()
        .filter(|it| match actual.get(&it.reference) {
            Some(target) => *target == it.after,
            None => it.deletes(),
        });
    settled
        .map(|it| (it.reference.clone(), actual.get(&it.reference).cloned()))
        .collect()
}

fn all(recorded: &BTreeMap<String, String>, actual: &BTreeMap<String, String>) -> Vec<Found> {
    let gone = recorded.keys().filter(|it| !actual.contains_key(*it));
    let there = actual
        .iter()
        .map(|(name, target)| (name.clone(), Some(target.clone())));
    there.chain(gone.map(|it| (it.clone(), None))).collect()
}

/// Returns what becomes the default branch of a project that had none: the one it wants, else the likeliest.
fn first_branch(project: &Project, actual: &BTreeMap<String, String>) -> Option<String> {
    let branches: Vec<&str> = actual
        .keys()
        .filter_map(|it| it.strip_prefix("refs/heads/"))
        .collect();
    let wanted = [project.default_branch.as_str(), "main", "master"];
    let known = wanted.into_iter().find(|it| branches.contains(it));
    known.or(branches.first().copied()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_answers_for_what_it_did_and_no_more() {
        let command = |after: &str, reference: &str| Command {
            before: "0".repeat(40),
            after: after.repeat(40),
            reference: reference.into(),
        };
        let commands = [
            command("1", "refs/heads/done"),
            command("1", "refs/heads/moved-on"),
            command("1", "refs/heads/refused"),
            command("0", "refs/heads/deleted"),
        ];
        let actual = BTreeMap::from([
            ("refs/heads/done".to_owned(), "1".repeat(40)),
            ("refs/heads/moved-on".to_owned(), "2".repeat(40)),
            ("refs/heads/other".to_owned(), "3".repeat(40)),
        ]);
        let found = named(&commands, &actual);
        assert_eq!(
            found,
            [
                ("refs/heads/done".to_owned(), Some("1".repeat(40))),
                ("refs/heads/deleted".to_owned(), None)
            ]
        );
    }
}
