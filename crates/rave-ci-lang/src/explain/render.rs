//! An explanation as text for a terminal.

use super::{
    ClauseEvidence, Explanation, JobExplanation, KeyOrigin, Layer, Origin, RuleEvidence, WaitsFor,
};
use crate::{Place, When};

/// Longest value of a variable that is shown.
const MAX_VALUE: usize = 80;

impl Explanation {
    /// Returns the explanation as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (index, job) in self.jobs.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            self.render_job(job, &mut out);
        }
        if !self.errors.is_empty() {
            out += "\nno pipeline is made, because\n";
            for error in &self.errors {
                out += &format!("  {error}\n");
            }
        }
        out
    }

    fn render_job(&self, job: &JobExplanation, out: &mut String) {
        let state = match job.when {
            Some(when) => format!("in the pipeline, {}", when_label(when)),
            None => "not in the pipeline".to_owned(),
        };
        *out += &format!("{}: {state}\n", job.name);
        *out += &format!("  because {}\n", job.verdict);
        *out += &format!(
            "  event {} on {}; stage {}; {}\n",
            self.source,
            self.ref_name,
            job.stage,
            shown(&job.place)
        );
        if job.allow_failure == Some(true) {
            *out += "  it may fail\n";
        }
        if !self.workflow.rules.is_empty() {
            *out += &format!("\nworkflow: {}\n", self.workflow.verdict);
            render_rules(&self.workflow.rules, out);
        }
        if !job.rules.is_empty() {
            *out += "\nrules\n";
            render_rules(&job.rules, out);
        }
        for (title, parts) in [("only", &job.only), ("except", &job.except)] {
            if !parts.is_empty() {
                *out += &format!("\n{title}\n");
                for part in parts {
                    render_clause(part, "  ", out);
                }
            }
        }
        if let Some(waits_for) = &job.waits_for {
            *out += "\nwaits for\n";
            *out += &match waits_for {
                WaitsFor::Nothing => "  nothing\n".to_owned(),
                WaitsFor::Stages(stages) => format!("  all jobs of {}\n", stages.join(", ")),
                WaitsFor::Jobs(jobs) => format!("  {} (needs)\n", jobs.join(", ")),
            };
        }
        render_variables(job, out);
        render_keys(&job.keys, out);
    }
}

fn shown(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

fn answer(held: Option<bool>) -> &'static str {
    match held {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not asked",
    }
}

fn render_rules(rules: &[RuleEvidence], out: &mut String) {
    for rule in rules {
        let when = match (&rule.when, rule.held) {
            (Some(when), _) => format!(", when: {when}"),
            (None, _) => String::new(),
        };
        *out += &format!(
            "  {}. {}  {}{when}\n",
            rule.number,
            shown(&rule.place),
            answer(rule.held)
        );
        for clause in &rule.clauses {
            render_clause(clause, "     ", out);
        }
    }
}

fn render_clause(clause: &ClauseEvidence, indent: &str, out: &mut String) {
    *out += &format!(
        "{indent}{}: {}  {}",
        clause.keyword,
        clause.text,
        answer(clause.held)
    );
    if let Some(because) = &clause.because {
        *out += &format!(": {because}");
    }
    out.push('\n');
    for operand in &clause.operands {
        *out += &match (&operand.value, operand.layer) {
            (Some(value), Some(layer)) => format!(
                "{indent}  ${} is {:?} ({})\n",
                operand.name,
                cut(value),
                layer_label(layer)
            ),
            _ => format!("{indent}  ${} is not set\n", operand.name),
        };
    }
}

fn render_variables(job: &JobExplanation, out: &mut String) {
    if job.variables.is_empty() {
        return;
    }
    *out += "\nvariables\n";
    for variable in &job.variables {
        let place = variable.place.as_ref();
        let place = place.map_or_else(String::new, |it| format!(", {}", shown(it)));
        *out += &format!(
            "  {} = {:?}  {}{place}\n",
            variable.key,
            cut(&variable.value),
            layer_label(variable.layer)
        );
        for hidden in &variable.hides {
            *out += &format!(
                "    hides {:?} of {}\n",
                cut(&hidden.value),
                layer_label(hidden.layer)
            );
        }
    }
}

fn render_keys(keys: &[KeyOrigin], out: &mut String) {
    *out += "\nkeys\n";
    let width = keys.iter().map(|it| it.key.chars().count()).max();
    let width = width.unwrap_or(0);
    for key in keys {
        let line = format!(
            "  {:width$}  {}{}",
            key.key,
            shown(&key.place),
            origin_label(&key.origin)
        );
        *out += &line;
        out.push('\n');
        for (origin, place) in &key.parts {
            *out += &format!(
                "  {:width$}    partly {}{}\n",
                "",
                shown(place),
                origin_label(origin)
            );
        }
    }
}

fn origin_label(origin: &Origin) -> String {
    match origin {
        Origin::Job => String::new(),
        Origin::Default => "  from default".to_owned(),
        Origin::Root => "  from the root of the file".to_owned(),
        Origin::Extends(name) => format!("  extends {name}"),
        Origin::Reference(name) => format!("  from {name} (!reference or alias)"),
    }
}

fn layer_label(layer: Layer) -> String {
    match layer {
        Layer::Predefined => "predefined".to_owned(),
        Layer::Root => "root of the file".to_owned(),
        Layer::WorkflowRule(number) => format!("rule {number} of workflow"),
        Layer::Job => "job".to_owned(),
        Layer::Matrix => "matrix".to_owned(),
        Layer::Rule(number) => format!("rule {number}"),
        Layer::Project => "project".to_owned(),
        Layer::Pipeline => "given with the event".to_owned(),
    }
}

const fn when_label(when: When) -> &'static str {
    match when {
        When::OnSuccess => "when the jobs before it passed",
        When::OnFailure => "when a job before it failed",
        When::Always => "always",
        When::Manual => "when somebody starts it",
        When::Delayed => "after a delay",
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
