//! Keeps requests out of the server's own neighbourhood.

use std::net::{IpAddr, SocketAddr};

use rave_core::net::is_public;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// An address that must not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Blocked {
    #[error("URL is blocked: Only allowed schemes are http, https")]
    Scheme,
    #[error(
        "URL is blocked: Requests to the local network are not allowed unless ci.include_private_addresses is set"
    )]
    Private,
}

/// Decides which addresses may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    pub(super) allows: fn(IpAddr) -> bool,
}

impl Guard {
    pub(super) fn new(private_addresses: bool) -> Self {
        Self {
            allows: if private_addresses {
                |_| true
            } else {
                is_public
            },
        }
    }

    /// Checks what can be seen of a URL. A host that is an address is never resolved, so it is judged here.
    pub(super) fn check(self, url: &Url) -> Result<(), Blocked> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Blocked::Scheme);
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) if !(self.allows)(address) => Err(Blocked::Private),
            _ => Ok(()),
        }
    }
}

/// Names resolve to allowed addresses only, and the connection goes to one of these: a name cannot mean one thing when it is
/// checked and another when it is used.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|it| (guard.allows)(it.ip())).collect();
            if allowed.is_empty() {
                return Err(Blocked::Private.into());
            }
            Ok::<Addrs, _>(Box::new(allowed.into_iter()))
        })
    }
}
