//! What ends up in a plan.

use insta::{assert_debug_snapshot, assert_snapshot};
use rave_ci_lang::{Cache, CacheFilesBy, CacheKey, Compiled, Expiry, UploadWhen};

use crate::{compiled, job, plan, shown, summary};

#[test]
fn jobs_are_ordered_by_stage_then_as_written() {
    let plan = plan(
        "stages: [build, [test], build]\n\
         late: {script: e, stage: .post}\nt2: {script: d}\nt1: {script: c, needs: []}\n\
         b: {script: [b], stage: build, before_script: [a], after_script: z}\nfirst: {stage: .pre, script: 'x'}\n",
    );
    assert_eq!(plan.stages, [".pre", "build", "test", ".post"]);
    assert_snapshot!(summary(&plan), @r#"
    .pre: first ["x"]
    build: b ["a", "b"]
    test: t2 ["d"]
    test: t1 needs [] ["c"]
    .post: late ["e"]
    "#);
    let stages: Vec<usize> = plan.jobs.iter().map(|it| it.stage_index).collect();
    assert_eq!(stages, [0, 1, 2, 2, 3]);
}

#[test]
fn defaults_apply_where_nothing_is_given() {
    let text = |keywords: &str| {
        format!(
            "image: old\ndefault: {{before_script: [d], tags: [t], retry: 1, timeout: 1h}}\na: {{script: x, {keywords}}}\n"
        )
    };
    let a = job(&text("stage: test"));
    assert_eq!(
        (a.script.len(), a.tags.len(), a.retry.max, a.timeout_secs),
        (2, 1, 1, Some(3600))
    );
    assert_eq!(a.image.unwrap().name, "old");
    let a = job(&text("tags: [], before_script: []"));
    assert_eq!((a.script.len(), a.tags.len()), (1, 0));
    assert_eq!(job(&text("tags: null")).tags, ["t"]);
    let a = job(&text("inherit: {default: [tags]}"));
    assert_eq!(
        (a.script.len(), a.tags.len(), a.retry.max, a.timeout_secs),
        (1, 1, 0, None)
    );
    assert_eq!(job(&text("inherit: {default: false}")).tags.len(), 0);
}

#[test]
fn variables_of_the_file() {
    let text = "variables: {A: 010, B: {value: b, description: d, expand: false}, C: null, D: yes}\n\
                a: {script: x, variables: {A: job, E: 1.10}, inherit: {variables: [A, B]}}\n";
    let a = job(text);
    assert_eq!(shown(&a.variables), "A=job B=b E=1.1");
    assert!(a.variables[1].raw && !a.variables[0].raw);
    assert_eq!(shown(&plan(text).variables), "A=8 B=b C= D=true");
}

#[test]
fn tags_and_names_are_expanded() {
    let a = job(
        "a: {script: x, variables: {T: $CI_PROJECT_NAME}, tags: ['$T', '$NOPE', 'x$CI_COMMIT_BRANCH'], resource_group: '$T-$NOPE', environment: {name: review/$T, url: 'https://$T'}}",
    );
    assert_eq!(a.tags, ["$CI_PROJECT_NAME", "$NOPE", "xmain"]);
    assert_eq!(a.resource_group.as_deref(), Some("app-"));
    let environment = a.environment.unwrap();
    assert_eq!(
        (environment.name.as_str(), environment.url.as_deref()),
        ("review/app", Some("https://$T"))
    );
}

#[test]
fn artifacts_and_retries() {
    let a = job(
        "a:\n  script: x\n  artifacts: {paths: [out/], exclude: ['*.o'], untracked: true, name: n, when: always, expire_in: never, access: developer, reports: {junit: j.xml, coverage_report: {coverage_format: cobertura, path: c.xml}}}\n  retry: {max: 2, when: [script_failure], exit_codes: 3}\n",
    );
    assert_debug_snapshot!((a.artifacts, a.retry), @r#"
    (
        Some(
            Artifacts {
                paths: [
                    "out/",
                ],
                exclude: [
                    "*.o",
                ],
                untracked: true,
                name: Some(
                    "n",
                ),
                when: Always,
                expire_in: Some(
                    Never,
                ),
                expose_as: None,
                access: Developer,
                reports: [
                    ArtifactReport {
                        kind: "junit",
                        paths: [
                            "j.xml",
                        ],
                    },
                    ArtifactReport {
                        kind: "cobertura",
                        paths: [
                            "c.xml",
                        ],
                    },
                ],
            },
        ),
        Retry {
            max: 2,
            when: [
                "script_failure",
            ],
            exit_codes: [
                3,
            ],
        },
    )
    "#);
    let expiry = |text: &str| {
        job(&format!(
            "a: {{script: x, artifacts: {{paths: [x], expire_in: {text}}}}}"
        ))
        .artifacts
        .unwrap()
        .expire_in
    };
    assert_eq!(expiry("1 week"), Some(Expiry::AfterSecs(604_800)));
    assert_eq!(expiry("'30'"), Some(Expiry::AfterSecs(30)));
    assert_eq!(
        job("a: {script: x, retry: {exit_codes: 3, max: 1}}")
            .retry
            .when,
        [""; 0]
    );
    assert_eq!(job("a: {script: x, retry: 1}").retry.when, ["always"]);
}

#[test]
fn caches() {
    let caches = |cache: &str| job(&format!("a: {{script: x, cache: {cache}}}")).cache;
    let default = Cache {
        key: CacheKey::Text("default".to_owned()),
        paths: vec!["p".to_owned()],
        untracked: false,
        policy: "pull-push".to_owned(),
        when: UploadWhen::OnSuccess,
        unprotect: false,
        fallback_keys: Vec::new(),
    };
    assert_eq!(caches("{paths: [p]}"), std::slice::from_ref(&default));
    let key = CacheKey::Text("$CI_COMMIT_REF_SLUG".to_owned());
    let (policy, fallback_keys) = ("pull".to_owned(), vec!["f".to_owned()]);
    let expected = Cache {
        key,
        policy,
        fallback_keys,
        when: UploadWhen::Always,
        ..default.clone()
    };
    assert_eq!(
        caches(
            "[{key: $CI_COMMIT_REF_SLUG, paths: [p], policy: pull, when: always, fallback_keys: [f]}]"
        ),
        [expected]
    );
    let files = |prefix: &str, files: &[&str], by| {
        let files = files.iter().map(ToString::to_string).collect();
        Cache {
            key: CacheKey::Files {
                prefix: prefix.to_owned(),
                files,
                by,
            },
            ..default.clone()
        }
    };
    let found = caches(
        "[{paths: [p], key: {files: [Cargo.lock], prefix: $CI_JOB_NAME}}, {paths: [p], key: {files_commits: [a/Gemfile.lock, b.c.d]}}]",
    );
    let expected = [
        files("$CI_JOB_NAME", &["Cargo.lock"], CacheFilesBy::Blob),
        files(
            "1_Gemfile_b",
            &["a/Gemfile.lock", "b.c.d"],
            CacheFilesBy::LastCommit,
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn needs_and_dependencies() {
    let plan = plan(
        "b: {script: x, stage: build}\nc: {script: x, rules: [{if: $NOPE}]}\n\
         a: {script: x, needs: [{job: b, artifacts: false}, {job: c, optional: true}, {job: missing, optional: true}], dependencies: [b]}\n",
    );
    let a = plan.find_job("a").unwrap();
    assert_snapshot!(summary(&plan), @r#"
    build: b ["x"]
    test: a needs ["b"] ["x"]
    "#);
    assert!(!a.needs.as_ref().unwrap()[0].artifacts);
    assert_eq!(a.dependencies, Some(vec!["b".to_owned()]));
    assert_eq!(
        job("a: {script: x, dependencies: []}").dependencies,
        Some(vec![])
    );
    assert_eq!(
        job("a: {script: x, needs: {job: b}}\nb: {script: x}")
            .needs
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn parallel_jobs_become_copies() {
    let plan = plan(
        "n: {script: x, parallel: 2, stage: build}\n\
         m: {script: x, needs: [n 1/2], parallel: {matrix: [{A: [1, 2], B: x}, {A: 3}]}, rules: [{if: '$A != \"2\"'}], tags: ['t$A']}\n\
         a: {script: x, needs: [n], dependencies: [n]}\n",
    );
    assert_snapshot!(summary(&plan), @r#"
    build: n 1/2 ["x"]
    build: n 2/2 ["x"]
    test: m: [1, x] needs ["n 1/2"] ["x"]
    test: m: [3] needs ["n 1/2"] ["x"]
    test: a needs ["n 1/2", "n 2/2"] ["x"]
    "#);
    let copy = plan.find_job("m: [3]").unwrap();
    assert_eq!(
        (shown(&copy.variables), copy.tags.join(",")),
        ("A=3".to_owned(), "t3".to_owned())
    );
    let copy = copy.parallel.unwrap();
    assert_eq!((copy.index, copy.total), (3, 3));
    assert_eq!(
        plan.find_job("a").unwrap().dependencies,
        Some(vec!["n 1/2".to_owned(), "n 2/2".to_owned()])
    );
}

#[test]
fn what_is_not_done_is_said() {
    let compiled = compiled(
        ".x:\n  identity: google_cloud\na:\n  extends: .x\n  script: x\n  dast_configuration: {site_profile: x}\nb:\n  extends: .x\n  script: x\n  release: {tag_name: v, description: d}\n",
    );
    let notices: Vec<String> = compiled.notices.iter().map(ToString::to_string).collect();
    assert_snapshot!(notices.join("\n"), @"
    .gitlab-ci.yml:6:3: dast_configuration is recognised but not done yet: it is ignored
    .gitlab-ci.yml:2:13: identity is recognised but not done yet: the job gets no identity
    .gitlab-ci.yml:10:3: release is recognised but not done yet: no release is made
    ");
}

#[test]
fn a_plan_survives_storage() {
    let compiled = compiled(
        "a: {script: x, image: i, cache: {paths: [p]}, artifacts: {paths: [a]}, parallel: 2, when: delayed, start_in: 1 h}",
    );
    let text = serde_json::to_string(&compiled).unwrap();
    assert_eq!(serde_json::from_str::<Compiled>(&text).unwrap(), compiled);
}

#[test]
fn an_everyday_file_plans_without_notices() {
    let text = r#"
workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH
stages: [lint, build, test, release]
default:
  tags: [linux]
  retry: {max: 1, when: [runner_system_failure, stuck_or_timeout_failure]}
.cache: &cache
  cache:
    key: {files: [configure.ac]}
    paths: [.ccache/]
lint:
  stage: lint
  script:
    - shellcheck *.sh || true
  allow_failure: true
build:
  <<: *cache
  stage: build
  script: |
    ./configure
    make -j"$(nproc)"
  artifacts: {paths: [src/hello], expire_in: 1 week}
test:
  stage: test
  needs: [build]
  script: [make check]
  artifacts: {when: always, paths: ["*.log"]}
release:
  stage: release
  needs: [test]
  script: [make dist]
  rules:
    - if: $CI_COMMIT_TAG
    - if: $CI_COMMIT_BRANCH == "main"
      when: manual
"#;
    let compiled = compiled(text);
    assert_eq!(compiled.notices, []);
    assert_snapshot!(summary(&crate::plan_of(compiled)), @r#"
    lint: lint ["shellcheck *.sh || true"]
    build: build ["./configure\nmake -j\"$(nproc)\"\n"]
    test: test needs ["build"] ["make check"]
    release: release needs ["test"] ["make dist"]
    "#);
}
