//! Where the text of an included file comes from, and what is said when there is none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::facts::{Facts, Place};
use crate::yaml::TOO_BIG;
use crate::{Foreign, OpenError, RemoteError, RemoteFile};

use super::entry::{Request, Source, is_url};
use super::location::{Component, Location};

const TEMPLATE_SUFFIX: &str = ".gitlab-ci.yml";

/// A file that was found.
pub(super) struct Fetched {
    pub(super) text: String,
    /// Where the file is: its own includes start there.
    pub(super) location: Location,
    /// Names the file in messages.
    pub(super) shown: String,
    /// Names the file in places: other projects' files say whose they are.
    pub(super) name: String,
    /// The path where the file is, or the address.
    pub(super) path: String,
    pub(super) origin: Origin,
}

/// Why there is no file, in GitLab's words, and what to do.
pub(super) struct Unfetched {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl From<String> for Unfetched {
    fn from(message: String) -> Self {
        let hint = None;
        Self { message, hint }
    }
}

/// How a file was named.
#[derive(Default)]
pub(super) struct Origin {
    pub(super) kind: &'static str,
    pub(super) project: Option<Foreign>,
    pub(super) reference: Option<String>,
    pub(super) job: Option<String>,
}

impl Origin {
    fn of(kind: &'static str) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }
}

pub(super) struct Fetcher<'a, 'r> {
    pub(super) facts: &'a Facts<'a>,
    /// Where the including file is.
    pub(super) at: &'r Location,
    /// Makes a text fit for people.
    pub(super) mask: &'r dyn Fn(&str) -> String,
}

impl Fetcher<'_, '_> {
    /// Begins to fetch all files of other servers that a list names.
    pub(super) fn prefetch(&self, requests: &[Request]) {
        let remote = |request: &Request| match &request.source {
            Source::Remote {
                url, cache_secs, ..
            } if is_url(url) && is_yaml(url) => Some(RemoteFile {
                url: url.clone(),
                cache_secs: *cache_secs,
            }),
            _ => None,
        };
        let mut files: Vec<RemoteFile> = Vec::new();
        for file in requests.iter().filter_map(remote) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        if !files.is_empty() {
            self.facts.tree.prefetch(&files);
        }
    }

    /// Returns the file that a request names.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn fetch(&self, request: &Request) -> Result<Fetched, Unfetched> {
        match &request.source {
            Source::Local(path) => self.local(path),
            Source::Project {
                project,
                file,
                reference,
            } => self.project(project, file, reference.as_deref()),
            Source::Remote {
                url,
                integrity,
                cache_secs,
            } => self.remote(url, integrity.as_deref(), *cache_secs),
            Source::Template(name) => Ok(self.template(name)?),
            Source::Artifact { path, job } => Ok(self.artifact(path, job.as_deref())?),
            Source::Component(address) => self.component(address),
        }
    }

    /// Says that a file is not there, unless it is there and too large.
    fn not_given(
        &self,
        at: Option<&Foreign>,
        path: &str,
        shown: &str,
        absent: String,
    ) -> Unfetched {
        match self.facts.tree.oversize(at, path) {
            None => absent.into(),
            Some(size_bytes) => Unfetched {
                message: format!("`{shown}`: {TOO_BIG}"),
                hint: Some(self.facts.limits.file_too_large(size_bytes)),
            },
        }
    }

    fn local(&self, path: &str) -> Result<Fetched, Unfetched> {
        let path = path.trim_start_matches('/');
        let shown = (self.mask)(path);
        yaml_extension(path, &shown)?;
        let (text, at) = match &self.at.place {
            Place::Nowhere => {
                return Err(format!("Local file `{shown}` does not have project!").into());
            }
            Place::Commit => (self.facts.tree.read(path), None),
            Place::Foreign(foreign) => {
                let text = self.facts.tree.read_at(foreign, path);
                (text, Some(foreign))
            }
        };
        let text = text.ok_or_else(|| {
            let absent = format!("Local file `{shown}` does not exist!");
            self.not_given(at, path, &shown, absent)
        })?;
        if text.trim().is_empty() {
            return Err(format!("Local file `{shown}` is empty!").into());
        }
        Ok(Fetched {
            text,
            location: self.at.clone(),
            name: self.at.name_of(&shown),
            path: shown.clone(),
            origin: Origin::of("local"),
            shown,
        })
    }

    fn project(
        &self,
        project: &str,
        file: &str,
        reference: Option<&str>,
    ) -> Result<Fetched, Unfetched> {
        let path = file.trim_start_matches('/');
        let (shown, shown_project) = ((self.mask)(path), (self.mask)(project));
        yaml_extension(path, &shown)?;
        let opened = self.facts.tree.open(project, reference, self.at.requester);
        let asked = (self.mask)(reference.unwrap_or("HEAD"));
        let foreign = opened.map_err(|error| match error {
            OpenError::NoProject => format!(
                "Project `{shown_project}` not found or access denied! Make sure any includes in the pipeline configuration are correctly defined."
            ),
            OpenError::NoReference => {
                format!("Project `{shown_project}` reference `{asked}` does not exist!")
            }
        })?;
        let text = self.facts.tree.read_at(&foreign, path);
        let text = text.ok_or_else(|| {
            let absent = format!("Project `{shown_project}` file `{shown}` does not exist!");
            self.not_given(Some(&foreign), path, &shown, absent)
        })?;
        if text.trim().is_empty() {
            return Err(format!("Project `{shown_project}` file `{shown}` is empty!").into());
        }
        let origin = Origin {
            project: Some(foreign.clone()),
            reference: Some(asked),
            ..Origin::of("file")
        };
        let location = self.at.in_project(foreign);
        Ok(Fetched {
            text,
            name: location.name_of(&shown),
            path: shown.clone(),
            location,
            shown,
            origin,
        })
    }

    fn remote(
        &self,
        url: &str,
        integrity: Option<&str>,
        cache_secs: u64,
    ) -> Result<Fetched, Unfetched> {
        let shown = (self.mask)(url);
        yaml_extension(url, &shown)?;
        if !is_url(url) {
            let message = format!("Remote file `{shown}` does not have a valid address!");
            return Err(message.into());
        }
        let file = RemoteFile {
            url: url.to_owned(),
            cache_secs,
        };
        let not_fetched = |attempts: u32, why: &str| {
            let plural = if attempts == 1 { "" } else { "s" };
            format!(
                "Remote file `{shown}` could not be fetched after {attempts} attempt{plural} because of {why} error!"
            )
        };
        let fetched = self.facts.tree.remote(&file);
        let too_large = matches!(fetched, Err(RemoteError::TooLarge));
        let limit = self.facts.limits.file_bytes;
        let hint = format!(
            "files may have {limit} bytes (setting `ci.max_file_bytes`), all of them together `ci.max_total_bytes`"
        );
        let text = fetched.map_err(|error| match error {
            RemoteError::Refused(why) => {
                format!(
                    "Remote file could not be fetched because {}!",
                    (self.mask)(&why)
                )
            }
            RemoteError::Status { status, attempts } => {
                not_fetched(attempts, &format!("HTTP code `{status}`"))
            }
            RemoteError::Failed { error, attempts } => not_fetched(attempts, &error),
            RemoteError::TooLarge => format!("`{shown}`: {TOO_BIG}"),
            RemoteError::OutOfTime => {
                "Request timed out when fetching configuration files.".to_owned()
            }
        });
        let text = text.map_err(|message| Unfetched {
            message,
            hint: too_large.then_some(hint),
        })?;
        let digest = || STANDARD.encode(Sha256::digest(&text));
        if integrity.is_some_and(|it| it.strip_prefix("sha256-").unwrap_or(it) != digest()) {
            return Err(format!("Remote file `{shown}` failed integrity check!").into());
        }
        Ok(self.outside("remote", text, shown)?)
    }

    fn template(&self, name: &str) -> Result<Fetched, String> {
        let shown = (self.mask)(name);
        yaml_extension(name, &shown)?;
        if !name.ends_with(TEMPLATE_SUFFIX) {
            return Err(format!("Template file `{shown}` is not a valid location!"));
        }
        let text = self.facts.tree.template(name).unwrap_or_default();
        self.outside("template", text, shown)
    }

    fn outside(&self, kind: &'static str, text: String, shown: String) -> Result<Fetched, String> {
        if text.trim().is_empty() {
            return Err(format!(
                "Included file `{shown}` is empty or does not exist!"
            ));
        }
        Ok(Fetched {
            text,
            location: Location::outside(),
            name: shown.clone(),
            path: shown.clone(),
            origin: Origin::of(kind),
            shown,
        })
    }

    fn artifact(&self, path: &str, job: Option<&str>) -> Result<Fetched, String> {
        let shown = (self.mask)(path);
        yaml_extension(path, &shown)?;
        if !self.at.artifacts {
            return Err(
                "Including configs from artifacts is only allowed when triggering child pipelines"
                    .to_owned(),
            );
        }
        let job = job.filter(|it| !it.is_empty()).ok_or_else(|| {
            "Job must be provided when including configs from artifacts".to_owned()
        })?;
        let text = self
            .facts
            .tree
            .artifact(job, path)
            .map_err(|it| (self.mask)(&it))?;
        if text.trim().is_empty() {
            return Err(format!("File `{shown}` is empty!"));
        }
        let origin = Origin {
            job: Some((self.mask)(job)),
            ..Origin::of("artifact")
        };
        Ok(Fetched {
            text,
            location: self.at.clone(),
            name: format!("{shown} of job {}", (self.mask)(job)),
            path: shown.clone(),
            shown,
            origin,
        })
    }

    fn component(&self, address: &str) -> Result<Fetched, Unfetched> {
        let shown = (self.mask)(address);
        if self.at.place == Place::Nowhere {
            let message = "Unable to use components outside of a project context";
            return Err(message.to_owned().into());
        }
        let host = &self.facts.event.server_fqdn;
        let path = address
            .strip_prefix(host.as_str())
            .and_then(|it| it.strip_prefix('/'));
        let Some(path) = path.filter(|_| !host.is_empty()) else {
            let message = format!("Component '{shown}' - the component path is not supported");
            return Err(message.into());
        };
        let not_found = || format!("Component '{shown}' - content not found");
        let (path, reference) = path.split_once('@').ok_or_else(not_found)?;
        let (project, name) = path.rsplit_once('/').ok_or_else(not_found)?;
        let tree = self.facts.tree;
        let opened = tree.open_component(project, reference, self.at.requester);
        let foreign = opened.map_err(|_| not_found())?;
        let files = [
            format!("templates/{name}.yml"),
            format!("templates/{name}/template.yml"),
        ];
        let found = files
            .iter()
            .find_map(|path| Some((tree.read_at(&foreign, path)?, path.clone())));
        let (text, path) = found.filter(|it| !it.0.trim().is_empty()).ok_or_else(|| {
            let large = files
                .iter()
                .find(|it| tree.oversize(Some(&foreign), it).is_some());
            let path = large.unwrap_or(&files[0]);
            self.not_given(Some(&foreign), path, &shown, not_found())
        })?;
        let component = Component {
            name: name.to_owned(),
            sha: foreign.sha.clone(),
            version: foreign.reference.clone(),
            reference: reference.to_owned(),
        };
        let origin = Origin {
            project: Some(foreign.clone()),
            ..Origin::of("component")
        };
        let location = self.at.in_component(foreign, component);
        Ok(Fetched {
            text,
            name: location.name_of(&path),
            path,
            location,
            shown,
            origin,
        })
    }
}

/// Returns whether the last part of a path has the extension of YAML and a name before it.
fn is_yaml(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let stem = name
        .strip_suffix(".yml")
        .or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|it| !it.is_empty())
}

fn yaml_extension(path: &str, shown: &str) -> Result<(), String> {
    match is_yaml(path) {
        true => Ok(()),
        false => Err(format!(
            "Included file `{shown}` does not have YAML extension!"
        )),
    }
}
