//! One entry of an `include` list: which files it names, if its rules hold.

use crate::entry::Clauses;
use crate::entry::check::unknown_keys;
use crate::expand::{Unknown, expand_with};
use crate::facts::{Facts, Place, Undecided};
use crate::parse_duration;
use crate::report::{Report, did_you_mean};
use crate::scope::Scope;
use crate::yaml::{Mapping, Node, Span, Value};

use super::location::Location;
use super::text::{cut, json, printed};

const HOUR_SECS: u64 = 3600;
const MIN_CACHE_SECS: u64 = 60;
const KEYS: [&str; 13] = [
    "local",
    "file",
    "remote",
    "project",
    "ref",
    "integrity",
    "cache",
    "template",
    "artifact",
    "inputs",
    "job",
    "rules",
    "component",
];

/// Which list the entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Include,
    /// `spec:include`: files with inputs.
    Header,
}

impl List {
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Include => &[
                "local",
                "project",
                "remote",
                "template",
                "artifact",
                "component",
            ],
            Self::Header => &["local", "remote", "project"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Include => "include",
            Self::Header => "header include",
        }
    }
}

/// A file that is to be included.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) source: Source,
    /// What the file gets for its inputs.
    pub(super) inputs: Option<Node>,
    pub(super) span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    Local(String),
    Project {
        project: String,
        file: String,
        reference: Option<String>,
    },
    Remote {
        url: String,
        integrity: Option<String>,
        /// 0: an earlier answer does not serve.
        cache_secs: u64,
    },
    Template(String),
    Artifact {
        path: String,
        job: Option<String>,
    },
    Component(String),
}

/// Reads the entries of a list.
pub(super) struct Entries<'a, 'r> {
    pub(super) list: List,
    pub(super) facts: &'a Facts<'a>,
    pub(super) scope: &'r Scope<'a>,
    pub(super) at: &'r Location,
    /// Local files that are included already: wildcards pass them over, which ends circles.
    pub(super) included: &'r [(Place, String)],
    pub(super) report: &'r mut Report,
    /// Makes a text fit for people: values of masked variables may be part of it.
    pub(super) mask: &'r dyn Fn(&str) -> String,
}

impl Entries<'_, '_> {
    /// Returns the files that a list names. `None` after an error.
    pub(super) fn read(&mut self, include: &Node) -> Option<Vec<Request>> {
        let items = match &include.value {
            Value::Sequence(items) => items,
            _ => std::slice::from_ref(include),
        };
        let mut requests = Vec::new();
        for item in items.iter().filter(|it| !it.is_null()) {
            requests.extend(self.item(item)?);
        }
        // GitLab looks at the shape of entries only where there is nothing to include.
        let before = self.report.error_count();
        for map in items.iter().filter_map(Node::as_mapping) {
            self.check(map, requests.is_empty());
        }
        (self.report.error_count() == before).then_some(requests)
    }

    fn item(&mut self, item: &Node) -> Option<Vec<Request>> {
        let request = |source| Request {
            source,
            inputs: None,
            span: item.span,
        };
        match &item.value {
            Value::Text(name) => {
                let name = self.expanded(name);
                if is_url(&name) {
                    let source = Source::Remote {
                        url: name,
                        integrity: None,
                        cache_secs: 0,
                    };
                    return Some(vec![request(source)]);
                }
                if !name.contains('*') {
                    return Some(vec![request(Source::Local(name))]);
                }
                let paths = self.matching(&name, item.span)?;
                Some(
                    paths
                        .into_iter()
                        .map(|it| request(Source::Local(it)))
                        .collect(),
                )
            }
            Value::Mapping(map) => {
                if !self.rules_hold(map)? {
                    return Some(Vec::new());
                }
                self.requests(item, map)
            }
            _ => {
                self.report
                    .error(item.span, "Each include must be a hash or a string");
                None
            }
        }
    }

    fn expanded(&self, text: &str) -> String {
        expand_with(text, Unknown::Empty, |name| self.scope.find(name))
    }

    /// Returns the local files that a name with `*` stands for.
    fn matching(&mut self, pattern: &str, span: Span) -> Option<Vec<String>> {
        if self.at.place == Place::Nowhere {
            let message = format!(
                "Local file `{}` does not have project!",
                (self.mask)(pattern)
            );
            self.report.error(span, message);
            return None;
        }
        let pattern = pattern.trim_start_matches('/');
        let mut paths = self.facts.matching_wildcard(pattern, &self.at.place);
        paths.retain(|path| {
            let mut known = self.included.iter();
            !known.any(|(place, it)| *place == self.at.place && it == path)
        });
        Some(paths)
    }

    /// Reads an entry that is a map. Which key makes it what it is shows only after variables are filled in.
    fn requests(&mut self, item: &Node, map: &Mapping) -> Option<Vec<Request>> {
        if map.given("project").is_some() && self.list.kinds().contains(&"project") {
            let files = match map.get("file").map(|it| &it.value) {
                Some(Value::Sequence(files)) => &**files,
                Some(Value::Null) | None => &[],
                Some(_) => map
                    .get("file")
                    .map(std::slice::from_ref)
                    .unwrap_or_default(),
            };
            return files
                .iter()
                .map(|it| self.request(item, map, Some(it)))
                .collect();
        }
        let local = map.get("local").and_then(Node::as_text);
        let Some(pattern) = local.filter(|it| it.contains('*')) else {
            return Some(vec![self.request(item, map, None)?]);
        };
        if pattern.contains('$') {
            let message = format!("variables in a name with `*` stay as text: `{pattern}`");
            let hint = "write the entry as a string, `- ci/$NAME/*.yml`: there they are filled in";
            self.report.warn(item.span, message, Some(hint.to_owned()));
        }
        let paths = self.matching(pattern, item.span)?;
        let inputs = map.given("inputs").cloned();
        let request = |path| Request {
            source: Source::Local(path),
            inputs: inputs.clone(),
            span: item.span,
        };
        Some(paths.into_iter().map(request).collect())
    }

    /// Reads an entry that names one file; `file` is that of a project.
    fn request(&mut self, item: &Node, map: &Mapping, file: Option<&Node>) -> Option<Request> {
        let text = |node: &Node| self.expanded(&printed(node));
        let of = |key: &str| map.given(key).map(text);
        let project = map.given("project").map(|it| match it.as_sequence() {
            Some(items) => items.first().map(text).unwrap_or_default(),
            None => text(it),
        });
        let file_name = file.map(text);
        let is_given = |kind: &&&str| match **kind {
            "project" => {
                let blank =
                    |it: &Option<String>| it.as_deref().is_none_or(|it| it.trim().is_empty());
                !blank(&project) && !blank(&file_name)
            }
            kind => of(kind).is_some_and(|it| !it.trim().is_empty()),
        };
        let kinds: Vec<&str> = self.list.kinds().iter().filter(is_given).copied().collect();
        let listed: Vec<String> = self
            .list
            .kinds()
            .iter()
            .map(|it| format!("`{it}`"))
            .collect();
        let listed = listed.join(", ");
        let kind = match kinds[..] {
            [kind] => kind,
            [] => {
                let shown = cut((self.mask)(&json(item)));
                let message = format!(
                    "`{shown}` does not have a valid subkey for {}. Valid subkeys are: {listed}",
                    self.list.name()
                );
                let known = self.list.kinds().iter().copied();
                let hint = map
                    .iter()
                    .find_map(|it| did_you_mean(&it.0.text, known.clone()));
                self.report.error_with_hint(item.span, message, hint);
                return None;
            }
            _ => {
                let message = format!("Each include must use only one of: {listed}");
                self.report.error(item.span, message);
                return None;
            }
        };
        let named = if kind == "project" {
            file
        } else {
            map.get(kind)
        };
        if let Some(node) = named.filter(|it| it.as_text().is_none()) {
            let shown = cut((self.mask)(&printed(node)));
            let message = format!("Included file `{shown}` needs to be a string");
            self.report.error(node.span, message);
            return None;
        }
        let name = of(kind).unwrap_or_default();
        let source = match kind {
            "project" => Source::Project {
                project: project.unwrap_or_default().to_lowercase(),
                file: file_name.unwrap_or_default(),
                reference: of("ref"),
            },
            "remote" => Source::Remote {
                url: name,
                integrity: of("integrity"),
                cache_secs: self.cache_secs(map)?,
            },
            "template" => Source::Template(name),
            "artifact" => Source::Artifact {
                path: name,
                job: of("job"),
            },
            "component" => Source::Component(name),
            _ => Source::Local(name),
        };
        Some(Request {
            source,
            inputs: map.given("inputs").cloned(),
            span: item.span,
        })
    }

    /// Reads `cache` of a remote file. `None` after an error.
    fn cache_secs(&mut self, map: &Mapping) -> Option<u64> {
        let Some(node) = map.given("cache") else {
            return Some(0);
        };
        let problem = match (&node.value, node.as_text()) {
            (Value::Bool(true), _) => return Some(HOUR_SECS),
            (Value::Bool(false), _) => return Some(0),
            (_, None) => "cache must be a boolean or a duration string",
            (_, Some(text)) => match parse_duration(&self.expanded(text)).ok().flatten() {
                Some(it) if it.as_secs() >= MIN_CACHE_SECS => return Some(it.as_secs()),
                Some(_) => "cache duration must be at least 1 minute",
                None => "cache contains an invalid duration",
            },
        };
        self.report
            .error(node.span, format!("include:include config {problem}"));
        None
    }

    /// Reports what is wrong with an entry besides its name: as an error, or as a warning where GitLab is silent.
    fn check(&mut self, map: &Mapping, is_error: bool) {
        let mut say = |span, problem: String, hint| {
            let message = format!("include:include config {problem}");
            match is_error {
                true => self
                    .report
                    .error_with_hint(span, message.to_lowercase(), hint),
                false => self.report.warn(span, message, hint),
            }
        };
        let unknown: Vec<_> = map
            .iter()
            .map(|it| &it.0)
            .filter(|it| !KEYS.contains(&it.text.as_str()))
            .collect();
        if let [first, ..] = unknown[..] {
            let names: Vec<&str> = unknown.iter().take(20).map(|it| it.text.as_str()).collect();
            let hint = did_you_mean(&first.text, KEYS);
            say(
                first.span,
                format!("contains unknown keys: {}", names.join(", ")),
                hint,
            );
        }
        let needs = |key: &str, other: &str| match map.entry(key) {
            Some((key, _)) if map.given(other).is_none() => Some(key.span),
            _ => None,
        };
        if let Some(span) = needs("project", "file") {
            say(
                span,
                "must specify the file where to fetch the config from".to_owned(),
                None,
            );
        }
        if let Some(span) = needs("artifact", "job") {
            say(
                span,
                "must specify the job where to fetch the artifact from".to_owned(),
                None,
            );
        }
        for key in ["integrity", "cache"] {
            if let Some(span) = needs(key, "remote") {
                say(
                    span,
                    format!("{key} can only be specified for remote includes"),
                    None,
                );
            }
        }
        if let Some(node) = map.given("integrity")
            && !node.as_text().is_some_and(|it| it.starts_with("sha256-"))
        {
            say(
                node.span,
                "integrity hash must start with 'sha256-'".to_owned(),
                None,
            );
        }
    }

    /// Decides `rules`. `None` after an error.
    fn rules_hold(&mut self, map: &Mapping) -> Option<bool> {
        let Some(rules) = map.given("rules") else {
            return Some(true);
        };
        let Some(items) = rules.as_sequence() else {
            self.report
                .error(rules.span, "include:rules config should be an array");
            return None;
        };
        if items.is_empty() {
            self.report
                .error(rules.span, "include:rules config can't be blank");
            return None;
        }
        let before = self.report.error_count();
        let mut read = Vec::new();
        for item in items {
            match item.as_mapping() {
                None => self
                    .report
                    .error(item.span, "include:rule config should be a hash"),
                Some(map) if map.is_empty() => {
                    self.report
                        .error(item.span, "include:rule config can't be blank");
                }
                Some(map) => {
                    let known = ["if", "exists", "when", "changes"];
                    unknown_keys(map, &"include:rule", &known, self.report);
                    let clauses = Clauses::read(map, &"include:rule", self.report);
                    let never = match map.given("when").map(printed).as_deref() {
                        None | Some("always") => false,
                        Some("never") => true,
                        Some(other) => {
                            let message = format!(
                                "include:rule when unknown value: {}",
                                cut(other.to_owned())
                            );
                            self.report.error(item.span, message);
                            false
                        }
                    };
                    read.push((clauses, never));
                }
            }
        }
        if self.report.error_count() != before {
            return None;
        }
        for (clauses, never) in read {
            match clauses.hold_in(self.scope, self.facts, &self.at.place) {
                Ok(false) => {}
                Ok(true) => return Some(!never),
                Err(Undecided(why)) => {
                    self.report.error(rules.span, format!("include:{why}"));
                    return None;
                }
            }
        }
        Some(false)
    }
}

pub(super) fn is_url(name: &str) -> bool {
    let lower = name.get(..8).unwrap_or(name).to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}
