//! What goes over the wire: commits, branches, tags, diffs.

use rave_core::permission::{Project, Role};
use rave_core::port::Commit;
use rave_http::page::encode_path;
use serde_json::{Value, json};

use crate::git::diff::{Change, FileDiff};
use crate::git::refs::Reference;
use crate::policy::ProtectedBranch;

/// Adds the milliseconds that GitLab's dates have and git's have not.
pub(super) fn date(at: &str) -> String {
    match (at.get(..19), at.get(19..)) {
        (Some(seconds), Some(offset)) => format!("{seconds}.000{offset}"),
        _ => at.to_owned(),
    }
}

/// `web` is the project's own address.
pub(super) fn commit(commit: &Commit, web: &str) -> Value {
    json!({
        "id": commit.id, "short_id": commit.id.short(), "created_at": date(&commit.committed_at),
        "parent_ids": commit.parents, "title": commit.title(), "message": commit.message,
        "author_name": commit.author_name, "author_email": commit.author_email, "authored_date": date(&commit.authored_at),
        "committer_name": commit.committer_name, "committer_email": commit.committer_email,
        "committed_date": date(&commit.committed_at),
        "trailers": {}, "extended_trailers": {}, "web_url": format!("{web}/-/commit/{}", commit.id),
    })
}

/// What the rules say of one branch.
pub(super) fn branch(
    reference: &Reference,
    commit: Value,
    project: &Project,
    rules: &[ProtectedBranch],
    role: Option<Role>,
    web: &str,
) -> Value {
    let name = &reference.name;
    let rules: Vec<_> = rules.iter().filter(|it| it.covers(name)).collect();
    let may = |role| rules.is_empty() || rules.iter().any(|it| it.lets_push(role));
    let merge =
        |it: &&&ProtectedBranch| it.merge_level != 0 && it.merge_level <= Role::Developer.level();
    json!({
        "name": name, "commit": commit, "merged": false, "protected": !rules.is_empty(),
        "default": *name == project.default_branch,
        "developers_can_push": !rules.is_empty() && may(Some(Role::Developer)),
        "developers_can_merge": rules.iter().filter(merge).count() > 0,
        "can_push": role.is_some_and(|it| it >= Role::Developer) && may(role),
        "web_url": format!("{web}/-/tree/{}", encode_path(name)),
    })
}

pub(super) fn tag(reference: &Reference, commit: Value) -> Value {
    let created_at = commit.get("created_at").cloned();
    json!({
        "name": reference.name, "message": reference.message.as_deref().unwrap_or_default(), "target": reference.target,
        "commit": commit, "release": null, "protected": false, "created_at": created_at,
    })
}

pub(super) fn diff(file: &FileDiff) -> Value {
    json!({
        "diff": file.patch.as_deref().unwrap_or_default(), "new_path": file.new_path, "old_path": file.old_path,
        "a_mode": file.old_mode, "b_mode": file.new_mode, "new_file": file.change == Change::Added,
        "renamed_file": file.change == Change::Renamed, "deleted_file": file.change == Change::Deleted,
        "generated_file": null, "collapsed": false, "too_large": file.patch.is_none(),
    })
}

fn levels(rule: &ProtectedBranch, level: i64) -> Value {
    let description = match level {
        0 => "No one",
        30 => "Developers + Maintainers",
        60 => "Administrators",
        _ => "Maintainers",
    };
    json!([{ "id": rule.id, "access_level": level, "access_level_description": description,
        "deploy_key_id": null, "user_id": null, "group_id": null }])
}

pub(super) fn protected_branch(rule: &ProtectedBranch) -> Value {
    json!({
        "id": rule.id, "name": rule.name, "push_access_levels": levels(rule, rule.push_level),
        "merge_access_levels": levels(rule, rule.merge_level), "unprotect_access_levels": [],
        "allow_force_push": rule.allow_force_push, "code_owner_approval_required": false, "inherited": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_keep_their_offset() {
        assert_eq!(
            date("2026-01-02T03:04:05+01:00"),
            "2026-01-02T03:04:05.000+01:00"
        );
        assert_eq!(date("odd"), "odd");
    }
}
