//! The expressions of `if`: `$CI_COMMIT_BRANCH == "main" && $MSG !~ /draft/i`.
//!
//! A text is checked once, by [`Expression::parse`]; evaluation cannot fail. Variables count as written: a value such
//! as `$OTHER` is not filled in.

mod lexer;
mod parser;
mod pattern;

use self::parser::Operator;
pub(crate) use self::pattern::{Pattern, Patterns};

/// The text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid expression syntax")]
pub(crate) struct InvalidExpression {
    /// Byte offset of the first thing that makes no sense.
    pub(crate) offset: usize,
}

/// A checked expression.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Value(Value),
    Variable(String),
    /// An input of the header, which has a value only there: see [`Expression::with_inputs`].
    Input(String),
    Pattern(Pattern),
    Not(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
}

/// Finds the value of a variable, as written.
pub(crate) type Lookup<'f, 'a> = &'f dyn Fn(&str) -> Option<&'a str>;

/// What an expression yields on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Text(String),
}

impl Expression {
    pub(crate) fn parse(text: &str, patterns: &Patterns) -> Result<Self, InvalidExpression> {
        parser::parse(&lexer::tokens(text, patterns)?, text.len())
    }

    /// Returns the names of the variables in the expression, in order.
    pub(crate) fn variables(&self) -> Vec<&str> {
        match self {
            Self::Variable(name) => vec![name],
            Self::Not(inner) => inner.variables(),
            Self::Binary(_, left, right) => {
                let mut names = left.variables();
                names.extend(right.variables());
                names
            }
            Self::Value(_) | Self::Pattern(_) | Self::Input(_) => Vec::new(),
        }
    }

    /// Returns both sides of each comparison, in order.
    pub(crate) fn comparisons(&self) -> Vec<(&Self, &Self)> {
        match self {
            Self::Not(inner) => inner.comparisons(),
            Self::Binary(operator, left, right) => {
                let mut found = left.comparisons();
                if !matches!(operator, Operator::And | Operator::Or) {
                    found.push((left, right));
                }
                found.extend(right.comparisons());
                found
            }
            Self::Variable(_) | Self::Input(_) | Self::Value(_) | Self::Pattern(_) => Vec::new(),
        }
    }

    /// Returns whether the expression holds.
    pub(crate) fn holds<'a>(&self, variables: Lookup<'_, 'a>, patterns: &Patterns) -> bool {
        !self.evaluate(variables, patterns).is_blank()
    }

    /// Returns the expression with the values of inputs in it.
    pub(crate) fn with_inputs(&self, find: &dyn Fn(&str) -> Value) -> Self {
        let boxed = |it: &Self| Box::new(it.with_inputs(find));
        match self {
            Self::Input(name) => Self::Value(find(name)),
            Self::Not(inner) => Self::Not(boxed(inner)),
            Self::Binary(operator, left, right) => {
                Self::Binary(*operator, boxed(left), boxed(right))
            }
            other => other.clone(),
        }
    }

    /// Returns the names of the inputs that the expression asks for.
    pub(crate) fn inputs(&self) -> Vec<&str> {
        match self {
            Self::Input(name) => vec![name],
            Self::Not(inner) => inner.inputs(),
            Self::Binary(_, left, right) => [left.inputs(), right.inputs()].concat(),
            _ => Vec::new(),
        }
    }

    fn evaluate<'a>(&self, variables: Lookup<'_, 'a>, patterns: &Patterns) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Variable(name) => {
                variables(name).map_or(Value::Null, |it| Value::Text(it.to_owned()))
            }
            Self::Input(_) => Value::Null,
            // The parser lets patterns stand only where `matches` reads them.
            Self::Pattern(_) => Value::Null,
            Self::Not(inner) => Value::Bool(inner.evaluate(variables, patterns).is_blank()),
            Self::Binary(operator, left, right) => {
                let left = left.evaluate(variables, patterns);
                match operator {
                    Operator::And if left.stops() => left,
                    Operator::And => right.evaluate(variables, patterns),
                    Operator::Or if left.stops() => right.evaluate(variables, patterns),
                    Operator::Or => left,
                    Operator::Equal => {
                        Value::Bool(left.equals(&right.evaluate(variables, patterns)))
                    }
                    Operator::NotEqual => {
                        Value::Bool(!left.equals(&right.evaluate(variables, patterns)))
                    }
                    Operator::Matches => {
                        Value::Bool(matches(&left.text(), right, variables, patterns))
                    }
                    Operator::MatchesNot => {
                        Value::Bool(!matches(&left.text(), right, variables, patterns))
                    }
                }
            }
        }
    }
}

/// Decides `left =~ right`. A right side that does not look like a pattern is searched for the left side.
fn matches<'a>(
    left: &str,
    right: &Expression,
    variables: Lookup<'_, 'a>,
    patterns: &Patterns,
) -> bool {
    if let Expression::Pattern(pattern) = right {
        return pattern.is_match(left);
    }
    match right.evaluate(variables, patterns) {
        Value::Null => false,
        right => {
            let right = right.text();
            patterns
                .find(&right)
                .map_or_else(|| right.contains(left), |it| it.is_match(left))
        }
    }
}

impl Value {
    fn is_blank(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Text(text) => text.trim().is_empty(),
        }
    }

    /// Returns whether `&&` stops here. Unlike in a whole expression, an empty text does not.
    fn stops(&self) -> bool {
        matches!(self, Self::Null | Self::Bool(false))
    }

    fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(_), Self::Bool(_)) | (Self::Bool(_), Self::Text(_)) => {
                self.text() == other.text()
            }
            _ => self == other,
        }
    }
}

#[cfg(test)]
mod tests;
