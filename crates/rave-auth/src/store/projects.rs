//! The table of projects.

use rave_core::id::{NamespaceId, ProjectId, UserId};
use rave_core::name::FullPath;
use rave_core::permission::{Project, ProjectFacts, Role, Visibility};
use rave_core::port::{NewProject, Page, ProjectFilter, ProjectUpdate, Slice};
use rave_core::time::Timestamp;
use rave_store::{Error, Row, Tx, params};

use super::paths::{Place, claim_path};
use super::reach::{PROJECT_JOINS, PROJECT_LEVEL, Viewer, down};
use super::{Bind, anywhere, corrupt};
use crate::AuthError;

const COLUMNS: &str = "p.id, p.namespace_id, p.path, p.name, p.description, p.visibility, p.default_branch, p.archived,
    p.creator_id, p.created_at, p.updated_at, p.last_activity_at";

fn project_of(row: &Row) -> Result<Project, Error> {
    Ok(Project {
        id: ProjectId(row.int("id")?),
        namespace: NamespaceId(row.int("namespace_id")?),
        path: FullPath::parse(&row.text("path")?).map_err(|_| corrupt("a project's path"))?,
        name: row.text("name")?,
        description: row.text("description")?,
        visibility: Visibility::from_label(&row.text("visibility")?)
            .ok_or_else(|| corrupt("a project's visibility"))?,
        default_branch: row.text("default_branch")?,
        archived: row.bool("archived")?,
        creator: row.opt_int("creator_id")?.map(UserId),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        last_activity_at: row.time("last_activity_at")?,
    })
}

pub(crate) fn find_project(tx: &mut Tx<'_>, id: ProjectId) -> Result<Option<Project>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM auth_project p WHERE p.id = $1");
    tx.query_opt(&sql, params![id.0])?
        .as_ref()
        .map(project_of)
        .transpose()
}

/// Stores a project and takes its path. Its namespace exists and the caller may make projects there.
pub(crate) fn insert_project(
    tx: &mut Tx<'_>,
    namespace: NamespaceId,
    path: &FullPath,
    new: &NewProject,
    creator: UserId,
) -> Result<Project, AuthError> {
    let now = tx.now();
    let sql = "INSERT INTO auth_project
                   (namespace_id, path, name, description, visibility, default_branch, creator_id, created_at, updated_at, last_activity_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $8) RETURNING id";
    let last = path.last();
    let visibility = new.visibility.unwrap_or(Visibility::Private);
    let name = new
        .name
        .as_deref()
        .map(str::trim)
        .filter(|it| !it.is_empty());
    let params = params![
        namespace.0,
        path.as_str(),
        name.unwrap_or(last.as_str()),
        &new.description,
        visibility.label(),
        new.default_branch.as_deref().unwrap_or("main"),
        creator.0,
        now,
    ];
    let id = ProjectId(tx.query_one(sql, params)?.int("id")?);
    claim_path(tx, path, Place::Project(id), "path")?;
    find_project(tx, id)?.ok_or_else(|| corrupt("a project that was just made").into())
}

/// Changes a project. `None` when it does not exist any more.
pub(crate) fn update_project(
    tx: &mut Tx<'_>,
    id: ProjectId,
    update: &ProjectUpdate,
) -> Result<Option<Project>, Error> {
    let now = tx.now();
    let sql = "UPDATE auth_project SET
                   name = COALESCE($2, name), description = COALESCE($3, description), visibility = COALESCE($4, visibility),
                   default_branch = COALESCE($5, default_branch), archived = COALESCE($6, archived), updated_at = $7
               WHERE id = $1";
    let params = params![
        id.0,
        update.name.clone(),
        update.description.clone(),
        update.visibility.map(Visibility::label),
        update.default_branch.clone(),
        update.archived,
        now,
    ];
    tx.execute(sql, params)?;
    find_project(tx, id)
}

/// Removes a project with its members and its path. Returns whether it existed.
pub(crate) fn delete_project(tx: &mut Tx<'_>, id: ProjectId) -> Result<bool, Error> {
    tx.execute(
        "DELETE FROM auth_member WHERE source_kind = 'project' AND source_id = $1",
        params![id.0],
    )?;
    tx.execute("DELETE FROM auth_path WHERE project_id = $1", params![id.0])?;
    Ok(tx.execute("DELETE FROM auth_project WHERE id = $1", params![id.0])? == 1)
}

pub(crate) fn touch_project(tx: &mut Tx<'_>, id: ProjectId, at: Timestamp) -> Result<(), Error> {
    let sql =
        "UPDATE auth_project SET last_activity_at = $2 WHERE id = $1 AND last_activity_at < $2";
    tx.execute(sql, params![id.0, at]).map(drop)
}

/// Returns the projects directly in a namespace.
pub(crate) fn projects_in(tx: &mut Tx<'_>, namespace: NamespaceId) -> Result<Vec<Project>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM auth_project p WHERE p.namespace_id = $1 ORDER BY p.id");
    tx.query(&sql, params![namespace.0])?
        .iter()
        .map(project_of)
        .collect()
}

/// Lists the projects that the viewer may see, the latest active first.
pub(crate) fn list_projects(
    tx: &mut Tx<'_>,
    viewer: &Viewer,
    filter: &ProjectFilter,
    slice: Slice,
) -> Result<Page<ProjectFacts>, Error> {
    let mut bind = Bind::default();
    let now = tx.now();
    let mut with = viewer.roles(&mut bind, now);
    let mut conditions = vec![viewer.sees_project(&mut bind)];
    if filter.membership {
        conditions.push("(g.level IS NOT NULL OR m.level IS NOT NULL)".into());
    }
    if filter.owned {
        conditions.push(format!("{PROJECT_LEVEL} >= {}", Role::Owner.level()));
    }
    if let Some(search) = &filter.search {
        let pattern = bind.add(anywhere(search));
        conditions.push(format!(
            "(lower(p.name) LIKE {pattern} ESCAPE '\\' OR lower(p.path) LIKE {pattern} ESCAPE '\\')"
        ));
    }
    if let Some(visibility) = filter.visibility {
        conditions.push(format!("p.visibility = {}", bind.add(visibility.label())));
    }
    if let Some(archived) = filter.archived {
        conditions.push(format!("p.archived = {}", i64::from(archived)));
    }
    if let Some(namespace) = filter.namespace {
        let place = bind.add(namespace.0);
        if filter.include_subgroups {
            with = format!("{with}, {}", down(&place));
            conditions.push("p.namespace_id IN (SELECT id FROM down)".into());
        } else {
            conditions.push(format!("p.namespace_id = {place}"));
        }
    }
    let from = format!(
        "FROM auth_project p {PROJECT_JOINS} WHERE {}",
        conditions.join(" AND ")
    );
    let asked = bind.0.len();
    let end = bind.slice(slice);
    let sql = format!(
        "WITH RECURSIVE {with}
         SELECT {COLUMNS}, {PROJECT_LEVEL} AS level, COUNT(*) OVER () AS total {from}
         ORDER BY p.last_activity_at DESC, p.id DESC {end}"
    );
    let rows = tx.query(&sql, &bind.0)?;
    let total = match rows.first() {
        Some(row) => row.int("total")?,
        None if slice.offset == 0 => 0,
        // Past the end no row tells how many there are.
        None => {
            let sql = format!("WITH RECURSIVE {with} SELECT COUNT(*) AS total {from}");
            tx.query_one(&sql, &bind.0[..asked])?.int("total")?
        }
    };
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        items.push(ProjectFacts {
            project: project_of(row)?,
            role: Role::from_level(row.int("level")?),
        });
    }
    Ok(Page {
        items,
        total: total.unsigned_abs(),
    })
}
