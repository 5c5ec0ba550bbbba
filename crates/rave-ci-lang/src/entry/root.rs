//! The root of the file: global keywords, and which of the other keys are jobs.

use super::check::{flattened, unknown_keys};
use super::common::{Common, DEFAULT_KEYS};
use super::job::{Job, job};
use super::variables::{Level, form, variables};
use super::workflow::{Workflow, workflow};
use crate::report::{Report, did_you_mean};
use crate::yaml::{Key, Mapping, Node, Span, TOO_BIG};
use crate::{FormVariable, Variable};

const OLD_STYLE: [&str; 5] = [
    "image",
    "services",
    "before_script",
    "after_script",
    "cache",
];
const GLOBAL: [&str; 9] = [
    "default",
    "include",
    "stages",
    "variables",
    "workflow",
    "image",
    "services",
    "before_script",
    "after_script",
];
const MAX_NAME: usize = 255;

/// A whole configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// With `.pre` and `.post`.
    pub(crate) stages: Vec<String>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) form: Vec<FormVariable>,
    pub(crate) workflow: Workflow,
    pub(crate) jobs: Vec<Job>,
}

/// Reads the merged tree. Defaults are copied into each job, which may not make more than `max_nodes`.
pub(crate) fn read(root: &Mapping, max_nodes: usize, report: &mut Report) -> Config {
    let (globals, jobs): (Vec<_>, Vec<_>) =
        root.iter().partition(|(key, node)| is_global(key, node));
    let global = |name: &str| {
        globals
            .iter()
            .find(|it| it.0.text == name)
            .map(|it| &it.1)
            .filter(|it| !it.is_null())
    };
    let copied = globals
        .iter()
        .filter(|it| it.0.text == "default" || OLD_STYLE.contains(&it.0.text.as_str()));
    let weight: usize = copied.map(|it| it.1.count()).sum();
    let mut default = defaults(root, global("default"), report);
    if weight.saturating_mul(jobs.len()) > max_nodes {
        report.error(
            Span {
                file: 0,
                line: 1,
                column: 1,
            },
            TOO_BIG,
        );
        default = Common::default();
    }
    Config {
        stages: stages(global("stages"), report),
        variables: global("variables")
            .map(|it| variables(it, Level::Root, &"variables", report))
            .unwrap_or_default(),
        form: global("variables").map(form).unwrap_or_default(),
        workflow: global("workflow")
            .map(|it| workflow(it, report))
            .unwrap_or_default(),
        jobs: read_jobs(&jobs, &default, report),
    }
}

/// `default` and `workflow` with a script are jobs of that name.
fn is_global(key: &Key, node: &Node) -> bool {
    let is_job = || {
        node.as_mapping()
            .is_some_and(|it| it.get("script").is_some())
    };
    match key.text.as_str() {
        "default" | "workflow" => !is_job(),
        "cache" => true,
        name => GLOBAL.contains(&name),
    }
}

fn defaults(root: &Mapping, default: Option<&Node>, report: &mut Report) -> Common {
    let empty = Mapping::default();
    let map = match default.map(|it| (it, it.as_mapping())) {
        Some((_, Some(map))) => map,
        Some((node, None)) => {
            report.entry_error(node.span, "default config should be a hash");
            &empty
        }
        None => &empty,
    };
    unknown_keys(map, &"default", &DEFAULT_KEYS, report);
    for key in OLD_STYLE {
        if let (Some(node), Some(_)) = (root.given(key), map.given(key)) {
            report.entry_error(
                node.span,
                format!("{key} is defined in top-level and `default:` entry"),
            );
        }
    }
    let old_style: Mapping = root
        .iter()
        .filter(|it| OLD_STYLE.contains(&it.0.text.as_str()))
        .cloned()
        .collect();
    let old_style = Common::read(&old_style, None, report);
    let mut common = Common::read(map, Some(&"default"), report);
    common.or_default(&old_style, |_| true);
    common
}

fn stages(node: Option<&Node>, report: &mut Report) -> Vec<String> {
    let mut names: Vec<String> = ["build", "test", "deploy"].map(str::to_owned).into();
    if let Some(node) = node {
        let items = flattened(node).and_then(|it| {
            it.iter()
                .map(|it| it.as_text().map(str::to_owned))
                .collect()
        });
        match items {
            Some(items) => names = items,
            None => {
                let shape = "should be an array of strings or a nested array of strings up to 10 levels deep";
                report.entry_error(node.span, format!("stages config {shape}"));
            }
        }
    }
    if names.is_empty() {
        return names;
    }
    let mut stages = vec![".pre".to_owned()];
    let mut seen: std::collections::HashSet<String> = [".pre", ".post"].map(str::to_owned).into();
    stages.extend(names.into_iter().filter(|it| seen.insert(it.clone())));
    stages.push(".post".to_owned());
    stages
}

fn read_jobs(entries: &[&(Key, Node)], default: &Common, report: &mut Report) -> Vec<Job> {
    let (hidden, visible): (Vec<_>, Vec<_>) = entries
        .iter()
        .copied()
        .partition(|it| it.0.text.starts_with('.') && it.0.is_text());
    for (key, node) in hidden {
        let blank = node.as_text().is_some_and(|it| it.trim().is_empty())
            || node.as_sequence().is_some_and(<[Node]>::is_empty)
            || node.as_mapping().is_some_and(Mapping::is_empty);
        if node.is_null() || blank {
            report.entry_error(key.span, format!("jobs:{} config can't be blank", key.text));
        }
    }
    if visible.is_empty() {
        let start = Span {
            file: 0,
            line: 1,
            column: 1,
        };
        report.entry_error(start, "jobs config should contain at least one visible job");
    }
    let mut jobs = Vec::new();
    for (key, node) in visible {
        if report.is_full() {
            break;
        }
        jobs.extend(read_job(key, node, default, report));
    }
    jobs
}

fn read_job(key: &Key, node: &Node, default: &Common, report: &mut Report) -> Option<Job> {
    let name = &key.text;
    if !key.is_text() {
        report.entry_error(key.span, format!("jobs:{name} name should be a symbol"));
        return None;
    }
    if name.is_empty() || name.chars().count() > MAX_NAME {
        let problem = if name.is_empty() {
            "can't be blank"
        } else {
            "is too long (maximum is 255 characters)"
        };
        report.entry_error(key.span, format!("jobs:{name} name {problem}"));
        return None;
    }
    let has_action = |map: &Mapping| {
        ["script", "run", "trigger", "needs"]
            .iter()
            .any(|it| map.get(it).is_some())
    };
    if !node.as_mapping().is_some_and(has_action) {
        let only_words = name.chars().all(|it| it.is_ascii_alphabetic() || it == ' ');
        let shown = if only_words {
            name.replace(' ', "_")
        } else {
            name.to_string()
        };
        let message =
            format!("jobs {shown} config should implement the script:, run:, or trigger: keyword");
        report.error_with_hint(
            key.span,
            message.to_lowercase(),
            hint_of_no_action(name, node),
        );
        return None;
    }
    job(key, node, default, report)
}

/// Looks for a mistyped action in what should be a job, then for a mistyped global keyword.
fn hint_of_no_action(name: &str, node: &Node) -> Option<String> {
    let keys = node
        .as_mapping()
        .into_iter()
        .flat_map(Mapping::iter)
        .take(50);
    let mut actions = keys.filter_map(|it| did_you_mean(&it.0.text, ["script", "run", "trigger"]));
    actions.next().or_else(|| did_you_mean(name, GLOBAL))
}
