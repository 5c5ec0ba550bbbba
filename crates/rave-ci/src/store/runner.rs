//! Rows of runners.

use std::collections::BTreeMap;

use rave_core::id::{ProjectId, RunnerId, UserId};
use rave_core::port::{Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::{Conditions, count, json, label, limits, to_json};
use crate::model::{Runner, RunnerStatus, RunnerType};

const COLUMNS: &str = "id, runner_type, project_id, group_id, description, maintenance_note, tags, run_untagged, locked, paused,
    protected, maximum_timeout_secs, creator_id, legacy, token_expires_at, created_at, contacted_at";

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
        legacy: row.bool("legacy")?,
        token_expires_at: row.opt_time("token_expires_at")?,
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
    /// Whether it registers itself with a registration token.
    pub(crate) legacy: bool,
}

/// A token as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredToken {
    pub(crate) digest: String,
    /// `None`: it counts until it is replaced.
    pub(crate) expires_at: Option<Timestamp>,
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
    token: &StoredToken,
    new: &NewRunner,
) -> Result<RunnerId, Error> {
    let sql = "INSERT INTO ci_runner (token_digest, runner_type, project_id, group_id, description, maintenance_note, tags,
                   run_untagged, locked, paused, protected, maximum_timeout_secs, creator_id, created_at, legacy,
                   token_expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
               ON CONFLICT (token_digest) DO NOTHING";
    let now = tx.now();
    let settings = &new.settings;
    let params = params![
        &token.digest,
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
        new.legacy,
        token.expires_at,
    ];
    tx.execute(sql, params)?;
    let sql = "SELECT id FROM ci_runner WHERE token_digest = $1";
    Ok(RunnerId(
        tx.query_one(sql, params![&token.digest])?.int("id")?,
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
pub(crate) fn put_token(tx: &mut Tx<'_>, id: RunnerId, token: &StoredToken) -> Result<bool, Error> {
    let sql = "UPDATE ci_runner SET token_digest = $2, token_expires_at = $3 WHERE id = $1";
    Ok(tx.execute(sql, params![id.0, &token.digest, token.expires_at])? == 1)
}

/// Deletes a runner. Its jobs keep its number.
pub(crate) fn delete(tx: &mut Tx<'_>, id: RunnerId) -> Result<bool, Error> {
    tx.execute(
        "DELETE FROM ci_runner_manager WHERE runner_id = $1",
        params![id.0],
    )?;
    tx.execute(
        "DELETE FROM ci_runner_share WHERE runner_id = $1",
        params![id.0],
    )?;
    Ok(tx.execute("DELETE FROM ci_runner WHERE id = $1", params![id.0])? == 1)
}

/// Returns the runner that has this token, unless the token has expired.
pub(crate) fn find_by_token(tx: &mut Tx<'_>, digest: &str) -> Result<Option<Runner>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_runner WHERE token_digest = $1
         AND (token_expires_at IS NULL OR token_expires_at > $2)"
    );
    let now = tx.now();
    tx.query_opt(&sql, params![digest, now])?
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
    pub(crate) status: Option<RunnerStatus>,
    /// Those that have all of these.
    pub(crate) tags: Vec<String>,
    /// Those with a machine whose program's version begins so.
    pub(crate) version_prefix: Option<String>,
    /// Part of the description.
    pub(crate) search: Option<String>,
    /// The project's own, those that it uses, its groups', and those of the instance.
    pub(crate) usable_by: Option<(ProjectId, Vec<i64>)>,
    /// Those of the group and the groups above it, and of the instance.
    pub(crate) usable_in: Option<Vec<i64>>,
    /// Those of these projects and groups alone.
    pub(crate) kept: Option<(Vec<ProjectId>, Vec<i64>)>,
}

/// Lists runners, the newest first.
pub(crate) fn list(
    tx: &mut Tx<'_>,
    filter: &RunnerFilter,
    slice: Slice,
) -> Result<Page<Runner>, Error> {
    let mut where_ = conditions(filter, tx.now());
    let conditions = where_.sql();
    let sql = format!("SELECT COUNT(*) AS total FROM ci_runner WHERE {conditions}");
    let total = count(&tx.query_one(&sql, where_.params())?, "total")?;
    let (limit, offset) = limits(slice);
    let (limit, offset) = (where_.param(limit), where_.param(offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_runner WHERE {conditions} ORDER BY id DESC LIMIT {limit} OFFSET {offset}"
    );
    let rows = tx.query(&sql, where_.params())?;
    let items = rows.iter().map(of_row).collect::<Result<_, _>>()?;
    Ok(Page { items, total })
}

fn conditions(filter: &RunnerFilter, now: Timestamp) -> Conditions {
    let mut where_ = Conditions::default();
    if let Some(kind) = filter.kind {
        where_.add("runner_type = ?", kind.label());
    }
    if let Some(paused) = filter.paused {
        where_.add("paused = ?", paused);
    }
    if let Some(status) = filter.status {
        add_status(&mut where_, status, now);
    }
    for tag in &filter.tags {
        // A tag stands in the list as a JSON text, which ends at its quote and nowhere before.
        let text = serde_json::Value::from(tag.as_str()).to_string();
        where_.add("REPLACE(tags, ?, '') <> tags", text);
    }
    if let Some(prefix) = &filter.version_prefix {
        where_.add(
            "EXISTS (SELECT 1 FROM ci_runner_manager WHERE runner_id = ci_runner.id
                 AND SUBSTR(version, 1, LENGTH(CAST(? AS TEXT))) = ?)",
            prefix.clone(),
        );
    }
    if let Some(search) = &filter.search {
        let text = search.to_lowercase();
        where_.add(
            "REPLACE(LOWER(description), ?, '') <> LOWER(description)",
            text,
        );
    }
    if let Some((project, groups)) = &filter.usable_by {
        let groups = listed(&mut where_, groups.iter().copied());
        where_.add(
            &format!(
                "(runner_type = 'instance_type' OR project_id = ? OR group_id IN ({groups})
                  OR id IN (SELECT runner_id FROM ci_runner_share WHERE project_id = ?))"
            ),
            project.0,
        );
    }
    if let Some(groups) = &filter.usable_in {
        let groups = listed(&mut where_, groups.iter().copied());
        where_.add_plain(&format!(
            "(runner_type = 'instance_type' OR group_id IN ({groups}))"
        ));
    }
    if let Some((projects, groups)) = &filter.kept {
        let groups = listed(&mut where_, groups.iter().copied());
        let projects = listed(&mut where_, projects.iter().map(|it| it.0));
        where_.add_plain(&format!(
            "(group_id IN ({groups}) OR project_id IN ({projects})
              OR id IN (SELECT runner_id FROM ci_runner_share WHERE project_id IN ({projects})))"
        ));
    }
    where_
}

/// Returns the places of numbers for `IN`, which must not be empty.
fn listed(where_: &mut Conditions, numbers: impl Iterator<Item = i64>) -> String {
    let places: Vec<String> = numbers.map(|it| where_.param(it)).collect();
    if places.is_empty() {
        return "NULL".to_owned();
    }
    places.join(", ")
}

fn add_status(where_: &mut Conditions, status: RunnerStatus, now: Timestamp) {
    let online = now.plus_millis(-RunnerStatus::ONLINE_MS);
    let stale = now.plus_millis(-RunnerStatus::STALE_MS);
    match status {
        RunnerStatus::Online => where_.add("contacted_at > ?", online),
        RunnerStatus::Offline => {
            where_.add("contacted_at <= ?", online);
            where_.add("contacted_at > ?", stale);
        }
        RunnerStatus::Stale => where_.add("COALESCE(contacted_at, created_at) <= ?", stale),
        RunnerStatus::NeverContacted => {
            where_.add_plain("contacted_at IS NULL");
            where_.add("created_at > ?", stale);
        }
    }
}

/// Returns how many jobs each of these runners has now; those that have none are left out.
pub(crate) fn active(
    tx: &mut Tx<'_>,
    runners: &[RunnerId],
) -> Result<BTreeMap<RunnerId, u64>, Error> {
    if runners.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut where_ = Conditions::default();
    where_.add_plain("status IN ('assigned', 'running', 'canceling')");
    where_.add_any("runner_id", runners.iter().map(|it| it.0));
    let sql = format!(
        "SELECT runner_id, COUNT(*) AS jobs FROM ci_job WHERE {} GROUP BY runner_id",
        where_.sql()
    );
    tx.query(&sql, where_.params())?
        .iter()
        .map(|row| Ok((RunnerId(row.int("runner_id")?), count(row, "jobs")?)))
        .collect()
}

/// Returns how many runners were heard of since `since`.
pub(crate) fn count_online(tx: &mut Tx<'_>, since: Timestamp) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) AS n FROM ci_runner WHERE contacted_at > $1 AND paused = 0";
    count(&tx.query_one(sql, params![since])?, "n")
}
