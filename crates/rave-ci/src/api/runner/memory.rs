//! What RAVE's own runner says of its machine's memory when it asks for a job. Others send no such key.

use rave_core::id::JobId;
use serde::Deserialize;
use serde_json::Value;

use crate::service::memory::Offer;

/// More than any machine has; beyond, a runner talks nonsense.
const MOST: u64 = 1 << 60;
/// How many jobs a machine may name.
const HOLDERS: usize = 1000;
/// How much of its reason to refuse jobs is shown.
const REASON: usize = 200;
/// What one job may have changes a little all the time; it is written down in steps.
const STEP: u64 = 64 << 20;

#[derive(Deserialize)]
struct Said {
    budget_bytes: u64,
    most_bytes: u64,
    limit_bytes: u64,
    request_bytes: u64,
    #[serde(default)]
    holders: Vec<Holder>,
    #[serde(default)]
    refuses: Option<String>,
}

#[derive(Deserialize)]
struct Holder {
    job: i64,
    bytes: u64,
}

/// Reads it. What makes no sense is left out as a whole: the machine then gets jobs whatever they need.
pub(super) fn offer(said: &Value) -> Option<Offer> {
    let said = Said::deserialize(said.is_object().then_some(said)?).ok()?;
    let figures = [
        said.budget_bytes,
        said.most_bytes,
        said.limit_bytes,
        said.request_bytes,
    ];
    let sane = figures.iter().all(|it| *it < MOST) && said.holders.len() <= HOLDERS;
    let refuses = said.refuses.map(|it| it.chars().take(REASON).collect());
    sane.then(|| Offer {
        budget_bytes: said.budget_bytes,
        most_bytes: said.most_bytes,
        limit_bytes: said.limit_bytes,
        request_bytes: said.request_bytes,
        holders: said
            .holders
            .iter()
            .map(|it| (JobId(it.job), it.bytes))
            .collect(),
        refuses,
    })
}

/// Returns what is written down of it: the most that one job may have.
pub(super) fn most(offer: &Offer) -> u64 {
    match offer.most_bytes {
        many if many > 16 * STEP => many / STEP * STEP,
        few => few,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let said = |more: Value| {
            let mut all = json!({"budget_bytes": 9, "most_bytes": 8, "limit_bytes": 7, "request_bytes": 6, "new": 1});
            crate::api::shapes::extend(&mut all, more);
            offer(&all)
        };
        let read = said(json!({"holders": [{"job": 5, "bytes": 4}]})).expect("read");
        assert_eq!(
            (read.budget_bytes, &read.holders[..]),
            (9, &[(JobId(5), 4)][..])
        );
        for more in [
            json!({"budget_bytes": -1}),
            json!({"most_bytes": u64::MAX}),
            json!({"limit_bytes": null}),
            json!({"holders": "all"}),
        ] {
            assert_eq!(said(more.clone()), None, "{more}");
        }
        assert_eq!(offer(&json!(null)), None);
        let long = said(json!({"refuses": "x".repeat(1000)})).and_then(|it| it.refuses);
        assert_eq!(long.map(|it| it.len()), Some(REASON));
    }

    #[test]
    fn small_changes_of_much_memory_are_no_news() {
        let most = |mib: u64| {
            let said = json!({"budget_bytes": 1, "most_bytes": mib << 20, "limit_bytes": 1, "request_bytes": 1});
            most(&offer(&said).expect("read")) >> 20
        };
        assert_eq!(
            (most(100), most(4099), most(4159), most(4160)),
            (100, 4096, 4096, 4160)
        );
    }
}
