//! What somebody writes into the form of a runner, and what is wrong with it.

use rave_http::Params;

use crate::model::Runner;
use crate::setting::Mistake;
use crate::store::runner::Settings;

/// The form. A box that is not checked is not sent.
#[derive(Clone, Debug)]
pub(super) struct RunnerForm {
    pub(super) description: String,
    pub(super) tags: String,
    pub(super) note: String,
    /// Minutes; empty: the job's own limit counts.
    pub(super) timeout: String,
    pub(super) run_untagged: bool,
    pub(super) protected: bool,
    pub(super) locked: bool,
    pub(super) paused: bool,
    /// Why it was not accepted.
    pub(super) problems: Vec<String>,
}

impl Default for RunnerForm {
    fn default() -> Self {
        Self {
            description: String::new(),
            tags: String::new(),
            note: String::new(),
            timeout: String::new(),
            run_untagged: true,
            protected: false,
            locked: false,
            paused: false,
            problems: Vec::new(),
        }
    }
}

impl RunnerForm {
    /// Shows a runner as it is.
    pub(super) fn of(runner: &Runner) -> Self {
        let minutes = |secs: i64| (secs / 60).to_string();
        Self {
            description: runner.description.clone(),
            tags: runner.tags.join(", "),
            note: runner.maintenance_note.clone().unwrap_or_default(),
            timeout: runner.maximum_timeout_secs.map(minutes).unwrap_or_default(),
            run_untagged: runner.run_untagged,
            protected: runner.protected,
            locked: runner.locked,
            paused: runner.paused,
            problems: Vec::new(),
        }
    }

    /// Reads what was sent.
    pub(super) fn read(params: &mut Params) -> Self {
        let mut text = |name: &str| params.text(name).unwrap_or_default().trim().to_owned();
        let (description, tags) = (text("description"), text("tag_list"));
        let (note, timeout) = (text("maintenance_note"), text("maximum_timeout"));
        let mut flag = |name: &str| params.bool(name).unwrap_or(false);
        Self {
            description,
            tags,
            note,
            timeout,
            run_untagged: flag("run_untagged"),
            protected: flag("protected"),
            locked: flag("locked"),
            paused: flag("paused"),
            problems: Vec::new(),
        }
    }

    /// Returns what the form says.
    pub(super) fn settings(&self) -> Result<Settings, Mistake> {
        let words = self.tags.split(',').map(str::trim);
        let mut tags: Vec<String> = words
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        tags.sort_unstable();
        tags.dedup();
        let seconds = |text: &str| text.parse::<i64>().ok()?.checked_mul(60);
        let timeout = match self.timeout.as_str() {
            "" => None,
            text => Some(seconds(text).ok_or(("maximum_timeout", "is no number".to_owned()))?),
        };
        Ok(Settings {
            description: self.description.clone(),
            maintenance_note: Some(self.note.clone()).filter(|it| !it.is_empty()),
            tags,
            run_untagged: self.run_untagged,
            locked: self.locked,
            paused: self.paused,
            protected: self.protected,
            maximum_timeout_secs: timeout,
        })
    }

    /// Says what is wrong so that a person knows what to do.
    pub(super) fn explain(&mut self, mistakes: &[Mistake]) {
        let sentence = |(field, why): &Mistake| match *field {
            "tags_list" if why.starts_with("can not be empty") => {
                "A runner needs tags, or has to take jobs without tags.".to_owned()
            }
            "tags_list" => format!("The list of tags {why}."),
            "maximum_timeout" if why == "is no number" => {
                "The longest time of a job is a number of minutes.".to_owned()
            }
            "maximum_timeout" => "Jobs need to have at least 10 minutes.".to_owned(),
            "maintenance_note" => format!("The note {why}."),
            _ => format!("The {field} {why}."),
        };
        self.problems = mistakes.iter().map(sentence).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_settings_or_says_why_not() {
        let mut form = RunnerForm {
            description: "big".into(),
            tags: " nix,linux ,, nix".into(),
            timeout: "30".into(),
            ..RunnerForm::default()
        };
        let settings = form.settings().expect("it is right");
        assert_eq!(settings.tags, ["linux", "nix"]);
        assert_eq!(settings.maximum_timeout_secs, Some(1800));
        assert_eq!(settings.maintenance_note, None);
        form.timeout = "soon".into();
        let mistake = form.settings().expect_err("no number");
        form.explain(&[mistake]);
        assert_eq!(
            form.problems,
            ["The longest time of a job is a number of minutes."]
        );
    }
}
