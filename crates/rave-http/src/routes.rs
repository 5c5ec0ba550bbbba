//! The table of routes: an axum router that can also tell which routes it has.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

/// One route, as the authorization test walks it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub method: &'static str,
    /// The address as callers write it, with `{project}` for a project's path.
    pub path: String,
}

/// Routes of a part, one line each, so that a part's list reads as its table of contents.
pub struct Routes<S = ()> {
    router: Router<S>,
    list: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            list: Vec::new(),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Starts an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. `path` begins with `/api/`, `/-/`, or for routes of a project with `{project}` (pages such as
    /// `{project}/-/pipelines`) or `{project}.git/`.
    #[must_use]
    pub fn route<H, T>(mut self, method: &Method, path: &str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let target = match path.strip_prefix("{project}") {
            Some("") => "/~path".to_owned(),
            Some(tail) if tail.starts_with(".git/") => format!("/~git{}", &tail[4..]),
            Some(tail) => format!("/~project{tail}"),
            None => path.to_owned(),
        };
        let filter = MethodFilter::try_from(method.clone()).expect("routes use the common methods");
        let name = known(method);
        self.router = self.router.route(&target, on(filter, handler));
        self.list.push(Route {
            method: name,
            path: path.to_owned(),
        });
        self
    }

    /// Adds a `GET` route.
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route(&Method::GET, path, handler)
    }

    /// Adds a `POST` route.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route(&Method::POST, path, handler)
    }

    /// Adds a `PUT` route.
    #[must_use]
    pub fn put<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route(&Method::PUT, path, handler)
    }

    /// Adds a `PATCH` route.
    #[must_use]
    pub fn patch<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route(&Method::PATCH, path, handler)
    }

    /// Adds a `DELETE` route.
    #[must_use]
    pub fn delete<H: Handler<T, S>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route(&Method::DELETE, path, handler)
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state(self, state: S) -> Routes {
        Routes {
            router: self.router.with_state(state),
            list: self.list,
        }
    }
}

impl Routes {
    /// Adds another part's routes.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.list.extend(other.list);
        self
    }

    /// Returns the list, sorted.
    #[must_use]
    pub fn list(&self) -> Vec<Route> {
        let mut list = self.list.clone();
        list.sort();
        list
    }

    pub(crate) fn into_router(self) -> Router {
        self.router
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
