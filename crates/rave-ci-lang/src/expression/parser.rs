//! Tokens to a tree: `!` binds closest, then comparison, then `&&`, then `||`; all but `!` group to the left.

use super::lexer::{Located, Token};
use super::{Expression, InvalidExpression, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
    And,
    Or,
}

impl Operator {
    fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::NotEqual | Self::Matches | Self::MatchesNot => 3,
        }
    }
}

/// Builds the tree. The number of tokens is bounded, and with it the recursion.
pub(super) fn parse(tokens: &[Located], end: usize) -> Result<Expression, InvalidExpression> {
    let mut parser = Parser { tokens, at: 0, end };
    let expression = parser.binary(0)?;
    match parser.at == tokens.len() {
        true => Ok(expression),
        false => Err(parser.invalid()),
    }
}

struct Parser<'a> {
    tokens: &'a [Located],
    at: usize,
    end: usize,
}

impl Parser<'_> {
    fn invalid(&self) -> InvalidExpression {
        InvalidExpression {
            offset: self.tokens.get(self.at).map_or(self.end, |it| it.0),
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at)?.1.clone();
        self.at += 1;
        Some(token)
    }

    fn binary(&mut self, above: u8) -> Result<Expression, InvalidExpression> {
        let mut left = self.unary()?;
        while let Some((_, Token::Operator(operator))) = self.tokens.get(self.at) {
            let operator = *operator;
            if operator.precedence() <= above {
                break;
            }
            self.at += 1;
            let right = match (operator, self.tokens.get(self.at)) {
                (Operator::Matches | Operator::MatchesNot, Some((_, Token::Pattern(pattern)))) => {
                    self.at += 1;
                    Expression::Pattern(pattern.clone())
                }
                _ => self.binary(operator.precedence())?,
            };
            left = Expression::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, InvalidExpression> {
        let invalid = self.invalid();
        match self.next() {
            Some(Token::Not) => Ok(Expression::Not(Box::new(self.unary()?))),
            Some(Token::Open) => {
                let inner = self.binary(0)?;
                let invalid = self.invalid();
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err(invalid),
                }
            }
            Some(Token::Variable(name)) => Ok(Expression::Variable(name)),
            Some(Token::Text(text)) => Ok(Expression::Value(Value::Text(text))),
            Some(Token::Input(name)) => Ok(Expression::Input(name)),
            Some(Token::Null) => Ok(Expression::Value(Value::Null)),
            Some(Token::Bool(value)) => Ok(Expression::Value(Value::Bool(value))),
            // A pattern has a meaning only to the right of `=~`.
            Some(Token::Pattern(_) | Token::Close | Token::Operator(_)) | None => Err(invalid),
        }
    }
}
