//! Where a file is, which decides what its own includes may name and see.

use std::rc::Rc;

use crate::facts::Place;
use crate::{Foreign, Requester};

#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) place: Place,
    /// A file of another server acts for nobody and sees no variables.
    pub(super) requester: Requester,
    /// Whether jobs of a parent pipeline may be asked for artifacts.
    pub(super) artifacts: bool,
    /// The component that the file belongs to.
    pub(super) component: Option<Rc<Component>>,
}

/// What `$[[ component.x ]]` knows.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) sha: String,
    /// What the version in the address stands for.
    pub(super) version: String,
    /// The version as it is in the address.
    pub(super) reference: String,
}

impl Location {
    /// The file that is compiled.
    pub(super) fn root(child: bool) -> Self {
        Self {
            place: Place::Commit,
            requester: Requester::User,
            artifacts: child,
            component: None,
        }
    }

    pub(super) fn in_project(&self, foreign: Foreign) -> Self {
        Self {
            place: Place::Foreign(foreign),
            component: None,
            ..self.clone()
        }
    }

    pub(super) fn in_component(&self, foreign: Foreign, component: Component) -> Self {
        Self {
            place: Place::Foreign(foreign),
            artifacts: false,
            component: Some(Rc::new(component)),
            ..self.clone()
        }
    }

    /// A file of another server, or one that comes with this one.
    pub(super) fn outside() -> Self {
        Self {
            place: Place::Nowhere,
            requester: Requester::Anyone,
            artifacts: false,
            component: None,
        }
    }

    /// Returns the name of a file here, for places in messages.
    pub(super) fn name_of(&self, path: &str) -> String {
        match &self.place {
            Place::Foreign(foreign) => format!("{path}@{}:{}", foreign.project, foreign.reference),
            Place::Commit | Place::Nowhere => path.to_owned(),
        }
    }
}
