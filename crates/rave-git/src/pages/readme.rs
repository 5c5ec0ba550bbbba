//! A directory's README: Markdown as HTML that cannot do harm, with links that lead into the repository.

use ammonia::Builder;
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Options, Parser};
use rave_http::page::encode_path;
use rave_http::{HttpError, Page};

use crate::git::batch::Kind;
use crate::git::tree::{Entry, EntryKind};
use crate::pages::pieces::Place;
use crate::reading::Reading;

/// Larger ones are shown as files only.
const LIMIT_BYTES: u64 = 512 << 10;
const NAMES: [&str; 5] = [
    "readme.md",
    "readme.markdown",
    "readme",
    "readme.txt",
    "readme.rst",
];

/// Finds and renders the README of a directory; empty when there is none.
pub(super) async fn of_directory(
    page: &Page,
    reading: &Reading,
    place: &Place,
    entries: &[Entry],
) -> Result<Markup, HttpError> {
    let rank = |it: &Entry| {
        NAMES
            .iter()
            .position(|name| it.name().eq_ignore_ascii_case(name))
    };
    let files = entries.iter().filter(|it| it.kind == EntryKind::Blob);
    let Some((_, entry)) = files
        .filter_map(|it| Some((rank(it)?, it)))
        .min_by_key(|it| it.0)
    else {
        return Ok(html! {});
    };
    let mut batch = reading.batch().await?;
    let info = batch.info(&entry.id).await?;
    let Some(info) = info.filter(|it| it.kind == Kind::Blob && it.size_bytes <= LIMIT_BYTES) else {
        return Ok(html! {});
    };
    let content = batch.content(&info).await?;
    let text = String::from_utf8_lossy(&content);
    let href = place.href(page, &reading.project, "blob", &entry.path);
    Ok(html! {
        section.card.readme {
            h2.readme-name { a href=(href) { (entry.name()) } }
            @if is_markdown(entry.name()) { (markdown(&text, page, reading, place, &entry.path)) }
            @else { pre { (text) } }
        }
    })
}

/// Whether a file of this name is Markdown.
pub(super) fn is_markdown(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".md") || name.ends_with(".markdown")
}

/// Renders Markdown. `file` is the path that relative links start from.
pub(super) fn markdown(
    text: &str,
    page: &Page,
    reading: &Reading,
    place: &Place,
    file: &str,
) -> Markup {
    let directory = file.rsplit_once('/').map_or("", |it| it.0);
    let base = |kind: &str| {
        page.project_href(
            &reading.project,
            &format!("/-/{kind}/{}", encode_path(&place.name)),
        )
    };
    let safe = render(text, directory, &base("blob"), &base("raw"));
    html! { div.markdown { (PreEscaped(safe)) } }
}

/// Renders Markdown to safe HTML. Relative links go to `blob`, pictures to `raw`, both without a trailing slash.
fn render(text: &str, directory: &str, blob: &str, raw: &str) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES;
    let mut unsafe_html = String::with_capacity(text.len() * 2);
    pulldown_cmark::html::push_html(&mut unsafe_html, Parser::new_ext(text, options));
    // The filter outlives this call as far as its type says.
    let (directory, blob, raw) = (directory.to_owned(), blob.to_owned(), raw.to_owned());
    Builder::default()
        .add_tags(["input"])
        .add_tag_attribute_values("input", "type", ["checkbox"])
        .add_tag_attributes("input", ["checked", "disabled"])
        .add_tag_attributes("p", ["align"])
        .add_tag_attributes("h1", ["align"])
        .attribute_filter(move |element, attribute, value| {
            let base = match (element, attribute) {
                ("a", "href") => &blob,
                ("img", "src") => &raw,
                _ => return Some(value.into()),
            };
            Some(absolute(value, &directory, base).into())
        })
        .clean(&unsafe_html)
        .to_string()
}

/// Turns a link that is relative to a directory of the repository into an address.
fn absolute(link: &str, directory: &str, base: &str) -> String {
    let has_scheme = link
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|it| it.contains(':'));
    if has_scheme || link.starts_with('#') || link.starts_with("//") || link.is_empty() {
        return link.to_owned();
    }
    let (path, tail) = link.split_at(link.find(['?', '#']).unwrap_or(link.len()));
    let mut parts: Vec<&str> = match path.starts_with('/') {
        true => Vec::new(),
        false => directory.split('/').filter(|it| !it.is_empty()).collect(),
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{base}/{}{tail}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_lead_into_the_repository() {
        let to = |link| absolute(link, "docs/a", "/t/p/-/blob/main");
        assert_eq!(to("b.md#x"), "/t/p/-/blob/main/docs/a/b.md#x");
        assert_eq!(to("../../../x"), "/t/p/-/blob/main/x");
        assert_eq!(to("/LICENSE"), "/t/p/-/blob/main/LICENSE");
        for link in ["https://x/y", "mailto:a@b", "#part", "//x/y"] {
            assert_eq!(to(link), link);
        }
    }

    #[test]
    fn nothing_in_a_readme_runs() {
        let html = render(
            "# Hi <script>alert(1)</script>\n\n[x](javascript:alert(1)) <a href=\"javascript:x\" onclick=\"y\">z</a>\n\n\
             ![p](p.png)<img src=\"q.png\" onerror=\"z\">\n<iframe src=\"/\"></iframe><style>x</style><form action=\"/\"><input type=\"text\"></form>\n\n- [x] done",
            "",
            "/b",
            "/r",
        );
        for bad in [
            "<script",
            "javascript:",
            "onclick",
            "onerror",
            "<iframe",
            "<style",
            "<form",
            "type=\"text\"",
        ] {
            assert!(!html.contains(bad), "{bad}: {html}");
        }
        assert!(
            html.contains("src=\"/r/p.png\"") && html.contains("src=\"/r/q.png\""),
            "{html}"
        );
        assert!(html.contains("type=\"checkbox\""), "{html}");
    }
}
