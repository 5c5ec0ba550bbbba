//! `include` in all its forms, in a world with other projects and servers.

use std::cell::RefCell;
use std::collections::BTreeMap;

use insta::assert_snapshot;
use rave_ci_lang::{
    Compiled, Diagnostics, EventContext, Foreign, InputValue, Limits, Linted, OpenError, Recording,
    RemoteError, RemoteFile, Replaying, Requester, SourceFile, Tree, Variable, compile, lint,
};

use crate::{plan_of, push, summary};

/// The commit, other projects at some versions, another server, templates and artifacts.
#[derive(Default)]
pub(crate) struct World {
    files: BTreeMap<String, String>,
    /// By `project@sha`, then path.
    projects: BTreeMap<String, BTreeMap<String, String>>,
    /// References of projects, by `project@reference`.
    references: BTreeMap<String, String>,
    /// Projects that anyone may read.
    public: Vec<String>,
    remotes: BTreeMap<String, Result<String, RemoteError>>,
    templates: BTreeMap<String, String>,
    artifacts: BTreeMap<String, String>,
    prefetched: RefCell<Vec<String>>,
}

impl World {
    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// A file of a project, whose references `HEAD`, `main` and `1.2.0` are one commit.
    fn project(mut self, project: &str, path: &str, text: &str) -> Self {
        let sha = format!("{project}-sha");
        for reference in ["HEAD", "main", "1.2.0", "~latest"] {
            self.references
                .insert(format!("{project}@{reference}"), sha.clone());
        }
        let files = self.projects.entry(format!("{project}@{sha}")).or_default();
        files.insert(path.to_owned(), text.to_owned());
        self
    }

    fn public(mut self, project: &str) -> Self {
        self.public.push(project.to_owned());
        self
    }

    fn remote(mut self, url: &str, answer: Result<&str, RemoteError>) -> Self {
        self.remotes
            .insert(url.to_owned(), answer.map(str::to_owned));
        self
    }

    fn template(mut self, name: &str, text: &str) -> Self {
        self.templates.insert(name.to_owned(), text.to_owned());
        self
    }
}

impl Tree for World {
    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }
    fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }
    fn changed(&self) -> Option<Vec<String>> {
        None
    }
    fn open(
        &self,
        project: &str,
        reference: Option<&str>,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        let mut known = self.references.keys();
        let hidden = by == Requester::Anyone && !self.public.iter().any(|it| it == project);
        if hidden || !known.any(|it| it.starts_with(&format!("{project}@"))) {
            return Err(OpenError::NoProject);
        }
        let reference = reference.unwrap_or("HEAD");
        let sha = self.references.get(&format!("{project}@{reference}"));
        Ok(Foreign {
            project: project.to_owned(),
            sha: sha.ok_or(OpenError::NoReference)?.clone(),
            reference: reference.to_owned(),
        })
    }
    fn open_component(
        &self,
        project: &str,
        version: &str,
        by: Requester,
    ) -> Result<Foreign, OpenError> {
        let mut foreign = self.open(project, Some(version), by)?;
        if version == "~latest" {
            foreign.reference = "1.2.0".to_owned();
        }
        Ok(foreign)
    }
    fn read_at(&self, at: &Foreign, path: &str) -> Option<String> {
        let project = self.projects.get(&format!("{}@{}", at.project, at.sha))?;
        project.get(path).cloned()
    }
    fn files_at(&self, at: &Foreign) -> Vec<String> {
        let project = self.projects.get(&format!("{}@{}", at.project, at.sha));
        project
            .into_iter()
            .flat_map(|it| it.keys().cloned())
            .collect()
    }
    fn prefetch(&self, urls: &[RemoteFile]) {
        self.prefetched
            .borrow_mut()
            .extend(urls.iter().map(|it| it.url.clone()));
    }
    fn remote(&self, file: &RemoteFile) -> Result<String, RemoteError> {
        let answer = self.remotes.get(&file.url).cloned();
        answer.unwrap_or(Err(RemoteError::Status {
            status: 404,
            attempts: 1,
        }))
    }
    fn template(&self, name: &str) -> Option<String> {
        self.templates.get(name).cloned()
    }
    fn artifact(&self, job: &str, path: &str) -> Result<String, String> {
        let found = self.artifacts.get(&format!("{job}:{path}")).cloned();
        found.ok_or_else(|| {
            format!("Job `{job}` not found in parent pipeline or does not have artifacts!")
        })
    }
}

pub(crate) fn compile_with(
    text: &str,
    event: &EventContext,
    world: &World,
) -> Result<Compiled, Diagnostics> {
    linted(text, event, world).compiled
}

fn linted(text: &str, event: &EventContext, world: &World) -> Linted {
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text,
    };
    let event = EventContext {
        server_fqdn: "ci.example.com".to_owned(),
        ..event.clone()
    };
    lint(&source, &event, world, &Limits::default())
}

pub(crate) fn jobs(text: &str, world: &World) -> String {
    let compiled = compile_with(text, &push(), world).unwrap_or_else(|it| panic!("{it}\n{text}"));
    summary(&plan_of(compiled))
}

/// Returns the first error with its place.
pub(crate) fn error(text: &str, world: &World) -> String {
    match compile_with(text, &push(), world) {
        Ok(compiled) => panic!("no error: {:?}\n{text}", compiled.outcome),
        Err(errors) => errors.first().expect("an error").to_string(),
    }
}

/// Checks the message of an `include` on the first line.
fn check(include: &str, world: &World, expected: &str) {
    let text = format!("include: {include}\na: {{script: x}}");
    let errors = compile_with(&text, &push(), world).expect_err(include);
    assert_eq!(
        errors.first().expect("an error").message,
        expected,
        "{include}"
    );
}

#[test]
fn projects_bring_their_own_neighbours() {
    let world = World::default()
        .file(
            "ci/deep.yml",
            "wrong: {script: of the pipeline's own project}",
        )
        .project(
            "team/ci",
            "a.yml",
            "include: [/ci/deep.yml, 'more/*.yml']\nb: {script: b}",
        )
        .project("team/ci", "b.yml", "c: {script: c}")
        .project("team/ci", "ci/deep.yml", "deep: {script: d}")
        .project("team/ci", "more/m.yml", "m: {script: m}");
    assert_snapshot!(
        jobs("include: [{project: Team/CI, file: [/a.yml, b.yml], ref: main}]", &world),
        @r#"
    test: deep ["d"]
    test: m ["m"]
    test: b ["b"]
    test: c ["c"]
    "#
    );
    let linted = linted("include: {project: team/ci, file: a.yml}", &push(), &world);
    let shown: Vec<String> = linted
        .includes
        .iter()
        .map(|it| {
            let name =
                |it: &Option<Foreign>| it.as_ref().map_or("-".to_owned(), |it| it.project.clone());
            format!(
                "{} {} in {} of {}",
                it.kind,
                it.location,
                name(&it.context),
                name(&it.project)
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "file a.yml in - of team/ci",
            "local ci/deep.yml in team/ci of -",
            "local more/m.yml in team/ci of -"
        ]
    );
}

#[test]
fn rules_look_at_the_files_beside_the_including_file() {
    let world = World::default()
        .file("Cargo.toml", "")
        .project("team/ci", "go.mod", "")
        .project(
            "team/ci",
            "a.yml",
            "include:\n- {local: go.yml, rules: [{exists: [go.mod]}]}\n- {local: rust.yml, rules: [{exists: [Cargo.toml]}]}",
        )
        .project("team/ci", "go.yml", "go: {script: g}")
        .project("team/ci", "rust.yml", "rust: {script: r}");
    assert_eq!(
        jobs("include: {project: team/ci, file: a.yml}", &world),
        r#"test: go ["g"]"#
    );
}

#[test]
fn components_know_what_they_are() {
    let text = "spec:\n  component: [name, version, sha, reference]\n  inputs: {job: {}}\n---\n\
                $[[ inputs.job ]]: {script: '$[[ component.name ]] $[[ component.version ]] $[[ component.reference ]] $[[ component.sha ]]'}\n\
                include: /shared.yml\n";
    let world = World::default()
        .project("team/tools", "templates/lint.yml", text)
        .project(
            "team/tools",
            "templates/scan/template.yml",
            "scan: {script: s}",
        )
        .project("team/tools", "shared.yml", "shared: {script: x}");
    assert_snapshot!(
        jobs("include:\n- {component: ci.example.com/team/tools/lint@~latest, inputs: {job: hello}}\n- component: ci.example.com/team/tools/scan@main\n", &world),
        @r#"
    test: shared ["x"]
    test: hello ["lint 1.2.0 ~latest team/tools-sha"]
    test: scan ["s"]
    "#
    );
    let text = "include: [{component: ci.example.com/team/tools/scan@main}]";
    let included = linted(text, &push(), &world).includes.remove(0);
    assert_eq!(included.file, "templates/scan/template.yml");
    assert_eq!(
        included.project.map(|it| it.reference).as_deref(),
        Some("main")
    );
    let check = |address: &str, expected: &str| {
        check(&format!("[{{component: {address}}}]"), &world, expected);
    };
    check(
        "ci.example.com/team/tools/none@main",
        "Component 'ci.example.com/team/tools/none@main' - content not found",
    );
    check(
        "ci.example.com/team/tools/lint@2",
        "Component 'ci.example.com/team/tools/lint@2' - content not found",
    );
    check(
        "ci.example.com/team/none/lint@1",
        "Component 'ci.example.com/team/none/lint@1' - content not found",
    );
    check(
        "ci.example.com/team/tools/lint",
        "Component 'ci.example.com/team/tools/lint' - content not found",
    );
    check(
        "other.example.com/team/tools/lint@1",
        "Component 'other.example.com/team/tools/lint@1' - the component path is not supported",
    );
    let with_include = World::default().project(
        "t/c",
        "templates/x.yml",
        "spec: {include: [i.yml]}\n---\na: {script: x}",
    );
    assert_eq!(
        error(
            "include: [{component: ci.example.com/t/c/x@main}]",
            &with_include
        ),
        ".gitlab-ci.yml:1:11: Component `ci.example.com/t/c/x@main` cannot use `spec:include`. This keyword is not supported in components"
    );
}

#[test]
fn remote_files_are_named_with_variables() {
    let world = World::default().remote("https://e.org/app.yml", Ok("r: {script: x}"));
    assert_eq!(
        jobs("include: https://e.org/$CI_PROJECT_NAME.yml", &world),
        r#"test: r ["x"]"#
    );
    assert_eq!(
        jobs(
            "include: [{remote: 'https://e.org/${CI_PROJECT_NAME}$NONE.yml'}]",
            &world
        ),
        r#"test: r ["x"]"#
    );
}

#[test]
fn what_remote_files_may_include() {
    let url = "https://files.example.com/ci.yml";
    let with = |text: &str| {
        World::default()
            .remote(url, Ok(text))
            .remote("https://files.example.com/b.yml", Ok("b: {script: b}"))
            .file("a.yml", "no: {script: n}")
            .project("team/ci", "a.yml", "p: {script: p}")
            .project("open/ci", "a.yml", "o: {script: o}")
            .public("open/ci")
            .template("T.gitlab-ci.yml", "t: {script: t}")
    };
    let include = format!("include: {url}");
    assert_eq!(
        error(&include, &with("include: a.yml")),
        "https://files.example.com/ci.yml:1:10: Local file `a.yml` does not have project!"
    );
    assert_eq!(
        error(&include, &with("include: '*.yml'")),
        "https://files.example.com/ci.yml:1:10: Local file `*.yml` does not have project!"
    );
    assert_eq!(
        error(
            &include,
            &with("include: [{project: team/ci, file: a.yml}]")
        ),
        "https://files.example.com/ci.yml:1:11: Project `team/ci` not found or access denied! Make sure any includes in the pipeline configuration are correctly defined."
    );
    assert_eq!(
        error(
            &include,
            &with("include: [{component: ci.example.com/a/b/c@1}]")
        ),
        "https://files.example.com/ci.yml:1:11: Unable to use components outside of a project context"
    );
    assert_snapshot!(
        jobs(
            &include,
            &with("include: [{project: open/ci, file: a.yml}, {template: T.gitlab-ci.yml}, 'https://files.example.com/b$CI_PROJECT_NAME.yml']")
        ),
        @r#"
    test: o ["o"]
    test: t ["t"]
    test: b ["b"]
    "#
    );
}

#[test]
fn remote_files_are_asked_for_together() {
    let world = World::default()
        .remote("https://e.org/1.yml", Ok("a: {script: x}"))
        .remote("https://e.org/2.yml", Ok("b: {script: x}"));
    jobs(
        "include: ['https://e.org/1.yml', {remote: 'https://e.org/2.yml', cache: 2 hours}]",
        &world,
    );
    assert_eq!(
        *world.prefetched.borrow(),
        ["https://e.org/1.yml", "https://e.org/2.yml"]
    );
}

#[test]
fn why_there_is_no_remote_file() {
    let url = "https://e.org/a.yml";
    let failing = |error: RemoteError, expected: &str| {
        check(url, &World::default().remote(url, Err(error)), expected);
    };
    failing(
        RemoteError::Status {
            status: 404,
            attempts: 1,
        },
        "Remote file `https://e.org/a.yml` could not be fetched after 1 attempt because of HTTP code `404` error!",
    );
    failing(
        RemoteError::Status {
            status: 503,
            attempts: 3,
        },
        "Remote file `https://e.org/a.yml` could not be fetched after 3 attempts because of HTTP code `503` error!",
    );
    failing(
        RemoteError::Failed {
            error: "a timeout".to_owned(),
            attempts: 3,
        },
        "Remote file `https://e.org/a.yml` could not be fetched after 3 attempts because of a timeout error!",
    );
    failing(
        RemoteError::Refused("10.0.0.1 is a private address".to_owned()),
        "Remote file could not be fetched because 10.0.0.1 is a private address!",
    );
    failing(
        RemoteError::TooLarge,
        "`https://e.org/a.yml`: The parsed YAML is too big",
    );
    failing(
        RemoteError::OutOfTime,
        "Request timed out when fetching configuration files.",
    );
    let world = World::default().remote(url, Ok("a: {script: x}\n"));
    check(
        "[{remote: ftp://e.org/a.yml}]",
        &world,
        "Remote file `ftp://e.org/a.yml` does not have a valid address!",
    );
    check(
        "[{remote: e.org}]",
        &world,
        "Included file `e.org` does not have YAML extension!",
    );
    check(
        "[{remote: 'https://e.org/a.yml', cache: 30s}]",
        &world,
        "include:include config cache duration must be at least 1 minute",
    );
    check(
        "[{remote: 'https://e.org/a.yml', cache: soon}]",
        &world,
        "include:include config cache contains an invalid duration",
    );
    check(
        "[{remote: 'https://e.org/a.yml', cache: [1]}]",
        &world,
        "include:include config cache must be a boolean or a duration string",
    );
    let empty = World::default().remote(url, Ok("\n"));
    check(
        url,
        &empty,
        "Included file `https://e.org/a.yml` is empty or does not exist!",
    );
}

#[test]
fn integrity_is_checked() {
    let url = "https://e.org/a.yml";
    let world = World::default().remote(url, Ok("a: {script: x}\n"));
    let with = |hash: &str| format!("include: [{{remote: '{url}', integrity: '{hash}'}}]");
    let right = "sha256-l7suFS40+9l1rYw6rTWIMjXDflqeUhIcmyj9hqO6a7M=";
    assert_eq!(jobs(&with(right), &world), r#"test: a ["x"]"#);
    for wrong in ["sha256-AAAA", "sha256-", "md5-x"] {
        assert_eq!(
            error(&with(wrong), &world),
            ".gitlab-ci.yml:1:11: Remote file `https://e.org/a.yml` failed integrity check!"
        );
    }
}

#[test]
fn templates_are_found_by_name() {
    let world = World::default()
        .template("Go.gitlab-ci.yml", "go: {script: g}")
        .file("a.yml", "include: [{template: Go.gitlab-ci.yml}]");
    assert_eq!(jobs("include: a.yml", &world), r#"test: go ["g"]"#);
    check(
        "[{template: None.gitlab-ci.yml}]",
        &world,
        "Included file `None.gitlab-ci.yml` is empty or does not exist!",
    );
    check(
        "[{template: go.yml}]",
        &world,
        "Template file `go.yml` is not a valid location!",
    );
}

#[test]
fn artifacts_are_for_child_pipelines() {
    let mut world = World::default();
    world
        .artifacts
        .insert("gen:ci/a.yml".to_owned(), "a: {script: x}".to_owned());
    let text = "include: [{artifact: ci/a.yml, job: gen}]";
    assert_eq!(
        error(text, &world),
        ".gitlab-ci.yml:1:11: Including configs from artifacts is only allowed when triggering child pipelines"
    );
    let child = EventContext {
        child: true,
        ..push()
    };
    let included = linted(text, &child, &world).includes.remove(0);
    assert_eq!(
        (
            included.job.as_deref(),
            included.file.as_str(),
            included.at.column
        ),
        (Some("gen"), "ci/a.yml", 11)
    );
    let compiled = compile_with(text, &child, &world).unwrap();
    assert_eq!(summary(&plan_of(compiled)), r#"test: a ["x"]"#);
    let failed = |include: &str| {
        let text = format!("include: [{include}, other.yml]");
        let world = World {
            artifacts: world.artifacts.clone(),
            ..World::default()
        };
        compile_with(&text, &child, &world.file("other.yml", "b: {script: x}"))
            .unwrap_err()
            .first()
            .unwrap()
            .message
            .clone()
    };
    assert_eq!(
        failed("{artifact: ci/a.yml}"),
        "Job must be provided when including configs from artifacts"
    );
    assert_eq!(
        failed("{artifact: ci/a.yml, job: b}"),
        "Job `b` not found in parent pipeline or does not have artifacts!"
    );
}

#[test]
fn what_is_wrong_with_a_project() {
    let world = World::default().project("a/b", "e.yml", " \n");
    check(
        "[{project: no/no, file: x.yml}]",
        &world,
        "Project `no/no` not found or access denied! Make sure any includes in the pipeline configuration are correctly defined.",
    );
    check(
        "[{project: a/b, file: x.yml, ref: r}]",
        &world,
        "Project `a/b` reference `r` does not exist!",
    );
    check(
        "[{project: a/b, file: f.yml}]",
        &world,
        "Project `a/b` file `f.yml` does not exist!",
    );
    check(
        "[{project: a/b, file: e.yml}]",
        &world,
        "Project `a/b` file `e.yml` is empty!",
    );
    check(
        "[{project: a/b, file: e.txt}]",
        &world,
        "Included file `e.txt` does not have YAML extension!",
    );
    check(
        "[{project: a/b}]",
        &world,
        "include:include config must specify the file where to fetch the config from",
    );
    check(
        "[{project: a/b, file: [[x]]}]",
        &world,
        "Included file `[\"x\"]` needs to be a string",
    );
}

#[test]
fn shapes_are_checked() {
    let world = World::default().file("x.yml", "b: {script: x}");
    let kinds = "`local`, `project`, `remote`, `template`, `artifact`, `component`";
    check("[5]", &world, "Each include must be a hash or a string");
    check(
        "[[x.yml]]",
        &world,
        "Each include must be a hash or a string",
    );
    check(
        "[{local: '', foo: [1, {a: null}]}]",
        &world,
        &format!(
            r#"`{{"local":"","foo":[1,{{"a":null}}]}}` does not have a valid subkey for include. Valid subkeys are: {kinds}"#
        ),
    );
    check(
        "[{local: [x]}]",
        &world,
        "Included file `[\"x\"]` needs to be a string",
    );
    check(
        "[{local: x.yml, remote: y}]",
        &world,
        &format!("Each include must use only one of: {kinds}"),
    );
    check(
        "[{local: .yml}]",
        &world,
        "Included file `.yml` does not have YAML extension!",
    );
    check(
        "[{local: x.yml, rules: []}]",
        &world,
        "include:rules config can't be blank",
    );
    check(
        "[{local: x.yml, rules: [{}]}]",
        &world,
        "include:rule config can't be blank",
    );
    check(
        "[{local: x.yml, rules: [x]}]",
        &world,
        "include:rule config should be a hash",
    );
    check(
        "[{local: x.yml, rules: [{foo: x}]}]",
        &world,
        "include:rule config contains unknown keys: foo",
    );
    check(
        "[{local: x.yml, rules: [{when: manual}]}]",
        &world,
        "include:rule when unknown value: manual",
    );
    check(
        "[{local: x.yml, rules: x}]",
        &world,
        "include:rules config should be an array",
    );
    check(
        "[{local: x.yml, rules: [{changes: {paths: [a], compare_to: none}}]}]",
        &world,
        "include:rules:changes:compare_to is not a valid ref",
    );
    check(
        "[{local: 'none/*.yml', foo: x}]",
        &world,
        "include:include config contains unknown keys: foo",
    );
    check(
        "[{local: x.yml, inputs: [a]}]",
        &world,
        "`x.yml`: Given inputs must be a hash",
    );
    let notices = |include: &str| {
        let text = format!("include: {include}\na: {{script: x}}");
        let compiled = compile_with(&text, &push(), &world).unwrap();
        compiled
            .notices
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        notices("[{local: x.yml, foo: x}]"),
        ".gitlab-ci.yml:1:26: include:include config contains unknown keys: foo"
    );
    assert_eq!(
        notices("[{local: $CI_PROJECT_NAME/*.yml}]"),
        ".gitlab-ci.yml:1:11: variables in a name with `*` stay as text: `$CI_PROJECT_NAME/*.yml`"
    );
}

#[test]
fn places_name_the_way_to_a_file() {
    let world = World::default()
        .file(
            "a.yml",
            "b: {script: b}\ninclude:\n  - project: team/ci\n    file: p.yml\n",
        )
        .project("team/ci", "p.yml", "p:\n  script: x\n  scrip: x\n");
    let errors = compile_with("a: {script: x}\ninclude: a.yml\n", &push(), &world).unwrap_err();
    let error = errors.first().expect("an error");
    assert_eq!(
        error.to_string(),
        "p.yml@team/ci:HEAD:3:3: jobs:p config contains unknown keys: scrip"
    );
    let chain: Vec<String> = error
        .included_from
        .iter()
        .map(|it| format!("{}:{}:{}", it.file, it.line, it.column))
        .collect();
    assert_eq!(chain, ["a.yml:3:5", ".gitlab-ci.yml:2:10"]);
}

#[test]
fn circles_and_long_chains_end() {
    let world = World::default().file("a.yml", "include: a.yml");
    check(
        "a.yml",
        &world,
        "Maximum of 150 nested includes are allowed!",
    );
    let chain = |length: usize| {
        let mut world = World::default();
        for at in 0..length {
            world = world.file(
                &format!("{at}.yml"),
                &format!("include: {}.yml\nj{at}: {{script: x}}", at + 1),
            );
        }
        world.file(&format!("{length}.yml"), "last: {script: x}")
    };
    assert_eq!(jobs("include: 0.yml", &chain(149)).lines().count(), 150);
    check(
        "0.yml",
        &chain(150),
        "Maximum of 150 nested includes are allowed!",
    );
    let twice = World::default().file("a.yml", "a: {script: x}");
    assert_eq!(jobs("include: [a.yml, a.yml]", &twice), r#"test: a ["x"]"#);
    let wild = World::default().file("ci/a.yml", "include: ci/*.yml\na: {script: x}");
    assert_eq!(jobs("include: 'ci/*.yml'", &wild), r#"test: a ["x"]"#);
}

#[test]
fn all_files_together_have_a_size() {
    let world = World::default().file("a.yml", &format!("a: {{script: {}}}", "x".repeat(100)));
    let limits = Limits {
        total_bytes: 200,
        ..Limits::default()
    };
    let source = SourceFile {
        path: ".gitlab-ci.yml",
        text: "include: [a.yml, a.yml]",
    };
    let errors = compile(&source, &push(), &world, &limits).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "a.yml:1:1: Total size of combined CI/CD configuration is too big"
    );
}

/// A tree in which every file is too large.
struct Heavy;

impl Tree for Heavy {
    fn read(&self, _: &str) -> Option<String> {
        None
    }
    fn files(&self) -> Vec<String> {
        Vec::new()
    }
    fn changed(&self) -> Option<Vec<String>> {
        None
    }
    fn open(&self, project: &str, _: Option<&str>, _: Requester) -> Result<Foreign, OpenError> {
        Ok(Foreign {
            project: project.to_owned(),
            sha: "1".to_owned(),
            reference: "HEAD".to_owned(),
        })
    }
    fn oversize(&self, _: Option<&Foreign>, path: &str) -> Option<u64> {
        (path != "none.yml").then_some(3_000_000)
    }
}

#[test]
fn a_file_that_is_too_large_is_there() {
    let check = |include: &str, expected: &str, is_hinted: bool| {
        let text = format!("include: {include}");
        let source = SourceFile {
            path: ".gitlab-ci.yml",
            text: &text,
        };
        let mut event = push();
        event.server_fqdn = "ci.example.com".to_owned();
        // What was recorded says the same.
        let recording = Recording::new(&Heavy);
        let errors = compile(&source, &event, &recording, &Limits::default()).unwrap_err();
        let replaying = Replaying::new(recording.into_answers(), &Heavy);
        let again = compile(&source, &event, &replaying, &Limits::default()).unwrap_err();
        assert_eq!(errors, again);
        let first = errors.first().unwrap();
        assert_eq!(first.message, expected);
        let hint = "the file has 3000000 bytes, more than 2097152 (setting `ci.max_file_bytes`)";
        assert_eq!(first.hint.as_deref(), is_hinted.then_some(hint));
    };
    let too_big = "`a.yml`: The parsed YAML is too big";
    check("a.yml", too_big, true);
    check("[{project: team/b, file: a.yml}]", too_big, true);
    let component = "ci.example.com/team/b/c@1";
    let expected = format!("`{component}`: The parsed YAML is too big");
    check(&format!("[{{component: {component}}}]"), &expected, true);
    check("none.yml", "Local file `none.yml` does not exist!", false);
}

#[test]
fn masked_values_stay_out_of_messages() {
    let mut event = push();
    event.project_variables.push(Variable {
        masked: true,
        ..Variable::public("KEY", "hunter2hunter2")
    });
    event.inputs = vec![("x".to_owned(), InputValue::Text("1".to_owned()))];
    for include in [
        "[{remote: 'https://e.org/$KEY.yml'}]",
        "[{project: a/$KEY, file: x.yml}]",
        "[{component: ci.example.com/a/$KEY/b@1}]",
        "[{template: $KEY.gitlab-ci.yml}]",
        "[{foo: $KEY}, {local: x}]",
    ] {
        let text = format!("spec: {{inputs: {{x: }}}}\n---\ninclude: {include}\n");
        let errors = compile_with(&text, &event, &World::default()).unwrap_err();
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
    }
}
