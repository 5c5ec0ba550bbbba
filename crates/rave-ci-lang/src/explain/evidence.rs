//! Asks the conditions of one job again, and keeps what came out.

use super::layers::{FileVariables, Layers, Redactor, key_span};
use super::origin::Origins;
use super::{ClauseEvidence, JobExplanation, Layer, RuleEvidence, WaitsFor, WorkflowExplanation};
use crate::entry::check::flattened;
use crate::entry::{Config, Policy, Rule};
use crate::facts::{self, Facts};
use crate::planner::{Subject, is_never};
use crate::report::Report;
use crate::scope::Scope;
use crate::yaml::{Mapping, Node, Value};
use crate::{Place, Plan};

/// Longest text of a condition that is shown.
const MAX_TEXT: usize = 500;

pub(super) struct Witness<'a> {
    pub(super) config: &'a Config,
    pub(super) facts: &'a Facts<'a>,
    /// The merged tree, for what was written.
    pub(super) root: &'a Mapping,
    pub(super) report: &'a Report,
    pub(super) redactor: Redactor<'a>,
}

/// What became of a job.
pub(super) struct Judged {
    pub(super) included: bool,
    pub(super) verdict: String,
    /// Number of the rule that held.
    rule: Option<usize>,
    rules: Vec<RuleEvidence>,
    only: Vec<ClauseEvidence>,
    except: Vec<ClauseEvidence>,
}

impl Witness<'_> {
    pub(super) fn workflow(&self) -> WorkflowExplanation {
        let Some(rules) = &self.config.workflow.rules else {
            return WorkflowExplanation {
                allows: true,
                verdict: "there are no `workflow:rules`, so every event gets a pipeline".to_owned(),
                rules: Vec::new(),
            };
        };
        let event = self.facts.event;
        let scope = Scope::new(&[], &self.config.variables, event);
        let layers = Layers::of_workflow(&self.config.variables, event, &self.redactor);
        let written = written_rules(self.root.get("workflow"));
        let evidence = self.rules(rules, &written, &scope, &layers);
        let decided = decided(rules, &evidence);
        WorkflowExplanation {
            allows: decided.is_some_and(|it| !is_never(it.1)),
            verdict: match decided {
                Some((number, rule)) if is_never(rule) => {
                    format!("rule {number} of `workflow` says never")
                }
                Some((number, _)) => format!("rule {number} of `workflow` allows it"),
                None => "none of the rules of `workflow` holds".to_owned(),
            },
            rules: evidence,
        }
    }

    /// Decides about a job as the planner did, and keeps what came out of each condition.
    pub(super) fn judge(&self, subject: &Subject<'_>, workflow: &WorkflowExplanation) -> Judged {
        let event = self.facts.event;
        let job = subject.job;
        let node = self.root.get(&job.name);
        let scope = Scope::new(&subject.predefined, &subject.yaml, event);
        let file = self.file_variables(workflow);
        let layers = Layers::of_job(subject, &file, None, event, &self.redactor);
        let rules = job.rules.as_deref().unwrap_or_default();
        let evidence = self.rules(rules, &written_rules(node), &scope, &layers);
        let rule = decided(rules, &evidence);
        let (mut only, mut except) = (Vec::new(), Vec::new());
        if job.rules.is_none() {
            let keyword = |name: &str| node?.as_mapping()?.given(name);
            let absent = Policy::branches_and_tags();
            let implied = (!self.config.workflow.has_rules).then_some(&absent);
            if let Some(policy) = job.only.as_ref().or(implied) {
                only = self.policy(policy, keyword("only"), &scope);
            }
            if let Some(policy) = &job.except {
                except = self.policy(policy, keyword("except"), &scope);
            }
        }
        let verdict = if !workflow.allows {
            format!("there is no pipeline: {}", workflow.verdict)
        } else if job.rules.is_none() {
            verdict_of_policies(subject, &only, &except)
        } else {
            verdict_of_rules(rules, rule)
        };
        Judged {
            included: workflow.allows && subject.decision.is_some(),
            rule: rule.map(|it| it.0),
            verdict,
            rules: evidence,
            only,
            except,
        }
    }

    pub(super) fn job(
        &self,
        subject: &Subject<'_>,
        workflow: &WorkflowExplanation,
        plan: Option<&Plan>,
        origins: &Origins,
    ) -> JobExplanation {
        let job = subject.job;
        let judged = self.judge(subject, workflow);
        let planned = plan.and_then(|it| it.find_job(&subject.name));
        let decision = subject.decision.filter(|_| judged.included);
        let chosen = judged.rule.filter(|_| judged.included).and_then(|number| {
            let rule = job.rules.as_ref()?.get(number - 1)?;
            Some((number, rule.variables.as_slice()))
        });
        let file = self.file_variables(workflow);
        let event = self.facts.event;
        let layers = Layers::of_job(subject, &file, chosen, event, &self.redactor);
        let node = self.root.get(&job.name);
        JobExplanation {
            name: subject.name.clone(),
            stage: job.stage.clone(),
            place: self.report.place(job.span),
            included: judged.included,
            verdict: judged.verdict,
            when: decision.map(|it| it.0),
            allow_failure: decision.map(|it| it.1),
            rules: judged.rules,
            only: judged.only,
            except: judged.except,
            variables: layers.origins(|layer, key| self.variable_place(layer, key, node)),
            keys: origins.keys(job, self.root, self.report),
            waits_for: planned.zip(plan).map(|(job, plan)| waits_for(job, plan)),
        }
    }

    /// Returns what the file sets for all jobs, with the variables of the workflow rule that decided.
    fn file_variables(&self, workflow: &WorkflowExplanation) -> FileVariables<'_> {
        let rules = self.config.workflow.rules.as_deref().unwrap_or_default();
        let rule = decided(rules, &workflow.rules);
        FileVariables {
            root: &self.config.variables,
            workflow: rule.map(|(number, rule)| (number, rule.variables.as_slice())),
        }
    }

    fn rules(
        &self,
        rules: &[Rule],
        written: &[&Mapping],
        scope: &Scope<'_>,
        layers: &Layers<'_>,
    ) -> Vec<RuleEvidence> {
        let mut decided = false;
        let mut evidence = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let written = written.get(index).copied();
            let mut clauses = self.written_clauses(rule, written, layers);
            let held = (!decided).then(|| {
                self.facts.take_matched();
                let place = facts::Place::Commit;
                rule.clauses
                    .evaluate(scope, self.facts, &place, |keyword, held| {
                        let because = self.because(keyword, held);
                        if let Some(clause) = clauses.iter_mut().find(|it| it.keyword == keyword) {
                            (clause.held, clause.because) = (Some(held), because);
                        }
                    })
                    .unwrap_or(false)
            });
            decided |= held == Some(true);
            evidence.push(RuleEvidence {
                number: index + 1,
                place: self.report.place(rule.span),
                held,
                when: written
                    .and_then(|it| it.given("when"))
                    .and_then(Node::scalar_text),
                clauses,
            });
        }
        evidence
    }

    /// Returns the conditions of a rule in the order in which they are asked.
    fn written_clauses(
        &self,
        rule: &Rule,
        written: Option<&Mapping>,
        layers: &Layers<'_>,
    ) -> Vec<ClauseEvidence> {
        let given = |keyword| Some((keyword, written?.given(keyword)?));
        ["if", "changes", "exists"]
            .into_iter()
            .filter_map(given)
            .map(|(keyword, node)| ClauseEvidence {
                keyword: keyword.to_owned(),
                text: self.redactor.text(&one_line(node)),
                held: None,
                operands: match keyword {
                    "if" => rule
                        .clauses
                        .operands()
                        .into_iter()
                        .map(|it| layers.operand(it))
                        .collect(),
                    _ => Vec::new(),
                },
                because: None,
            })
            .collect()
    }

    fn because(&self, keyword: &str, held: bool) -> Option<String> {
        let matched = self.facts.take_matched();
        match (keyword, held, matched) {
            ("changes" | "exists", true, Some(path)) => Some(format!("{path} matches")),
            ("changes", true, None) if self.facts.changed_count().is_none() => Some(
                "the event has no range of commits, so everything counts as changed".to_owned(),
            ),
            ("changes", false, _) => Some(match self.facts.changed_count() {
                Some(1) => "the one changed path does not match".to_owned(),
                count => format!("none of the {} changed paths matches", count.unwrap_or(0)),
            }),
            ("exists", false, _) => Some("no file matches".to_owned()),
            _ => None,
        }
    }

    /// Returns the parts of `only` or `except`. `node` is what was written, if anything was.
    fn policy(
        &self,
        policy: &Policy,
        node: Option<&Node>,
        scope: &Scope<'_>,
    ) -> Vec<ClauseEvidence> {
        let written = |part: &str| match node.map(|it| (it, it.as_mapping())) {
            Some((_, Some(map))) => map.given(part).map(one_line),
            Some((list, None)) if part == "refs" => Some(one_line(list)),
            _ => None,
        };
        let parts = policy.parts(scope, self.facts);
        let given = parts.into_iter().filter(|it| it.1.is_some());
        given
            .map(|(part, held)| ClauseEvidence {
                keyword: part.to_owned(),
                text: self
                    .redactor
                    .text(&written(part).unwrap_or_else(|| "branches, tags".to_owned())),
                held,
                operands: Vec::new(),
                because: None,
            })
            .collect()
    }

    fn variable_place(&self, layer: Layer, key: &str, job: Option<&Node>) -> Option<Place> {
        let variables = |of: Option<&Node>| of?.as_mapping()?.given("variables").cloned();
        let of_rule = |of: Option<&Node>, number: usize| {
            let rule = written_rules(of).get(number.checked_sub(1)?).copied()?;
            rule.given("variables").cloned()
        };
        let map = match layer {
            Layer::Root => self.root.given("variables").cloned(),
            Layer::WorkflowRule(number) => of_rule(self.root.get("workflow"), number),
            Layer::Job => variables(job),
            Layer::Rule(number) => of_rule(job, number),
            Layer::Matrix => {
                let parallel = job?.as_mapping()?.entry("parallel")?;
                return Some(self.report.place(parallel.0.span));
            }
            Layer::Predefined | Layer::Project | Layer::Pipeline => None,
        };
        key_span(map.as_ref(), key).map(|it| self.report.place(it))
    }
}

/// Returns the rules of a job or of the workflow as they were written.
fn written_rules(owner: Option<&Node>) -> Vec<&Mapping> {
    let rules = owner
        .and_then(Node::as_mapping)
        .and_then(|it| it.given("rules"))
        .and_then(flattened);
    let rules = rules.into_iter().flatten();
    rules.filter_map(Node::as_mapping).collect()
}

/// Returns the rule that held, and its number.
fn decided<'r>(rules: &'r [Rule], evidence: &[RuleEvidence]) -> Option<(usize, &'r Rule)> {
    let mut both = rules.iter().zip(evidence);
    both.find(|it| it.1.held == Some(true))
        .map(|it| (it.1.number, it.0))
}

fn verdict_of_rules(rules: &[Rule], rule: Option<(usize, &Rule)>) -> String {
    match (rule, rules.len()) {
        (Some((number, rule)), _) if is_never(rule) => format!("rule {number} says never"),
        (Some((number, _)), _) => format!("rule {number} holds"),
        (None, 1) => "its only rule does not hold".to_owned(),
        (None, count) => format!("none of its {count} rules holds"),
    }
}

fn verdict_of_policies(
    subject: &Subject<'_>,
    only: &[ClauseEvidence],
    except: &[ClauseEvidence],
) -> String {
    let first = |parts: &[ClauseEvidence], held| {
        let mut parts = parts.iter();
        parts
            .find(|it| it.held == Some(held))
            .map(|it| it.keyword.clone())
    };
    let written = subject.job.only.is_some();
    if let Some(part) = first(only, false) {
        return if written {
            format!("`only:{part}` does not allow it")
        } else {
            "a job without `rules` and `only` runs for branches and tags alone".to_owned()
        };
    }
    if let Some(part) = first(except, true) {
        return format!("`except:{part}` forbids it");
    }
    if written {
        "`only` allows it".to_owned()
    } else if only.is_empty() {
        "it has no rules, so every pipeline gets it".to_owned()
    } else {
        "it has no rules, so branches and tags get it".to_owned()
    }
}

fn waits_for(job: &crate::JobPlan, plan: &Plan) -> WaitsFor {
    if let Some(needs) = &job.needs {
        let names: Vec<String> = needs.iter().map(|it| it.job.clone()).collect();
        return match names.is_empty() {
            true => WaitsFor::Nothing,
            false => WaitsFor::Jobs(names),
        };
    }
    let earlier = plan.stages.iter().take(job.stage_index);
    let stages: Vec<String> = earlier
        .filter(|stage| plan.jobs.iter().any(|it| it.stage == **stage))
        .cloned()
        .collect();
    match stages.is_empty() {
        true => WaitsFor::Nothing,
        false => WaitsFor::Stages(stages),
    }
}

/// Shows a value in one line.
fn one_line(node: &Node) -> String {
    fn add(node: &Node, out: &mut String) {
        if out.len() > MAX_TEXT {
            return;
        }
        match &node.value {
            Value::Sequence(items) | Value::Reference(items) => {
                for (index, item) in items.iter().enumerate() {
                    *out += if index > 0 { ", " } else { "" };
                    add(item, out);
                }
            }
            Value::Mapping(map) => {
                for (index, (key, value)) in map.iter().enumerate() {
                    *out += if index > 0 { "; " } else { "" };
                    *out += &key.text;
                    *out += ": ";
                    add(value, out);
                }
            }
            _ => *out += &node.scalar_text().unwrap_or_default(),
        }
    }
    let mut out = String::new();
    add(node, &mut out);
    let line: Vec<&str> = out.split_whitespace().collect();
    let mut line = line.join(" ");
    if line.len() > MAX_TEXT {
        line.truncate(line.floor_char_boundary(MAX_TEXT));
        line += "…";
    }
    line
}
