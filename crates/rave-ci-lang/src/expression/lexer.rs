//! Text to tokens. What cannot start a token makes the whole expression invalid.

use std::sync::LazyLock;

use regex::Regex;

use super::InvalidExpression;
use super::parser::Operator;
use super::pattern::{Pattern, Patterns};

#[derive(Clone, Debug)]
pub(super) enum Token {
    Open,
    Close,
    Input(String),
    Variable(String),
    Text(String),
    Pattern(Pattern),
    Null,
    Bool(bool),
    Operator(Operator),
    Not,
}

/// A token and the byte offset where it starts.
pub(super) type Located = (usize, Token);

static LEXEMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"\A(?:(?<paren>[()])",
        r"|(?<input>\$\[\[\s*inputs\.(?<name>[A-Za-z0-9_-]+)\s*\]\])",
        r"|\$(?<variable>[A-Za-z0-9_]+)",
        r#"|"(?<double>[^"]*)"|'(?<single>[^']*)'"#,
        r"|(?<pattern>/(?:[^/]|\\/)+[^\\]/[ismU]*)",
        r"|(?<word>(?-u:null\b|true\b|false\b))",
        r"|(?<operator>==|=~|!=|!~|&&|\|\||!))",
    ))
    .expect("the lexemes are a valid expression")
});

pub(super) fn tokens(text: &str, patterns: &Patterns) -> Result<Vec<Located>, InvalidExpression> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    loop {
        offset += text[offset..].len() - text[offset..].trim_start().len();
        if offset == text.len() {
            return Ok(tokens);
        }
        let found = LEXEMES
            .captures(&text[offset..])
            .ok_or(InvalidExpression { offset })?;
        let token = token(&found, patterns).ok_or(InvalidExpression { offset })?;
        if !patterns.allows_tokens(tokens.len() + 1) {
            return Err(InvalidExpression { offset });
        }
        tokens.push((offset, token));
        offset += found[0].len();
    }
}

/// `None` for a pattern that does not compile.
fn token(found: &regex::Captures<'_>, patterns: &Patterns) -> Option<Token> {
    let group = |name| found.name(name).map(|it| it.as_str());
    Some(if let Some(name) = group("variable") {
        Token::Variable(name.to_owned())
    } else if let Some(name) = group("name") {
        Token::Input(name.to_owned())
    } else if let Some(text) = group("double").or(group("single")) {
        Token::Text(text.to_owned())
    } else if let Some(pattern) = group("pattern") {
        Token::Pattern(patterns.find(pattern)?)
    } else {
        match &found[0] {
            "(" => Token::Open,
            ")" => Token::Close,
            "null" => Token::Null,
            "true" => Token::Bool(true),
            "false" => Token::Bool(false),
            "==" => Token::Operator(Operator::Equal),
            "!=" => Token::Operator(Operator::NotEqual),
            "=~" => Token::Operator(Operator::Matches),
            "!~" => Token::Operator(Operator::MatchesNot),
            "&&" => Token::Operator(Operator::And),
            "||" => Token::Operator(Operator::Or),
            _ => Token::Not,
        }
    })
}
