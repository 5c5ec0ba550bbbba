//! Variables of the instance, of groups and of projects: kept sealed, changed by those who may, given to plans and jobs.

use rave_ci_lang::Variable;
use rave_core::id::NamespaceId;
use rave_core::permission::{Access, ManageProject, Project, Role, UserPrincipal};
use rave_core::port::{GroupFacts, Page, Slice};

use super::Ci;
use crate::error::CiError;
use crate::setting::{self, Mistake, Owner, Setting};
use crate::store;
use crate::store::setting::SettingRow;

/// Proof that the caller may see and change an owner's variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeper(Owner);

impl Keeper {
    /// Those who manage a project keep its variables.
    pub(crate) fn of_project(access: &Access<ManageProject>) -> Self {
        Self(Owner::Project(access.project().id))
    }

    /// A group's owner keeps its variables.
    pub(crate) fn of_group(facts: &GroupFacts) -> Option<Self> {
        (facts.role == Some(Role::Owner)).then_some(Self(Owner::Group(facts.group.id)))
    }

    /// Administrators keep those of the instance.
    pub(crate) fn of_instance(user: &UserPrincipal) -> Option<Self> {
        user.admin.then_some(Self(Owner::Instance))
    }

    pub(crate) fn owner(self) -> Owner {
        self.0
    }
}

/// Which variables a reader may learn of by what a plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// None: whoever reads the plan may not run jobs.
    Nothing,
    /// Those that a job on any branch gets.
    Unprotected,
    /// Those that the ref has a right to.
    Everything,
}

/// What about a variable is to change; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingChange {
    pub(crate) value: Option<rave_core::secret::Secret>,
    pub(crate) file: Option<bool>,
    pub(crate) masked: Option<bool>,
    pub(crate) protected: Option<bool>,
    pub(crate) raw: Option<bool>,
    pub(crate) scope: Option<String>,
    pub(crate) description: Option<String>,
}

impl Ci {
    /// Lists a part of an owner's variables.
    pub(crate) async fn list_settings(
        &self,
        keeper: Keeper,
        slice: Slice,
    ) -> Result<Page<Setting>, CiError> {
        let owner = keeper.0;
        let page = self
            .db
            .read("ci_settings", move |tx| {
                Ok::<_, CiError>(store::setting::list(tx, owner, slice)?)
            })
            .await?;
        let items = page.items.into_iter().map(|it| self.opened(owner, it));
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            total: page.total,
        })
    }

    /// Returns the variable with a key: of several scopes the one that is named.
    pub(crate) async fn load_setting(
        &self,
        keeper: Keeper,
        key: &str,
        scope: Option<&str>,
    ) -> Result<Setting, CiError> {
        let row = self.load_row(keeper.0, key, scope).await?;
        self.opened(keeper.0, row)
    }

    async fn load_row(
        &self,
        owner: Owner,
        key: &str,
        scope: Option<&str>,
    ) -> Result<SettingRow, CiError> {
        let key = key.to_owned();
        let mut found = self
            .db
            .read("ci_setting", move |tx| {
                Ok::<_, CiError>(store::setting::with_key(tx, owner, &key)?)
            })
            .await?;
        if let Some(scope) = scope {
            found.retain(|it| it.scope == scope);
        }
        match found.len() {
            0 => Err(CiError::NotFound("Variable")),
            1 => Ok(found.remove(0)),
            _ => Err(CiError::Ambiguous(
                "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'",
            )),
        }
    }

    /// Adds a variable.
    pub(crate) async fn create_setting(
        &self,
        keeper: Keeper,
        new: Setting,
    ) -> Result<Setting, CiError> {
        let owner = keeper.0;
        accept(&new)?;
        let row = self.sealed(owner, 0, &new)?;
        let key = new.key.clone();
        self.db
            .write("ci_create_setting", move |tx| {
                let limit = owner.limit();
                if store::setting::total(tx, owner)? >= limit {
                    let kind = owner.stored().0;
                    let why = format!("Maximum number of ci {kind} variables ({limit}) exceeded");
                    return Err(CiError::Rejected(vec![("base", why)]));
                }
                match store::setting::insert(tx, owner, &row)? {
                    Some(_) => Ok(()),
                    None => Err(CiError::Rejected(vec![taken(&row.key)])),
                }
            })
            .await?;
        tracing::info!(owner = ?owner, key, "made a variable");
        Ok(new)
    }

    /// Changes a variable.
    pub(crate) async fn update_setting(
        &self,
        keeper: Keeper,
        key: &str,
        scope: Option<&str>,
        change: SettingChange,
    ) -> Result<Setting, CiError> {
        let owner = keeper.0;
        let row = self.load_row(owner, key, scope).await?;
        let id = row.id;
        let old = self.opened(owner, row)?;
        if old.hidden && change.masked == Some(false) {
            let why = "The visibility setting cannot be changed for masked and hidden variables.";
            return Err(CiError::Rejected(vec![("base", why.to_owned())]));
        }
        let new = Setting {
            key: old.key,
            hidden: old.hidden,
            value: change.value.unwrap_or(old.value),
            file: change.file.unwrap_or(old.file),
            masked: change.masked.unwrap_or(old.masked),
            protected: change.protected.unwrap_or(old.protected),
            raw: change.raw.unwrap_or(old.raw),
            scope: change.scope.unwrap_or(old.scope),
            description: change.description.or(old.description),
        };
        accept(&new)?;
        let row = self.sealed(owner, id, &new)?;
        self.db
            .write(
                "ci_update_setting",
                move |tx| match store::setting::update(tx, owner, &row)? {
                    true => Ok(()),
                    false => Err(CiError::Rejected(vec![taken(&row.key)])),
                },
            )
            .await?;
        tracing::info!(owner = ?owner, key, "changed a variable");
        Ok(new)
    }

    /// Deletes a variable.
    pub(crate) async fn delete_setting(
        &self,
        keeper: Keeper,
        key: &str,
        scope: Option<&str>,
    ) -> Result<(), CiError> {
        let id = self.load_row(keeper.0, key, scope).await?.id;
        self.db
            .write("ci_delete_setting", move |tx| {
                Ok::<_, CiError>(store::setting::delete(tx, id)?)
            })
            .await?;
        tracing::info!(owner = ?keeper.0, key, "deleted a variable");
        Ok(())
    }

    /// Returns what instance, groups and project give to a project's pipelines, low to high: the last value of a key wins.
    /// Without an environment those with a scope of their own stay away.
    pub(crate) async fn variables_of_project(
        &self,
        project: &Project,
        protected: bool,
        environment: Option<&str>,
    ) -> Result<Vec<Variable>, CiError> {
        let mut owners = vec![Owner::Instance];
        let above = self.namespaces_above(project).await?;
        owners.extend(above.iter().rev().map(|it| Owner::Group(NamespaceId(*it))));
        owners.push(Owner::Project(project.id));
        let asked = owners.clone();
        let rows = self
            .db
            .read("ci_settings_of_project", move |tx| {
                Ok::<_, CiError>(store::setting::of_owners(tx, &asked)?)
            })
            .await?;
        let mut all = Vec::new();
        for (owner, rows) in owners.into_iter().zip(rows) {
            let settings: Vec<Setting> = rows
                .into_iter()
                .map(|it| self.opened(owner, it))
                .collect::<Result<_, _>>()?;
            all.extend(setting::relevant(&settings, protected, environment));
        }
        Ok(all)
    }

    fn opened(&self, owner: Owner, row: SettingRow) -> Result<Setting, CiError> {
        Ok(Setting {
            value: self.key.open(&purpose(owner, &row.key), &row.sealed)?,
            key: row.key,
            file: row.file,
            masked: row.masked,
            hidden: row.hidden,
            protected: row.protected,
            raw: row.raw,
            scope: row.scope,
            description: row.description,
        })
    }

    fn sealed(&self, owner: Owner, id: i64, setting: &Setting) -> Result<SettingRow, CiError> {
        let purpose = purpose(owner, &setting.key);
        Ok(SettingRow {
            id,
            sealed: self.key.seal(&purpose, setting.value.expose())?,
            key: setting.key.clone(),
            file: setting.file,
            masked: setting.masked,
            hidden: setting.hidden,
            protected: setting.protected,
            raw: setting.raw,
            scope: setting.scope.clone(),
            description: setting.description.clone(),
        })
    }
}

fn accept(setting: &Setting) -> Result<(), CiError> {
    let mistakes = setting.mistakes();
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(CiError::Rejected(mistakes))
    }
}

fn taken(key: &str) -> Mistake {
    ("key", format!("({key}) has already been taken"))
}

/// What a value is sealed as.
fn purpose(owner: Owner, key: &str) -> String {
    let (kind, id) = owner.stored();
    format!("variable {key} of {kind} {id}")
}

/// Hides the values of masked variables in a text that more people read than may know them.
pub(crate) fn hide(text: &str, variables: &[Variable]) -> String {
    let mut hidden = text.to_owned();
    let masked = variables
        .iter()
        // A path is told without the slash that it begins with.
        .filter(|it| it.masked)
        .map(|it| it.value.trim_start_matches('/'));
    for value in masked.filter(|it| !it.is_empty()) {
        if hidden.contains(value) {
            hidden = hidden.replace(value, "[MASKED]");
        }
    }
    hidden
}
