//! The header of a file: which inputs it takes, and what it wants to know of the component it is.

use super::input::InputSpec;
use crate::entry::check::unknown_keys;
use crate::report::{Report, did_you_mean};
use crate::yaml::{Mapping, Node};

const COMPONENT: [&str; 4] = ["name", "sha", "version", "reference"];
const DESCRIPTION_LIMIT: usize = 256;

/// A header whose shape is right.
#[derive(Debug, Default)]
pub(super) struct Spec<'a> {
    pub(super) inputs: Vec<InputSpec>,
    /// Files with more inputs.
    pub(super) include: Option<&'a Node>,
    /// Which `$[[ component.x ]]` the file may use.
    pub(super) component: Vec<String>,
}

/// Reads a header. `None` after errors.
pub(super) fn read<'a>(header: &'a Mapping, report: &mut Report) -> Option<Spec<'a>> {
    let before = report.error_count();
    unknown_keys(header, &"header", &["spec"], report);
    let mut spec = Spec::default();
    let at = "header:spec";
    if let Some(node) = header.given("spec") {
        match node.as_mapping() {
            Some(map) => spec = read_spec(map, at, report),
            None => report.entry_error(node.span, format!("{at} config should be a hash")),
        }
    }
    (report.error_count() == before).then_some(spec)
}

fn read_spec<'a>(map: &'a Mapping, at: &str, report: &mut Report) -> Spec<'a> {
    let known = ["inputs", "include", "component", "description"];
    unknown_keys(map, &at, &known, report);
    if let Some(node) = map.given("description") {
        match node.as_text() {
            Some(text) if text.chars().count() <= DESCRIPTION_LIMIT => {}
            Some(_) => report.entry_error(
                node.span,
                format!("{at} config description is too long (maximum is {DESCRIPTION_LIMIT} characters)"),
            ),
            None => report.entry_error(node.span, format!("{at} config description should be a string")),
        }
    }
    Spec {
        inputs: map
            .given("inputs")
            .map(|it| inputs(it, report))
            .unwrap_or_default(),
        include: map.given("include"),
        component: map
            .given("component")
            .map(|it| component(it, &format!("{at}:component"), report))
            .unwrap_or_default(),
    }
}

/// Reads a map of inputs, of a header or of a file that a header includes.
pub(super) fn inputs(node: &Node, report: &mut Report) -> Vec<InputSpec> {
    let at = "header:spec:inputs";
    let Some(map) = node.as_mapping() else {
        report.entry_error(node.span, format!("{at} config should be a hash"));
        return Vec::new();
    };
    let specs: Vec<InputSpec> = map
        .iter()
        .filter_map(|(key, value)| InputSpec::read(key, value, report))
        .collect();
    for spec in &specs {
        for (span, name) in spec.asked_inputs() {
            if map.get(name).is_none() {
                let hint = did_you_mean(name, map.iter().map(|it| it.0.text.as_str()));
                let message = format!(
                    "`{}` input: a rule asks for the input `{name}`, which is not defined",
                    spec.name
                );
                report.warn(span, message, hint);
            }
        }
    }
    specs
}

fn component(node: &Node, at: &str, report: &mut Report) -> Vec<String> {
    let Some(items) = node.as_sequence() else {
        report.entry_error(node.span, format!("{at} config should be an array"));
        return Vec::new();
    };
    let Some(names) = items.iter().map(Node::as_text).collect::<Option<Vec<_>>>() else {
        report.entry_error(
            node.span,
            format!("{at} config should be an array of strings"),
        );
        return Vec::new();
    };
    let unknown: Vec<&str> = names
        .iter()
        .copied()
        .filter(|it| !COMPONENT.contains(it))
        .collect();
    if let [first, ..] = unknown[..] {
        let message = format!(
            "{at} config contains unknown values: {}",
            unknown.join(", ")
        );
        report.error_with_hint(node.span, message, did_you_mean(first, COMPONENT));
    }
    names.into_iter().map(str::to_owned).collect()
}
