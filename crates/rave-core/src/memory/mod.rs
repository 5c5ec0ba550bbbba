//! Memory as a budget: what a job asks for, what it is expected to need, and which of several jobs goes next.
//!
//! A job has a request, by which it is admitted, and a limit, at which the kernel ends it. Server and runner decide by the
//! same rules, so the rules are here. Measuring, limiting and storing are theirs.

mod gate;
mod history;
mod quantity;
mod shortage;

pub use gate::{Admission, Gate, PATIENCE_MS};
pub use history::{History, KEPT, LEAST_REQUEST_BYTES, Run, history_name};
pub use quantity::{parse_quantity, parse_size, shown};
pub use shortage::Shortage;

/// What a job is expected to need that says nothing and never ran.
pub const DEFAULT_REQUEST_BYTES: u64 = 1 << 30;

/// What the variables of a job ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// What is set aside before it starts.
    pub request_bytes: Option<u64>,
    /// What it may not exceed.
    pub limit_bytes: Option<u64>,
}

impl Asked {
    /// Reads the variables of a job, given by name and value, a later one over an earlier one of its name.
    ///
    /// `RAVE_MEMORY` is both request and limit. Otherwise `KUBERNETES_MEMORY_REQUEST` and `KUBERNETES_MEMORY_LIMIT` count,
    /// where a limit alone is the request too. What cannot be read counts as not given.
    #[must_use]
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut own, mut request, mut limit) = (None, None, None);
        for (name, value) in variables {
            match name {
                OWN => own = parse_size(value),
                REQUEST => request = parse_quantity(value),
                LIMIT => limit = parse_quantity(value),
                _ => {}
            }
        }
        if own.is_some() {
            return Self {
                request_bytes: own,
                limit_bytes: own,
            };
        }
        Self {
            // A request above the limit could never be used.
            request_bytes: match (request, limit) {
                (Some(request), Some(limit)) => Some(request.min(limit)),
                (request, limit) => request.or(limit),
            },
            limit_bytes: limit,
        }
    }

    /// The variables that are read.
    pub const VARIABLES: [&'static str; 3] = [OWN, REQUEST, LIMIT];
}

const OWN: &str = "RAVE_MEMORY";
const REQUEST: &str = "KUBERNETES_MEMORY_REQUEST";
const LIMIT: &str = "KUBERNETES_MEMORY_LIMIT";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], request: Option<u64>, limit: Option<u64>) {
        let asked = Asked::of(variables.iter().copied());
        assert_eq!(
            (asked.request_bytes, asked.limit_bytes),
            (request, limit),
            "{variables:?}"
        );
    }

    #[test]
    fn variables_say_request_and_limit() {
        let mib = |it: u64| Some(it << 20);
        check(&[], None, None);
        check(&[(OWN, "64Mi")], mib(64), mib(64));
        check(&[(OWN, "64Mi"), (REQUEST, "1Mi")], mib(64), mib(64));
        check(&[(OWN, "64Mi"), (OWN, "32Mi")], mib(32), mib(32));
        check(&[(OWN, "much")], None, None);
        check(&[(REQUEST, "1Mi"), (LIMIT, "2Mi")], mib(1), mib(2));
        check(&[(REQUEST, "3Mi"), (LIMIT, "2Mi")], mib(2), mib(2));
        check(&[(LIMIT, "2Mi")], mib(2), mib(2));
        check(&[(REQUEST, "2Mi")], mib(2), None);
    }
}
