//! One file.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};
use rave_core::name::RepoPath;
use rave_core::permission::ReadCode;
use rave_http::page::Tab;
use rave_http::{Authorized, HttpError, Page, Params, component};

use crate::git::batch::{Info, Kind};
use crate::pages::pieces::{self, Place, chrome};
use crate::pages::raw::image_type;
use crate::pages::{highlight, readme};
use crate::reading::Reading;
use crate::service::Git;

/// Larger files are offered for download only.
const LIMIT_BYTES: u64 = 512 << 10;

/// How a file is shown.
enum View {
    Picture,
    Text(String),
    Markdown(String),
    Binary,
    TooLarge,
}

pub(super) async fn blob(
    State(git): State<Arc<Git>>,
    Authorized(access): Authorized<ReadCode>,
    page: Page,
    Path(rest): Path<String>,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reading = Reading::open(&git, &access).await?;
    let place = Place::find(&reading, &rest).await?;
    let plain = params.text("plain").is_some();
    let (info, view) = load(&reading, &place, plain).await?;
    let project = &reading.project;
    let raw = place.href(&page, project, "raw", &place.path);
    let this = place.href(&page, project, "blob", &place.path);
    let shown = show(&page, &reading, &place, view, &raw).await?;
    let content = html! {
        h1.visually-hidden { (place.path) " at " (place.name) }
        div.row.toolbar.wide { (pieces::branch_menu(&page, &reading, &place, "tree").await?) (place.crumbs(&page, project)) }
        section.card.file {
            header.row {
                span.muted { (component::size(info.size_bytes)) }
                span.spring {}
                @if readme::is_markdown(&place.path) {
                    @if plain { a.button.small href=(this) { "Rendered" } }
                    @else { a.button.small href={ (this) "?plain=1" } { "Source" } }
                }
                a.button.small href=(place.href(&page, project, "commits", &place.path)) { "History" }
                a.button.small href=(page.project_href(project, &format!("/-/blob/{}/{}", place.commit, rave_http::page::encode_path(&place.path)))) { "Permalink" }
                a.button.small href=(raw) { "Raw" }
            }
            (shown)
        }
    };
    let title = format!("{} at {} · {}", place.path, place.name, project.path);
    Ok(page.render(
        &title,
        &chrome(project, access.role(), Tab::Files),
        &content,
    ))
}

async fn load(reading: &Reading, place: &Place, plain: bool) -> Result<(Info, View), HttpError> {
    let missing = || HttpError::not_found("File");
    let path = RepoPath::parse(&place.path).map_err(|_| missing())?;
    let mut batch = reading.batch().await?;
    let info = batch.info(&format!("{}:{path}", place.commit)).await?;
    let info = info
        .filter(|it| it.kind == Kind::Blob)
        .ok_or_else(missing)?;
    if image_type(&place.path).is_some() {
        return Ok((info, View::Picture));
    }
    if info.size_bytes > LIMIT_BYTES {
        return Ok((info, View::TooLarge));
    }
    let bytes = batch.content(&info).await?;
    let view = match String::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => View::Binary,
        Ok(text) if readme::is_markdown(&place.path) && !plain => View::Markdown(text),
        Ok(text) => View::Text(text),
        // Old encodings are text as well, as long as no NUL is in it.
        Err(error) if error.as_bytes().contains(&0) => View::Binary,
        Err(error) => View::Text(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    };
    Ok((info, view))
}

async fn show(
    page: &Page,
    reading: &Reading,
    place: &Place,
    view: View,
    raw: &str,
) -> Result<Markup, HttpError> {
    let download =
        |text: &str| html! { div.empty { p { (text) } a.button href=(raw) { "Download" } } };
    Ok(match view {
        View::Picture => html! { div.picture { img src=(raw) alt=(place.path); } },
        View::Text(text) if text.is_empty() => html! { p.muted { "The file is empty." } },
        View::Text(text) => {
            let path = place.path.clone();
            let coloured = tokio::task::spawn_blocking(move || highlight::source(&path, &text));
            coloured.await.map_err(HttpError::internal)?
        }
        View::Markdown(text) => readme::markdown(&text, page, reading, place, &place.path),
        View::Binary => download("This is not text."),
        View::TooLarge => download("This file is too large to show here."),
    })
}
