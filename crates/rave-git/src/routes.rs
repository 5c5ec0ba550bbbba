//! The part's table of contents.

use std::sync::Arc;

use rave_http::Routes;

use crate::service::Git;
use crate::{api, pages, transfer};

/// Returns all routes.
pub(crate) fn routes(git: Arc<Git>) -> Routes {
    let transfer = Routes::new()
        .get("{project}.git/info/refs", transfer::info_refs)
        .post("{project}.git/git-upload-pack", transfer::upload_pack)
        .post("{project}.git/git-receive-pack", transfer::receive_pack);
    let all = transfer.with_state(git.clone());
    all.merge(api::routes().with_state(git.clone()))
        .merge(pages::routes().with_state(git))
}
