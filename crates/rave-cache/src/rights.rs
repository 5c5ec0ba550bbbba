//! Who may do what to a cache: the rights of Attic's tokens, and where those of everyone else come from.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use rave_core::id::JobId;
use rave_core::permission::{Principal, Role, Scope};

use crate::keys::OpenCache;

/// What can be done to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Pull,
    Push,
    Delete,
    Create,
    Configure,
    ConfigureRetention,
    Destroy,
}

impl Right {
    /// Every right with the name it has in tokens.
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::Pull, "r"),
        (Self::Push, "w"),
        (Self::Delete, "d"),
        (Self::Create, "cc"),
        (Self::Configure, "cr"),
        (Self::ConfigureRetention, "cq"),
        (Self::Destroy, "cd"),
    ];
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights(u8);

impl Rights {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn all() -> Self {
        Right::ALL.iter().fold(Self::NONE, |all, it| all.with(it.0))
    }

    #[must_use]
    pub(crate) fn with(self, right: Right) -> Self {
        Self(self.0 | 1 << right as u8)
    }

    pub(crate) fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the caller may know that the cache exists. Who may only make caches learns nothing of those there are.
    pub(crate) fn may_see(self) -> bool {
        self.0 & !(1 << Right::Create as u8) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What a member of an attached project or group may do.
    pub(crate) fn of_role(role: Role) -> Self {
        let mut rights = Self::NONE;
        if role >= Role::Reporter {
            rights = rights.with(Right::Pull);
        }
        if role >= Role::Developer {
            rights = rights.with(Right::Push);
        }
        if role >= Role::Maintainer {
            let more = [Right::Delete, Right::Configure, Right::ConfigureRetention];
            rights = more.into_iter().fold(rights, Self::with);
        }
        if role >= Role::Owner {
            rights = rights.with(Right::Destroy);
        }
        rights
    }

    /// How far a principal's credentials reach, whatever they may do themselves.
    pub(crate) fn of_scopes(principal: &Principal) -> Self {
        if principal.has_scope(&[Scope::Api]) {
            Self::all()
        } else if principal.has_scope(&[Scope::WriteCache]) {
            Self::NONE.with(Right::Pull).with(Right::Push)
        } else if principal.has_scope(&[Scope::ReadApi, Scope::ReadCache]) {
            Self::NONE.with(Right::Pull)
        } else {
            Self::NONE
        }
    }
}

/// Who asks something of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// How rows name them.
    pub(crate) label: String,
    pub(crate) user: Option<i64>,
    pub(crate) job: Option<JobId>,
}

impl Caller {
    pub(crate) fn anonymous() -> Self {
        Self {
            label: "anonymous".into(),
            user: None,
            job: None,
        }
    }

    pub(crate) fn of(principal: &Principal) -> Self {
        let (label, job) = match principal {
            Principal::Anonymous => return Self::anonymous(),
            Principal::User(user) => (user.username.clone(), None),
            Principal::Job { job, .. } => (format!("job {job}"), Some(*job)),
        };
        Self {
            label,
            user: principal.user_id().map(|it| it.0),
            job,
        }
    }
}

/// A right as a type, for [`Allowed`].
pub(crate) trait Kind {
    const RIGHT: Right;
}

macro_rules! kinds {
    ($($name:ident),+) => {$(
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Kind for $name { const RIGHT: Right = Right::$name; }
    )+};
}

kinds!(Pull, Push, Delete, Configure, ConfigureRetention, Destroy);

/// Proof that a caller may do `K` to a cache. Only [`Allowed::check`] makes one.
pub(crate) struct Allowed<K> {
    pub(crate) cache: Arc<OpenCache>,
    pub(crate) caller: Caller,
    rights: Rights,
    kind: PhantomData<K>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The caller has no right at all: answered alike whether the cache exists or not.
    Unknown,
    /// The caller has some right to the name, and there is no such cache as far as they may know.
    Absent,
    /// The caller sees the cache and may not do this to it.
    Forbidden,
}

impl<K: Kind> Allowed<K> {
    /// Judges a caller by their rights to a name, which a cache may have or not.
    pub(crate) fn check(
        cache: Option<Arc<OpenCache>>,
        caller: Caller,
        rights: Rights,
    ) -> Result<Self, Refused> {
        let Some(cache) = cache.filter(|_| rights.may_see()) else {
            return Err(if rights.is_empty() {
                Refused::Unknown
            } else {
                Refused::Absent
            });
        };
        if !rights.has(K::RIGHT) {
            return Err(Refused::Forbidden);
        }
        Ok(Self {
            cache,
            caller,
            rights,
            kind: PhantomData,
        })
    }

    /// Returns everything the caller may do, for pages that show what comes next.
    pub(crate) fn rights(&self) -> Rights {
        self.rights
    }

    /// Asks for proof of another right to the same cache.
    pub(crate) fn also<L: Kind>(&self) -> Result<Allowed<L>, Refused> {
        Allowed::check(Some(self.cache.clone()), self.caller.clone(), self.rights)
    }
}

impl<K> fmt::Debug for Allowed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Allowed({} by {})",
            self.cache.cache.name, self.caller.label
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_reach_from_reading_to_destroying() {
        let names = |rights: Rights| {
            let held = Right::ALL.iter().filter(|it| rights.has(it.0));
            held.map(|it| it.1).collect::<Vec<_>>().join(" ")
        };
        let table = Role::ALL.map(|it| names(Rights::of_role(it)));
        assert_eq!(table, ["", "r", "r w", "r w d cr cq", "r w d cr cq cd"]);
        assert_eq!(names(Rights::all()), "r w d cc cr cq cd");
    }

    #[test]
    fn who_may_make_caches_learns_nothing_of_others() {
        let only_create = Rights::NONE.with(Right::Create);
        assert!(!only_create.may_see() && !only_create.is_empty());
        assert!(Rights::NONE.with(Right::Push).may_see());
    }
}
