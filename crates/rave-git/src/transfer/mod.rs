//! Smart HTTP: `info/refs`, `git-upload-pack`, `git-receive-pack`.

mod body;
pub(crate) mod child;
mod commands;
mod gate;
mod pkt;
mod receive;
mod refs;
pub(crate) mod upload;

pub(crate) use receive::receive_pack;
pub(crate) use refs::info_refs;
pub(crate) use upload::upload_pack;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use rave_http::HttpError;

/// One of the two programs that move packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    UploadPack,
    ReceivePack,
}

impl Service {
    /// Returns the service with this name on the wire.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "git-upload-pack" => Some(Self::UploadPack),
            "git-receive-pack" => Some(Self::ReceivePack),
            _ => None,
        }
    }

    /// Returns the git command.
    const fn command(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }

    fn content_type(self, what: &str) -> String {
        format!("application/x-git-{}-{what}", self.command())
    }

    /// Checks that a request's body is what it should be, so that no form of another site can be one.
    fn check_content_type(self, headers: &HeaderMap) -> Result<(), HttpError> {
        let found = headers
            .get(header::CONTENT_TYPE)
            .and_then(|it| it.to_str().ok());
        let wanted = self.content_type("request");
        if found == Some(wanted.as_str()) {
            return Ok(());
        }
        let message = format!("the body must be {wanted}");
        Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
    }
}

/// Returns the protocol version that the client asks for, as git takes it from its environment.
///
/// Git has no version 2 of pushing and would leave the old greeting out if it were told of one.
fn protocol(headers: &HeaderMap, service: Service) -> Option<&str> {
    let value = headers.get("git-protocol")?.to_str().ok()?;
    let plain = value.len() <= 256 && value.bytes().all(|it| (0x20..0x7f).contains(&it));
    let wanted = service == Service::UploadPack || !value.split(':').any(|it| it == "version=2");
    (plain && wanted).then_some(value)
}

/// Adds what every answer of smart HTTP says: its type, and that nobody may keep it.
fn finish(mut response: Response, content_type: &str) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 3] = [
        (
            header::CACHE_CONTROL,
            "no-cache, max-age=0, must-revalidate",
        ),
        (header::EXPIRES, "Fri, 01 Jan 1980 00:00:00 GMT"),
        (header::PRAGMA, "no-cache"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    response
}
