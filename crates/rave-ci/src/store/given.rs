//! Columns of variables that a pipeline or a job was given. People give passwords so, and a copy of the database alone shall
//! not show them.

use rave_ci_lang::Variable;
use rave_core::id::PipelineId;
use rave_store::{Error, Row};

use super::to_json;
use crate::error::CiError;
use rave_core::sealing::SealingKey;

/// Returns variables as a column of a pipeline or of one of its jobs holds them.
pub(crate) fn seal(
    key: &SealingKey,
    pipeline: PipelineId,
    column: &str,
    variables: &[Variable],
) -> Result<String, CiError> {
    let text = to_json(variables)?;
    if variables.is_empty() {
        return Ok(text);
    }
    Ok(hex::encode(key.seal(&purpose(pipeline, column), &text)?))
}

/// Reads such a column. One without variables is not sealed, nor are those that an older program wrote.
pub(crate) fn open(
    key: &SealingKey,
    pipeline: PipelineId,
    row: &Row,
    column: &str,
) -> Result<Vec<Variable>, Error> {
    let text = row.text(column)?;
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| Error::Corrupt {
        what: format!("column {column} does not hold what it should"),
        source: Some(source),
    };
    if text.starts_with('[') {
        return serde_json::from_str(&text).map_err(|it| broken(it.into()));
    }
    let sealed = hex::decode(&text).map_err(|it| broken(it.into()))?;
    let opened = key
        .open(&purpose(pipeline, column), &sealed)
        .map_err(|it| broken(it.into()))?;
    serde_json::from_str(opened.expose()).map_err(|it| broken(it.into()))
}

/// What a column is sealed as. A new try of a job takes over what the old one was given.
fn purpose(pipeline: PipelineId, column: &str) -> String {
    format!("{column} of pipeline {pipeline}")
}
