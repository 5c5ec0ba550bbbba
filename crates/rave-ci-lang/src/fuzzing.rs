//! Inner parts for the fuzz targets. No interface of the crate.

use crate::Limits;
use crate::expression::{Expression, Patterns};
use crate::glob::Glob;
use crate::report::Report;
use crate::yaml::Loader;

pub use crate::yaml::describe::{Described, describe};

/// Loads a file and returns the message if it cannot be loaded.
pub fn load(text: &str, limits: &Limits) -> Result<(), String> {
    let mut report = Report::default();
    let file = report.add_file("f", None);
    match Loader::new(limits).load(file, text, &mut report) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message),
    }
}

/// Decides a condition. `None`: it is none.
pub fn expression(text: &str) -> Option<bool> {
    let patterns = Patterns::default();
    let expression = Expression::parse(text, &patterns).ok()?;
    let find = |name: &str| match name {
        "A" => Some("a"),
        "E" => Some(""),
        "P" => Some("/^a.*b$/i"),
        _ => None,
    };
    Some(expression.holds(&find, &patterns))
}

/// Compares a pattern with a path, both as `changes` and as `include` do.
pub fn glob(pattern: &str, path: &str) -> (bool, bool) {
    let (glob, _) = Glob::new(pattern);
    (glob.matches(path), Glob::wildcard(pattern).matches(path))
}
