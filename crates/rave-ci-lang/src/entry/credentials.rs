//! `id_tokens` and `secrets`: variables whose values the server or another one makes.

use std::fmt::Display;

use serde_json::{Value as Json, json};

use super::check::{boolean, required_text, string_or_strings, text, unknown_keys};
use crate::report::Report;
use crate::yaml::{Mapping, Node, Value};
use crate::{IdToken, SecretSource};

/// Reads `id_tokens`. Audiences are not expanded.
pub(super) fn id_tokens(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<IdToken> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    map.iter()
        .filter_map(|(key, value)| {
            let at = format!("{at}:{}", key.text);
            let token = value.as_mapping();
            let audience = token.and_then(|it| it.get("aud"));
            if audience.is_none() {
                report.entry_error(
                    value.span,
                    format!("{at} config missing required keys: aud"),
                );
            }
            if let Some(token) = token {
                unknown_keys(token, &at, &["aud"], report);
            }
            let Some(audience) = audience.and_then(string_or_strings) else {
                report.entry_error(
                    value.span,
                    format!("{at} aud should be an array of strings or a string"),
                );
                return None;
            };
            Some(IdToken {
                name: key.text.to_string(),
                audience,
            })
        })
        .collect()
}

/// Providers, with the keys of their long form and those of them that must be there.
const PROVIDERS: [(&str, &[&str], &[&str]); 5] = [
    ("vault", &["engine", "path", "field"], &["path", "field"]),
    ("azure_key_vault", &["name", "version"], &["name"]),
    ("gcp_secret_manager", &["name", "version"], &["name"]),
    (
        "aws_secrets_manager",
        &[
            "secret_id",
            "version_id",
            "version_stage",
            "region",
            "role_arn",
            "role_session_name",
            "field",
        ],
        &["secret_id"],
    ),
    ("gitlab_secrets_manager", &["name", "source"], &["name"]),
];

/// Reads `secrets`.
pub(super) fn secrets(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<SecretSource> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    map.iter()
        .filter_map(|(key, value)| {
            secret(&key.text, value, &format_args!("{at}:{}", key.text), report)
        })
        .collect()
}

fn secret(name: &str, node: &Node, at: &dyn Display, report: &mut Report) -> Option<SecretSource> {
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return None;
    };
    let names: Vec<&str> = PROVIDERS.iter().map(|it| it.0).collect();
    let known: Vec<&str> = names.iter().copied().chain(["file", "token"]).collect();
    unknown_keys(map, at, &known, report);
    let mut given = PROVIDERS
        .iter()
        .filter_map(|it| Some((it, map.given(it.0)?)));
    let (Some((provider, source)), None) = (given.next(), given.next()) else {
        report.entry_error(
            node.span,
            format!(
                "{at} config must use exactly one of these keys: {}",
                names.join(", ")
            ),
        );
        return None;
    };
    let token = text(map, "token", at, report);
    if provider.0 == "gcp_secret_manager" && token.is_none() {
        report.entry_error(
            node.span,
            format!("{at} token is required with gcp secrets manager"),
        );
    }
    let (name_of, keys, required) = *provider;
    let at_source = format!("{at}:{name_of}");
    let source = match &source.value {
        Value::Text(text) => short(name_of, text),
        Value::Mapping(map) => {
            unknown_keys(map, &at_source, keys, report);
            for key in required {
                required_text(source, map, key, &at_source, report);
            }
            Some(long(name_of, map, &at_source, report))
        }
        _ => None,
    };
    if source.is_none() {
        report.entry_error(
            node.span,
            format!("{at_source} config should be a hash or a string"),
        );
    }
    Some(SecretSource {
        name: name.to_owned(),
        provider: name_of.to_owned(),
        source: source?,
        file: boolean(map, "file", at, report).unwrap_or(true),
        token,
    })
}

/// Writes out a short form. `None`: the provider has none.
fn short(provider: &str, text: &str) -> Option<Json> {
    match provider {
        // `path/field@mount`
        "vault" => {
            let (secret, mount) = text.rsplit_once('@').unwrap_or((text, "kv-v2"));
            let (path, field) = secret.rsplit_once('/')?;
            Some(json!({
                "engine": { "name": "kv-v2", "path": mount },
                "path": path,
                "field": field,
            }))
        }
        // `id#field`
        "aws_secrets_manager" => {
            let (id, field) = match text.split_once('#') {
                Some((id, field)) => (id, Some(field)),
                None => (text, None),
            };
            Some(json!({ "secret_id": id, "field": field }))
        }
        _ => None,
    }
}

/// Completes a long form.
fn long(provider: &str, map: &Mapping, at: &dyn Display, report: &mut Report) -> Json {
    let mut source: serde_json::Map<String, Json> = map
        .iter()
        .filter(|it| !it.1.is_null())
        .map(|(key, value)| (key.text.to_string(), super::json::json(value)))
        .collect();
    match provider {
        "vault" => {
            if let Some(engine) = map.given("engine") {
                engine_of(engine, &mut source, &format_args!("{at}:engine"), report);
            } else {
                source.insert(
                    "engine".to_owned(),
                    json!({ "name": "kv-v2", "path": "kv-v2" }),
                );
            }
        }
        "gcp_secret_manager" => {
            source
                .entry("version")
                .or_insert_with(|| Json::String("latest".to_owned()));
        }
        _ => {}
    }
    Json::Object(source)
}

/// Reads the engine of a vault: a mount of the usual kind, or name and path.
fn engine_of(
    node: &Node,
    source: &mut serde_json::Map<String, Json>,
    at: &dyn Display,
    report: &mut Report,
) {
    match &node.value {
        Value::Text(mount) => {
            let engine = json!({ "name": "kv-v2", "path": mount.as_str() });
            source.insert("engine".to_owned(), engine);
        }
        Value::Mapping(map) => {
            unknown_keys(map, at, &["name", "path"], report);
            for key in ["name", "path"] {
                required_text(node, map, key, at, report);
            }
        }
        _ => report.entry_error(
            node.span,
            format!("{at} config should be a hash or a string"),
        ),
    }
}
