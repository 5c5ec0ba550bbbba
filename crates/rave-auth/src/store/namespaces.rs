//! The table of namespaces: users' own and groups.

use rave_core::id::{NamespaceId, UserId};
use rave_core::name::FullPath;
use rave_core::permission::{Role, Visibility};
use rave_core::port::{NamespaceSummary, Page, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::paths::{Place, claim_path};
use super::reach::{Viewer, down, role_at};
use super::{Bind, anywhere, corrupt};
use crate::AuthError;

/// A namespace: a user's own or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace {
    pub(crate) id: NamespaceId,
    pub(crate) parent: Option<NamespaceId>,
    pub(crate) owner: Option<UserId>,
    pub(crate) path: FullPath,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) visibility: Visibility,
    pub(crate) created_at: Timestamp,
}

impl Namespace {
    pub(crate) fn summary(self) -> NamespaceSummary {
        NamespaceSummary {
            id: self.id,
            parent: self.parent,
            name: self.name,
            path: self.path,
            owner: self.owner,
        }
    }
}

/// Which namespaces a list shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamespaceFilter {
    /// Only groups.
    pub(crate) groups: bool,
    pub(crate) search: Option<String>,
    /// Only those in which the viewer has at least this role.
    pub(crate) role: Option<Role>,
    /// Only those that are directly below this one.
    pub(crate) parent: Option<NamespaceId>,
    pub(crate) top_level: bool,
    /// Of the namespaces of users only this user's.
    pub(crate) own: Option<UserId>,
}

const COLUMNS: &str =
    "n.id, n.parent_id, n.owner_id, n.path, n.name, n.description, n.visibility, n.created_at";

fn namespace_of(row: &Row) -> Result<Namespace, Error> {
    Ok(Namespace {
        id: NamespaceId(row.int("id")?),
        parent: row.opt_int("parent_id")?.map(NamespaceId),
        owner: row.opt_int("owner_id")?.map(UserId),
        path: FullPath::parse(&row.text("path")?).map_err(|_| corrupt("a namespace's path"))?,
        name: row.text("name")?,
        description: row.text("description")?,
        visibility: Visibility::from_label(&row.text("visibility")?)
            .ok_or_else(|| corrupt("a namespace's visibility"))?,
        created_at: row.time("created_at")?,
    })
}

/// A namespace that is to be stored.
pub(crate) struct NamespaceRow<'a> {
    pub(crate) parent: Option<NamespaceId>,
    pub(crate) owner: Option<UserId>,
    pub(crate) path: &'a FullPath,
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) visibility: Visibility,
}

/// Stores a namespace and takes its path.
pub(crate) fn insert_namespace(
    tx: &mut Tx<'_>,
    row: &NamespaceRow<'_>,
    field: &'static str,
) -> Result<NamespaceId, AuthError> {
    let now = tx.now();
    let sql = "INSERT INTO auth_namespace (parent_id, owner_id, path, name, description, visibility, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $7) RETURNING id";
    let params = params![
        row.parent.map(|it| it.0),
        row.owner.map(|it| it.0),
        row.path.as_str(),
        row.name,
        row.description,
        row.visibility.label(),
        now,
    ];
    let id = NamespaceId(tx.query_one(sql, params)?.int("id")?);
    claim_path(tx, row.path, Place::Namespace(id), field)?;
    Ok(id)
}

pub(crate) fn find_namespace(tx: &mut Tx<'_>, id: NamespaceId) -> Result<Option<Namespace>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM auth_namespace n WHERE n.id = $1");
    tx.query_opt(&sql, params![id.0])?
        .as_ref()
        .map(namespace_of)
        .transpose()
}

pub(crate) fn update_namespace(
    tx: &mut Tx<'_>,
    id: NamespaceId,
    name: &str,
    description: &str,
    visibility: Visibility,
) -> Result<(), Error> {
    let now = tx.now();
    let sql = "UPDATE auth_namespace SET name = $2, description = $3, visibility = $4, updated_at = $5 WHERE id = $1";
    tx.execute(
        sql,
        params![id.0, name, description, visibility.label(), now],
    )
    .map(drop)
}

/// Returns whether the viewer may know that the namespace exists: it is open to them, they are a member of it or of
/// something in it, or it holds a project that they may see.
pub(crate) fn sees_namespace(
    tx: &mut Tx<'_>,
    viewer: &Viewer,
    namespace: &Namespace,
) -> Result<bool, Error> {
    // Every signed-in user may know of every other user.
    let open = match (namespace.owner, namespace.visibility) {
        (Some(_), _) | (None, Visibility::Internal) => viewer.user.is_some(),
        (None, Visibility::Public) => true,
        (None, Visibility::Private) => false,
    };
    if open || viewer.admin {
        return Ok(true);
    }
    if let Some(user) = viewer.user
        && role_at(tx, user, namespace.id, None)?.is_some()
    {
        return Ok(true);
    }
    let mut bind = Bind::default();
    let id = bind.add(namespace.id.0);
    let now = tx.now();
    let roles = viewer.roles(&mut bind, now);
    let sees = viewer.sees_project(&mut bind);
    let (joins, down) = (super::reach::PROJECT_JOINS, down(&id));
    let sql = format!(
        "WITH RECURSIVE {down}, {roles}
         SELECT 1 AS found FROM down JOIN namespace_role r ON r.id = down.id
         UNION ALL SELECT 1 AS found FROM auth_project p JOIN down ON down.id = p.namespace_id {joins} WHERE {sees}
         LIMIT 1"
    );
    Ok(tx.query_opt(&sql, &bind.0)?.is_some())
}

/// Lists the namespaces that the viewer may know of, by their paths.
pub(crate) fn list_namespaces(
    tx: &mut Tx<'_>,
    viewer: &Viewer,
    filter: &NamespaceFilter,
    slice: Slice,
) -> Result<Page<(Namespace, Option<Role>)>, Error> {
    let mut bind = Bind::default();
    let now = tx.now();
    let roles = viewer.roles(&mut bind, now);
    let sees_project = viewer.sees_project(&mut bind);
    let joins = super::reach::PROJECT_JOINS;
    let mut conditions = vec![match (viewer.admin, viewer.user) {
        (true, _) => "1 = 1".to_owned(),
        (false, Some(_)) => {
            "(n.owner_id IS NOT NULL OR n.visibility <> 'private' OR n.id IN (SELECT id FROM seen))"
                .into()
        }
        (false, None) => {
            "((n.owner_id IS NULL AND n.visibility = 'public') OR n.id IN (SELECT id FROM seen))"
                .into()
        }
    }];
    if filter.groups {
        conditions.push("n.owner_id IS NULL".into());
    }
    if filter.top_level {
        conditions.push("n.parent_id IS NULL".into());
    }
    if let Some(role) = filter.role {
        conditions.push(format!("r.level >= {}", role.level()));
    }
    if let Some(parent) = filter.parent {
        conditions.push(format!("n.parent_id = {}", bind.add(parent.0)));
    }
    if let Some(user) = filter.own {
        let user = bind.add(user.0);
        conditions.push(format!("(n.owner_id IS NULL OR n.owner_id = {user})"));
    }
    if let Some(search) = &filter.search {
        let pattern = bind.add(anywhere(search));
        conditions.push(format!(
            "(lower(n.path) LIKE {pattern} ESCAPE '\\' OR lower(n.name) LIKE {pattern} ESCAPE '\\')"
        ));
    }
    let conditions = conditions.join(" AND ");
    let with = format!(
        "WITH RECURSIVE {roles}, seen(id) AS (
            SELECT p.namespace_id FROM auth_project p {joins} WHERE {sees_project}
            UNION SELECT id FROM namespace_role
            UNION SELECT n.parent_id FROM auth_namespace n JOIN seen s ON n.id = s.id WHERE n.parent_id IS NOT NULL)"
    );
    let from = format!(
        "FROM auth_namespace n LEFT JOIN namespace_role r ON r.id = n.id WHERE {conditions}"
    );
    let total = tx
        .query_one(&format!("{with} SELECT COUNT(*) AS total {from}"), &bind.0)?
        .int("total")?;
    let end = bind.slice(slice);
    let sql = format!(
        "{with} SELECT {COLUMNS}, COALESCE(r.level, 0) AS level {from} ORDER BY lower(n.path) {end}"
    );
    let mut items = Vec::new();
    for row in tx.query(&sql, &bind.0)? {
        items.push((namespace_of(&row)?, Role::from_level(row.int("level")?)));
    }
    Ok(Page {
        items,
        total: total.unsigned_abs(),
    })
}

/// Returns the namespace and all below it, the deepest first.
pub(crate) fn namespaces_below(
    tx: &mut Tx<'_>,
    id: NamespaceId,
) -> Result<Vec<NamespaceId>, Error> {
    let sql = format!(
        "WITH RECURSIVE {} SELECT n.id, length(n.path) AS depth FROM auth_namespace n JOIN down ON down.id = n.id ORDER BY length(n.path) DESC",
        down("$1")
    );
    tx.query(&sql, params![id.0])?
        .iter()
        .map(|row| row.int("id").map(NamespaceId))
        .collect()
}

/// Removes a namespace that holds nothing any more.
pub(crate) fn delete_namespace(tx: &mut Tx<'_>, id: NamespaceId) -> Result<(), Error> {
    tx.execute(
        "DELETE FROM auth_member WHERE source_kind = 'namespace' AND source_id = $1",
        params![id.0],
    )?;
    tx.execute(
        "DELETE FROM auth_path WHERE namespace_id = $1",
        params![id.0],
    )?;
    tx.execute("DELETE FROM auth_namespace WHERE id = $1", params![id.0])
        .map(drop)
}
