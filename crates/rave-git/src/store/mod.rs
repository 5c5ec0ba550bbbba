//! The forge's tables, in functions named for the question they answer.

use std::collections::BTreeMap;

use rave_core::event::{EventKind, NewEvent, RefChange};
use rave_core::id::{ProjectId, UserId};
use rave_core::name::ObjectId;
use rave_core::trace::TraceContext;
use rave_store::{Error, PartMigrations, Row, Tx, params};
use uuid::Uuid;

use crate::policy::ProtectedBranch;

/// The forge's tables.
pub const MIGRATIONS: PartMigrations = PartMigrations {
    part: "git",
    steps: &[("0001_git", include_str!("migrations/0001_git.sql"))],
};

/// On whose behalf and with which words references move.
#[derive(Clone, Debug, Default)]
pub(crate) struct Occasion {
    pub(crate) user: Option<UserId>,
    pub(crate) options: Vec<String>,
    pub(crate) trace: Option<TraceContext>,
}

/// A push whose outcome is not recorded yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenPush {
    pub(crate) id: i64,
    pub(crate) project: ProjectId,
    pub(crate) holder: String,
    pub(crate) occasion: Occasion,
}

/// Notes that a push is about to be received.
pub(crate) fn begin_push(
    tx: &mut Tx<'_>,
    project: ProjectId,
    holder: &str,
    occasion: &Occasion,
) -> Result<i64, Error> {
    let sql = "INSERT INTO git_push (project_id, user_id, options, traceparent, holder, started_at)
               VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
    let options = serde_json::json!(occasion.options).to_string();
    let (user, trace, now) = (
        occasion.user.map(|it| it.0),
        occasion.trace.map(|it| it.to_string()),
        tx.now(),
    );
    tx.query_one(sql, params![project.0, user, options, trace, holder, now])?
        .int("id")
}

/// Forgets a push whose outcome is recorded, or that never reached git.
pub(crate) fn end_push(tx: &mut Tx<'_>, id: i64) -> Result<(), Error> {
    tx.execute("DELETE FROM git_push WHERE id = $1", params![id])
        .map(drop)
}

/// Lists pushes whose outcome is not recorded, the oldest first.
pub(crate) fn open_pushes(tx: &mut Tx<'_>) -> Result<Vec<OpenPush>, Error> {
    let sql = "SELECT id, project_id, user_id, options, traceparent, holder FROM git_push ORDER BY id LIMIT 1000";
    tx.query(sql, &[])?.iter().map(open_push).collect()
}

fn open_push(row: &Row) -> Result<OpenPush, Error> {
    Ok(OpenPush {
        id: row.int("id")?,
        project: ProjectId(row.int("project_id")?),
        holder: row.text("holder")?,
        occasion: Occasion {
            user: row.opt_int("user_id")?.map(UserId),
            options: serde_json::from_str(&row.text("options")?).unwrap_or_default(),
            trace: row
                .opt_text("traceparent")?
                .as_deref()
                .and_then(TraceContext::parse),
        },
    })
}

/// Returns the recorded references of a project.
pub(crate) fn recorded(
    tx: &mut Tx<'_>,
    project: ProjectId,
) -> Result<BTreeMap<String, String>, Error> {
    let sql = "SELECT name, target FROM git_ref WHERE project_id = $1";
    let rows = tx.query(sql, params![project.0])?;
    rows.iter()
        .map(|it| Ok((it.text("name")?, it.text("target")?)))
        .collect()
}

/// Whether any branch of the project is recorded.
pub(crate) fn has_branches(tx: &mut Tx<'_>, project: ProjectId) -> Result<bool, Error> {
    let sql =
        "SELECT 1 AS found FROM git_ref WHERE project_id = $1 AND name LIKE 'refs/heads/%' LIMIT 1";
    Ok(tx.query_opt(sql, params![project.0])?.is_some())
}

/// A reference as it was found on disk; no target when it is not there.
pub(crate) type Found = (String, Option<String>);

/// Records references and appends an event for each that differs from what was recorded. Returns the events' ids.
pub(crate) fn record(
    tx: &mut Tx<'_>,
    project: ProjectId,
    found: &[Found],
    occasion: &Occasion,
) -> Result<Vec<Uuid>, Error> {
    let before = recorded(tx, project)?;
    let mut changes = Vec::new();
    for (name, target) in found {
        let old = before.get(name);
        if old == target.as_ref() {
            continue;
        }
        store_ref(tx, project, name, target.as_deref())?;
        changes.push(RefChange {
            reference: name.clone(),
            before: old.cloned().unwrap_or_else(|| ObjectId::ZERO.into()),
            after: target.clone().unwrap_or_else(|| ObjectId::ZERO.into()),
            user: occasion.user.map(|it| it.0),
            options: occasion.options.clone(),
            position: changes.len(),
        });
    }
    if !changes.is_empty() {
        let sql = "INSERT INTO git_repository (project_id, pushes) VALUES ($1, 1)
                   ON CONFLICT (project_id) DO UPDATE SET pushes = git_repository.pushes + 1";
        tx.execute(sql, params![project.0])?;
    }
    // Events come last: on PostgreSQL an append makes other appends wait.
    changes
        .into_iter()
        .map(|it| append(tx, project, &it, occasion))
        .collect()
}

fn store_ref(
    tx: &mut Tx<'_>,
    project: ProjectId,
    name: &str,
    target: Option<&str>,
) -> Result<(), Error> {
    let now = tx.now();
    match target {
        Some(target) => tx.execute(
            "INSERT INTO git_ref (project_id, name, target, updated_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (project_id, name) DO UPDATE SET target = excluded.target, updated_at = excluded.updated_at",
            params![project.0, name, target, now],
        ),
        None => tx.execute(
            "DELETE FROM git_ref WHERE project_id = $1 AND name = $2",
            params![project.0, name],
        ),
    }
    .map(drop)
}

fn append(
    tx: &mut Tx<'_>,
    project: ProjectId,
    change: &RefChange,
    occasion: &Occasion,
) -> Result<Uuid, Error> {
    let payload = serde_json::json!(change);
    let event = NewEvent::new(EventKind::PushReceived, format!("project/{project}"))
        .project(project)
        .payload(payload)
        .trace(occasion.trace);
    Ok(tx.append(event)?.id)
}

/// Lists the rules of protected branches.
pub(crate) fn protected_branches(
    tx: &mut Tx<'_>,
    project: ProjectId,
) -> Result<Vec<ProtectedBranch>, Error> {
    let sql = "SELECT id, name, push_level, merge_level, allow_force_push FROM git_protected_branch
               WHERE project_id = $1 ORDER BY name";
    let rows = tx.query(sql, params![project.0])?;
    rows.iter()
        .map(|row| {
            Ok(ProtectedBranch {
                id: row.int("id")?,
                name: row.text("name")?,
                push_level: row.int("push_level")?,
                merge_level: row.int("merge_level")?,
                allow_force_push: row.bool("allow_force_push")?,
            })
        })
        .collect()
}

/// Adds a rule. Returns whether there was none of that name.
pub(crate) fn protect(
    tx: &mut Tx<'_>,
    project: ProjectId,
    rule: &ProtectedBranch,
) -> Result<bool, Error> {
    let sql = "INSERT INTO git_protected_branch (project_id, name, push_level, merge_level, allow_force_push)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (project_id, name) DO NOTHING";
    let values = params![
        project.0,
        &rule.name,
        rule.push_level,
        rule.merge_level,
        rule.allow_force_push
    ];
    Ok(tx.execute(sql, values)? == 1)
}

/// Changes a rule. Returns whether it exists.
pub(crate) fn change_protection(
    tx: &mut Tx<'_>,
    project: ProjectId,
    rule: &ProtectedBranch,
) -> Result<bool, Error> {
    let sql =
        "UPDATE git_protected_branch SET push_level = $3, merge_level = $4, allow_force_push = $5
               WHERE project_id = $1 AND name = $2";
    let values = params![
        project.0,
        &rule.name,
        rule.push_level,
        rule.merge_level,
        rule.allow_force_push
    ];
    Ok(tx.execute(sql, values)? == 1)
}

/// Removes a rule. Returns whether it existed.
pub(crate) fn unprotect(tx: &mut Tx<'_>, project: ProjectId, name: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM git_protected_branch WHERE project_id = $1 AND name = $2";
    Ok(tx.execute(sql, params![project.0, name])? == 1)
}

/// Forgets a project that was deleted.
pub(crate) fn forget_project(tx: &mut Tx<'_>, project: ProjectId) -> Result<(), Error> {
    for table in [
        "git_ref",
        "git_push",
        "git_protected_branch",
        "git_repository",
    ] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE project_id = $1"),
            params![project.0],
        )?;
    }
    Ok(())
}

/// Returns the repository that had most pushes since its last maintenance, if they are at least `threshold`.
pub(crate) fn most_pushed(
    tx: &mut Tx<'_>,
    threshold: i64,
) -> Result<Option<(ProjectId, i64)>, Error> {
    let sql = "SELECT project_id, pushes FROM git_repository WHERE pushes >= $1 ORDER BY pushes DESC LIMIT 1";
    let row = tx.query_opt(sql, params![threshold])?;
    row.map(|it| Ok((ProjectId(it.int("project_id")?), it.int("pushes")?)))
        .transpose()
}

/// Notes that a repository was maintained when it had had `pushes` pushes.
pub(crate) fn maintained(tx: &mut Tx<'_>, project: ProjectId, pushes: i64) -> Result<(), Error> {
    let sql =
        "UPDATE git_repository SET pushes = pushes - $2, maintained_at = $3 WHERE project_id = $1";
    let now = tx.now();
    tx.execute(sql, params![project.0, pushes, now]).map(drop)
}
