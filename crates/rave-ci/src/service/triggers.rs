//! Trigger tokens: made and removed by those who manage a project, used by programs that have nothing else. A pipeline
//! that one starts is its owner's, with the rights that the owner has then.

use rave_ci_lang::Variable;
use rave_core::id::UserId;
use rave_core::permission::{Access, ManageProject, Principal, RunPipelines, decide};
use rave_core::port::{Page, ProjectRef, Slice};
use rave_core::secret::{Secret, TokenDigest, TokenKind, generate_token};

use super::Ci;
use super::create::Wish;
use crate::error::CiError;
use crate::model::Source;
use crate::store;
use crate::store::trigger::Trigger;

/// Most tokens of a project.
const LIMIT: u64 = 25_000;
/// Longest description.
const DESCRIPTION_CHARS: usize = 255;
/// How many letters of a token are shown.
const SHORT: usize = 4;

/// Whoever presents a token may start a pipeline so.
#[derive(Debug)]
pub(crate) struct Triggered {
    pub(crate) access: Access<RunPipelines>,
    /// The wish for a pipeline of this ref, to which the caller adds what was given.
    pub(crate) wish: Wish,
}

impl Ci {
    /// Lists the trigger tokens of a project.
    pub(crate) async fn list_triggers(
        &self,
        access: &Access<ManageProject>,
        slice: Slice,
    ) -> Result<Page<Trigger>, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_triggers", move |tx| {
                Ok(store::trigger::list(tx, project, slice)?)
            })
            .await
    }

    /// Returns a trigger token of a project, without the token itself, which nobody has but whoever made it.
    pub(crate) async fn load_trigger(
        &self,
        access: &Access<ManageProject>,
        id: i64,
    ) -> Result<Trigger, CiError> {
        let project = access.project().id;
        self.db
            .read("ci_trigger", move |tx| {
                store::trigger::find(tx, project, id)?.ok_or(CiError::NotFound("Trigger"))
            })
            .await
    }

    /// Makes a trigger token that acts for the caller. The token is shown this once.
    pub(crate) async fn create_trigger(
        &self,
        access: &Access<ManageProject>,
        description: String,
    ) -> Result<(Trigger, Secret), CiError> {
        let owner = access
            .principal()
            .user_id()
            .ok_or(CiError::Forbidden("only users own trigger tokens"))?;
        check(&description)?;
        let token = generate_token(TokenKind::Trigger)?;
        let digest = TokenDigest::of(token.expose());
        let short: String = token
            .expose()
            .trim_start_matches(TokenKind::Trigger.prefix())
            .chars()
            .take(SHORT)
            .collect();
        let project = access.project().id;
        let made = self
            .db
            .write("ci_create_trigger", move |tx| {
                if store::trigger::total(tx, project)? >= LIMIT {
                    let why = format!("Maximum number of pipeline triggers ({LIMIT}) exceeded");
                    return Err(CiError::Rejected(vec![("base", why)]));
                }
                let digest = digest.as_str();
                Ok(store::trigger::insert(
                    tx,
                    project,
                    owner,
                    &description,
                    digest,
                    &short,
                )?)
            })
            .await?;
        tracing::info!(
            trigger.id = made.id,
            project.id = project.0,
            "made a trigger token"
        );
        Ok((made, token))
    }

    /// Changes what a trigger token is said to be for.
    pub(crate) async fn update_trigger(
        &self,
        access: &Access<ManageProject>,
        id: i64,
        description: Option<String>,
    ) -> Result<Trigger, CiError> {
        let id = self.load_trigger(access, id).await?.id;
        if let Some(description) = description {
            check(&description)?;
            self.db
                .write("ci_update_trigger", move |tx| {
                    Ok::<_, CiError>(store::trigger::put_description(tx, id, &description)?)
                })
                .await?;
        }
        self.load_trigger(access, id).await
    }

    /// Deletes a trigger token.
    pub(crate) async fn delete_trigger(
        &self,
        access: &Access<ManageProject>,
        id: i64,
    ) -> Result<(), CiError> {
        let id = self.load_trigger(access, id).await?.id;
        self.db
            .write("ci_delete_trigger", move |tx| {
                Ok::<_, CiError>(store::trigger::delete(tx, id)?)
            })
            .await?;
        tracing::info!(trigger.id = id, "deleted a trigger token");
        Ok(())
    }

    /// Returns what a token allows: that of a trigger, or of a running job of this very project. Whether the token, the
    /// project or both do not exist, the answer is the same.
    pub(crate) async fn triggered(
        &self,
        at: &ProjectRef,
        token: &Secret,
        ref_name: String,
    ) -> Result<Triggered, CiError> {
        const HIDDEN: CiError = CiError::NotFound("");
        let digest = TokenDigest::of(token.expose());
        let (project, user, wish) = if token.expose().starts_with(TokenKind::Job.prefix()) {
            let job = self.find_job_identity(&digest).await?.ok_or(HIDDEN)?;
            let wish = Wish::new(ref_name, Source::Pipeline);
            (job.project, job.user, wish)
        } else {
            let used = self
                .db
                .write("ci_use_trigger", move |tx| {
                    Ok::<_, CiError>(store::trigger::find_used(tx, digest.as_str())?)
                })
                .await?;
            let trigger = used.ok_or(HIDDEN)?;
            let more = vec![
                Variable::public("CI_PIPELINE_TRIGGERED", "true"),
                Variable::public("CI_TRIGGER_SHORT_TOKEN", trigger.short_token),
            ];
            let wish = Wish {
                more,
                ..Wish::new(ref_name, Source::Trigger)
            };
            (trigger.project, Some(trigger.owner), wish)
        };
        let principal = self.acting_for(user).await?;
        let facts = self.directory.find_project(&principal, at).await?;
        let facts = facts.filter(|it| it.project.id == project).ok_or(HIDDEN)?;
        let access = decide::<RunPipelines>(&principal, facts).map_err(|_| {
            CiError::NoPipeline(vec![
                "Insufficient permissions to create a new pipeline".to_owned(),
            ])
        })?;
        Ok(Triggered { access, wish })
    }

    /// Returns on whose behalf something is done for a user who is not here: nobody's when they are blocked or gone.
    pub(super) async fn acting_for(&self, user: Option<UserId>) -> Result<Principal, CiError> {
        let found = match user {
            Some(user) => self.directory.find_principal(user).await?,
            None => None,
        };
        Ok(found.map_or(Principal::Anonymous, Principal::User))
    }
}

fn check(description: &str) -> Result<(), CiError> {
    let why = if description.trim().is_empty() {
        "can't be blank".to_owned()
    } else if description.chars().count() > DESCRIPTION_CHARS {
        format!("is too long (maximum is {DESCRIPTION_CHARS} characters)")
    } else {
        return Ok(());
    };
    Err(CiError::Rejected(vec![("description", why)]))
}
