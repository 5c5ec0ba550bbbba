//! The variables that one job, the workflow or an include sees.
//!
//! A pipeline has many jobs, and most of what they see is the same for all. So nothing is copied: a scope is a pile of
//! layers, and a text is filled in by looking at the variables that it leads to, not at all of them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::entry::Inherit;
use crate::expand::{Reader, Unknown, expand_with, names_in, resolve};
use crate::{EventContext, Variable};

/// Fewer variables than this are looked through; more are found by hash.
const INDEXED_FROM: usize = 16;

/// Variables of one origin.
#[derive(Debug, Default)]
pub(crate) struct Layer<'a> {
    variables: &'a [Variable],
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(variables: &'a [Variable]) -> Self {
        let mut places: HashMap<&'a str, Vec<usize>> = HashMap::new();
        if variables.len() >= INDEXED_FROM {
            for (index, variable) in variables.iter().enumerate() {
                places.entry(&variable.key).or_default().push(index);
            }
        }
        Self { variables, places }
    }

    pub(crate) fn variables(&self) -> &'a [Variable] {
        self.variables
    }

    /// Returns the places of all variables with that key, low to high.
    fn places(&self, key: &str) -> Vec<usize> {
        if self.places.is_empty() {
            let indexed = self.variables.iter().enumerate();
            return indexed
                .filter(|it| it.1.key == key)
                .map(|it| it.0)
                .collect();
        }
        self.places.get(key).cloned().unwrap_or_default()
    }

    /// Returns the variable with that key that counts.
    pub(crate) fn find(&self, key: &str) -> Option<&'a Variable> {
        if self.places.is_empty() {
            return self.variables.iter().rev().find(|it| it.key == key);
        }
        let last = self.places.get(key)?.last()?;
        Some(&self.variables[*last])
    }
}

/// What the event brings along.
#[derive(Debug)]
pub(crate) struct EventVariables<'a> {
    predefined: Layer<'a>,
    project: Layer<'a>,
    pipeline: Layer<'a>,
}

impl<'a> EventVariables<'a> {
    pub(crate) fn new(event: &'a EventContext) -> Self {
        Self {
            predefined: Layer::new(&event.predefined),
            project: Layer::new(&event.project_variables),
            pipeline: Layer::new(&event.pipeline_variables),
        }
    }
}

/// The variables at the root of the file, with those of the workflow rule, and which of them a job takes.
#[derive(Clone, Copy)]
pub(crate) struct Root<'a> {
    pub(crate) layer: &'a Layer<'a>,
    pub(crate) inherit: &'a Inherit,
}

pub(crate) struct Scope<'a> {
    event: Rc<EventVariables<'a>>,
    /// Predefined variables of the job.
    job: Layer<'a>,
    root: Option<Root<'a>>,
    /// Variables that the file gives to the job, later ones on top.
    own: Vec<Layer<'a>>,
}

/// Where a definition stands among all of its key.
type Rank = (usize, usize);

impl<'a> Scope<'a> {
    /// `job` are the predefined variables of the job, `yaml` those of the file.
    pub(crate) fn new(job: &'a [Variable], yaml: &'a [Variable], event: &'a EventContext) -> Self {
        Self {
            event: Rc::new(EventVariables::new(event)),
            job: Layer::new(job),
            root: None,
            own: vec![Layer::new(yaml)],
        }
    }

    /// Like [`Scope::new`], with layers that jobs share.
    pub(crate) fn layered(
        event: &Rc<EventVariables<'a>>,
        job: &'a [Variable],
        root: Option<Root<'a>>,
        own: &[&'a [Variable]],
    ) -> Self {
        Self {
            event: event.clone(),
            job: Layer::new(job),
            root,
            own: own.iter().map(|it| Layer::new(it)).collect(),
        }
    }

    /// Returns the value of a variable as written.
    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        let event = &self.event;
        event
            .pipeline
            .find(name)
            .or_else(|| event.project.find(name))
            .or_else(|| self.find_in_file(name))
            .or_else(|| self.job.find(name))
            .or_else(|| event.predefined.find(name))
            .map(|it| it.value.as_str())
    }

    /// Of the variables of the file, only the topmost of a key exists.
    fn find_in_file(&self, name: &str) -> Option<&'a Variable> {
        let own = self.own.iter().rev().find_map(|it| it.find(name));
        own.or_else(|| {
            let root = self.root.filter(|it| it.inherit.has_variable(name))?;
            root.layer.find(name)
        })
    }

    /// Fills variables into a text. What is inserted has been filled in before.
    pub(crate) fn fill(&self, text: &str, unknown: Unknown) -> String {
        let names = names_in(text);
        if names.is_empty() {
            return text.to_owned();
        }
        let variables = self.reachable(names);
        let resolved = resolve(&variables, Reader::Server);
        let values: HashMap<&str, &str> = variables
            .iter()
            .zip(&resolved.values)
            .map(|(variable, value)| (variable.key.as_str(), value.as_str()))
            .collect();
        expand_with(text, unknown, |name| values.get(name).copied())
    }

    /// Fills in values as written.
    pub(crate) fn fill_as_written(&self, text: &str, unknown: Unknown) -> String {
        expand_with(text, unknown, |name| self.find(name))
    }

    /// Returns the keys of variables that refer to each other in a circle. Without `all`, only circles that the job
    /// itself closes are looked for.
    pub(crate) fn circle(&self, all: bool) -> Vec<String> {
        let mut layers: Vec<&Layer<'a>> = self.own.iter().collect();
        layers.push(&self.job);
        if all {
            let event = &self.event;
            layers.extend([&event.predefined, &event.project, &event.pipeline]);
            layers.extend(self.root.map(|it| it.layer));
        }
        let variables = layers.into_iter().flat_map(|it| it.variables);
        let referring = variables.filter(|it| !it.raw && it.value.contains(['$', '%']));
        let names: Vec<&str> = referring.map(|it| it.key.as_str()).collect();
        if names.is_empty() {
            return Vec::new();
        }
        resolve(&self.reachable(names), Reader::Server).circle
    }

    /// Returns the variables of these names and all that they lead to, low to high.
    fn reachable(&self, names: Vec<&str>) -> Vec<&'a Variable> {
        let mut found: Vec<(Rank, &'a Variable)> = Vec::new();
        let mut seen: HashSet<&'a str> = HashSet::new();
        let mut open: Vec<&'a str> = Vec::new();
        for name in names {
            self.add(name, &mut found, &mut seen, &mut open);
        }
        while let Some(name) = open.pop() {
            self.add(name, &mut found, &mut seen, &mut open);
        }
        found.sort_unstable_by_key(|it| it.0);
        found.into_iter().map(|it| it.1).collect()
    }

    fn add(
        &self,
        name: &str,
        found: &mut Vec<(Rank, &'a Variable)>,
        seen: &mut HashSet<&'a str>,
        open: &mut Vec<&'a str>,
    ) {
        if seen.contains(name) {
            return;
        }
        let from = found.len();
        let mut of_layer = |rank: usize, layer: &Layer<'a>| {
            let places = layer.places(name).into_iter();
            found.extend(places.map(|it| ((rank, it), &layer.variables[it])));
        };
        of_layer(0, &self.event.predefined);
        of_layer(1, &self.job);
        of_layer(3, &self.event.project);
        of_layer(4, &self.event.pipeline);
        let in_file = self.find_in_file(name);
        found.extend(in_file.map(|it| ((2, 0), it)));
        for (_, variable) in &found[from..] {
            seen.insert(&variable.key);
            if !variable.raw {
                open.extend(names_in(&variable.value));
            }
        }
    }
}
