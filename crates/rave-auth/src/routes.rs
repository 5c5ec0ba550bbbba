//! The table of contents of this part's pages and API.

use std::sync::Arc;

use rave_http::Routes;

use crate::Auth;

pub(crate) fn routes() -> Routes<Arc<Auth>> {
    Routes::new()
}
