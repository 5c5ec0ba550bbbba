//! Images without Docker: pulled from registries, stored by layer, and handed to the sandbox as directories.
//!
//! Which image a job may have, and when a registry is asked for it, is decided here; running it is the sandbox's.

mod auth;
mod layer;
mod manifest;
mod reference;
mod registry;
mod store;
mod tar;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::{StreamExt as _, TryStreamExt as _};
use rave_core::time::Clock;

use crate::client::chain;
use crate::config::{ImagePolicy, PullPolicy, RunnerConfig, SandboxPolicy};
use crate::exec::Setup;
use crate::exec::wanted::Wanted;
use auth::Credentials;
use manifest::{ConfigBlob, Descriptor, Document, Platform};
use reference::Digest;
use registry::{Registries, RegistryError, Repository};
use store::{Lease, Record, Store, StoreError};

pub(crate) use auth::{AuthError, Credential};
pub(crate) use layer::{IDS, Owners};
pub(crate) use manifest::Settings;
pub(crate) use reference::Reference;

/// The most layers that the kernel puts on one another is 500; no builder makes that many.
const MOST_LAYERS: usize = 256;
/// How many layers of an image are downloaded at once.
const DOWNLOADS: usize = 3;

/// An image cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The administrator's rules or the job's own words are against it.
    #[error("{0}")]
    Refused(String),
    #[error("the image {0} is not on this machine, and the pull policy is never")]
    Absent(String),
    #[error("the image {image} has nothing for {platform}: there are {there}")]
    Platform {
        image: String,
        platform: String,
        there: String,
    },
    #[error("the registry's description of {image} is not valid: {reason}")]
    Description { image: String, reason: &'static str },
    #[error("cannot pull the image {image}")]
    Registry {
        image: String,
        source: RegistryError,
    },
    #[error(transparent)]
    Credentials(#[from] AuthError),
    #[error("cannot keep images")]
    Store(#[from] StoreError),
    #[error("no registry can be reached")]
    Client(#[source] RegistryError),
}

/// An image that is here and stays as long as this value lives.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) settings: Settings,
    lease: Lease,
}

impl Image {
    /// Returns the directories of its layers, from the lowest.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        self.lease.directories()
    }
}

/// The images that jobs can have.
pub(crate) struct Images {
    dir: PathBuf,
    owners: Owners,
    insecure_registries: Vec<String>,
    image_limit_bytes: u64,
    store_limit_bytes: u64,
    agent: String,
    clock: Arc<dyn Clock>,
    /// Opened by the first job that wants an image.
    opened: tokio::sync::OnceCell<(Arc<Store>, Registries)>,
    /// Layers that are being downloaded: a second job waits for the first.
    flights: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Images {
    pub(crate) fn new(config: &RunnerConfig, sandbox: &SandboxPolicy, owners: Owners) -> Self {
        Self {
            dir: config.images_dir.clone(),
            owners,
            insecure_registries: sandbox.insecure_registries.clone(),
            image_limit_bytes: sandbox.image_limit_bytes,
            store_limit_bytes: sandbox.image_store_limit_bytes,
            agent: format!("rave-runner/{}", config.version),
            clock: config.clock.clone(),
            opened: tokio::sync::OnceCell::new(),
            flights: Mutex::default(),
        }
    }

    async fn opened(&self) -> Result<&(Arc<Store>, Registries), ImageError> {
        let open = || async {
            let registries = Registries::new(&self.insecure_registries, &self.agent)
                .map_err(ImageError::Client)?;
            let (dir, owners, limit) = (self.dir.clone(), self.owners, self.store_limit_bytes);
            let store = blocking(move || Store::open(&dir, owners, limit)).await?;
            Ok((Arc::new(store), registries))
        };
        self.opened.get_or_try_init(open).await
    }

    /// Makes an image available as the policies say, trying one after the other. `job` are the job's own credentials: those
    /// of its variables, and those that the server sent along. What happens is said in lines for the job's log.
    pub(crate) async fn prepare(
        &self,
        wanted: &Wanted,
        job: &JobCredentials,
        say: &(dyn Fn(&str) + Sync),
        warn: &(dyn Fn(&str) + Sync),
    ) -> Result<Image, ImageError> {
        let refused = |error: &dyn std::error::Error| ImageError::Refused(chain(error));
        let reference = Reference::parse(&wanted.name).map_err(|error| refused(&error))?;
        let platform = match wanted.platform.as_str() {
            "" => Platform::of_this_machine(),
            text => Platform::parse(text).ok_or_else(|| {
                ImageError::Refused(format!("{text:?} is not a platform such as linux/arm64"))
            })?,
        };
        let (store, _) = self.opened().await?;
        let mut failure = ImageError::Absent(reference.to_string());
        for (number, policy) in wanted.pull_policies.iter().copied().enumerate() {
            if number > 0 {
                warn(&format!(
                    "WARNING: {}; trying the pull policy {}",
                    chain(&failure),
                    policy.name()
                ));
            }
            let here = || store.find(&reference, &platform, self.clock.now());
            let found = match policy {
                PullPolicy::Always => None,
                PullPolicy::IfNotPresent | PullPolicy::Never => here(),
            };
            let done = match (found, policy) {
                (Some(found), _) => {
                    say(&format!(
                        "Found the image {reference} on this machine (pull policy {})",
                        policy.name()
                    ));
                    Ok(found)
                }
                (None, PullPolicy::Never) => Err(ImageError::Absent(reference.to_string())),
                (None, _) => {
                    say(&format!("Pulling the image {reference} ..."));
                    self.pull(&reference, &platform, job, say).await
                }
            };
            match done {
                Ok((record, lease)) => {
                    let mib = record.bytes().div_ceil(1 << 20);
                    let text = format!(
                        "Using the image {reference} with the digest {} ({mib} MiB)",
                        record.digest
                    );
                    say(&text);
                    return Ok(Image {
                        settings: record.settings,
                        lease,
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        job: &JobCredentials,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<(Record, Lease), ImageError> {
        let (store, registries) = self.opened().await?;
        let found = job.find(reference);
        if let Some((_, name)) = found {
            say(&format!(
                "Logging in to {} with the credentials of {name}",
                reference.registry
            ));
        }
        let credential = found.map(|it| it.0);
        let failed = |source| ImageError::Registry {
            image: reference.to_string(),
            source,
        };
        let repository = registries.open(reference, credential).map_err(failed)?;
        let (digest, manifest) = self.manifest(&repository, reference, platform).await?;
        let invalid = |reason| ImageError::Description {
            image: reference.to_string(),
            reason,
        };
        let described = manifest
            .config
            .as_ref()
            .and_then(Descriptor::digest)
            .ok_or_else(|| invalid("it has no configuration"))?;
        let blob = repository.document(&described).await.map_err(failed)?;
        let blob: ConfigBlob = serde_json::from_slice(&blob)
            .map_err(|_| invalid("its configuration is not one of an image"))?;
        let layers = blob
            .layers()
            .ok_or_else(|| invalid("its layers have digests that are not understood"))?;
        if layers.len() != manifest.layers.len() || layers.is_empty() || layers.len() > MOST_LAYERS
        {
            return Err(invalid(
                "its number of layers is wrong, or larger than any builder makes",
            ));
        }
        let packed: u64 = manifest
            .layers
            .iter()
            .fold(0, |sum, it| sum.saturating_add(it.size));
        if packed > self.image_limit_bytes {
            let text = format!(
                "the image {reference} has {packed} bytes, and images may have {}",
                self.image_limit_bytes
            );
            return Err(ImageError::Refused(text));
        }
        let lease = store.lease(layers.clone());
        let wanted = layers.into_iter().zip(manifest.layers);
        let done: Vec<(Digest, u64)> = futures_util::stream::iter(wanted)
            .map(|(layer, descriptor)| self.layer(&repository, reference, layer, descriptor))
            .buffered(DOWNLOADS)
            .try_collect()
            .await?;
        let bytes: u64 = done.iter().map(|it| it.1).sum();
        if bytes > self.image_limit_bytes {
            let text = format!(
                "the image {reference} unpacks to {bytes} bytes, and images may have {}",
                self.image_limit_bytes
            );
            return Err(ImageError::Refused(text));
        }
        let record = Record::new(reference, &digest, blob.settings(), &done);
        let (store, now) = (store.clone(), self.clock.now());
        let (image, platform, kept) = (reference.clone(), platform.clone(), record.clone());
        blocking(move || store.commit(&image, &platform, &kept, now)).await?;
        Ok((record, lease))
    }

    /// Returns the manifest for a platform, and its digest.
    async fn manifest(
        &self,
        repository: &Repository<'_>,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Digest, Document), ImageError> {
        let failed = |source| ImageError::Registry {
            image: reference.to_string(),
            source,
        };
        let invalid = |reason| ImageError::Description {
            image: reference.to_string(),
            reason,
        };
        let read = |body: &[u8]| {
            serde_json::from_slice::<Document>(body).map_err(|_| invalid("its manifest is none"))
        };
        let (digest, body) = repository
            .manifest(&reference.wanted())
            .await
            .map_err(failed)?;
        let document = read(&body)?;
        if !document.is_index() {
            return Ok((digest, document));
        }
        let chosen = document
            .choose(platform)
            .ok_or_else(|| ImageError::Platform {
                image: reference.to_string(),
                platform: platform.to_string(),
                there: document.platforms(),
            })?;
        let chosen = chosen
            .digest()
            .ok_or_else(|| invalid("its index has a digest that is not understood"))?;
        let (digest, body) = repository
            .manifest(&chosen.to_string())
            .await
            .map_err(failed)?;
        Ok((digest, read(&body)?))
    }

    /// Makes one layer available, and returns it with its size.
    async fn layer(
        &self,
        repository: &Repository<'_>,
        reference: &Reference,
        layer: Digest,
        descriptor: Descriptor,
    ) -> Result<(Digest, u64), ImageError> {
        let flight = self.flight(&layer);
        let _one_at_a_time = flight.lock().await;
        let (store, _) = self.opened().await?;
        if let Some(bytes) = store.layer_bytes(&layer) {
            return Ok((layer, bytes));
        }
        let invalid = |reason| ImageError::Description {
            image: reference.to_string(),
            reason,
        };
        let packed = descriptor
            .digest()
            .ok_or_else(|| invalid("a layer has a digest that is not understood"))?;
        let mut blob = store.blob()?;
        let downloaded = repository.download(&descriptor, &packed, &mut blob).await;
        downloaded.map_err(|source| ImageError::Registry {
            image: reference.to_string(),
            source,
        })?;
        let (store, limit) = (store.clone(), self.image_limit_bytes);
        let bytes = {
            let layer = layer.clone();
            blocking(move || store.add_layer(blob, &layer, limit)).await?
        };
        Ok((layer, bytes))
    }

    fn flight(&self, layer: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, it| it.strong_count() > 0);
        if let Some(flight) = flights.get(layer).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::default();
        flights.insert(layer.clone(), Arc::downgrade(&flight));
        flight
    }
}

/// The credentials that a job may use, in the order in which they count.
#[derive(Debug, Default)]
pub(crate) struct JobCredentials {
    /// Those of its variable `DOCKER_AUTH_CONFIG`.
    variable: Credentials,
    runner: Credentials,
    /// Those that the server sent along.
    server: Credentials,
}

impl JobCredentials {
    /// Reads the text of the job's variable, the runner's file, and the list that came with the job.
    ///
    /// # Errors
    /// When one of them is no Docker configuration.
    pub(crate) fn new(setup: &Setup<'_>, policy: &ImagePolicy) -> Result<Self, AuthError> {
        let variable = match setup.variables.get("DOCKER_AUTH_CONFIG").trim() {
            "" => Credentials::default(),
            text => Credentials::parse(text, "the variable DOCKER_AUTH_CONFIG")?,
        };
        let runner = match &policy.auth_file {
            Some(path) => Credentials::read(path)?,
            None => Credentials::default(),
        };
        let mut server = Credentials::default();
        for it in setup
            .job
            .credentials
            .iter()
            .filter(|it| it.kind == "registry")
        {
            server.add(&it.url, &it.username, &it.password);
        }
        Ok(Self {
            variable,
            runner,
            server,
        })
    }

    /// Returns the credential for an image, and where it is from.
    pub(crate) fn find(&self, image: &Reference) -> Option<(&Credential, &'static str)> {
        let origins = [
            (&self.variable, "DOCKER_AUTH_CONFIG"),
            (&self.runner, "the runner's configuration"),
            (&self.server, "the job"),
        ];
        let mut found = origins.into_iter();
        found.find_map(|(it, origin)| Some((it.find(image)?, origin)))
    }
}

/// Does work on files where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let failed = |error| StoreError::File {
        path: Path::new("images").to_owned(),
        source: std::io::Error::other(error),
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
