//! Addresses: which dialect a request speaks, and which project its path names.

use axum::extract::Request;
use axum::http::Uri;
use percent_encoding::percent_decode_str;
use rave_core::name::{FullPath, RESERVED_ROOTS};
use rave_core::port::ProjectRef;

/// How a caller wants to be answered, above all when something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/api/v4`: JSON in GitLab's shapes.
    Api,
    /// Smart HTTP: plain text, which git prints.
    Git,
    /// `/-/cache`: the binary cache, whose clients know Attic's JSON. It judges credentials itself, since its tokens are of
    /// a kind of their own and a wrong one is no reason to refuse what is public.
    Cache,
    /// Machines that read neither JSON nor pages: plain text.
    Plain,
    /// People.
    Page,
}

/// The path that a request came with, below the external URL's own path and before it was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalPath(pub String);

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    dialect: Dialect,
    path: String,
    project: Option<ProjectRef>,
}

/// Rewrites a request so that the router can match it, and notes its dialect and project.
#[must_use]
pub fn rewrite(mut request: Request, prefix: &str) -> Request {
    let whole = request.uri().path();
    let path = whole
        .strip_prefix(prefix)
        .filter(|it| it.starts_with('/'))
        .unwrap_or(whole)
        .to_owned();
    let destination = resolve(&path);
    let target = match request.uri().query() {
        Some(query) => format!("{}?{query}", destination.path),
        None => destination.path,
    };
    // What was a valid path stays one: rewriting only replaces its beginning.
    if let Ok(uri) = target.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    let extensions = request.extensions_mut();
    extensions.insert(OriginalPath(path));
    extensions.insert(destination.dialect);
    if let Some(project) = destination.project {
        extensions.insert(project);
    }
    request
}

fn resolve(path: &str) -> Destination {
    let to = |dialect, path: &str, project| Destination {
        dialect,
        path: path.to_owned(),
        project,
    };
    let root = path
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    match root {
        "api" | "oauth" | ".well-known" => return to(Dialect::Api, strip_slash(path), None),
        "metrics" => return to(Dialect::Plain, path, None),
        "-" if path == "/-/cache" || path.starts_with("/-/cache/") => {
            return to(Dialect::Cache, strip_slash(path), None);
        }
        "" | "-" => return to(Dialect::Page, strip_slash(path), None),
        // Rewritten addresses are ours alone: nobody enters by them.
        _ if root.starts_with('~') || RESERVED_ROOTS.contains(&root) => {
            return to(Dialect::Page, "/~missing", None);
        }
        _ => {}
    }
    if let Some((repository, tail)) = split_git(path) {
        return match parse_path(repository) {
            Some(project) => to(
                Dialect::Git,
                &format!("/~git{tail}"),
                Some(ProjectRef::Path(project)),
            ),
            None => to(Dialect::Git, "/~missing", None),
        };
    }
    let (front, tail) = match path.find("/-/") {
        Some(at) => (&path[..at], &path[at..]),
        None => (path, ""),
    };
    match parse_path(front) {
        Some(project) if tail.is_empty() => {
            to(Dialect::Page, "/~path", Some(ProjectRef::Path(project)))
        }
        Some(project) => to(
            Dialect::Page,
            &format!("/~project{}", strip_slash(tail)),
            Some(ProjectRef::Path(project)),
        ),
        None => to(Dialect::Page, "/~missing", None),
    }
}

/// A trailing slash is tolerated, the root's excepted.
fn strip_slash(path: &str) -> &str {
    path.strip_suffix('/')
        .filter(|it| !it.is_empty())
        .unwrap_or(path)
}

/// Splits `/team/app.git/info/refs` after `.git`. Git also asks without `.git` for the three requests of smart HTTP.
fn split_git(path: &str) -> Option<(&str, &str)> {
    // A page of a project: what follows is a file's or branch's name, whatever it looks like.
    if path.contains("/-/") {
        return None;
    }
    if let Some(at) = path.find(".git/") {
        return Some((&path[..at], &path[at + 4..]));
    }
    let services = ["/info/refs", "/git-upload-pack", "/git-receive-pack"];
    services
        .into_iter()
        .find_map(|it| path.strip_suffix(it).map(|repository| (repository, it)))
}

fn parse_path(path: &str) -> Option<FullPath> {
    let decoded = percent_decode_str(path.trim_matches('/'))
        .decode_utf8()
        .ok()?;
    FullPath::parse(decoded.strip_suffix(".git").unwrap_or(&decoded)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, dialect: Dialect, target: &str, project: Option<&str>) {
        let found = resolve(path);
        let wanted = project.map(|it| ProjectRef::Path(FullPath::parse(it).expect("valid")));
        assert_eq!(
            (found.dialect, found.path.as_str(), found.project),
            (dialect, target, wanted),
            "{path}"
        );
    }

    #[test]
    fn addresses_lead_where_they_should() {
        check("/", Dialect::Page, "/", None);
        check("/-/login", Dialect::Page, "/-/login", None);
        check("/-/caches/x", Dialect::Page, "/-/caches/x", None);
        check("/-/cache/", Dialect::Cache, "/-/cache", None);
        check(
            "/-/cache/x/nix-cache-info",
            Dialect::Cache,
            "/-/cache/x/nix-cache-info",
            None,
        );
        check(
            "/api/v4/projects/team%2Fapp/",
            Dialect::Api,
            "/api/v4/projects/team%2Fapp",
            None,
        );
        check("/team/app", Dialect::Page, "/~path", Some("team/app"));
        check("/team/app.git", Dialect::Page, "/~path", Some("team/app"));
        check(
            "/a/b/c/-/pipelines/3",
            Dialect::Page,
            "/~project/-/pipelines/3",
            Some("a/b/c"),
        );
        check(
            "/a/b/-/tree/main/x/-/y",
            Dialect::Page,
            "/~project/-/tree/main/x/-/y",
            Some("a/b"),
        );
        check(
            "/a/b/-/blob/main/x.git/info/refs",
            Dialect::Page,
            "/~project/-/blob/main/x.git/info/refs",
            Some("a/b"),
        );
        check(
            "/a/b.git/info/refs",
            Dialect::Git,
            "/~git/info/refs",
            Some("a/b"),
        );
        check(
            "/a/b/info/refs",
            Dialect::Git,
            "/~git/info/refs",
            Some("a/b"),
        );
        check(
            "/a/b.git/git-upload-pack",
            Dialect::Git,
            "/~git/git-upload-pack",
            Some("a/b"),
        );
    }

    #[test]
    fn nobody_enters_by_a_rewritten_or_reserved_address() {
        for path in [
            "/~project/-/pipelines",
            "/~path",
            "/users/x",
            "/a b/c",
            "/../etc/passwd",
            "/a/%2e%2e/b",
        ] {
            check(path, Dialect::Page, "/~missing", None);
        }
    }
}
