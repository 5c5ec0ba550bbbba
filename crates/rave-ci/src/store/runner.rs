//! Rows of runners and of the machines that use their tokens.

use rave_core::id::{ProjectId, RunnerId, UserId};
use rave_core::port::{Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{Conditions, count, json, label, limits, to_json};
use crate::model::{Manager, Runner, RunnerType};

const COLUMNS: &str = "id, runner_type, project_id, group_id, description, maintenance_note, tags, run_untagged, locked, paused,
    protected, maximum_timeout_secs, creator_id, created_at, contacted_at";

fn of_row(row: &Row) -> Result<Runner, Error> {
    Ok(Runner {
        id: RunnerId(row.int("id")?),
        kind: label(row, "runner_type", RunnerType::from_label)?,
        project: row.opt_int("project_id")?.map(ProjectId),
        group: row.opt_int("group_id")?,
        description: row.text("description")?,
        maintenance_note: row.opt_text("maintenance_note")?,
        tags: json(row, "tags")?,
        run_untagged: row.bool("run_untagged")?,
        locked: row.bool("locked")?,
        paused: row.bool("paused")?,
        protected: row.bool("protected")?,
        maximum_timeout_secs: row.opt_int("maximum_timeout_secs")?,
        creator: row.opt_int("creator_id")?.map(UserId),
        created_at: row.time("created_at")?,
        contacted_at: row.opt_time("contacted_at")?,
    })
}

/// A runner that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewRunner {
    pub(crate) kind: RunnerType,
    pub(crate) project: Option<ProjectId>,
    pub(crate) group: Option<i64>,
    pub(crate) settings: Settings,
    pub(crate) creator: Option<UserId>,
}

/// What people decide about a runner.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) description: String,
    pub(crate) maintenance_note: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) run_untagged: bool,
    pub(crate) locked: bool,
    pub(crate) paused: bool,
    pub(crate) protected: bool,
    pub(crate) maximum_timeout_secs: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            description: String::new(),
            maintenance_note: None,
            tags: Vec::new(),
            run_untagged: true,
            locked: false,
            paused: false,
            protected: false,
            maximum_timeout_secs: None,
        }
    }
}

impl From<&Runner> for Settings {
    fn from(runner: &Runner) -> Self {
        Self {
            description: runner.description.clone(),
            maintenance_note: runner.maintenance_note.clone(),
            tags: runner.tags.clone(),
            run_untagged: runner.run_untagged,
            locked: runner.locked,
            paused: runner.paused,
            protected: runner.protected,
            maximum_timeout_secs: runner.maximum_timeout_secs,
        }
    }
}

/// Adds a runner. Returns the one that has the token already, should there be one.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    token_digest: &str,
    new: &NewRunner,
) -> Result<RunnerId, Error> {
    let sql = "INSERT INTO ci_runner (token_digest, runner_type, project_id, group_id, description, maintenance_note, tags,
                   run_untagged, locked, paused, protected, maximum_timeout_secs, creator_id, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (token_digest) DO NOTHING";
    let now = tx.now();
    let settings = &new.settings;
    let params = params![
        token_digest,
        new.kind.label(),
        new.project.map(|it| it.0),
        new.group,
        &settings.description,
        settings.maintenance_note.clone(),
        to_json(&settings.tags)?,
        settings.run_untagged,
        settings.locked,
        settings.paused,
        settings.protected,
        settings.maximum_timeout_secs,
        new.creator.map(|it| it.0),
        now,
    ];
    tx.execute(sql, params)?;
    let sql = "SELECT id FROM ci_runner WHERE token_digest = $1";
    Ok(RunnerId(
        tx.query_one(sql, params![token_digest])?.int("id")?,
    ))
}

/// Changes what people decide about a runner.
pub(crate) fn put_settings(
    tx: &mut Tx<'_>,
    id: RunnerId,
    settings: &Settings,
) -> Result<bool, Error> {
    let sql = "UPDATE ci_runner SET description = $2, maintenance_note = $3, tags = $4, run_untagged = $5, locked = $6,
                   paused = $7, protected = $8, maximum_timeout_secs = $9 WHERE id = $1";
    let params = params![
        id.0,
        &settings.description,
        settings.maintenance_note.clone(),
        to_json(&settings.tags)?,
        settings.run_untagged,
        settings.locked,
        settings.paused,
        settings.protected,
        settings.maximum_timeout_secs,
    ];
    Ok(tx.execute(sql, params)? == 1)
}

/// Gives a runner another token. Returns whether the runner exists.
pub(crate) fn put_token(tx: &mut Tx<'_>, id: RunnerId, digest: &str) -> Result<bool, Error> {
    let sql = "UPDATE ci_runner SET token_digest = $2 WHERE id = $1";
    Ok(tx.execute(sql, params![id.0, digest])? == 1)
}

/// Deletes a runner. Its jobs keep its number.
pub(crate) fn delete(tx: &mut Tx<'_>, id: RunnerId) -> Result<bool, Error> {
    tx.execute(
        "DELETE FROM ci_runner_manager WHERE runner_id = $1",
        params![id.0],
    )?;
    Ok(tx.execute("DELETE FROM ci_runner WHERE id = $1", params![id.0])? == 1)
}

/// Deletes one machine of a runner. Returns whether it was known.
pub(crate) fn delete_manager(
    tx: &mut Tx<'_>,
    id: RunnerId,
    system_id: &str,
) -> Result<bool, Error> {
    let sql = "DELETE FROM ci_runner_manager WHERE runner_id = $1 AND system_id = $2";
    Ok(tx.execute(sql, params![id.0, system_id])? == 1)
}

/// Returns the runner that has this token.
pub(crate) fn find_by_token(tx: &mut Tx<'_>, digest: &str) -> Result<Option<Runner>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_runner WHERE token_digest = $1");
    tx.query_opt(&sql, params![digest])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns a runner.
pub(crate) fn find(tx: &mut Tx<'_>, id: RunnerId) -> Result<Option<Runner>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM ci_runner WHERE id = $1");
    tx.query_opt(&sql, params![id.0])?
        .as_ref()
        .map(of_row)
        .transpose()
}

/// Returns these runners.
pub(crate) fn by_id(tx: &mut Tx<'_>, ids: &[RunnerId]) -> Result<Vec<Runner>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut where_ = Conditions::default();
    where_.add_any("id", ids.iter().map(|it| it.0));
    let sql = format!("SELECT {COLUMNS} FROM ci_runner WHERE {}", where_.sql());
    tx.query(&sql, where_.params())?
        .iter()
        .map(of_row)
        .collect()
}

/// Which runners a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunnerFilter {
    pub(crate) kind: Option<RunnerType>,
    pub(crate) paused: Option<bool>,
    pub(crate) creator: Option<UserId>,
    /// The project's own, its groups', and those of the instance.
    pub(crate) usable_by: Option<(ProjectId, Vec<i64>)>,
}

/// Lists runners, the newest first.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    filter: &RunnerFilter,
    slice: Slice,
) -> Result<Page<Runner>, Error> {
    let mut where_ = Conditions::default();
    if let Some(kind) = filter.kind {
        where_.add("runner_type = ?", kind.label());
    }
    if let Some(paused) = filter.paused {
        where_.add("paused = ?", paused);
    }
    if let Some(creator) = filter.creator {
        where_.add("creator_id = ?", creator.0);
    }
    if let Some((project, groups)) = &filter.usable_by {
        let project = where_.param(project.0);
        let groups: Vec<String> = groups.iter().map(|it| where_.param(*it)).collect();
        let groups = if groups.is_empty() {
            "NULL".to_owned()
        } else {
            groups.join(", ")
        };
        where_.add_plain(&format!(
            "(runner_type = 'instance_type' OR project_id = {project} OR group_id IN ({groups}))"
        ));
    }
    let sql = format!(
        "SELECT COUNT(*) AS total FROM ci_runner WHERE {}",
        where_.sql()
    );
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let conditions = where_.sql();
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_runner WHERE {conditions} ORDER BY id DESC LIMIT {limit} OFFSET {offset}"
    );
    let rows = tx.query(&sql, where_.params())?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

/// What a machine says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineInfo {
    pub(crate) system_id: String,
    pub(crate) version: String,
    pub(crate) revision: String,
    pub(crate) platform: String,
    pub(crate) architecture: String,
    pub(crate) executor: String,
    /// Whether it can stop a script and still run what comes after.
    pub(crate) graceful: bool,
    pub(crate) ip_address: String,
}

/// Notes that a machine spoke for a runner.
pub(crate) fn put_contact(
    tx: &mut Tx<'_>,
    id: RunnerId,
    machine: &MachineInfo,
) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "UPDATE ci_runner SET contacted_at = $2 WHERE id = $1",
        params![id.0, now],
    )?;
    let sql = "INSERT INTO ci_runner_manager (runner_id, system_id, version, revision, platform, architecture, executor,
                   graceful, ip_address, created_at, contacted_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
               ON CONFLICT (runner_id, system_id) DO UPDATE SET version = excluded.version, revision = excluded.revision,
                   platform = excluded.platform, architecture = excluded.architecture, executor = excluded.executor,
                   graceful = excluded.graceful, ip_address = excluded.ip_address, contacted_at = excluded.contacted_at";
    let params = params![
        id.0,
        &machine.system_id,
        &machine.version,
        &machine.revision,
        &machine.platform,
        &machine.architecture,
        &machine.executor,
        machine.graceful,
        &machine.ip_address,
        now,
    ];
    tx.execute(sql, params).map(drop)
}

/// Returns the machines of a runner, the last heard of first.
pub(crate) fn managers(tx: &mut Tx<'_>, id: RunnerId) -> Result<Vec<Manager>, Error> {
    let sql = "SELECT id, system_id, version, revision, platform, architecture, executor, ip_address, created_at, contacted_at
               FROM ci_runner_manager WHERE runner_id = $1 ORDER BY contacted_at DESC, id";
    let manager = |row: &Row| {
        Ok(Manager {
            id: row.int("id")?,
            system_id: row.text("system_id")?,
            version: row.text("version")?,
            revision: row.text("revision")?,
            platform: row.text("platform")?,
            architecture: row.text("architecture")?,
            executor: row.text("executor")?,
            ip_address: row.text("ip_address")?,
            created_at: row.time("created_at")?,
            contacted_at: row.time("contacted_at")?,
        })
    };
    tx.query(sql, params![id.0])?.iter().map(manager).collect()
}

/// Returns whether the runner has a job now.
pub(crate) fn is_active(tx: &mut Tx<'_>, id: RunnerId) -> Result<bool, Error> {
    let sql = "SELECT 1 AS busy FROM ci_job WHERE runner_id = $1 AND status IN ('assigned', 'running', 'canceling') LIMIT 1";
    Ok(tx.query_opt(sql, params![id.0])?.is_some())
}

/// Returns how many runners were heard of since `since`.
pub(crate) fn count_online(tx: &mut Tx<'_>, since: Timestamp) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) AS n FROM ci_runner WHERE contacted_at > $1 AND paused = 0";
    count(&tx.query_one(sql, params![since])?, "n")
}
