//! What a push may do: rules of protected branches, and a decision per command that is a value.
//!
//! The server makes the [`PushPolicy`] before it starts `git receive-pack`; the hook only compares. What needs the new
//! objects (is this a fast-forward?) is the hook's to find out, because only it sees the quarantine.

use rave_core::permission::Role;
use serde::{Deserialize, Serialize};

/// The role number that stands for "nobody".
pub(crate) const NO_ONE: i64 = 0;

/// A rule for branches whose name matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProtectedBranch {
    pub(crate) id: i64,
    /// A branch's name, in which `*` stands for any text.
    pub(crate) name: String,
    /// The weakest role that may push, [`NO_ONE`] for nobody.
    pub(crate) push_level: i64,
    pub(crate) merge_level: i64,
    pub(crate) allow_force_push: bool,
}

impl ProtectedBranch {
    /// Returns the rule that a project's default branch gets with its first push.
    pub(crate) fn for_default(branch: &str) -> Self {
        Self {
            id: 0,
            name: branch.to_owned(),
            push_level: Role::Maintainer.level(),
            merge_level: Role::Maintainer.level(),
            allow_force_push: false,
        }
    }

    /// Whether the rule speaks of this branch.
    pub(crate) fn covers(&self, branch: &str) -> bool {
        matches(&self.name, branch)
    }

    /// Whether this role may push to such a branch.
    pub(crate) fn lets_push(&self, role: Option<Role>) -> bool {
        reaches(role, self.push_level)
    }

    /// Whether this role may merge into such a branch.
    pub(crate) fn lets_merge(&self, role: Option<Role>) -> bool {
        reaches(role, self.merge_level)
    }
}

fn reaches(role: Option<Role>, level: i64) -> bool {
    level != NO_ONE && role.is_some_and(|it| it.level() >= level)
}

/// Whether a name matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts
        .split_last()
        .map_or(("", &[][..]), |(last, it)| (*last, it));
    for part in middle {
        let Some(at) = name.find(part) else {
            return false;
        };
        name = &name[at + part.len()..];
    }
    name.len() >= last.len() && name.ends_with(last)
}

/// What a push may do to one protected branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BranchPolicy {
    pub(crate) reference: String,
    pub(crate) may_push: bool,
    pub(crate) may_force: bool,
}

/// What a push may do. References that are not mentioned are open when they are branches or tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushPolicy {
    pub(crate) protected: Vec<BranchPolicy>,
}

/// One command of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) reference: String,
}

impl Command {
    pub(crate) fn creates(&self) -> bool {
        is_zero(&self.before)
    }

    pub(crate) fn deletes(&self) -> bool {
        is_zero(&self.after)
    }
}

fn is_zero(id: &str) -> bool {
    id.bytes().all(|it| it == b'0')
}

impl PushPolicy {
    /// Decides for the references of a push. Of several rules that speak of a branch the most lenient holds.
    pub(crate) fn decide(
        rules: &[ProtectedBranch],
        role: Option<Role>,
        commands: &[Command],
    ) -> Self {
        let of = |reference: &String| {
            let branch = reference.strip_prefix("refs/heads/")?;
            let rules: Vec<_> = rules.iter().filter(|it| it.covers(branch)).collect();
            (!rules.is_empty()).then(|| BranchPolicy {
                reference: reference.clone(),
                may_push: rules.iter().any(|it| it.lets_push(role)),
                may_force: rules.iter().any(|it| it.allow_force_push),
            })
        };
        let protected = commands.iter().filter_map(|it| of(&it.reference)).collect();
        Self { protected }
    }

    /// Returns why a command is refused, `None` when it is not. `is_fast_forward` is asked only when it matters.
    pub(crate) fn refusal(
        &self,
        command: &Command,
        is_fast_forward: impl FnOnce() -> bool,
    ) -> Option<String> {
        let name = ["refs/heads/", "refs/tags/"]
            .into_iter()
            .find_map(|it| command.reference.strip_prefix(it));
        let Some(name) = name else {
            return Some(format!(
                "You are not allowed to change {}: only branches and tags can be pushed.",
                command.reference
            ));
        };
        let rule = self
            .protected
            .iter()
            .find(|it| it.reference == command.reference)?;
        if command.deletes() {
            return Some(format!(
                "You are not allowed to delete the protected branch {name} by a push."
            ));
        }
        if !rule.may_push {
            return Some(format!(
                "You are not allowed to push to the protected branch {name}. Push to another branch and propose a merge."
            ));
        }
        if !rule.may_force && !command.creates() && !is_fast_forward() {
            return Some(format!(
                "You are not allowed to force push to the protected branch {name}."
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(
        rule: ProtectedBranch,
        role: Role,
        command: (&str, &str, &str),
        forward: bool,
    ) -> Option<String> {
        let (before, after, reference) = command;
        let command = Command {
            before: before.repeat(40),
            after: after.repeat(40),
            reference: reference.into(),
        };
        PushPolicy::decide(&[rule], Some(role), std::slice::from_ref(&command))
            .refusal(&command, || forward)
    }

    #[test]
    fn protected_branches_take_fast_forwards_of_maintainers_only() {
        let main = || ProtectedBranch::for_default("main");
        let says =
            |role, command, forward| refusal(main(), role, command, forward).unwrap_or_default();
        assert_eq!(
            says(Role::Maintainer, ("1", "2", "refs/heads/main"), true),
            ""
        );
        assert!(
            says(Role::Developer, ("1", "2", "refs/heads/main"), true)
                .contains("not allowed to push")
        );
        assert!(says(Role::Owner, ("1", "2", "refs/heads/main"), false).contains("force push"));
        assert!(says(Role::Owner, ("1", "0", "refs/heads/main"), true).contains("delete"));
        assert_eq!(
            says(Role::Developer, ("1", "2", "refs/heads/other"), false),
            ""
        );
        assert_eq!(
            says(Role::Developer, ("1", "0", "refs/tags/main"), false),
            ""
        );
        assert!(
            says(Role::Owner, ("0", "2", "refs/pipelines/1"), true)
                .contains("only branches and tags")
        );
        assert!(
            says(Role::Owner, ("0", "2", "refs/headsx"), true).contains("only branches and tags")
        );
    }

    #[test]
    fn nobody_is_nobody() {
        let rule = ProtectedBranch {
            push_level: NO_ONE,
            ..ProtectedBranch::for_default("main")
        };
        assert!(refusal(rule, Role::Owner, ("1", "2", "refs/heads/main"), true).is_some());
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, wanted) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1.0", true),
            ("release/*", "prerelease/1", false),
            ("*-stable", "1-0-stable", true),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
