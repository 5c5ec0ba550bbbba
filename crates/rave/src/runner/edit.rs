//! Changes of a runner's configuration file that leave everything else in it as it was written.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use rave_core::time::Timestamp;
use toml::de::{DeTable, DeValue};

/// A `[[runners]]` that is to be added.
#[derive(Clone, Debug)]
pub(super) struct NewEntry {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) id: i64,
    pub(super) token: String,
    pub(super) obtained_at: Timestamp,
    pub(super) expires_at: Option<String>,
    pub(super) executor: &'static str,
    /// Keys that name certificates.
    pub(super) tls: Vec<(&'static str, String)>,
}

/// Returns the text with one more entry at its end.
pub(super) fn with_entry(text: &str, new: &NewEntry) -> String {
    let mut out = match text.trim() {
        "" => "concurrent = 1\ncheck_interval = 0\n".to_owned(),
        _ => format!("{}\n", text.trim_end()),
    };
    let quoted = |text: &str| toml::Value::from(text).to_string();
    out.push_str("\n[[runners]]\n");
    let mut line = |key: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {key} = {value}");
    };
    line("name", &quoted(&new.name));
    line("url", &quoted(&new.url));
    line("id", &new.id.to_string());
    line("token", &quoted(&new.token));
    line("token_obtained_at", &seconds(&new.obtained_at.rfc3339()));
    let never = "0001-01-01T00:00:00Z";
    line(
        "token_expires_at",
        new.expires_at.as_deref().unwrap_or(never),
    );
    line("executor", &quoted(new.executor));
    for (key, path) in &new.tls {
        line(key, &quoted(path));
    }
    out
}

/// Returns the time without fractions, as the stock runner writes it.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

/// Where each entry is: from its header to the next header that is not its own.
fn spans(text: &str) -> Vec<std::ops::Range<usize>> {
    let Ok(table) = DeTable::parse(text) else {
        return Vec::new();
    };
    let table = table.into_inner();
    let mut tokens = Vec::new();
    for (key, value) in &table {
        if let ("runners", DeValue::Array(entries)) = (key.get_ref().as_ref(), value.get_ref()) {
            let token = |it: &toml::Spanned<DeValue<'_>>| {
                let token = it.get_ref().as_table()?.get("token")?;
                Some(token.span().start)
            };
            tokens = entries.iter().filter_map(token).collect();
        }
    }
    // Headers are lines that are not inside of a text. The token of an entry says which header is its own.
    let mut headers = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if bare.starts_with('[') && is_outside(text, offset) {
            headers.push((offset, bare.to_owned()));
        }
        offset += line.len();
    }
    let own = |header: &str| header.starts_with("[runners.") || header.starts_with("[[runners.");
    let span = |token: usize| {
        let at = headers
            .iter()
            .rposition(|(start, header)| *start < token && header.starts_with("[[runners]]"))?;
        let end = headers[at + 1..].iter().find(|(_, header)| !own(header));
        Some(headers[at].0..end.map_or(text.len(), |it| it.0))
    };
    tokens.into_iter().filter_map(span).collect()
}

/// Whether the text up to an offset is TOML of its own: a place inside of a text or a list is not.
fn is_outside(text: &str, offset: usize) -> bool {
    DeTable::parse(&text[..offset]).is_ok()
}

/// Returns the text without the entry at this place among the entries. `None` when it cannot be found for certain.
pub(super) fn without_entry(text: &str, index: usize) -> Option<String> {
    let span = spans(text).get(index)?.clone();
    let mut out = text[..span.start].trim_end().to_owned();
    out.push('\n');
    let rest = &text[span.end..];
    if !rest.trim().is_empty() {
        out.push('\n');
        out.push_str(rest);
    }
    Some(out)
}

/// Returns the text with another token in the entry at this place. `None` when it cannot be found for certain.
pub(super) fn with_token(
    text: &str,
    index: usize,
    token: &str,
    obtained_at: Timestamp,
    expires_at: Option<&str>,
) -> Option<String> {
    let span = spans(text).get(index)?.clone();
    let quoted = toml::Value::from(token).to_string();
    let obtained = seconds(&obtained_at.rfc3339());
    let expires = expires_at.unwrap_or("0001-01-01T00:00:00Z");
    let mut out = text[..span.start].to_owned();
    let mut own = true;
    for line in text[span.clone()].split_inclusive('\n') {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        let key = bare.split(['=', ' ']).next().unwrap_or_default();
        own &= !bare.starts_with("[runners.");
        match key {
            "token" if own => {
                let _ = writeln!(
                    out,
                    "{indent}token = {quoted}\n{indent}token_obtained_at = {obtained}\n{indent}token_expires_at = {expires}"
                );
            }
            "token_obtained_at" | "token_expires_at" if own => {}
            _ => out.push_str(line),
        }
    }
    out.push_str(&text[span.end..]);
    DeTable::parse(&out).is_ok().then_some(out)
}

/// Puts a text in the place of a file, which only this user may read: it holds tokens.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let doing = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(doing)?;
    }
    let beside = path.with_extension("toml.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .with_context(doing)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .with_context(doing)?;
    file.write_all(text.as_bytes()).with_context(doing)?;
    file.sync_all().with_context(doing)?;
    std::fs::rename(&beside, path).with_context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "concurrent = 2 # places\n\n[[runners]]\n  name = \"a\"\n  token = \"one\"\n  pre_build_script = '''\n[[runners]]\n'''\n  [runners.docker]\n    image = \"x\"\n\n# the other\n[[runners]]\n  name = \"b\"\n  token = \"two\"\n  token_expires_at = 2026-01-01T00:00:00Z\n";

    #[test]
    fn an_entry_is_removed_and_nothing_else() {
        assert_eq!(
            without_entry(TEXT, 1).as_deref(),
            Some(
                "concurrent = 2 # places\n\n[[runners]]\n  name = \"a\"\n  token = \"one\"\n  pre_build_script = '''\n[[runners]]\n'''\n  [runners.docker]\n    image = \"x\"\n\n# the other\n"
            )
        );
        let second = without_entry(TEXT, 0).expect("it is there");
        assert!(
            second.contains("\"b\"") && !second.contains("pre_build"),
            "{second}"
        );
        assert_eq!(without_entry(TEXT, 2), None);
    }

    #[test]
    fn a_token_is_replaced_where_it_stands() {
        let at = Timestamp(1_767_323_045_678);
        let text = with_token(TEXT, 1, "three", at, Some("2027-01-01T00:00:00Z"));
        let text = text.expect("it is there");
        assert!(
            text.contains("\"one\"") && !text.contains("\"two\""),
            "{text}"
        );
        assert!(text.contains("  token = \"three\"\n  token_obtained_at = 2026-01-02T03:04:05Z\n  token_expires_at = 2027-01-01T00:00:00Z\n"), "{text}");
    }

    #[test]
    fn the_first_entry_makes_the_file() {
        let new = NewEntry {
            name: "my \"box\"".into(),
            url: "https://x".into(),
            id: 3,
            token: "glrt-t".into(),
            obtained_at: Timestamp(1_767_323_045_678),
            expires_at: None,
            executor: "sandbox",
            tls: Vec::new(),
        };
        let once = with_entry("", &new);
        assert!(once.starts_with("concurrent = 1\n"), "{once}");
        let twice = with_entry(&once, &new);
        let parsed = DeTable::parse(&twice).expect("TOML");
        let entries = parsed
            .get_ref()
            .get("runners")
            .and_then(|it| it.get_ref().as_array());
        assert_eq!(entries.map(|it| it.len()), Some(2));
    }
}
