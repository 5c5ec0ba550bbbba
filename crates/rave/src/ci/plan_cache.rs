//! Plans of files that have not changed since the last time, so that asking twice costs little.
//!
//! What went into a plan is the text, the event, the limits and what the tree answered; all of it has to be the same again.
//! Commands that need little of a plan keep that little by itself, since reading a whole plan back takes a while.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rave_ci_lang::{EventContext, Fingerprints, Limits, SourceFile, Tree, Variable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::remote::write;
use crate::wiring::VERSION;

/// How many are kept, and the largest of them.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 16 << 20;
/// The one variable that is never the same.
const NEVER_THE_SAME: &str = "CI_PIPELINE_CREATED_AT";

/// A place for one plan, or for what one command needs of it.
#[derive(Debug)]
pub(crate) struct Slot(PathBuf);

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    fingerprints: Fingerprints,
    kept: T,
}

impl Slot {
    /// Returns the place of a file and event below a directory; `kind` says what of the plan is kept there. `None`: such a
    /// plan is not kept.
    pub(crate) fn new(
        directory: &Path,
        kind: &str,
        source: &SourceFile<'_>,
        event: &EventContext,
        limits: &Limits,
    ) -> Option<Self> {
        if source.text.contains(NEVER_THE_SAME) {
            return None;
        }
        let mut hasher = Sha256::new();
        let mut add = |text: &str| {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        };
        add(VERSION);
        add(&program()?);
        add(kind);
        add(&format!("{limits:?}"));
        add(source.path);
        add(source.text);
        for text in [
            &event.source,
            &event.ref_name,
            &event.project_path,
            &event.server_fqdn,
        ] {
            add(text);
        }
        add(&format!("{} {}", event.tag, event.child));
        add(&serde_json::to_string(&event.inputs).ok()?);
        let lasting = |it: &&Variable| it.key != NEVER_THE_SAME;
        for list in [
            &event.predefined,
            &event.project_variables,
            &event.pipeline_variables,
        ] {
            let list: Vec<&Variable> = list.iter().filter(lasting).collect();
            // Only the digest is kept, so the values may be part of it.
            add(&serde_json::to_string(&list).ok()?);
        }
        Some(Self(directory.join(hex::encode(hasher.finalize()))))
    }

    /// Returns what is kept if the tree still answers as it did then.
    pub(crate) fn load<T: DeserializeOwned>(&self, tree: &dyn Tree) -> Option<T> {
        let bytes = std::fs::read(&self.0).ok()?;
        let entry: Entry<T> = serde_json::from_slice(&bytes).ok()?;
        entry.fingerprints.hold(tree).then_some(entry.kept)
    }

    /// Keeps something. That this fails is no reason to stop.
    pub(crate) fn store<T: Serialize>(&self, fingerprints: Fingerprints, kept: &T) {
        let entry = Entry { fingerprints, kept };
        let bytes = serde_json::to_vec(&entry).unwrap_or_default();
        if bytes.is_empty() || bytes.len() > ENTRY_BYTES || write(&self.0, &bytes).is_err() {
            return;
        }
        if let Some(directory) = self.0.parent() {
            trim(directory);
        }
    }
}

/// Tells this build of the program from others.
fn program() -> Option<String> {
    let metadata = std::fs::metadata(std::env::current_exe().ok()?).ok()?;
    Some(format!(
        "{:?} {}",
        metadata.modified().ok()?,
        metadata.len()
    ))
}

/// Deletes the oldest plans beyond the number that is kept.
fn trim(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut aged: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|it| Some((it.metadata().ok()?.modified().ok()?, it.path())))
        .collect();
    if aged.len() > ENTRIES {
        aged.sort_unstable();
        for (_, path) in &aged[..aged.len() - ENTRIES] {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rave_ci_lang::Recording;

    struct Files(&'static str);

    impl Tree for Files {
        fn read(&self, _: &str) -> Option<String> {
            Some(self.0.to_owned())
        }
        fn files(&self) -> Vec<String> {
            Vec::new()
        }
        fn changed(&self) -> Option<Vec<String>> {
            None
        }
    }

    fn source(text: &str) -> SourceFile<'_> {
        SourceFile {
            path: ".gitlab-ci.yml",
            text,
        }
    }

    #[test]
    fn a_plan_is_used_again_while_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let event = EventContext {
            source: "push".to_owned(),
            ref_name: "main".to_owned(),
            predefined: vec![Variable::public("CI_COMMIT_BRANCH", "main")],
            ..EventContext::default()
        };
        let text = "include: a.yml\njob: {script: x}\n";
        let tree = Files("other: {script: x}\n");
        let slot_in = |kind: &str, event: &EventContext, limits: &Limits| {
            Slot::new(directory.path(), kind, &source(text), event, limits).unwrap()
        };
        let load = |slot: &Slot, tree: &Files| slot.load::<rave_ci_lang::Compiled>(tree);
        let limits = Limits::default();
        let slot = slot_in("plan", &event, &limits);
        assert!(load(&slot, &tree).is_none());
        let recording = Recording::new(&tree);
        let compiled = rave_ci_lang::compile(&source(text), &event, &recording, &limits).unwrap();
        slot.store(recording.into_answers().fingerprints(), &compiled);
        assert_eq!(load(&slot, &tree), Some(compiled));
        assert!(load(&slot, &Files("changed: {script: x}\n")).is_none());
        assert!(load(&slot_in("list", &event, &limits), &tree).is_none());
        let fewer = Limits { jobs: 1, ..limits };
        assert!(load(&slot_in("plan", &event, &fewer), &tree).is_none());
        let later = EventContext {
            predefined: vec![Variable::public("CI_COMMIT_BRANCH", "topic")],
            ..event.clone()
        };
        assert!(load(&slot_in("plan", &later, &limits), &tree).is_none());
        let dated = "job: {script: x, rules: [{if: $CI_PIPELINE_CREATED_AT}]}";
        assert!(Slot::new(directory.path(), "plan", &source(dated), &event, &limits).is_none());
        for number in 0..ENTRIES + 5 {
            std::fs::write(directory.path().join(format!("f{number}")), "").unwrap();
        }
        trim(directory.path());
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            ENTRIES
        );
    }
}
