//! The keywords that jobs share with `default` and, in the older style, with the root.

use std::fmt::Display;
use std::time::Duration;

use super::cache::caches;
use super::check::{Keyword, boolean_config, duration, script, string_list, unknown_keys};
use super::credentials::id_tokens;
use super::image::{image, services};
use super::retry::retry;
use crate::report::Report;
use crate::yaml::{Mapping, Node};
use crate::{Cache, IdToken, Image, Retry, Service};

pub(crate) const DEFAULT_KEYS: [&str; 13] = [
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "hooks",
    "id_tokens",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
    "identity",
];
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const TAGS_LIMIT: usize = 50;
/// `None` means not given, so that a default applies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) before_script: Option<Vec<String>>,
    pub(crate) after_script: Option<Vec<String>>,
    pub(crate) pre_get_sources_script: Option<Vec<String>>,
    pub(crate) artifacts: Option<crate::Artifacts>,
    pub(crate) cache: Option<Vec<Cache>>,
    pub(crate) image: Option<Image>,
    pub(crate) interruptible: Option<bool>,
    pub(crate) retry: Option<Retry>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) timeout_secs: Option<u64>,
    pub(crate) services: Option<Vec<Service>>,
    pub(crate) id_tokens: Option<Vec<IdToken>>,
}

impl Common {
    /// Reads the keywords of a job, of `default` or of the root, which is nowhere.
    pub(super) fn read(map: &Mapping, parent: Option<&dyn Display>, report: &mut Report) -> Self {
        let at = |key| Keyword { parent, key };
        if let Some(node) = map.given("identity") {
            report.unsupported(node.span, "identity", "the job gets no identity");
        }
        let mut lines = |key| map.given(key).map(|it| script(it, &at(key), report));
        let (before_script, after_script) = (lines("before_script"), lines("after_script"));
        Self {
            before_script,
            after_script,
            pre_get_sources_script: map.given("hooks").map(|it| hooks(it, &at("hooks"), report)),
            artifacts: map
                .given("artifacts")
                .and_then(|it| super::artifacts::artifacts(it, &at("artifacts"), report)),
            cache: map.given("cache").map(|it| caches(it, parent, report)),
            image: map
                .given("image")
                .and_then(|it| image(it, &at("image"), report)),
            interruptible: map
                .given("interruptible")
                .and_then(|it| boolean_config(it, &at("interruptible"), report)),
            retry: map.given("retry").map(|it| retry(it, report)),
            tags: map.given("tags").map(|it| tags(it, &at("tags"), report)),
            services: map
                .given("services")
                .map(|it| services(it, &at("services"), report)),
            id_tokens: map
                .given("id_tokens")
                .map(|it| id_tokens(it, &at("id_tokens"), report)),
            timeout_secs: map.given("timeout").and_then(|it| {
                duration(it, MONTH, &format_args!("{} config", at("timeout")), report)
            }),
        }
    }

    /// Fills what is not given from the defaults that `inherits` names.
    pub(super) fn or_default(&mut self, default: &Self, inherits: impl Fn(&str) -> bool) {
        fn fill<T: Clone>(own: &mut Option<T>, default: &Option<T>, inherited: bool) {
            if own.is_none() && inherited {
                own.clone_from(default);
            }
        }
        fill(
            &mut self.before_script,
            &default.before_script,
            inherits("before_script"),
        );
        fill(
            &mut self.after_script,
            &default.after_script,
            inherits("after_script"),
        );
        fill(
            &mut self.pre_get_sources_script,
            &default.pre_get_sources_script,
            inherits("hooks"),
        );
        fill(
            &mut self.artifacts,
            &default.artifacts,
            inherits("artifacts"),
        );
        fill(&mut self.cache, &default.cache, inherits("cache"));
        fill(&mut self.image, &default.image, inherits("image"));
        fill(
            &mut self.interruptible,
            &default.interruptible,
            inherits("interruptible"),
        );
        fill(&mut self.retry, &default.retry, inherits("retry"));
        fill(&mut self.tags, &default.tags, inherits("tags"));
        fill(
            &mut self.timeout_secs,
            &default.timeout_secs,
            inherits("timeout"),
        );
        fill(&mut self.services, &default.services, inherits("services"));
        fill(
            &mut self.id_tokens,
            &default.id_tokens,
            inherits("id_tokens"),
        );
    }
}

fn hooks(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<String> {
    let key = "pre_get_sources_script";
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    unknown_keys(map, at, &[key], report);
    map.given(key)
        .map(|it| script(it, &format_args!("{at}:{key}"), report))
        .unwrap_or_default()
}

fn tags(node: &Node, at: &dyn Display, report: &mut Report) -> Vec<String> {
    let tags = string_list(
        node,
        &format_args!("{at} config should be an array of strings"),
        report,
    );
    if tags.len() >= TAGS_LIMIT {
        report.entry_error(
            node.span,
            format!("{at} config must be less than the limit of {TAGS_LIMIT} tags"),
        );
    }
    tags
}
