//! The table of members: who has which role where, and until when.

use rave_core::id::{NamespaceId, ProjectId, UserId};
use rave_core::permission::Role;
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::corrupt;
use super::reach::UP;
use super::users::{COLUMNS as USER_COLUMNS, User, user_of};

/// What one can be a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Namespace(NamespaceId),
    Project(ProjectId),
}

impl Source {
    fn columns(self) -> (&'static str, i64) {
        match self {
            Self::Namespace(id) => ("namespace", id.0),
            Self::Project(id) => ("project", id.0),
        }
    }
}

/// A user's role somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) user: User,
    pub(crate) role: Role,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: Option<UserId>,
    pub(crate) expires_at: Option<Timestamp>,
}

const COLUMNS: &str = "m.level, m.created_at AS member_since, m.created_by, m.expires_at";

fn member_of(row: &Row) -> Result<Member, Error> {
    Ok(Member {
        user: user_of(row)?,
        role: Role::from_level(row.int("level")?).ok_or_else(|| corrupt("a member's level"))?,
        created_at: row.time("member_since")?,
        created_by: row.opt_int("created_by")?.map(UserId),
        expires_at: row.opt_time("expires_at")?,
    })
}

/// Adds a member. Returns whether there was none for this user.
pub(crate) fn insert_member(
    tx: &mut Tx<'_>,
    source: Source,
    user: UserId,
    role: Role,
    by: Option<UserId>,
    expires_at: Option<Timestamp>,
) -> Result<bool, Error> {
    let ((kind, id), now) = (source.columns(), tx.now());
    // A membership that ran out is no obstacle to a new one.
    tx.execute(
        "DELETE FROM auth_member WHERE source_kind = $1 AND source_id = $2 AND user_id = $3 AND expires_at <= $4",
        params![kind, id, user.0, now],
    )?;
    let sql = "INSERT INTO auth_member (source_kind, source_id, user_id, level, created_at, created_by, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let params = params![
        kind,
        id,
        user.0,
        role.level(),
        now,
        by.map(|it| it.0),
        expires_at
    ];
    Ok(tx.execute(sql, params)? == 1)
}

pub(crate) fn update_member(
    tx: &mut Tx<'_>,
    source: Source,
    user: UserId,
    role: Role,
    expires_at: Option<Timestamp>,
) -> Result<bool, Error> {
    let (kind, id) = source.columns();
    let sql = "UPDATE auth_member SET level = $4, expires_at = $5 WHERE source_kind = $1 AND source_id = $2 AND user_id = $3";
    Ok(tx.execute(sql, params![kind, id, user.0, role.level(), expires_at])? == 1)
}

pub(crate) fn delete_member(tx: &mut Tx<'_>, source: Source, user: UserId) -> Result<bool, Error> {
    let (kind, id) = source.columns();
    let sql = "DELETE FROM auth_member WHERE source_kind = $1 AND source_id = $2 AND user_id = $3";
    Ok(tx.execute(sql, params![kind, id, user.0])? == 1)
}

/// Returns the direct members, by name.
pub(crate) fn list_members(tx: &mut Tx<'_>, source: Source) -> Result<Vec<Member>, Error> {
    let ((kind, id), now) = (source.columns(), tx.now());
    let sql = format!(
        "SELECT {USER_COLUMNS}, {COLUMNS} FROM auth_member m JOIN auth_user u ON u.id = m.user_id
         WHERE m.source_kind = $1 AND m.source_id = $2 AND (m.expires_at IS NULL OR m.expires_at > $3)
         ORDER BY u.username_key"
    );
    tx.query(&sql, params![kind, id, now])?
        .iter()
        .map(member_of)
        .collect()
}

/// Returns the members of a namespace, or of a project in it, with those of all groups above: each user once, with the
/// strongest role. The owner of a user's namespace is one.
pub(crate) fn list_all_members(
    tx: &mut Tx<'_>,
    namespace: NamespaceId,
    project: Option<ProjectId>,
) -> Result<Vec<Member>, Error> {
    let (project, now) = (project.map_or(0, |it| it.0), tx.now());
    let sql = format!(
        "WITH RECURSIVE {UP}
         SELECT {USER_COLUMNS}, {COLUMNS} FROM auth_member m JOIN auth_user u ON u.id = m.user_id
         WHERE (m.expires_at IS NULL OR m.expires_at > $3)
           AND ((m.source_kind = 'namespace' AND m.source_id IN (SELECT id FROM up))
             OR (m.source_kind = 'project' AND m.source_id = $2))
         UNION ALL SELECT {USER_COLUMNS}, CAST(50 AS BIGINT) AS level, u.created_at AS member_since,
             CAST(NULL AS BIGINT) AS created_by, CAST(NULL AS BIGINT) AS expires_at
         FROM auth_user u JOIN up ON up.owner_id = u.id"
    );
    let rows = tx.query(&sql, params![namespace.0, project, now])?;
    let members: Result<Vec<Member>, Error> = rows.iter().map(member_of).collect();
    let mut members = members?;
    members.sort_by(|a, b| {
        let key = |it: &Member| (it.user.username.to_lowercase(), std::cmp::Reverse(it.role));
        key(a).cmp(&key(b))
    });
    members.dedup_by_key(|it| it.user.id);
    Ok(members)
}

/// A role that a user has somewhere.
pub(crate) struct Membership {
    pub(crate) source: Source,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) role: Role,
}

/// Returns what a user is a direct member of.
pub(crate) fn memberships(tx: &mut Tx<'_>, user: UserId) -> Result<Vec<Membership>, Error> {
    let now = tx.now();
    let sql = "SELECT m.source_kind, m.source_id, m.level, COALESCE(n.name, p.name, '') AS name, COALESCE(n.path, p.path, '') AS path
               FROM auth_member m
               LEFT JOIN auth_namespace n ON m.source_kind = 'namespace' AND n.id = m.source_id
               LEFT JOIN auth_project p ON m.source_kind = 'project' AND p.id = m.source_id
               WHERE m.user_id = $1 AND (m.expires_at IS NULL OR m.expires_at > $2)
               ORDER BY m.source_kind, m.source_id";
    let mut list = Vec::new();
    for row in tx.query(sql, params![user.0, now])? {
        let id = row.int("source_id")?;
        list.push(Membership {
            source: match row.text("source_kind")?.as_str() {
                "project" => Source::Project(ProjectId(id)),
                _ => Source::Namespace(NamespaceId(id)),
            },
            name: row.text("name")?,
            path: row.text("path")?,
            role: Role::from_level(row.int("level")?).ok_or_else(|| corrupt("a member's level"))?,
        });
    }
    Ok(list)
}
