//! The shapes of GitLab's API. Keys that clients list are never left out: what RAVE does not have is `null` or the
//! default.

use rave_core::permission::Visibility;
use rave_core::time::Timestamp;
use rave_http::Shared;
use serde_json::{Value, json};

use super::date;
use crate::store::members::{Member, Membership, Source};
use crate::store::namespaces::Namespace;
use crate::store::tokens::Token;
use crate::store::users::User;

fn join(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

/// A user as everything embeds them.
pub(crate) fn basic_user(shared: &Shared, user: &User) -> Value {
    json!({
        "id": user.id.0,
        "username": user.username,
        "public_email": null,
        "name": user.name,
        "state": if user.active { "active" } else { "blocked" },
        "locked": false,
        "avatar_url": null,
        "web_url": shared.url(&format!("/{}", user.username)),
    })
}

/// A user as every signed-in user sees them.
pub(crate) fn public_user(shared: &Shared, user: &User) -> Value {
    let more = json!({
        "created_at": user.created_at.rfc3339(),
        "bio": "",
        "location": "",
        "linkedin": "",
        "twitter": "",
        "discord": "",
        "website_url": "",
        "organization": "",
        "job_title": "",
        "pronouns": null,
        "bot": false,
        "work_information": null,
        "local_time": null,
        "followers": 0,
        "following": 0,
        "is_followed": false,
    });
    join(basic_user(shared, user), more)
}

/// A user as they see themselves, and as administrators see them.
pub(crate) fn full_user(shared: &Shared, user: &User, namespace: Option<i64>) -> Value {
    let signed_in = user.last_sign_in_at.map(Timestamp::rfc3339);
    let more = json!({
        "last_sign_in_at": signed_in,
        "confirmed_at": user.created_at.rfc3339(),
        "last_activity_on": user.last_sign_in_at.map(date),
        "email": user.email,
        "theme_id": null,
        "color_scheme_id": 1,
        "projects_limit": 100_000,
        "current_sign_in_at": signed_in,
        "identities": [],
        "can_create_group": true,
        "can_create_project": true,
        "two_factor_enabled": false,
        "external": false,
        "private_profile": false,
        "commit_email": user.email,
        "namespace_id": namespace,
        "created_by": null,
        "note": null,
        "is_admin": user.admin,
    });
    join(public_user(shared, user), more)
}

pub(crate) fn member(shared: &Shared, member: &Member, for_admin: bool) -> Value {
    let more = json!({
        "access_level": member.role.level(),
        "created_at": member.created_at.rfc3339(),
        "created_by": member.created_by.map(|it| json!({"id": it.0})),
        "expires_at": member.expires_at.map(date),
        "membership_state": "active",
    });
    let mut all = join(basic_user(shared, &member.user), more);
    if for_admin {
        all["email"] = member.user.email.clone().into();
    }
    all
}

pub(crate) fn membership(membership: &Membership) -> Value {
    let (kind, id) = match membership.source {
        Source::Namespace(id) => ("Namespace", id.0),
        Source::Project(id) => ("Project", id.0),
    };
    json!({
        "source_id": id,
        "source_name": membership.name,
        "source_type": kind,
        "access_level": membership.role.level(),
        "source": {"id": id, "name": membership.name, "kind": kind, "full_path": membership.path},
    })
}

pub(crate) fn token(token: &Token, now: Timestamp) -> Value {
    let scopes: Vec<&str> = token.scopes.iter().map(|it| it.label()).collect();
    json!({
        "id": token.id.0,
        "name": token.name,
        "description": token.description,
        "revoked": token.revoked_at.is_some(),
        "created_at": token.created_at.rfc3339(),
        "scopes": scopes,
        "user_id": token.user.0,
        "last_used_at": token.last_used_at.map(Timestamp::rfc3339),
        "active": token.is_active(now),
        "expires_at": token.expires_at.map(date),
    })
}

pub(crate) fn namespace(shared: &Shared, namespace: &Namespace) -> Value {
    json!({
        "id": namespace.id.0,
        "name": namespace.name,
        "path": namespace.path.last().as_str(),
        "kind": if namespace.owner.is_some() { "user" } else { "group" },
        "full_path": namespace.path.as_str(),
        "parent_id": namespace.parent.map(|it| it.0),
        "avatar_url": null,
        "web_url": shared.url(&format!("/{}", namespace.path)),
    })
}

pub(crate) fn group(shared: &Shared, group: &Namespace) -> Value {
    json!({
        "id": group.id.0,
        "web_url": shared.url(&format!("/{}", group.path)),
        "name": group.name,
        "path": group.path.last().as_str(),
        "description": group.description,
        "visibility": Visibility::label(group.visibility),
        "share_with_group_lock": false,
        "require_two_factor_authentication": false,
        "two_factor_grace_period": 48,
        "project_creation_level": "maintainer",
        "auto_devops_enabled": null,
        "subgroup_creation_level": "maintainer",
        "emails_disabled": false,
        "emails_enabled": true,
        "mentions_disabled": null,
        "lfs_enabled": true,
        "math_rendering_limits_enabled": true,
        "default_branch": null,
        "default_branch_protection": 2,
        "default_branch_protection_defaults": {
            "allowed_to_push": [{"access_level": 40}],
            "allow_force_push": false,
            "allowed_to_merge": [{"access_level": 40}],
        },
        "avatar_url": null,
        "request_access_enabled": false,
        "full_name": group.path.as_str().replace('/', " / "),
        "full_path": group.path.as_str(),
        "created_at": group.created_at.rfc3339(),
        "parent_id": group.parent.map(|it| it.0),
        "organization_id": 1,
        "shared_runners_setting": "enabled",
        "marked_for_deletion_on": null,
        "ldap_cn": null,
        "ldap_access": null,
        "shared_with_groups": [],
        "prevent_sharing_groups_outside_hierarchy": false,
        "runners_token": null,
    })
}
