//! `include`: files merged below the including one, each with its own header, inputs and includes.

use super::deep_merge;
use super::entry::{Entries, List, Request, Source};
use super::header::{self, Spec};
use super::input::InputSpec;
use super::interpolate::{Context, interpolate};
use super::location::Location;
use super::source::{Fetched, Fetcher, Unfetched};
use crate::event::set_by;
use crate::facts::{Facts, Place};
use crate::report::{Report, did_you_mean};
use crate::scope::Scope;
use crate::yaml::{Document, Key, KeyKind, Loader, Mapping, Node, Span, TOTAL_TOO_BIG, Value};
use crate::{EventContext, Included, Requester, Variable};

pub(super) struct Includer<'a, 'l> {
    facts: &'a Facts<'a>,
    loader: &'l mut Loader<'a>,
    report: &'l mut Report,
    /// What files of other servers know of the event.
    nothing: &'a EventContext,
    /// Files included so far; the limit on them also ends circles.
    count: usize,
    /// Those that are local to somewhere.
    locals: Vec<(Place, String)>,
}

impl<'a, 'l> Includer<'a, 'l> {
    pub(super) fn new(
        facts: &'a Facts<'a>,
        nothing: &'a EventContext,
        loader: &'l mut Loader<'a>,
        report: &'l mut Report,
    ) -> Self {
        Self {
            facts,
            loader,
            report,
            nothing,
            count: 0,
            locals: Vec::new(),
        }
    }

    /// Fills a file in and lays it on top of everything that it includes. `None` after an error.
    ///
    /// `inputs` are given at `given_at`; `outer` is where the including file is, whose variables the file may use.
    pub(super) fn document(
        &mut self,
        document: Document,
        inputs: Mapping,
        given_at: Option<Span>,
        outer: &Location,
        at: &Location,
    ) -> Option<Mapping> {
        let Some(header) = document.header else {
            if let Some((key, _)) = inputs.iter().next() {
                let span = given_at.unwrap_or(key.span);
                let message = "Given inputs not defined in the `spec` section of the included configuration file";
                self.report.error(span, message);
                return None;
            }
            return Some(document.content);
        };
        let spec = header::read(&header, self.report)?;
        let data = self.data(spec, &inputs, given_at, at)?;
        let event = self.event_for(outer);
        let layers = [
            &event.predefined,
            &event.project_variables,
            &event.pipeline_variables,
        ];
        let variable = |name: &str| -> Option<&Variable> {
            let layers = layers.iter().rev();
            layers
                .flat_map(|it| it.iter().rev())
                .find(|it| it.key == name)
        };
        let context = Context {
            data,
            variable: &variable,
        };
        interpolate(document.content, &context, self.loader, self.report)
    }

    /// Returns what blocks may ask for: the maps `inputs` and `component`.
    fn data(
        &mut self,
        spec: Spec<'_>,
        given: &Mapping,
        given_at: Option<Span>,
        at: &Location,
    ) -> Option<Node> {
        let mut specs = match spec.include {
            Some(node) => self.included_inputs(node, at)?,
            None => Vec::new(),
        };
        specs.extend(spec.inputs);
        if given_at.is_none() {
            // The file itself, whose inputs come from people.
            let patterns = self.report.patterns.clone();
            let known = |name: &str| given.get(name);
            let asked = specs.iter().map(|it| it.form(&known, &patterns));
            self.report.inputs = asked.collect();
        }
        self.no_duplicates(&specs, given_at)?;
        let inputs = self.values(&specs, given, given_at)?;
        let mut component = Mapping::default();
        for name in spec.component {
            let Some(known) = &at.component else { break };
            let text = match name.as_str() {
                "name" => &known.name,
                "sha" => &known.sha,
                "version" => &known.version,
                _ => &known.reference,
            };
            component.insert(key(&name), text_node(text));
        }
        let map = |map| Node {
            value: Value::Mapping(map),
            span: Span::default(),
        };
        let data = [
            (key("inputs"), map(inputs)),
            (key("component"), map(component)),
        ];
        Some(map(data.into_iter().collect()))
    }

    fn no_duplicates(&mut self, specs: &[InputSpec], given_at: Option<Span>) -> Option<()> {
        let mut seen = std::collections::HashSet::new();
        let mut twice: Vec<&str> = Vec::new();
        for spec in specs {
            if !seen.insert(&spec.name) && !twice.contains(&spec.name.as_str()) {
                twice.push(&spec.name);
            }
        }
        let [first, ..] = twice[..] else {
            return Some(());
        };
        let last = specs.iter().rfind(|it| it.name == first);
        let span = last.map(|it| it.span).or(given_at).unwrap_or_default();
        let message = format!(
            "Duplicate input keys found: {}. Input keys must be unique across all included files and inline specifications.",
            twice.join(", ")
        );
        self.report.error(span, message);
        None
    }

    /// Decides the values of all inputs. `None` after errors.
    fn values(
        &mut self,
        specs: &[InputSpec],
        given: &Mapping,
        given_at: Option<Span>,
    ) -> Option<Mapping> {
        let before = self.report.error_count();
        let unknown: Vec<&Key> = given
            .iter()
            .map(|it| &it.0)
            .filter(|key| !specs.iter().any(|it| it.name == key.text))
            .collect();
        if let [first, ..] = unknown[..] {
            let names: Vec<&str> = unknown.iter().take(20).map(|it| it.text.as_str()).collect();
            let message = format!("unknown input arguments: {}", names.join(", "));
            let hint = did_you_mean(&first.text, specs.iter().map(|it| it.name.as_str()));
            self.report.error_with_hint(first.span, message, hint);
        }
        let mut values = Mapping::default();
        let patterns = self.report.patterns.clone();
        for spec in specs {
            let known = |name: &str| values.get(name).or_else(|| given.get(name));
            match spec.resolve(given.get(&spec.name), &known, &patterns) {
                Ok(value) => {
                    let key = Key {
                        text: spec.name.as_str().into(),
                        kind: KeyKind::Text,
                        span: spec.span,
                    };
                    values.insert(key, value);
                }
                Err(errors) => {
                    for (span, message) in errors {
                        let span = span.or(given_at).unwrap_or(spec.span);
                        self.report.error(span, message);
                    }
                }
            }
        }
        (self.report.error_count() == before).then_some(values)
    }

    /// Reads the inputs that `spec:include` brings in.
    fn included_inputs(&mut self, include: &Node, at: &Location) -> Option<Vec<InputSpec>> {
        let requests = self.requests(List::Header, include, at)?;
        let mut specs = Vec::new();
        for request in &requests {
            let fetched = self.fetch(request, at)?;
            let (document, shown) =
                self.load(request, fetched.text, &fetched.name, fetched.shown)?;
            let unknown: Vec<String> = document
                .content
                .iter()
                .filter(|it| it.0.text != "inputs")
                .map(|it| format!(":{}", it.0.text))
                .collect();
            if !unknown.is_empty() {
                let message = format!(
                    "Header include file `{shown}` contains unknown keys: [{}]",
                    unknown.join(", ")
                );
                self.report.error(request.span, message);
                return None;
            }
            if let Some(node) = document.content.given("inputs") {
                let before = self.report.error_count();
                let outer = self.report.set_prefix(format!("`{shown}`: "));
                specs.extend(header::inputs(node, self.report));
                self.report.set_prefix(outer);
                if self.report.error_count() != before {
                    return None;
                }
            }
        }
        Some(specs)
    }

    /// Returns `content` on top of everything that it includes. `None` after an error.
    pub(super) fn expand(&mut self, content: Mapping, at: &Location) -> Option<Mapping> {
        let Some(include) = content.get("include").cloned() else {
            return Some(content);
        };
        let requests = self.requests(List::Include, &include, at)?;
        let mut merged = Mapping::default();
        for request in &requests {
            deep_merge(&mut merged, self.file(request, at)?);
        }
        deep_merge(&mut merged, content.without("include"));
        Some(merged)
    }

    fn requests(&mut self, list: List, include: &Node, at: &Location) -> Option<Vec<Request>> {
        let event = self.event_for(at);
        let scope = Scope::new(&[], &[], event);
        let masked = self.facts.event;
        let requests = Entries {
            list,
            facts: self.facts,
            scope: &scope,
            at,
            included: &self.locals,
            report: self.report,
            mask: &|text| mask(text, masked),
        }
        .read(include)?;
        for request in &requests {
            self.count += 1;
            let limit = self.facts.limits.includes;
            if self.count > limit {
                let message = format!("Maximum of {limit} nested includes are allowed!");
                let hint = set_by("max_includes");
                self.report.error_with_hint(request.span, message, hint);
                return None;
            }
            if let Source::Local(path) = &request.source {
                let path = path.trim_start_matches('/').to_owned();
                self.locals.push((at.place.clone(), path));
            }
        }
        self.fetcher(at, |it| it.prefetch(&requests));
        Some(requests)
    }

    fn fetcher<T>(&self, at: &Location, work: impl FnOnce(Fetcher<'_, '_>) -> T) -> T {
        work(Fetcher {
            facts: self.facts,
            at,
            mask: &|text| mask(text, self.facts.event),
        })
    }

    fn event_for(&self, at: &Location) -> &'a EventContext {
        match at.requester {
            Requester::User => self.facts.event,
            Requester::Anyone => self.nothing,
        }
    }

    fn fetch(&mut self, request: &Request, at: &Location) -> Option<Fetched> {
        match self.fetcher(at, |it| it.fetch(request)) {
            Ok(fetched) => Some(fetched),
            Err(Unfetched { message, hint }) => {
                self.report.error_with_hint(request.span, message, hint);
                None
            }
        }
    }

    /// Loads a file that was found. Returns it with the name that messages give it.
    fn load(
        &mut self,
        request: &Request,
        text: String,
        name: &str,
        shown: String,
    ) -> Option<(Document, String)> {
        let file = self.report.add_file(name, Some(request.span));
        match self.loader.load(file, &text, self.report) {
            Ok(document) => Some((document, shown)),
            Err(error) => {
                // That is about all files together.
                let message = match error.message == TOTAL_TOO_BIG {
                    true => error.message,
                    false => format!("`{shown}`: {}", error.message),
                };
                self.report.error_with_hint(error.span, message, error.hint);
                None
            }
        }
    }

    /// Includes a file, with all that it includes itself.
    fn file(&mut self, request: &Request, outer: &Location) -> Option<Mapping> {
        let Fetched {
            text,
            location,
            shown,
            name,
            path,
            origin,
        } = self.fetch(request, outer)?;
        let included = Included {
            kind: origin.kind.to_owned(),
            location: shown.clone(),
            file: path,
            at: self.report.place(request.span),
            context: match &outer.place {
                Place::Foreign(foreign) => Some(foreign.clone()),
                Place::Commit | Place::Nowhere => None,
            },
            project: origin.project,
            reference: origin.reference,
            job: origin.job,
        };
        self.report.includes.push(included);
        let (document, shown) = self.load(request, text, &name, shown)?;
        if matches!(request.source, Source::Component(_)) && includes_inputs(&document) {
            let message = format!(
                "Component `{shown}` cannot use `spec:include`. This keyword is not supported in components"
            );
            self.report.error(request.span, message);
            return None;
        }
        let prefix = format!("`{shown}`: ");
        let inputs = match &request.inputs {
            None => Mapping::default(),
            Some(node) => match node.as_mapping() {
                Some(map) => map.clone(),
                None => {
                    let message = format!("{prefix}Given inputs must be a hash");
                    self.report.error(node.span, message);
                    return None;
                }
            },
        };
        let outer_prefix = self.report.set_prefix(prefix);
        let content = self.document(document, inputs, Some(request.span), outer, &location);
        self.report.set_prefix(outer_prefix);
        let content = self.expand(content?, &location)?;
        if content.is_empty() {
            let message = format!("Included file `{shown}` does not have valid YAML syntax!");
            self.report.error(request.span, message);
            return None;
        }
        Some(content)
    }
}

/// Makes a text fit for people: values of masked variables may be part of it.
fn mask(text: &str, event: &EventContext) -> String {
    let variables = event
        .predefined
        .iter()
        .chain(&event.project_variables)
        .chain(&event.pipeline_variables);
    let masked = variables.filter(|it| it.masked && !it.value.is_empty());
    masked.fold(text.to_owned(), |text, it| {
        text.replace(&it.value, "[MASKED]")
    })
}

fn includes_inputs(document: &Document) -> bool {
    let spec = document.header.as_ref().and_then(|it| it.get("spec"));
    spec.and_then(Node::as_mapping)
        .is_some_and(|it| it.get("include").is_some())
}

fn key(name: &str) -> Key {
    Key {
        text: name.into(),
        kind: KeyKind::Text,
        span: Span::default(),
    }
}

fn text_node(text: &str) -> Node {
    Node {
        value: Value::Text(text.into()),
        span: Span::default(),
    }
}
