//! Parameters of the API and of forms, from wherever clients put them: query, form and JSON body in any mix, the body
//! before the query. Mistakes are collected and reported together, in GitLab's words.

use std::collections::BTreeMap;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use bytes::Bytes;
use futures_util::Stream;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::error::HttpError;
use crate::field;
use crate::multipart::Multipart;

/// Largest body in bytes.
const LIMIT_BYTES: usize = 2 << 20;

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: BTreeMap<String, Value>,
    mistakes: Vec<String>,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let mut params = Self::default();
        params.add_pairs(request.uri().query().unwrap_or_default());
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|it| it.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = to_bytes(request.into_body(), LIMIT_BYTES)
            .await
            .map_err(|_| {
                HttpError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("413 the body exceeds {LIMIT_BYTES} bytes"),
                )
            })?;
        if body.is_empty() {
            return Ok(params);
        }
        if kind.starts_with("application/json") {
            let value: Value = serde_json::from_slice(&body).map_err(|error| {
                let message = format!("The body is not valid JSON: {error}");
                HttpError::bad_request(message.clone()).body(json!({ "error": message }))
            })?;
            let Value::Object(map) = value else {
                return Err(HttpError::bad_request("The body must be a JSON object")
                    .body(json!({"error": "The body must be a JSON object"})));
            };
            params
                .values
                .extend(map.into_iter().filter(|(_, value)| !value.is_null()));
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            params.add_pairs(&String::from_utf8_lossy(&body));
        } else {
            let whole = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
            if let Some(parts) = Multipart::new(&kind, whole) {
                params.add_parts(parts).await.map_err(|error| {
                    let message = format!("The body is not valid: {error}");
                    HttpError::bad_request(message.clone()).body(json!({ "error": message }))
                })?;
            }
        }
        Ok(params)
    }
}

impl Params {
    /// Adds `a=1&b[]=2&c[d]=3`.
    fn add_pairs(&mut self, text: &str) {
        for (key, value) in pairs(text) {
            field::add(&mut self.values, &key, value);
        }
    }

    /// Adds the parts of a form, as `curl -F` sends it; what is in files is text like the rest.
    async fn add_parts<S>(&mut self, mut parts: Multipart<S>) -> std::io::Result<()>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Unpin + Send,
    {
        while let Some(part) = parts.next_part().await? {
            let value = parts.text(LIMIT_BYTES).await?;
            field::add(&mut self.values, &part.name, value);
        }
        Ok(())
    }

    /// Returns everything that was given, for whoever passes it on.
    #[must_use]
    pub fn all(&self) -> &BTreeMap<String, Value> {
        &self.values
    }

    /// Returns the raw value, for structured parameters.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Whether the parameter was given at all.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Returns a text. Numbers and booleans are taken as written.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null => None,
            Value::Array(_) | Value::Object(_) => self.mistake(name),
        }
    }

    /// Returns a text that must be given and not blank.
    pub fn need_text(&mut self, name: &str) -> String {
        let text = self.text(name);
        if text.as_ref().is_none_or(|it| it.trim().is_empty()) {
            self.mistakes.push(format!("{name} is missing"));
        }
        text.unwrap_or_default()
    }

    /// Returns an integer.
    pub fn int(&mut self, name: &str) -> Option<i64> {
        let text = self.text(name).filter(|it| !it.is_empty())?;
        text.parse().ok().or_else(|| self.mistake(name))
    }

    /// Returns a boolean in any of the spellings that clients use.
    pub fn bool(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name).filter(|it| !it.is_empty())?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "on" => Some(true),
            "false" | "f" | "0" | "no" | "off" => Some(false),
            _ => self.mistake(name),
        }
    }

    /// Returns one of a set of words, by the function that knows them.
    pub fn choice<T>(&mut self, name: &str, from_label: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name).filter(|it| !it.is_empty())?;
        from_label(&text).or_else(|| self.mistake(name))
    }

    /// Returns a list: `name[]=a`, a JSON array, or one text separated by commas. Empty when it was not given.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        match self.values.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned))
                .collect(),
            Some(Value::Object(_)) => self.mistake(name).unwrap_or_default(),
            Some(_) => {
                let text = self.text(name).unwrap_or_default();
                text.split(',')
                    .map(|it| it.trim().to_owned())
                    .filter(|it| !it.is_empty())
                    .collect()
            }
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 400 with all mistakes: `{"error": "a is missing, b does not have a valid value"}`.
    pub fn check(&self) -> Result<(), HttpError> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        let message = self.mistakes.join(", ");
        Err(HttpError::bad_request(message.clone()).body(json!({ "error": message })))
    }

    fn mistake<T>(&mut self, name: &str) -> Option<T> {
        self.mistakes
            .push(format!("{name} does not have a valid value"));
        None
    }
}

/// Returns the last value of a query parameter, decoded.
#[must_use]
pub fn find_in_query(query: &str, name: &str) -> Option<String> {
    pairs(query)
        .filter(|(key, _)| key == name)
        .last()
        .map(|(_, value)| value)
}

fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let decode = |it: &str| {
        percent_decode_str(&it.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .filter(|it| !it.is_empty())
        .map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Params {
        let mut params = Params::default();
        params.add_pairs(query);
        params
    }

    #[test]
    fn parameters_are_read_as_clients_write_them() {
        let mut params =
            read("name=a+b&simple=True&scopes[]=api&scopes[]=read_api&topics=x,%20y&vars[K]=V&n=7");
        assert_eq!(params.text("name").as_deref(), Some("a b"));
        assert_eq!(
            (
                params.bool("simple"),
                params.int("n"),
                params.bool("absent")
            ),
            (Some(true), Some(7), None)
        );
        assert_eq!(params.list("scopes"), ["api", "read_api"]);
        assert_eq!(params.list("topics"), ["x", "y"]);
        assert_eq!(params.value("vars"), Some(&json!({"K": "V"})));
        assert!(params.check().is_ok());
    }

    #[test]
    fn mistakes_are_reported_together() {
        let mut params = read("n=x&flag=maybe");
        params.need_text("name");
        params.int("n");
        params.bool("flag");
        let error = params.check().expect_err("three mistakes");
        assert_eq!(
            error.message(),
            "name is missing, n does not have a valid value, flag does not have a valid value"
        );
    }
}
