//! `GET info/refs`: what there is to fetch, or what a push would build on.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::BytesMut;
use rave_http::HttpError;

use crate::service::Git;
use crate::transfer::gate::Visitor;
use crate::transfer::{Service, child, finish, pkt, protocol, upload};

/// Answers the request that begins each fetch and push.
pub(crate) async fn info_refs(
    State(git): State<Arc<Git>>,
    request: Request,
) -> Result<Response, HttpError> {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let name = rave_http::params::find_in_query(query, "service").unwrap_or_default();
    let service = Service::from_name(&name);
    let visitor = Visitor::of(&parts)?;
    let project = match service {
        Some(Service::ReceivePack) => git.may_push_or_create(&visitor).await?.project().clone(),
        Some(Service::UploadPack) | None => git.may_fetch(&visitor).await?.project().clone(),
    };
    let Some(service) = service else {
        let message = "Only smart HTTP is served here: use git 1.6.6 or later.";
        return Err(HttpError::new(StatusCode::FORBIDDEN, message));
    };
    let repository = git.repository(&project).await?;
    let version = protocol(&parts.headers, service);
    let mut command = child::command(&git.runner, service, &repository, version, &[]);
    command.arg("--http-backend-info-refs").arg(&repository);
    let mut greeting = BytesMut::new();
    if !version.is_some_and(|it| it.split(':').any(|it| it == "version=2")) {
        greeting.extend_from_slice(&pkt::line(&format!("# service={name}\n")));
        greeting.extend_from_slice(pkt::FLUSH);
    }
    let permit = git.runner.permit().await;
    let (group, pieces) = child::start(&mut command, service.command())?;
    let body = upload::answer(
        &git,
        service.command(),
        group,
        pieces,
        greeting.freeze(),
        permit,
    )
    .await?;
    let response = finish(body.into_response(), &service.content_type("advertisement"));
    Ok(with_no_length(response))
}

/// The body is a stream: nothing may claim to know its length.
fn with_no_length(mut response: Response) -> Response {
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}
