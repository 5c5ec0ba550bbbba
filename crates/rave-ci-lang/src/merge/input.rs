//! One input of a header: what it accepts, and the value it takes.

use crate::entry::check::unknown_keys;
use crate::expression::{Expression, Pattern, Patterns, Value as Operand};
use crate::report::{Report, did_you_mean};
use crate::yaml::{Key, Node, Span, Value};
use crate::{FormInput, InputKind};

use super::text::{cut, inspected, json, node_of_json, printed};

const OPTIONS_LIMIT: usize = 50;
const KEYS: [&str; 6] = [
    "default",
    "description",
    "options",
    "regex",
    "type",
    "rules",
];
const TYPES: [(&str, InputKind); 4] = [
    ("array", InputKind::Array),
    ("boolean", InputKind::Boolean),
    ("number", InputKind::Number),
    ("string", InputKind::String),
];

impl InputKind {
    fn accepts(self, value: &Node) -> bool {
        match self {
            Self::Array => value.as_sequence().is_some(),
            Self::Boolean => value.as_bool().is_some(),
            Self::Number => matches!(value.value, Value::Integer(_) | Value::Float(_)),
            Self::String => true,
        }
    }
}

#[derive(Debug)]
pub(super) struct InputSpec {
    pub(super) name: String,
    pub(super) span: Span,
    kind: InputKind,
    description: Option<String>,
    default: Option<Node>,
    options: Option<Vec<Node>>,
    regex: Option<Node>,
    /// The first that holds decides options and default.
    rules: Option<Vec<InputRule>>,
}

#[derive(Debug)]
struct InputRule {
    span: Span,
    condition: Option<Expression>,
    options: Option<Vec<Node>>,
    default: Option<Node>,
}

impl InputSpec {
    /// Reads the definition of an input, which may be null. `None` after an error.
    pub(super) fn read(key: &Key, node: &Node, report: &mut Report) -> Option<Self> {
        let before = report.error_count();
        let at = format!("header:spec:inputs:{}", key.text);
        let mut spec = Self {
            name: key.text.to_string(),
            span: key.span,
            kind: InputKind::default(),
            description: None,
            default: None,
            options: None,
            regex: None,
            rules: None,
        };
        if !key.is_alphanumeric() {
            report.entry_error(key.span, format!("{at} key must be an alphanumeric string"));
        }
        if node.is_null() {
            return Some(spec);
        }
        let Some(map) = node.as_mapping() else {
            report.entry_error(node.span, format!("{at} config should be a hash"));
            return None;
        };
        unknown_keys(map, &at, &KEYS, report);
        for other in ["options", "default"] {
            if let (Some(_), Some((key, _))) = (map.get("rules"), map.entry(other)) {
                let message =
                    format!("{at} config these keys cannot be used together: rules, {other}");
                report.entry_error(key.span, message);
            }
        }
        if let Some(node) = map.given("type") {
            let word = printed(node);
            match TYPES.iter().find(|it| it.0 == word) {
                Some((_, kind)) => spec.kind = *kind,
                None => report.error_with_hint(
                    node.span,
                    format!(
                        "{at} input type unknown value: {}",
                        cut(word.to_lowercase())
                    ),
                    did_you_mean(&word, TYPES.map(|it| it.0)),
                ),
            }
        }
        if let Some(node) = map
            .given("description")
            .filter(|it| it.scalar_text().is_none())
        {
            report.entry_error(
                node.span,
                format!("{at} input description must be an alphanumeric string"),
            );
        }
        spec.description = map.given("description").and_then(Node::scalar_text);
        if let Some(node) = map.given("regex").filter(|it| it.as_text().is_none()) {
            report.entry_error(node.span, format!("{at} input regex should be a string"));
        }
        if let Some(node) = map.given("options") {
            spec.options = options(node, &at, report);
        }
        if let Some(node) = map.given("rules") {
            spec.rules = Some(rules(node, &key.text, &at, report));
        }
        spec.default = map.get("default").cloned();
        spec.regex = map.given("regex").cloned();
        (report.error_count() == before).then_some(spec)
    }

    /// Returns the inputs that rules ask for, and where.
    pub(super) fn asked_inputs(&self) -> impl Iterator<Item = (Span, &str)> {
        let rules = self.rules.iter().flatten();
        rules.flat_map(|rule| {
            let condition = rule.condition.iter();
            condition.flat_map(|it| it.inputs().into_iter().map(|name| (rule.span, name)))
        })
    }

    /// Returns what a person is asked. `known` as for [`InputSpec::resolve`].
    pub(super) fn form<'a>(
        &self,
        known: &dyn Fn(&str) -> Option<&'a Node>,
        patterns: &Patterns,
    ) -> FormInput {
        let (options, default) = self.choices(known, patterns);
        let written = |it: &Node| match self.kind {
            InputKind::String => printed(it),
            _ => json(&self.coerced(it)),
        };
        FormInput {
            name: self.name.clone(),
            kind: self.kind,
            default: default.map(|it| {
                if it.is_null() {
                    String::new()
                } else {
                    written(it)
                }
            }),
            description: self.description.clone(),
            options: options.into_iter().flatten().map(written).collect(),
        }
    }

    /// Returns the options and the default that count.
    fn choices<'a>(
        &self,
        known: &dyn Fn(&str) -> Option<&'a Node>,
        patterns: &Patterns,
    ) -> (Option<&Vec<Node>>, Option<&Node>) {
        let mut rules = self.rules.iter().flatten();
        let rule = rules.find(|it| it.holds(known, patterns));
        let default = rule.and_then(|it| it.default.as_ref());
        let options = rule.and_then(|it| it.options.as_ref());
        (
            options.or(self.options.as_ref()),
            default.or(self.default.as_ref()),
        )
    }

    /// Decides the value. `known` finds the values of inputs, those of earlier ones decided already.
    ///
    /// # Errors
    ///
    /// Sentences that say what is wrong with the given value or the default, and where.
    pub(super) fn resolve<'a>(
        &self,
        given: Option<&Node>,
        known: &dyn Fn(&str) -> Option<&'a Node>,
        patterns: &Patterns,
    ) -> Result<Node, Vec<(Option<Span>, String)>> {
        let blank = |it: &&Node| self.rules.is_some() && it.as_text() == Some("");
        let given = given.filter(|it| !it.is_null() && !blank(it));
        let (options, default) = self.choices(known, patterns);
        let mut rules = self.rules.iter().flatten();
        let optional = self.default.is_some() || rules.any(|it| it.default.is_some());
        let error = |message: &str| format!("`{}` input: {message}", self.name);
        if !optional && given.is_none() {
            return Err(vec![(None, error("required value has not been provided"))]);
        }
        let mut errors: Vec<(Option<Span>, String)> = Vec::new();
        let both = [
            (default.filter(|it| !it.is_null()), "default"),
            (given, "provided"),
        ];
        for (value, which) in both {
            let Some(value) = value else { continue };
            let coerced = self.coerced(value);
            for message in self.problems(&coerced, which, options, patterns) {
                let message = error(&message);
                if errors.iter().all(|it| it.1 != message) {
                    errors.push((Some(value.span), message));
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let null = Node {
            value: Value::Null,
            span: self.span,
        };
        Ok(self.coerced(given.or(default).unwrap_or(&null)))
    }

    /// A text that is JSON serves as what it says, unless a text is wanted.
    fn coerced(&self, value: &Node) -> Node {
        let span = value.span;
        if self.kind == InputKind::String {
            let value = Value::Text(printed(value).into());
            return Node { value, span };
        }
        let parsed = value
            .as_text()
            .and_then(|it| serde_json::from_str(it).ok())
            .map(|it| node_of_json(&it, span));
        parsed.unwrap_or_else(|| value.clone())
    }

    fn problems(
        &self,
        value: &Node,
        which: &str,
        options: Option<&Vec<Node>>,
        patterns: &Patterns,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.kind.accepts(value) {
            problems.push(format!("{which} value is not {}", self.kind.described()));
        }
        match (self.kind, options) {
            (_, None) => {}
            (InputKind::String, Some(options)) => {
                if !options.iter().any(|it| printed(it) == printed(value)) {
                    let shown = cut(printed(value));
                    problems.push(format!(
                        "`{shown}` cannot be used because it is not in the list of allowed options"
                    ));
                }
            }
            (InputKind::Number, Some(options)) => {
                if !options
                    .iter()
                    .any(|it| number(it).is_some() && number(it) == number(value))
                {
                    let shown = cut(printed(value));
                    problems.push(format!("`{shown}` cannot be used because it is not in the list of the allowed options"));
                }
            }
            (InputKind::Boolean | InputKind::Array, Some(_)) => {
                problems.push("Options can only be used with string and number inputs".to_owned());
            }
        }
        if let Some(regex) = &self.regex {
            let text = regex.as_text().unwrap_or_default();
            match (self.kind, pattern(text, patterns)) {
                (InputKind::String, None) => problems.push("invalid regular expression".to_owned()),
                (InputKind::String, Some(pattern)) => {
                    if !pattern.is_match(value.as_text().unwrap_or_default()) {
                        problems.push(format!(
                            "{which} value does not match required RegEx pattern"
                        ));
                    }
                }
                _ => {
                    problems.push("RegEx validation can only be used with string inputs".to_owned())
                }
            }
        }
        problems
    }
}

impl InputRule {
    fn holds<'a>(&self, known: &dyn Fn(&str) -> Option<&'a Node>, patterns: &Patterns) -> bool {
        let operand = |name: &str| match known(name) {
            None => Operand::Null,
            Some(node) => match &node.value {
                Value::Null => Operand::Null,
                Value::Bool(value) => Operand::Bool(*value),
                _ => Operand::Text(printed(node)),
            },
        };
        self.condition
            .as_ref()
            .is_none_or(|it| it.with_inputs(&operand).holds(&|_| None, patterns))
    }
}

/// Compiles a pattern, which may be written with or without slashes.
fn pattern(text: &str, patterns: &Patterns) -> Option<Pattern> {
    let slashed = text.len() > 1 && text.starts_with('/') && text.ends_with('/');
    match slashed {
        true => patterns.find(text),
        false => patterns.find(&format!("/{text}/")),
    }
}

fn number(node: &Node) -> Option<f64> {
    match node.value {
        // Options are written by people: numbers beyond 2^53 may be told apart wrongly.
        Value::Integer(value) => Some(value.get() as f64),
        Value::Float(value) => Some(value),
        _ => None,
    }
}

fn options(node: &Node, at: &str, report: &mut Report) -> Option<Vec<Node>> {
    let Some(items) = node.as_sequence() else {
        report.entry_error(node.span, format!("{at} input options should be an array"));
        return None;
    };
    if items.len() > OPTIONS_LIMIT {
        report.entry_error(
            node.span,
            format!("{at} config cannot define more than {OPTIONS_LIMIT} options"),
        );
    }
    if items.iter().any(Node::is_null) {
        report.entry_error(
            node.span,
            format!("{at} config options array cannot contain null values"),
        );
    }
    Some(items.to_vec())
}

fn rules(node: &Node, name: &str, at: &str, report: &mut Report) -> Vec<InputRule> {
    let Some(items) = node.as_sequence() else {
        report.entry_error(node.span, format!("{at}:rules config should be an array"));
        return Vec::new();
    };
    let error = |message: &str| format!("`{name}` input: {message}");
    let mut rules = Vec::new();
    for item in items {
        let Some(map) = item.as_mapping() else {
            report.entry_error(item.span, error("should be a hash"));
            continue;
        };
        if map.is_empty() {
            report.entry_error(item.span, error("can't be blank"));
            continue;
        }
        let known = ["if", "options", "default"];
        let unknown: Vec<&str> = map
            .iter()
            .map(|it| it.0.text.as_str())
            .filter(|it| !known.contains(it))
            .collect();
        if let [first, ..] = unknown[..] {
            let message = error(&format!("contains unknown keys: {}", unknown.join(", ")));
            report.error_with_hint(item.span, message, did_you_mean(first, known));
        }
        let condition = match map.given("if") {
            None => None,
            Some(node) => {
                let parsed = node
                    .as_text()
                    .and_then(|it| Expression::parse(it, &report.patterns).ok());
                if parsed.is_none() {
                    report.entry_error(node.span, error("if invalid expression syntax"));
                }
                parsed
            }
        };
        let listed = map
            .given("options")
            .and_then(|it| options(it, &format!("`{name}` input:"), report));
        let default = map.get("default").cloned();
        if default.is_none() {
            report.entry_error(
                item.span,
                error("rule must define 'options' with at least one value and a 'default'"),
            );
        }
        if let (Some(options), Some(default)) =
            (listed.as_ref().filter(|it| !it.is_empty()), &default)
            && !options.iter().any(|it| inspected(it) == inspected(default))
        {
            let message = format!(
                "default '{}' must be one of the options",
                cut(printed(default))
            );
            report.entry_error(default.span, error(&message));
        }
        rules.push(InputRule {
            span: item.span,
            condition,
            options: listed,
            default,
        });
    }
    rules
}
