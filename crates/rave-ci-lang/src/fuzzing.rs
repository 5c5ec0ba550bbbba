//! Inner parts for the fuzz targets. No interface of the crate.

use crate::Limits;
use crate::report::Report;
use crate::yaml::Loader;

pub use crate::yaml::describe::describe;

/// Loads a file and drops what comes of it.
pub fn load(text: &str, limits: &Limits) -> Result<(), String> {
    let mut report = Report::default();
    let file = report.add_file("f", None);
    match Loader::new(limits).load(file, text, &mut report) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message),
    }
}
