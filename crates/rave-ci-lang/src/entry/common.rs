//! The keywords that jobs share with `default` and, in the older style, with the root.

use std::time::Duration;

use super::cache::caches;
use super::check::{duration, script, string_list, unknown_keys};
use super::image::image;
use super::retry::retry;
use crate::report::Report;
use crate::yaml::{Mapping, Node, Span};
use crate::{Cache, Image, Retry};

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
}

impl Common {
    /// Reads the keywords of a job, of `default` or of the root, which is at `""`.
    pub(super) fn read(map: &Mapping, parent: &str, report: &mut Report) -> Self {
        let at = |key: &str| {
            if parent.is_empty() {
                key.to_owned()
            } else {
                format!("{parent}:{key}")
            }
        };
        for (key, instead) in [
            ("services", "the job runs without them"),
            ("id_tokens", "the job gets no such token"),
            ("identity", "the job gets no identity"),
        ] {
            if let Some(node) = map.given(key) {
                report.unsupported(node.span, key, instead);
            }
        }
        let mut lines = |key: &str| map.given(key).map(|it| script(it, &at(key), report));
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
                .and_then(|it| interruptible(it, &at("interruptible"), report)),
            retry: map.given("retry").map(|it| retry(it, report)),
            tags: map.given("tags").map(|it| tags(it, &at("tags"), report)),
            timeout_secs: map
                .given("timeout")
                .and_then(|it| duration(it, MONTH, &format!("{} config", at("timeout")), report)),
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
    }
}

fn hooks(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let key = "pre_get_sources_script";
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    unknown_keys(map, at, &[key], report);
    map.given(key)
        .map(|it| script(it, &format!("{at}:{key}"), report))
        .unwrap_or_default()
}

/// Says that nothing comes of the keyword yet, in a job or in a rule.
pub(super) fn interruptible_is_recorded(span: Span, report: &mut Report) {
    report.unsupported(
        span,
        "interruptible",
        "it is recorded, but no pipeline is cancelled by itself",
    );
}

fn interruptible(node: &Node, at: &str, report: &mut Report) -> Option<bool> {
    interruptible_is_recorded(node.span, report);
    if node.as_bool().is_none() {
        report.entry_error(node.span, format!("{at} config should be a boolean value"));
    }
    node.as_bool()
}

fn tags(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let tags = string_list(
        node,
        &format!("{at} config should be an array of strings"),
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
