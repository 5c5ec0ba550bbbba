//! Pages of lists by `page` and `per_page`, with the headers by which GitLab's clients walk them.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use rave_core::port::Slice;
use serde::Serialize;

use crate::address::OriginalPath;
use crate::app::Shared;
use crate::error::HttpError;

/// Which page of a list the caller asks for.
#[derive(Clone, Debug)]
pub struct Pagination {
    /// From 1.
    pub page: u64,
    /// From 1 to 100.
    pub per_page: u64,
    /// The absolute URL without `page`, to which links add it.
    base: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Pagination {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let query = parts.uri.query().unwrap_or_default();
        let number = |name: &str, default: u64| match crate::params::find_in_query(query, name) {
            None => Ok(default),
            Some(text) if text.is_empty() => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| invalid(name)),
        };
        let page = number("page", 1)?.clamp(1, 1 << 32);
        let per_page = number("per_page", 20)?.clamp(1, 100);
        let path = parts
            .extensions
            .get::<OriginalPath>()
            .map_or_else(|| parts.uri.path().to_owned(), |it| it.0.clone());
        let kept: Vec<&str> = query
            .split('&')
            .filter(|it| !it.is_empty() && !it.starts_with("page="))
            .collect();
        let base = format!("{}?{}", Shared::of(parts).url(&path), kept.join("&"));
        Ok(Self {
            page,
            per_page,
            base,
        })
    }
}

fn invalid(name: &str) -> HttpError {
    let message = format!("{name} does not have a valid value");
    HttpError::bad_request(message.clone()).body(serde_json::json!({ "error": message }))
}

impl Pagination {
    /// Returns the rows that the page covers.
    #[must_use]
    pub fn slice(&self) -> Slice {
        Slice {
            offset: (self.page - 1).saturating_mul(self.per_page),
            limit: self.per_page,
        }
    }

    /// Answers with a page out of `total` rows.
    pub fn json<T: Serialize>(&self, items: &[T], total: u64) -> Response {
        let mut response = Json(items).into_response();
        self.headers(total, response.headers_mut());
        response
    }

    fn headers(&self, total: u64, headers: &mut HeaderMap) {
        let last = total.div_ceil(self.per_page).max(1);
        let next = (self.page < last).then_some(self.page + 1);
        let previous = (self.page > 1).then(|| (self.page - 1).min(last));
        let text = |it: Option<u64>| it.map(|it| it.to_string()).unwrap_or_default();
        let mut links = Vec::new();
        for (relation, page) in [
            ("prev", previous),
            ("next", next),
            ("first", Some(1)),
            ("last", Some(last)),
        ] {
            links.extend(page.map(|it| format!("<{}>; rel=\"{relation}\"", self.link(it))));
        }
        let values = [
            ("x-page", self.page.to_string()),
            ("x-per-page", self.per_page.to_string()),
            ("x-next-page", text(next)),
            ("x-prev-page", text(previous)),
            ("x-total", total.to_string()),
            ("x-total-pages", last.to_string()),
            ("link", links.join(", ")),
        ];
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    fn link(&self, page: u64) -> String {
        let separator = if self.base.ends_with('?') { "" } else { "&" };
        format!("{}{separator}page={page}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_lead_from_page_to_page() {
        let page = Pagination {
            page: 2,
            per_page: 20,
            base: "http://x/api?a=1".into(),
        };
        let mut headers = HeaderMap::new();
        page.headers(45, &mut headers);
        let text = |name: &str| headers[name].to_str().expect("ascii").to_owned();
        assert_eq!(
            (
                text("x-next-page"),
                text("x-prev-page"),
                text("x-total-pages")
            ),
            ("3".into(), "1".into(), "3".into())
        );
        assert!(
            text("link").contains("<http://x/api?a=1&page=3>; rel=\"next\""),
            "{}",
            text("link")
        );

        let last = Pagination { page: 3, ..page };
        last.headers(45, &mut headers);
        assert_eq!(headers["x-next-page"], "", "present but empty");
        assert!(!headers["link"].to_str().expect("ascii").contains("next"));
    }
}
