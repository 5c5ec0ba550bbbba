//! Making a group.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use rave_core::id::NamespaceId;
use rave_core::permission::Visibility;
use rave_core::port::{Directory as _, NamespaceSummary};
use rave_http::page::Chrome;
use rave_http::{HttpError, Page, Params};

use super::{Visitor, fixable, refused};
use crate::api::Part;
use crate::service::groups::NewGroup;

/// What the form holds.
#[derive(Default)]
struct Draft {
    name: String,
    path: String,
    parent: Option<i64>,
    visibility: Option<Visibility>,
}

/// Shows the form. `parent_id` preselects the group above.
pub(crate) async fn show(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    mut params: Params,
) -> Result<Response, HttpError> {
    let draft = Draft {
        parent: params.int("parent_id"),
        ..Draft::default()
    };
    let parents = parents(&part, &visitor).await?;
    let content = form(&page, &parents, &draft, None);
    Ok(page.render("New group", &Chrome::Instance, &content))
}

/// Makes the group.
pub(crate) async fn create(
    State(part): Part,
    page: Page,
    visitor: Visitor,
    mut params: Params,
) -> Result<Response, HttpError> {
    let draft = Draft {
        name: params.text("name").unwrap_or_default(),
        path: params.text("path").unwrap_or_default(),
        parent: params.int("parent_id"),
        visibility: params.choice("visibility", Visibility::from_label),
    };
    let path = if draft.path.is_empty() {
        &draft.name
    } else {
        &draft.path
    };
    let new = NewGroup {
        name: draft.name.clone(),
        path: path.trim().to_owned(),
        parent: draft.parent.map(NamespaceId),
        description: String::new(),
        visibility: draft.visibility.unwrap_or(Visibility::Private),
    };
    match part.create_group(&visitor.0, new).await {
        Ok(group) => Ok(page.redirect(&format!("/{}", group.path))),
        Err(error) => {
            let text = fixable(error)?;
            let parents = parents(&part, &visitor).await?;
            let content = form(&page, &parents, &draft, Some(&text));
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(page.render_status(status, "New group", &Chrome::Instance, &content))
        }
    }
}

async fn parents(
    part: &crate::Auth,
    visitor: &Visitor,
) -> Result<Vec<NamespaceSummary>, HttpError> {
    let mut all = part.writable_namespaces(&visitor.principal()).await?;
    all.retain(|it| it.owner.is_none());
    Ok(all)
}

fn form(page: &Page, parents: &[NamespaceSummary], draft: &Draft, error: Option<&str>) -> Markup {
    let chosen = draft.visibility.unwrap_or(Visibility::Private);
    let choices = [
        (Visibility::Private, "members only"),
        (Visibility::Internal, "everyone who is signed in"),
        (Visibility::Public, "everyone"),
    ];
    html! {
        h1 { "New group" }
        p.muted { "A group holds projects and gives its members a role in all of them." }
        (refused(error))
        form.stack method="post" action=(page.href("/-/groups/new")) {
            label { "Name" input name="name" value=(draft.name) maxlength="255" required autofocus; }
            label { "Path"
                input name="path" value=(draft.path) maxlength="255" pattern="[A-Za-z0-9_][A-Za-z0-9_.\\-]*" autocapitalize="none" spellcheck="false";
                span.help { "Letters, digits, '_', '-' and '.'. Empty takes the name." }
            }
            label { "In"
                select name="parent_id" {
                    option value="" { "no other group" }
                    @for parent in parents {
                        option value=(parent.id) selected[draft.parent == Some(parent.id.0)] { (parent.path) }
                    }
                }
            }
            fieldset {
                legend { "Who may see it" }
                @for (visibility, who) in choices {
                    label.check {
                        input type="radio" name="visibility" value=(visibility.label()) checked[visibility == chosen];
                        span { (visibility.label()) " " span.help { (who) } }
                    }
                }
            }
            div { button.primary { "Make group" } }
        }
    }
}
