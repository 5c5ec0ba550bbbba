//! The variables that one job, the workflow or an include sees.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::expand::{Expanded, Reader, expand_all};
use crate::{EventContext, Variable};

pub(crate) struct Scope<'a> {
    layers: [&'a [Variable]; 5],
    index: OnceCell<HashMap<&'a str, &'a str>>,
    expanded: OnceCell<Expanded>,
}

impl<'a> Scope<'a> {
    /// `job` are the predefined variables of the job, `yaml` those of the file.
    pub(crate) fn new(job: &'a [Variable], yaml: &'a [Variable], event: &'a EventContext) -> Self {
        let (project, pipeline) = (&event.project_variables, &event.pipeline_variables);
        Self {
            layers: [&event.predefined, job, yaml, project, pipeline],
            index: OnceCell::new(),
            expanded: OnceCell::new(),
        }
    }

    /// Returns the value of a variable as written.
    pub(crate) fn find(&self, name: &str) -> Option<&'a str> {
        let entries = || {
            self.layers
                .into_iter()
                .flatten()
                .map(|it| (it.key.as_str(), it.value.as_str()))
        };
        self.index
            .get_or_init(|| entries().collect())
            .get(name)
            .copied()
    }

    /// Returns all variables filled into each other, from low to high.
    pub(crate) fn expanded(&self) -> &Expanded {
        self.expanded
            .get_or_init(|| expand_all(&self.layers.concat(), Reader::Server))
    }
}
