//! The settings of continuous integration: variables of a project, a group or the instance, and a project's trigger
//! tokens. One set of handlers serves all three.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::html;
use rave_core::permission::{Access, ManageProject};
use rave_core::port::Slice;
use rave_core::secret::Secret;
use rave_http::page::{Chrome, Tab};
use rave_http::{HttpError, Page, Pagination, Params};

use super::base;
use super::list_view;
use super::settings_view::{self, Desk, VariableForm};
use crate::api::keeper::Kept;
use crate::api::numbers::PathParams;
use crate::error::{CiError, mistakes};
use crate::service::Ci;
use crate::service::settings::SettingChange;
use crate::setting::{EVERYWHERE, Setting};

/// How many tokens the page shows; the API lists more.
const TRIGGERS: u64 = 100;

/// What a request needs to show or change one owner's settings.
pub(super) struct Context {
    ci: Arc<Ci>,
    kept: Kept,
    page: Page,
    desk: Desk,
}

impl FromRequestParts<Arc<Ci>> for Context {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, ci: &Arc<Ci>) -> Result<Self, HttpError> {
        let kept = Kept::from_request_parts(parts, ci).await?;
        let Ok(page) = Page::from_request_parts(parts, ci).await;
        let desk = match &kept {
            Kept::Project(access, _) => Desk {
                href: page.project_href(access.project(), "/-/settings/ci_cd"),
                of: "this project".to_owned(),
                runners: page.project_href(access.project(), "/-/runners"),
                scoped: true,
            },
            Kept::Group(facts, _) => Desk {
                href: page.href(&format!("/-/groups/{}/settings/ci_cd", facts.group.id)),
                of: format!("the group {}", facts.group.path),
                runners: page.href(&format!("/-/groups/{}/runners", facts.group.id)),
                scoped: true,
            },
            Kept::Instance(_) => Desk {
                href: page.href("/-/admin/ci_cd"),
                of: "this instance".to_owned(),
                runners: page.href("/-/admin/runners"),
                scoped: false,
            },
        };
        Ok(Self {
            ci: ci.clone(),
            kept,
            page,
            desk,
        })
    }
}

impl Context {
    fn chrome(&self) -> Chrome {
        match &self.kept {
            Kept::Project(access, _) => base::chrome(access.as_ref(), Tab::Settings),
            Kept::Group(..) | Kept::Instance(_) => Chrome::Instance,
        }
    }

    fn back(&self) -> Response {
        Redirect::to(&self.desk.href).into_response()
    }

    fn render(&self, status: StatusCode, content: &maud::Markup) -> Response {
        self.page
            .render_status(status, "CI/CD settings", &self.chrome(), content)
    }
}

/// Shows the variables, their values if asked to, and a project's trigger tokens.
pub(super) async fn show(
    context: Context,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let reveal = params.bool("reveal").unwrap_or(false);
    let form = VariableForm::default();
    overview(&context, &pagination, reveal, &form, StatusCode::OK).await
}

async fn overview(
    context: &Context,
    pagination: &Pagination,
    reveal: bool,
    form: &VariableForm,
    status: StatusCode,
) -> Result<Response, HttpError> {
    let Context { ci, kept, desk, .. } = context;
    let found = ci.list_settings(kept.keeper(), pagination.slice()).await?;
    let triggers = match kept {
        Kept::Project(access, _) => Some(triggers(ci, access).await?),
        Kept::Group(..) | Kept::Instance(_) => None,
    };
    let content = html! {
        (settings_view::variables(desk, &found.items, reveal))
        (list_view::pager(pagination, found.total, &format!("{}?", desk.href)))
        (settings_view::new_variable(desk, form))
        @if let (Some((triggers, people)), Kept::Project(access, _)) = (&triggers, kept) {
            (settings_view::triggers(desk, triggers, people, &example(context, access)))
            (settings_view::badge(&badge_of(context, access)))
        }
    };
    Ok(context.render(status, &content))
}

type Triggers = (Vec<crate::store::trigger::Trigger>, base::People);

async fn triggers(ci: &Ci, access: &Access<ManageProject>) -> Result<Triggers, HttpError> {
    let slice = Slice {
        offset: 0,
        limit: TRIGGERS,
    };
    let found = ci.list_triggers(access, slice).await?.items;
    let people = base::people(ci, found.iter().map(|it| Some(it.owner))).await?;
    Ok((found, people))
}

fn example(context: &Context, access: &Access<ManageProject>) -> String {
    let project = access.project();
    format!(
        "curl -X POST -F token=TOKEN -F ref={} {}/api/v4/projects/{}/trigger/pipeline",
        project.default_branch,
        context.page.shared().external_url,
        project.id
    )
}

/// Returns the address of the default branch's badge, for whoever reads it elsewhere.
fn badge_of(context: &Context, access: &Access<ManageProject>) -> settings_view::BadgeLinks {
    let project = access.project();
    let branch = rave_http::page::encode_path(&project.default_branch);
    let url = format!("{}/{}", context.page.shared().external_url, project.path);
    let tail = format!("/-/badges/{branch}/pipeline.svg");
    settings_view::BadgeLinks {
        picture: context.page.project_href(project, &tail),
        markdown: format!("[![pipeline]({url}{tail})]({url}/-/pipelines)"),
    }
}

/// Adds a variable.
pub(super) async fn create(
    context: Context,
    pagination: Pagination,
    mut params: Params,
) -> Result<Response, HttpError> {
    let mut form = VariableForm::read(&mut params);
    let hidden = form.visibility == "hidden";
    let new = Setting {
        key: form.key.clone(),
        value: Secret::new(form.value.clone()),
        file: form.file,
        masked: hidden || form.visibility == "masked",
        hidden,
        protected: form.protected,
        raw: !form.expand,
        scope: scope(&form),
        description: description(&form),
    };
    match context.ci.create_setting(context.kept.keeper(), new).await {
        Ok(_) => Ok(context.back()),
        Err(CiError::Rejected(list)) => {
            form.problem = Some(explain(&list));
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            overview(&context, &pagination, false, &form, status).await
        }
        Err(error) => Err(error.into()),
    }
}

fn scope(form: &VariableForm) -> String {
    match form.scope.trim() {
        "" => EVERYWHERE.to_owned(),
        scope => scope.to_owned(),
    }
}

fn description(form: &VariableForm) -> Option<String> {
    Some(form.description.trim().to_owned()).filter(|it| !it.is_empty())
}

/// Says what is wrong so that a person knows what to do.
fn explain(list: &[crate::setting::Mistake]) -> String {
    if list.contains(&("value", "is invalid".to_owned())) {
        return "This value cannot be masked: it needs 8 characters or more, in one line, of letters, digits and _+=/@:.~- \
                (or any but spaces when references are not expanded)."
            .to_owned();
    }
    let text = mistakes(list);
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Returns the scope that tells variables of one key apart.
fn which(params: &mut Params) -> Option<String> {
    params.text("scope").filter(|it| !it.is_empty())
}

/// Shows one variable with its value, to be changed.
pub(super) async fn edit(
    context: Context,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let wanted = which(&mut params);
    let found = context
        .ci
        .load_setting(context.kept.keeper(), path.text("key"), wanted.as_deref())
        .await?;
    let form = VariableForm::of(&found);
    let content = settings_view::edit_variable(&context.desk, &found, &form);
    Ok(context.render(StatusCode::OK, &content))
}

/// Changes a variable.
pub(super) async fn update(
    context: Context,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let wanted = which(&mut params);
    let mut form = VariableForm::read(&mut params);
    let keeper = context.kept.keeper();
    let found = context
        .ci
        .load_setting(keeper, path.text("key"), wanted.as_deref())
        .await?;
    // What nobody is shown stays as it is unless something else is written.
    let kept = found.hidden && form.value.is_empty();
    let change = SettingChange {
        value: (!kept).then(|| Secret::new(form.value.clone())),
        file: Some(form.file),
        masked: Some(found.hidden || form.visibility != "visible"),
        protected: Some(form.protected),
        raw: Some(!form.expand),
        scope: Some(scope(&form)),
        description: Some(form.description.trim().to_owned()),
    };
    let changed = context
        .ci
        .update_setting(keeper, &found.key, Some(&found.scope), change)
        .await;
    match changed {
        Ok(_) => Ok(context.back()),
        Err(CiError::Rejected(list)) => {
            form.problem = Some(explain(&list));
            let content = settings_view::edit_variable(&context.desk, &found, &form);
            Ok(context.render(StatusCode::UNPROCESSABLE_ENTITY, &content))
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes a variable.
pub(super) async fn delete(
    context: Context,
    path: PathParams,
    mut params: Params,
) -> Result<Response, HttpError> {
    let wanted = which(&mut params);
    context
        .ci
        .delete_setting(context.kept.keeper(), path.text("key"), wanted.as_deref())
        .await?;
    Ok(context.back())
}

/// Makes a trigger token and shows it, which cannot be done again: hence no redirect.
pub(super) async fn create_trigger(
    State(ci): State<Arc<Ci>>,
    context: Context,
    mut params: Params,
) -> Result<Response, HttpError> {
    let Kept::Project(access, _) = &context.kept else {
        return Err(HttpError::not_found("Project"));
    };
    let description = params.text("description").unwrap_or_default();
    match ci.create_trigger(access, description).await {
        Ok((_, token)) => {
            let command = example(&context, access).replace("TOKEN", token.expose());
            let content = settings_view::trigger_created(&context.desk, &token, &command);
            Ok(context.render(StatusCode::OK, &content))
        }
        Err(CiError::Rejected(list)) => {
            Err(HttpError::bad_request(explain(&list))
                .hint("go back, and say what the token is for"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes a trigger token.
pub(super) async fn delete_trigger(
    State(ci): State<Arc<Ci>>,
    context: Context,
    path: PathParams,
) -> Result<Response, HttpError> {
    let Kept::Project(access, _) = &context.kept else {
        return Err(HttpError::not_found("Project"));
    };
    ci.delete_trigger(access, path.trigger()?).await?;
    Ok(context.back())
}
