//! Who may fetch and push, told to each as they may know it.

use axum::http::{StatusCode, request};
use rave_core::name::FullPath;
use rave_core::permission::{Access, Action, Denied, FetchCode, Principal, PushCode, decide};
use rave_core::port::{CreateProjectError, Directory, NewProject, ProjectRef};
use rave_http::HttpError;

use crate::service::Git;

/// The request's caller and the project that its address names.
pub(crate) struct Visitor {
    pub(crate) principal: Principal,
    pub(crate) project: ProjectRef,
}

impl Visitor {
    pub(crate) fn of(parts: &request::Parts) -> Result<Self, HttpError> {
        let principal = parts.extensions.get::<Principal>().cloned();
        let project = parts.extensions.get::<ProjectRef>().cloned();
        Ok(Self {
            principal: principal.unwrap_or(Principal::Anonymous),
            project: project.ok_or_else(|| HttpError::not_found("Project"))?,
        })
    }

    fn refuse(&self, denied: &Denied) -> HttpError {
        match (&self.principal, denied) {
            // Whether it is private or missing is not told to whoever has not said who they are.
            (Principal::Anonymous, _) => HttpError::unauthorized(),
            (_, Denied::Hidden) => HttpError::new(
                StatusCode::NOT_FOUND,
                "The project you were looking for could not be found or you don't have permission to view it.",
            ),
            _ => HttpError::denied(denied, &self.principal),
        }
    }

    async fn access<A: Action>(
        &self,
        directory: &dyn Directory,
    ) -> Result<Result<Access<A>, Denied>, HttpError> {
        let facts = directory
            .find_project(&self.principal, &self.project)
            .await?;
        Ok(facts
            .ok_or(Denied::Hidden)
            .and_then(|it| decide::<A>(&self.principal, it)))
    }
}

impl Git {
    /// Asks for leave to fetch.
    pub(crate) async fn may_fetch(
        &self,
        visitor: &Visitor,
    ) -> Result<Access<FetchCode>, HttpError> {
        let access = visitor.access(self.directory.as_ref()).await?;
        access.map_err(|it| visitor.refuse(&it))
    }

    /// Asks for leave to push.
    pub(crate) async fn may_push(&self, visitor: &Visitor) -> Result<Access<PushCode>, HttpError> {
        let access = visitor.access(self.directory.as_ref()).await?;
        access.map_err(|denied| match denied {
            Denied::Forbidden { .. } if visitor.principal != Principal::Anonymous => {
                HttpError::new(
                    StatusCode::FORBIDDEN,
                    "You are not allowed to push code to this project.",
                )
            }
            denied => visitor.refuse(&denied),
        })
    }

    /// Asks for leave to push, and makes the project when there is none and the caller may.
    pub(crate) async fn may_push_or_create(
        &self,
        visitor: &Visitor,
    ) -> Result<Access<PushCode>, HttpError> {
        if let (Principal::User(_), ProjectRef::Path(path)) = (&visitor.principal, &visitor.project)
        {
            let facts = self
                .directory
                .find_project(&visitor.principal, &visitor.project)
                .await?;
            if facts.is_none() && path.parent().is_some() {
                self.create_by_push(visitor, path).await?;
            }
        }
        self.may_push(visitor).await
    }

    async fn create_by_push(&self, visitor: &Visitor, path: &FullPath) -> Result<(), HttpError> {
        let new = NewProject {
            path: path.clone(),
            name: None,
            description: String::new(),
            visibility: None,
            default_branch: None,
        };
        match self.directory.create_project(&visitor.principal, new).await {
            Ok(project) => {
                tracing::info!(project.id = project.id.0, project.path = %project.path, "made a project by a push");
                Ok(())
            }
            // Another push was faster, or it exists and the caller may not know: the decision that follows tells.
            Err(CreateProjectError::Taken(_) | CreateProjectError::NoNamespace(_)) => Ok(()),
            Err(error @ CreateProjectError::InsufficientScope) => Err(HttpError::forbidden(error)),
            Err(CreateProjectError::Port(error)) => Err(error.into()),
        }
    }
}
