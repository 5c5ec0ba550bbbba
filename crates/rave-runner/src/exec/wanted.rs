//! Which images a job wants for itself and its services, and whether the runner lets it have them.

use super::{Setup, SetupError};
use crate::config::{ImagePolicy, PullPolicy};
use crate::files::glob::Glob;
use crate::wire;

/// An image, and how to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// `None` keeps that of the image.
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) command: Option<Vec<String>>,
    /// The user to run as; empty: that of the image.
    pub(crate) user: String,
    /// Such as `linux/arm64`; empty: that of this machine.
    pub(crate) platform: String,
    /// Tried in order.
    pub(crate) pull_policies: Vec<PullPolicy>,
    /// The names under which a service is reached, without those that an earlier service has.
    pub(crate) aliases: Vec<String>,
    /// What the processes of the image have in their environment, beside what the image says. Nothing secret.
    pub(crate) environment: Vec<(String, String)>,
}

/// What kind of image, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Service,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Service => "service",
        }
    }
}

impl Wanted {
    /// Returns the image that the job names, or the one of jobs that name none.
    ///
    /// # Errors
    /// When the runner does not allow it.
    pub(crate) fn image(
        setup: &Setup<'_>,
        policy: &ImagePolicy,
    ) -> Result<Option<Self>, SetupError> {
        let mut image = setup.job.image.clone();
        if image.name.is_empty() {
            let Some(default) = &policy.default_image else {
                return Ok(None);
            };
            image.name.clone_from(default);
        }
        Self::new(setup, policy, &image, Kind::Image).map(Some)
    }

    /// Returns the services that the job names.
    ///
    /// # Errors
    /// When the runner does not allow one.
    pub(crate) fn services(
        setup: &Setup<'_>,
        policy: &ImagePolicy,
    ) -> Result<Vec<Self>, SetupError> {
        let mut taken = Vec::new();
        let services = &setup.job.services;
        let named = services.iter().filter(|it| !it.name.is_empty());
        named
            .map(|it| {
                let mut service = Self::new(setup, policy, it, Kind::Service)?;
                service.aliases.retain(|it| !taken.contains(it));
                taken.extend_from_slice(&service.aliases);
                Ok(service)
            })
            .collect()
    }

    fn new(
        setup: &Setup<'_>,
        policy: &ImagePolicy,
        image: &wire::Image,
        kind: Kind,
    ) -> Result<Self, SetupError> {
        let variables = setup.variables;
        let name = variables.expand(&image.name);
        let allowed = match kind {
            Kind::Image => &policy.allowed_images,
            Kind::Service => &policy.allowed_services,
        };
        let by_job = !image.name.is_empty() && Some(&image.name) != policy.default_image.as_ref();
        if by_job && !allowed.is_empty() && !allowed.iter().any(|it| matches(it, &name)) {
            let text = format!(
                "the runner does not allow the {} {name:?}; it allows {}",
                kind.name(),
                allowed.join(", ")
            );
            return Err(SetupError::Configuration(text));
        }
        let own = image.variables.iter();
        let own = own.map(|it| (it.key.clone(), variables.expand(&it.value)));
        let public = setup.job.variables.iter();
        let public = public.filter(|it| it.public && !it.masked && !it.file);
        let public = public.map(|it| (it.key.clone(), variables.get(&it.key).to_owned()));
        Ok(Self {
            aliases: aliases(&name, &variables.expand(&image.alias)),
            entrypoint: image.entrypoint.clone(),
            command: image.command.clone(),
            user: variables.expand(&image.executor_opts.docker.user),
            platform: variables.expand(&image.executor_opts.docker.platform),
            pull_policies: pull_policies(policy, &image.pull_policy)?,
            environment: public.chain(own).collect(),
            name,
        })
    }

    /// Returns the value of a variable of the service alone.
    pub(crate) fn variable(&self, key: &str) -> Option<&str> {
        let found = self.environment.iter().rev().find(|it| it.0 == key)?;
        Some(&found.1)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    Glob::new(pattern, "").is_ok_and(|it| it.matches(name))
}

/// Returns the policies that a job chose, as far as it may choose.
fn pull_policies(policy: &ImagePolicy, chosen: &[String]) -> Result<Vec<PullPolicy>, SetupError> {
    if chosen.is_empty() {
        return Ok(policy.pull_policies.clone());
    }
    let allowed = match policy.allowed_pull_policies.as_slice() {
        [] => &policy.pull_policies,
        allowed => allowed,
    };
    let one = |name: &String| {
        let known = PullPolicy::parse(name).filter(|it| allowed.contains(it));
        known.ok_or_else(|| {
            let names: Vec<_> = allowed.iter().map(|it| it.name()).collect();
            SetupError::Configuration(format!(
                "the runner does not allow the pull policy {name:?}; it allows {}",
                names.join(", ")
            ))
        })
    };
    chosen.iter().map(one).collect()
}

/// Returns the names of a service: those of its image's path, in both spellings, and those that the job gives it.
fn aliases(image: &str, given: &str) -> Vec<String> {
    let path = image.split('@').next().unwrap_or(image);
    let path = match path.rsplit_once('/') {
        Some((front, last)) => format!("{front}/{}", last.split(':').next().unwrap_or(last)),
        None => path.split(':').next().unwrap_or(path).to_owned(),
    };
    // A registry's port is no part of a host name.
    let path: String = match path.split_once(':') {
        Some((host, rest)) => {
            let after_port = rest.split_once('/').map_or("", |it| it.1);
            format!("{host}/{after_port}")
        }
        None => path,
    };
    let given = given.split([' ', ',']).filter(|it| !it.is_empty());
    let mut names = vec![path.replace('/', "__"), path.replace('/', "-")];
    names.extend(given.map(str::to_owned));
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        // They end up in a file of host names, in which these would be something else.
        let valid = name.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
        if valid && !name.is_empty() && !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_reached_by_its_image_and_its_aliases() {
        let check = |image: &str, given: &str, expected: &[&str]| {
            assert_eq!(aliases(image, given), expected, "{image}");
        };
        check("postgres:16", "", &["postgres"]);
        check(
            "tutum/wordpress:latest",
            "",
            &["tutum__wordpress", "tutum-wordpress"],
        );
        check("redis", "cache, db  redis", &["redis", "cache", "db"]);
        check(
            "reg.example.com:5000/a/b:1@sha256:00",
            "",
            &["reg.example.com__a__b", "reg.example.com-a-b"],
        );
        check("x", "ok bad\n#name", &["x", "ok"]);
    }

    #[test]
    fn a_job_chooses_among_the_allowed_pull_policies() {
        let choose = |policy: &ImagePolicy, chosen: &[&str]| {
            let chosen: Vec<String> = chosen.iter().map(|it| (*it).to_owned()).collect();
            pull_policies(policy, &chosen)
        };
        let strict = ImagePolicy::default();
        assert_eq!(choose(&strict, &[]), Ok(vec![PullPolicy::Always]));
        assert_eq!(choose(&strict, &["always"]), Ok(vec![PullPolicy::Always]));
        let refused = choose(&strict, &["never"]).expect_err("refused");
        assert!(
            refused.to_string().contains("it allows always"),
            "{refused}"
        );
        let lenient = ImagePolicy {
            allowed_pull_policies: vec![PullPolicy::IfNotPresent, PullPolicy::Never],
            ..ImagePolicy::default()
        };
        let expected = vec![PullPolicy::Never, PullPolicy::IfNotPresent];
        assert_eq!(choose(&lenient, &["never", "if-not-present"]), Ok(expected));
        assert!(choose(&lenient, &["always"]).is_err());
    }

    #[test]
    fn images_are_allowed_by_patterns() {
        assert!(matches("ruby:*", "ruby:3.3"));
        assert!(matches(
            "reg.example.com/team/**",
            "reg.example.com/team/a/b:1"
        ));
        assert!(!matches("ruby:*", "evil/ruby:3.3"));
    }
}
