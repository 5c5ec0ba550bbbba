//! Who asks, and what they may do to a cache.
//!
//! Rights come from an Attic-style token's claims, or from what a user or job is to the projects and groups that the cache
//! is attached to, as far as their credentials reach.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use rave_core::id::{NamespaceId, ProjectId};
use rave_core::permission::{Principal, Role};
use rave_core::port::{AuthenticateError, Credentials, GroupRef, ProjectRef};
use rave_core::secret::{Secret, TokenDigest};
use rave_core::time::Timestamp;
use rave_http::caller::{self, Peer};
use rave_store::Error;

use super::Caches;
use crate::error::CacheError;
use crate::keys::OpenCache;
use crate::model::CacheName;
use crate::rights::{Allowed, Caller, Kind, Right, Rights};
use crate::store::attachments::{self, Target};
use crate::token::{self, Claims};

/// How long a verdict about one token and one cache is remembered.
const VERDICT_MS: i64 = 10_000;
/// How many verdicts are remembered.
const VERDICTS: usize = 10_000;
/// How deep groups may be nested.
const DEPTH: usize = 25;

/// Verdicts of the last seconds, so that a thousand narinfo files cost one look at a token.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<HashMap<(String, String), Verdict>>);

#[derive(Clone)]
struct Verdict {
    caller: Caller,
    rights: Rights,
    until: Timestamp,
}

/// Whoever makes a request, not judged yet.
#[derive(Clone, Debug)]
pub(crate) enum Visitor {
    /// With what a request's headers say, from an address.
    Headers {
        credentials: Option<Credentials>,
        peer: String,
    },
    /// Proven already, as on pages.
    Known(Principal),
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>();
        Ok(Self::Headers {
            credentials: credentials(&parts.headers),
            peer: peer.map_or_else(|| "unknown".to_owned(), |it| it.0.ip().to_string()),
        })
    }
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    let own = ["private-token", "job-token"].into_iter().find_map(header);
    match own {
        Some(token) => Some(Credentials::Token(Secret::new(token.trim()))),
        None => caller::authorization(headers),
    }
}

/// What a visitor turned out to be.
enum Proven {
    Anonymous,
    Bearer(Claims),
    Principal(Principal),
}

impl Caches {
    /// Judges whether a visitor may do `K` to the cache with this name.
    pub(crate) async fn allow<K: Kind>(
        &self,
        visitor: &Visitor,
        name: &str,
    ) -> Result<Allowed<K>, CacheError> {
        let cache = match CacheName::parse(name) {
            Ok(name) => self.open(&name).await?,
            Err(_) => None,
        };
        let (caller, rights) = self.judge(visitor, name, cache.as_ref()).await?;
        let open = cache.as_ref().is_some_and(|it| it.cache.settings.is_public);
        let rights = if open {
            rights.with(Right::Pull)
        } else {
            rights
        };
        Ok(Allowed::check(cache, caller, rights)?)
    }

    /// Judges whether a visitor may make a cache with this name.
    pub(crate) async fn allow_create(
        &self,
        visitor: &Visitor,
        name: &CacheName,
    ) -> Result<Caller, CacheError> {
        let (caller, rights) = self.judge(visitor, name.as_str(), None).await?;
        match rights.has(Right::Create) {
            true => Ok(caller),
            false if rights.may_see() => {
                Err(CacheError::Forbidden("You may not make this cache.".into()))
            }
            false => Err(CacheError::Unauthorized),
        }
    }

    async fn judge(
        &self,
        visitor: &Visitor,
        name: &str,
        cache: Option<&Arc<OpenCache>>,
    ) -> Result<(Caller, Rights), CacheError> {
        let key = match visitor {
            Visitor::Headers {
                credentials: Some(Credentials::Token(it)),
                ..
            } => it,
            Visitor::Headers {
                credentials: Some(Credentials::Basic { password, .. }),
                ..
            } => password,
            _ => return self.judge_anew(visitor, name, cache).await,
        };
        let generation = cache.map_or(0, |it| it.generation);
        let key = (
            TokenDigest::of(key.expose()).as_str().to_owned(),
            format!("{generation} {name}"),
        );
        let now = self.now();
        let found = {
            let known = self
                .verdicts
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            known.get(&key).filter(|it| now < it.until).cloned()
        };
        if let Some(it) = found {
            return Ok((it.caller, it.rights));
        }
        let (caller, rights) = self.judge_anew(visitor, name, cache).await?;
        let mut known = self
            .verdicts
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= VERDICTS {
            known.clear();
        }
        let until = now.plus_millis(VERDICT_MS);
        known.insert(
            key,
            Verdict {
                caller: caller.clone(),
                rights,
                until,
            },
        );
        Ok((caller, rights))
    }

    async fn judge_anew(
        &self,
        visitor: &Visitor,
        name: &str,
        cache: Option<&Arc<OpenCache>>,
    ) -> Result<(Caller, Rights), CacheError> {
        match self.prove(visitor).await? {
            Proven::Anonymous => Ok((Caller::anonymous(), Rights::NONE)),
            Proven::Bearer(claims) => {
                let rights = claims.rights(name);
                let caller = Caller {
                    label: claims.subject,
                    ..Caller::anonymous()
                };
                Ok((caller, rights))
            }
            Proven::Principal(principal) => {
                let rights = self.rights_of(&principal, cache).await?;
                Ok((Caller::of(&principal), rights))
            }
        }
    }

    /// Finds out who a visitor is. A token that is not valid proves nothing, and is no reason to refuse what is public.
    async fn prove(&self, visitor: &Visitor) -> Result<Proven, CacheError> {
        let (credentials, peer) = match visitor {
            Visitor::Known(Principal::Anonymous) => return Ok(Proven::Anonymous),
            Visitor::Known(principal) => return Ok(Proven::Principal(principal.clone())),
            Visitor::Headers {
                credentials: None, ..
            } => return Ok(Proven::Anonymous),
            Visitor::Headers {
                credentials: Some(it),
                peer,
            } => (it, peer),
        };
        if let Credentials::Token(text) | Credentials::Basic { password: text, .. } = credentials
            && token::is_token(text.expose())
        {
            let keys = self.token_keys().await?;
            let bounds = &self.config.token_bounds;
            let claims = token::verify(text.expose(), keys, bounds, self.now());
            return Ok(claims.map_or(Proven::Anonymous, Proven::Bearer));
        }
        match self.authenticator.authenticate(credentials, peer).await {
            Ok(Principal::Anonymous) | Err(AuthenticateError::Invalid) => Ok(Proven::Anonymous),
            Ok(principal) => Ok(Proven::Principal(principal)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the user or job that a visitor is; anonymous for those with a token of Attic's kind.
    pub(crate) async fn principal(&self, visitor: &Visitor) -> Result<Principal, CacheError> {
        Ok(match self.prove(visitor).await? {
            Proven::Principal(principal) => principal,
            Proven::Anonymous | Proven::Bearer(_) => Principal::Anonymous,
        })
    }

    /// Returns what a user or job may do to a cache, or to a name that no cache has.
    pub(crate) async fn rights_of(
        &self,
        principal: &Principal,
        cache: Option<&Arc<OpenCache>>,
    ) -> Result<Rights, CacheError> {
        let mut rights = Rights::NONE;
        if principal.is_admin() {
            rights = Rights::all();
        } else if principal.user().is_some() && self.config.users_create {
            rights = rights.with(Right::Create);
        }
        if let Some(cache) = cache.filter(|_| !principal.is_admin()) {
            rights = rights.or(self.rights_to(principal, cache).await?);
        }
        Ok(rights.and(Rights::of_scopes(principal)))
    }

    async fn rights_to(
        &self,
        principal: &Principal,
        cache: &OpenCache,
    ) -> Result<Rights, CacheError> {
        let user = principal.user();
        if user.is_some_and(|it| cache.cache.creator == Some(it.id.0)) {
            return Ok(Rights::all());
        }
        let id = cache.cache.id;
        let attached = self
            .db
            .read("cache_attached", move |tx| attachments::of_cache(tx, id))
            .await?;
        let job_groups = match principal {
            Principal::Job { project, .. } => self.groups_above(*project).await?,
            _ => Vec::new(),
        };
        let mut rights = Rights::NONE;
        for it in attached {
            rights = rights.or(match principal {
                Principal::Job { project, .. } if belongs(it.target, *project, &job_groups) => {
                    let read = Rights::NONE.with(Right::Pull);
                    if it.jobs_push {
                        read.with(Right::Push)
                    } else {
                        read
                    }
                }
                Principal::User(_) => self
                    .role_in(principal, it.target)
                    .await?
                    .map_or(Rights::NONE, Rights::of_role),
                _ => Rights::NONE,
            });
        }
        Ok(rights)
    }

    /// Returns the role of a user in a project or group, if they may know of it.
    pub(crate) async fn role_in(
        &self,
        principal: &Principal,
        target: Target,
    ) -> Result<Option<Role>, CacheError> {
        Ok(match target {
            Target::Project(id) => {
                let facts = self
                    .directory
                    .find_project(principal, &ProjectRef::Id(id))
                    .await?;
                facts.and_then(|it| it.role)
            }
            Target::Group(id) => {
                let facts = self
                    .directory
                    .find_group(principal, &GroupRef::Id(id))
                    .await?;
                facts.and_then(|it| it.role)
            }
        })
    }

    /// Returns the groups that a project is in, the innermost first.
    pub(crate) async fn groups_above(
        &self,
        project: ProjectId,
    ) -> Result<Vec<NamespaceId>, CacheError> {
        let mut groups = Vec::new();
        let project = self.directory.load_project(project).await?;
        let mut next = project.map(|it| it.namespace);
        while let Some(id) = next.filter(|_| groups.len() < DEPTH) {
            groups.push(id);
            next = self.directory.namespace(id).await?.and_then(|it| it.parent);
        }
        Ok(groups)
    }

    /// Returns the caches that a principal may read, with their rights, by name.
    pub(crate) async fn list_visible(
        &self,
        visitor: &Visitor,
    ) -> Result<Vec<(Arc<OpenCache>, Rights)>, CacheError> {
        let all = self
            .db
            .read("cache_names", |tx| {
                let all = crate::store::caches::list_all(tx)?;
                Ok::<_, Error>(all.into_iter().map(|it| it.name).collect::<Vec<_>>())
            })
            .await?;
        let mut visible = Vec::new();
        for name in all {
            if let Ok(allowed) = self
                .allow::<crate::rights::Pull>(visitor, name.as_str())
                .await
            {
                visible.push((allowed.cache.clone(), allowed.rights()));
            }
        }
        Ok(visible)
    }
}

fn belongs(target: Target, project: ProjectId, groups: &[NamespaceId]) -> bool {
    match target {
        Target::Project(id) => id == project,
        Target::Group(id) => groups.contains(&id),
    }
}

impl Verdicts {
    /// Forgets all verdicts, when what they rest on changed.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
