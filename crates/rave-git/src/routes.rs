//! The part's table of contents.

use std::sync::Arc;

use rave_http::Routes;

use crate::service::Git;
use crate::transfer;

/// Returns all routes.
pub(crate) fn routes(git: Arc<Git>) -> Routes {
    let transfer = Routes::new()
        .get("{project}.git/info/refs", transfer::info_refs)
        .post("{project}.git/git-upload-pack", transfer::upload_pack)
        .post("{project}.git/git-receive-pack", transfer::receive_pack);
    transfer.with_state(git)
}
