//! The table of contents of this part's pages and API.

use std::sync::Arc;

use rave_http::Routes;

use crate::Auth;
use crate::api::{discovery, groups, instance, members, tokens, users};
use crate::pages;

pub(crate) fn routes() -> Routes<Arc<Auth>> {
    page_routes(Routes::new())
        .get("/.well-known/openid-configuration", discovery::document)
        .get("/oauth/discovery/keys", discovery::keys)
        .get("/api/v4/version", instance::version)
        .get("/api/v4/metadata", instance::metadata)
        .get("/api/v4/namespaces", instance::list_namespaces)
        .get("/api/v4/namespaces/{id}", instance::get_namespace)
        .get("/api/v4/namespaces/{id}/exists", instance::namespace_exists)
        .get("/api/v4/user", users::current)
        .get("/api/v4/users", users::list)
        .post("/api/v4/users", users::create)
        .get("/api/v4/users/{id}", users::get)
        .post("/api/v4/users/{id}/block", users::block)
        .post("/api/v4/users/{id}/unblock", users::unblock)
        .get("/api/v4/users/{id}/memberships", users::memberships)
        .post(
            "/api/v4/users/{id}/personal_access_tokens",
            tokens::create_for,
        )
        .post("/api/v4/user/personal_access_tokens", tokens::create_own)
        .get("/api/v4/personal_access_tokens", tokens::list)
        .get("/api/v4/personal_access_tokens/{id}", tokens::get)
        .delete("/api/v4/personal_access_tokens/{id}", tokens::revoke)
        .post("/api/v4/personal_access_tokens/{id}/rotate", tokens::rotate)
        .get("/api/v4/groups", groups::list)
        .post("/api/v4/groups", groups::create)
        .get("/api/v4/groups/{id}", groups::get)
        .put("/api/v4/groups/{id}", groups::update)
        .delete("/api/v4/groups/{id}", groups::delete)
        .get("/api/v4/groups/{id}/subgroups", groups::subgroups)
        .get("/api/v4/groups/{id}/members", members::of_group)
        .post("/api/v4/groups/{id}/members", members::add_to_group)
        .get("/api/v4/groups/{id}/members/all", members::all_of_group)
        .get(
            "/api/v4/groups/{id}/members/all/{user}",
            members::any_of_group,
        )
        .get("/api/v4/groups/{id}/members/{user}", members::one_of_group)
        .put(
            "/api/v4/groups/{id}/members/{user}",
            members::update_in_group,
        )
        .delete(
            "/api/v4/groups/{id}/members/{user}",
            members::remove_from_group,
        )
        .get("/api/v4/projects/{id}/members", members::of_project)
        .post("/api/v4/projects/{id}/members", members::add_to_project)
        .get("/api/v4/projects/{id}/members/all", members::all_of_project)
        .get(
            "/api/v4/projects/{id}/members/all/{user}",
            members::any_of_project,
        )
        .get(
            "/api/v4/projects/{id}/members/{user}",
            members::one_of_project,
        )
        .put(
            "/api/v4/projects/{id}/members/{user}",
            members::update_in_project,
        )
        .delete(
            "/api/v4/projects/{id}/members/{user}",
            members::remove_from_project,
        )
}

fn page_routes(routes: Routes<Arc<Auth>>) -> Routes<Arc<Auth>> {
    routes
        .get("/-/login", pages::login::show)
        .post("/-/login", pages::login::submit)
        .post("/-/logout", pages::login::logout)
        .get("/-/claim/{token}", pages::claim::show)
        .post("/-/claim/{token}", pages::claim::submit)
        .get("/-/user_settings/password", pages::password::show)
        .post("/-/user_settings/password", pages::password::submit)
        .get(
            "/-/user_settings/personal_access_tokens",
            pages::tokens::show,
        )
        .post(
            "/-/user_settings/personal_access_tokens",
            pages::tokens::create,
        )
        .post(
            "/-/user_settings/personal_access_tokens/{id}/revoke",
            pages::tokens::revoke,
        )
        .get("/-/groups/new", pages::groups::show)
        .post("/-/groups/new", pages::groups::create)
        .get("/-/groups/{id}/members", pages::members::show)
        .post("/-/groups/{id}/members", pages::members::add)
        .post(
            "/-/groups/{id}/members/{user}/update",
            pages::members::update,
        )
        .post(
            "/-/groups/{id}/members/{user}/remove",
            pages::members::remove,
        )
        .get("/-/admin/users", pages::users::show)
        .post("/-/admin/users", pages::users::create)
        .post("/-/admin/users/{id}/invite", pages::users::invite)
        .post("/-/admin/users/{id}/block", pages::users::block)
        .post("/-/admin/users/{id}/unblock", pages::users::unblock)
}
