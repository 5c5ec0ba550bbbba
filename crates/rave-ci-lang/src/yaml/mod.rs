//! YAML as GitLab reads it: version 1.1 scalars, aliases, merge keys, `!reference`; every node knows its place.

mod emit;
mod events;
mod load;
mod node;
mod scalar;

pub(crate) use emit::emit;
pub(crate) use load::{Loader, TOO_BIG};
pub(crate) use node::{Key, KeyKind, Mapping, Node, Span, TEXT_PER_NODE, Value};
