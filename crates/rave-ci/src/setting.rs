//! A variable as people set it, for an instance, a group or a project: what it may hold, and where it counts.

use rave_ci_lang::Variable;
use rave_core::id::{NamespaceId, ProjectId};
use rave_core::secret::Secret;

/// Longest key and longest scope.
const KEY_CHARS: usize = 255;
/// Longest value.
const VALUE_CHARS: usize = 10_000;
/// A shorter text would be hidden in logs where it stands by chance.
const MASKED_CHARS: usize = 8;
/// The scope that counts everywhere.
pub(crate) const EVERYWHERE: &str = "*";

/// Whose variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Instance,
    Group(NamespaceId),
    Project(ProjectId),
}

impl Owner {
    /// Returns the kind and the number by which it is stored.
    pub(crate) fn stored(self) -> (&'static str, i64) {
        match self {
            Self::Instance => ("instance", 0),
            Self::Group(id) => ("group", id.0),
            Self::Project(id) => ("project", id.0),
        }
    }

    /// Returns how many variables it may have.
    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::Instance => 25,
            Self::Group(_) => 30_000,
            Self::Project(_) => 8_000,
        }
    }
}

/// A variable of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: Secret,
    /// Jobs get the path of a file that holds the value.
    pub(crate) file: bool,
    pub(crate) masked: bool,
    /// Never shown again to anybody.
    pub(crate) hidden: bool,
    /// For protected branches and tags only.
    pub(crate) protected: bool,
    /// References in the value are text.
    pub(crate) raw: bool,
    /// The environments it is for; `*` stands for any text.
    pub(crate) scope: String,
    pub(crate) description: Option<String>,
}

/// A field that holds what it must not, and why: GitLab's words.
pub(crate) type Mistake = (&'static str, String);

impl Setting {
    /// Returns the value for people: none if it is hidden.
    pub(crate) fn shown_value(&self) -> Option<&str> {
        (!self.hidden).then(|| self.value.expose())
    }

    /// Returns what is wrong with it.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut add = |field, why: String| mistakes.push((field, why));
        if self.key.is_empty() {
            add("key", "can't be blank".to_owned());
        } else if !is_key(&self.key) {
            add(
                "key",
                "can contain only letters, digits and '_'.".to_owned(),
            );
        } else if self.key.len() > KEY_CHARS {
            add("key", too_long(KEY_CHARS));
        }
        if self.value.expose().chars().count() > VALUE_CHARS {
            add("value", too_long(VALUE_CHARS));
        } else if self.masked && !is_maskable(self.value.expose(), self.raw) {
            add("value", "is invalid".to_owned());
        }
        let scope = |it: char| it.is_ascii_alphanumeric() || "_/\\${} -.*".contains(it);
        if self.scope.is_empty() {
            add("environment_scope", "can't be blank".to_owned());
        } else if self.scope.len() > KEY_CHARS {
            add("environment_scope", too_long(KEY_CHARS));
        } else if !self.scope.chars().all(scope) {
            add(
                "environment_scope",
                "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', '*' and spaces"
                    .to_owned(),
            );
        }
        let description = self.description.as_deref().unwrap_or_default();
        if description.chars().count() > KEY_CHARS {
            add("description", too_long(KEY_CHARS));
        }
        mistakes
    }

    /// Returns it as planning and jobs use it.
    fn variable(&self) -> Variable {
        Variable {
            key: self.key.clone(),
            value: self.value.expose().to_owned(),
            raw: self.raw,
            file: self.file,
            masked: self.masked,
            public: false,
        }
    }
}

fn too_long(chars: usize) -> String {
    format!("is too long (maximum is {chars} characters)")
}

/// Whether a text can be a variable's name.
pub(crate) fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

/// Whether the runner can hide a value in logs: one line that does not stand there by chance. In a value that is expanded
/// `$` would make it another one.
fn is_maskable(value: &str, raw: bool) -> bool {
    let allowed = |it: char| {
        if raw {
            !it.is_whitespace()
        } else {
            it.is_ascii_alphanumeric() || "_+=/@:.~-".contains(it)
        }
    };
    value.chars().count() >= MASKED_CHARS && value.chars().all(allowed)
}

/// Returns those of one owner's variables that count: on a protected ref or not, in an environment or, before there are
/// jobs, in none. The most specific scope comes last, and so wins.
pub(crate) fn relevant(
    settings: &[Setting],
    protected: bool,
    environment: Option<&str>,
) -> Vec<Variable> {
    let mut found: Vec<&Setting> = settings
        .iter()
        .filter(|it| protected || !it.protected)
        .filter(|it| match environment {
            Some(name) => matches(&it.scope, name),
            None => it.scope == EVERYWHERE,
        })
        .collect();
    found.sort_by_key(|it| {
        let exact = environment == Some(it.scope.as_str());
        let literal = it.scope.chars().filter(|it| *it != '*').count();
        (exact, literal, &it.key)
    });
    found.into_iter().map(Setting::variable).collect()
}

/// Whether a scope covers an environment; `*` stands for any text. Linear in practice, quadratic at worst: both texts are
/// at most 255 characters long.
fn matches(scope: &str, environment: &str) -> bool {
    let (scope, name) = (scope.as_bytes(), environment.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star was, and how much of the name it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while read < name.len() {
        if scope.get(at) == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if scope.get(at) == Some(&name[read]) {
            at += 1;
            read += 1;
        } else if let Some((place, taken)) = star {
            star = Some((place, taken + 1));
            at = place + 1;
            read = taken + 1;
        } else {
            return false;
        }
    }
    scope[at..].iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: &str, scope: &str) -> Setting {
        Setting {
            key: key.into(),
            value: Secret::new(value),
            file: false,
            masked: false,
            hidden: false,
            protected: false,
            raw: false,
            scope: scope.into(),
            description: None,
        }
    }

    #[test]
    fn mistakes_are_told_in_words_that_clients_know() {
        let check = |setting: Setting, expected: &[&str]| {
            let found: Vec<String> = setting
                .mistakes()
                .iter()
                .map(|(field, why)| format!("{field} {why}"))
                .collect();
            assert_eq!(found, expected, "{setting:?}");
        };
        check(setting("A_1", "", "*"), &[]);
        check(setting("", "", "*"), &["key can't be blank"]);
        check(
            setting("A-B", "", "*"),
            &["key can contain only letters, digits and '_'."],
        );
        check(
            setting(&"A".repeat(256), "", "*"),
            &["key is too long (maximum is 255 characters)"],
        );
        check(setting("A", &"ä".repeat(10_000), "*"), &[]);
        check(
            setting("A", &"ä".repeat(10_001), "*"),
            &["value is too long (maximum is 10000 characters)"],
        );
        check(setting("A", "", ""), &["environment_scope can't be blank"]);
        check(setting("A", "", "review/*"), &[]);
        assert_eq!(setting("A", "", "a\nb").mistakes().len(), 1);
    }

    #[test]
    fn only_what_can_be_hidden_is_masked() {
        let check = |value: &str, raw: bool, expected: bool| {
            let masked = Setting {
                masked: true,
                raw,
                ..setting("A", value, "*")
            };
            assert_eq!(masked.mistakes().is_empty(), expected, "{value} {raw}");
        };
        check("hunter22", false, true);
        check("hunter2", false, false);
        check("a_+=/@:.~-Z9", false, true);
        check("hunter2$", false, false);
        check("hunter2$", true, true);
        check("hunter 22", true, false);
        check("hunter22\n", true, false);
    }

    #[test]
    fn scopes_cover_environments() {
        let check = |scope, name, expected| assert_eq!(matches(scope, name), expected, "{scope}");
        check("*", "production", true);
        check("*", "", true);
        check("production", "production", true);
        check("production", "production/eu", false);
        check("review/*", "review/a/b", true);
        check("review/*", "review", false);
        check("*/eu", "production/eu", true);
        check("*/eu", "production/eu/1", false);
        check("a*b*c", "axxbyybzc", true);
        check("a*b*c", "axxbyyb", false);
    }

    #[test]
    fn the_most_specific_scope_wins_and_protected_ones_stay_away() {
        let all = [
            setting("A", "exact", "review/x"),
            setting("A", "any", "*"),
            setting("A", "group", "review/*"),
            Setting {
                protected: true,
                ..setting("P", "secret", "*")
            },
        ];
        let values = |protected, environment| {
            relevant(&all, protected, environment)
                .into_iter()
                .map(|it| it.value)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(values(false, None), "any");
        assert_eq!(values(true, None), "any secret");
        assert_eq!(values(false, Some("review/x")), "any group exact");
        assert_eq!(values(false, Some("review/y")), "any group");
        assert_eq!(values(false, Some("production")), "any");
    }
}
