//! Who reaches what: the SQL of roles, shared by single questions and by lists.

use rave_core::id::{NamespaceId, ProjectId, UserId};
use rave_core::permission::{Principal, Role};
use rave_core::time::Timestamp;
use rave_store::{Error, Tx, Value};

use super::Bind;

/// Whoever looks, as far as SQL needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) user: Option<UserId>,
    pub(crate) admin: bool,
    /// The only project that a job is a member of.
    pub(crate) job_project: Option<ProjectId>,
}

impl From<&Principal> for Viewer {
    fn from(principal: &Principal) -> Self {
        let job_project = match principal {
            Principal::Job { project, .. } => Some(*project),
            Principal::Anonymous | Principal::User(_) => None,
        };
        Self {
            user: principal.user().map(|it| it.id),
            admin: principal.is_admin(),
            job_project,
        }
    }
}

impl Viewer {
    /// Returns the SQL of the viewer's roles in namespaces, each with those below it, as `namespace_role(id, level)`.
    pub(crate) fn roles(&self, bind: &mut Bind, now: Timestamp) -> String {
        let user = bind.add(self.number());
        let now = bind.add(now);
        format!(
            "reach(id, level) AS (
                SELECT source_id, level FROM auth_member
                WHERE source_kind = 'namespace' AND user_id = {user} AND (expires_at IS NULL OR expires_at > {now})
                UNION SELECT id, 50 FROM auth_namespace WHERE owner_id = {user}
                UNION SELECT n.id, r.level FROM auth_namespace n JOIN reach r ON n.parent_id = r.id),
             namespace_role(id, level) AS (SELECT id, MAX(level) FROM reach GROUP BY id),
             project_role(id, level) AS (
                SELECT source_id, level FROM auth_member
                WHERE source_kind = 'project' AND user_id = {user} AND (expires_at IS NULL OR expires_at > {now}))"
        )
    }

    /// Returns the SQL condition that the viewer may see project `p`, whose roles are in `g` and `m`.
    pub(crate) fn sees_project(&self, bind: &mut Bind) -> String {
        if self.admin {
            return "1 = 1".into();
        }
        let internal = if self.user.is_some() {
            "'internal'"
        } else {
            "'public'"
        };
        let own = bind.add(self.job_project.map_or(0, |it| it.0));
        format!(
            "(p.visibility IN ('public', {internal}) OR g.level IS NOT NULL OR m.level IS NOT NULL OR p.id = {own})"
        )
    }

    /// Returns the user's id, or one that no user has.
    fn number(&self) -> i64 {
        self.user.map_or(0, |it| it.0)
    }
}

/// The level of project `p` by the joins `g` and `m`; 0 for none.
pub(crate) const PROJECT_LEVEL: &str = "CASE WHEN COALESCE(g.level, 0) > COALESCE(m.level, 0) THEN g.level ELSE COALESCE(m.level, 0) END";
pub(crate) const PROJECT_JOINS: &str =
    "LEFT JOIN namespace_role g ON g.id = p.namespace_id LEFT JOIN project_role m ON m.id = p.id";

/// The namespace and those above it, as `up(id, parent_id, owner_id)`.
pub(crate) const UP: &str = "up(id, parent_id, owner_id) AS (
        SELECT id, parent_id, owner_id FROM auth_namespace WHERE id = $1
        UNION ALL SELECT n.id, n.parent_id, n.owner_id FROM auth_namespace n JOIN up ON n.id = up.parent_id)";

/// The namespace and those below it, as `down(id)`. `place` is that of its id.
pub(crate) fn down(place: &str) -> String {
    format!(
        "down(id) AS (
            SELECT id FROM auth_namespace WHERE id = {place}
            UNION ALL SELECT n.id FROM auth_namespace n JOIN down ON n.parent_id = down.id)"
    )
}

/// Returns a user's strongest role in a namespace, or with `project` in that project of it.
pub(crate) fn role_at(
    tx: &mut Tx<'_>,
    user: UserId,
    namespace: NamespaceId,
    project: Option<ProjectId>,
) -> Result<Option<Role>, Error> {
    let sql = format!(
        "WITH RECURSIVE {UP}
         SELECT COALESCE(MAX(level), 0) AS level FROM (
            SELECT m.level FROM auth_member m JOIN up ON m.source_kind = 'namespace' AND m.source_id = up.id
            WHERE m.user_id = $2 AND (m.expires_at IS NULL OR m.expires_at > $3)
            UNION ALL SELECT CAST(50 AS BIGINT) AS level FROM up WHERE owner_id = $2
            UNION ALL SELECT m.level FROM auth_member m WHERE m.source_kind = 'project' AND m.source_id = $4
                AND m.user_id = $2 AND (m.expires_at IS NULL OR m.expires_at > $3)) AS roles"
    );
    let project = project.map_or(0, |it| it.0);
    let params = [
        Value::from(namespace.0),
        Value::from(user.0),
        Value::from(tx.now()),
        Value::from(project),
    ];
    Ok(Role::from_level(tx.query_one(&sql, &params)?.int("level")?))
}
