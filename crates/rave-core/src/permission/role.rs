//! Roles of members, and who may see a project that they are no member of.

use serde::{Deserialize, Serialize};

/// A member's role. The numbers are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Guest = 10,
    Reporter = 20,
    Developer = 30,
    Maintainer = 40,
    Owner = 50,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::Guest,
        Self::Reporter,
        Self::Developer,
        Self::Maintainer,
        Self::Owner,
    ];

    /// Returns the role with this `access_level`.
    #[must_use]
    pub fn from_level(level: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.level() == level)
    }

    /// Returns the `access_level`.
    #[must_use]
    pub const fn level(self) -> i64 {
        self as i64
    }

    /// Returns the name that people see.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Guest => "Guest",
            Self::Reporter => "Reporter",
            Self::Developer => "Developer",
            Self::Maintainer => "Maintainer",
            Self::Owner => "Owner",
        }
    }
}

/// Who may see a project that they are no member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Members only.
    Private,
    /// Everyone who is signed in.
    Internal,
    /// Everyone.
    Public,
}

impl Visibility {
    /// Returns the API's name.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }

    /// Returns the visibility with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        [Self::Private, Self::Internal, Self::Public]
            .into_iter()
            .find(|it| it.label() == label)
    }
}
