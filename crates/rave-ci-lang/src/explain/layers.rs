//! Who sets which variable, and what of that may be shown.

use super::{Hidden, Layer, Operand, VariableOrigin};
use crate::planner::Subject;
use crate::yaml::Node;
use crate::{EventContext, Place, Variable};

/// What is shown in place of a secret.
const REDACTED: &str = "[redacted]";
/// Shorter secrets are taken out only where they are a variable's whole value: `1` is part of too much.
const SECRET_BYTES: usize = 4;

/// Takes secrets out of texts.
pub(super) struct Redactor<'a>(Vec<&'a str>);

impl<'a> Redactor<'a> {
    pub(super) fn new(event: &'a EventContext) -> Self {
        let lists = [
            &event.predefined,
            &event.project_variables,
            &event.pipeline_variables,
        ];
        let secrets = lists.into_iter().flatten().filter(|it| is_secret(it));
        let mut values: Vec<&str> = secrets
            .map(|it| it.value.as_str())
            .filter(|it| it.len() >= SECRET_BYTES)
            .collect();
        // A secret that is part of another one must not break it up.
        values.sort_by_key(|it| std::cmp::Reverse(it.len()));
        values.dedup();
        Self(values)
    }

    /// Returns a text without the secrets that are part of it.
    pub(super) fn text(&self, text: &str) -> String {
        let secrets = self.0.iter().filter(|it| text.contains(**it));
        secrets.fold(text.to_owned(), |text, it| text.replace(it, REDACTED))
    }

    fn value(&self, variable: &Variable) -> String {
        if is_secret(variable) && !variable.value.is_empty() {
            return REDACTED.to_owned();
        }
        self.text(&variable.value)
    }
}

fn is_secret(variable: &Variable) -> bool {
    variable.masked || !variable.public
}

/// The variables of one job, from low to high.
pub(super) struct Layers<'a> {
    all: Vec<(Layer, &'a Variable)>,
    redactor: &'a Redactor<'a>,
}

/// What the file itself sets around a job.
pub(super) struct FileVariables<'a> {
    pub(super) root: &'a [Variable],
    /// Those of the workflow rule that decided, with its number.
    pub(super) workflow: Option<(usize, &'a [Variable])>,
}

impl<'a> Layers<'a> {
    /// Returns what the workflow's rules see.
    pub(super) fn of_workflow(
        root: &'a [Variable],
        event: &'a EventContext,
        redactor: &'a Redactor<'a>,
    ) -> Self {
        let mut layers = Self {
            all: Vec::new(),
            redactor,
        };
        layers.add(Layer::Predefined, &event.predefined);
        layers.add(Layer::Root, root);
        layers.add_given(event);
        layers
    }

    /// Returns what a job sees; `rule` are the variables of the rule that decided, which its conditions do not see.
    pub(super) fn of_job(
        subject: &'a Subject<'_>,
        file: &FileVariables<'a>,
        rule: Option<(usize, &'a [Variable])>,
        event: &'a EventContext,
        redactor: &'a Redactor<'a>,
    ) -> Self {
        let mut layers = Self {
            all: Vec::new(),
            redactor,
        };
        let inherited = |it: &&Variable| subject.job.inherit.has_variable(&it.key);
        layers.add(Layer::Predefined, &event.predefined);
        layers.add(Layer::Predefined, &subject.predefined);
        layers.add(Layer::Root, file.root.iter().filter(inherited));
        if let Some((number, variables)) = file.workflow {
            let layer = Layer::WorkflowRule(number);
            layers.add(layer, variables.iter().filter(inherited));
        }
        layers.add(Layer::Job, &subject.job.variables);
        layers.add(Layer::Matrix, &subject.matrix);
        if let Some((number, variables)) = rule {
            layers.add(Layer::Rule(number), variables);
        }
        layers.add_given(event);
        layers
    }

    fn add(&mut self, layer: Layer, variables: impl IntoIterator<Item = &'a Variable>) {
        self.all.extend(variables.into_iter().map(|it| (layer, it)));
    }

    fn add_given(&mut self, event: &'a EventContext) {
        self.add(Layer::Project, &event.project_variables);
        self.add(Layer::Pipeline, &event.pipeline_variables);
    }

    /// Returns a variable as an expression sees it.
    pub(super) fn operand(&self, name: &str) -> Operand {
        let found = self.all.iter().rev().find(|it| it.1.key == name);
        Operand {
            name: name.to_owned(),
            value: found.map(|it| self.redactor.value(it.1)),
            layer: found.map(|it| it.0),
        }
    }

    /// Returns every variable that is not merely predefined, in the order of their keys.
    pub(super) fn origins(
        &self,
        place: impl Fn(Layer, &str) -> Option<Place>,
    ) -> Vec<VariableOrigin> {
        let mut sorted: Vec<&(Layer, &Variable)> = self.all.iter().rev().collect();
        sorted.sort_by(|left, right| left.1.key.cmp(&right.1.key));
        sorted
            .chunk_by(|left, right| left.1.key == right.1.key)
            .filter_map(|group| {
                let (layer, variable) = group.first()?;
                let hides = group[1..].iter().map(|it| Hidden {
                    value: self.redactor.value(it.1),
                    layer: it.0,
                });
                (*layer != Layer::Predefined).then(|| VariableOrigin {
                    key: variable.key.clone(),
                    value: self.redactor.value(variable),
                    layer: *layer,
                    place: place(*layer, &variable.key),
                    hides: hides.collect(),
                })
            })
            .collect()
    }
}

/// Returns the place of a variable in a map of variables.
pub(super) fn key_span(variables: Option<&Node>, key: &str) -> Option<crate::yaml::Span> {
    let entry = variables?.as_mapping()?.entry(key)?;
    Some(entry.0.span)
}
