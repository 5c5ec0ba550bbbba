//! Keywords that are handed on to whoever carries them out.

use insta::assert_debug_snapshot;
use rave_ci_lang::{Expiry, IdToken, InputValue, Pages};
use serde_json::json;

use crate::{job, plan, shown};

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn images_and_services() {
    let a = job(
        "a:\n  script: x\n  image: {name: i, entrypoint: [''], pull_policy: always, docker: {platform: linux/arm64, user: u}, kubernetes: {user: 1000}}\n  \
         services:\n    - redis:7\n    - {name: postgres, alias: 'db,main other', command: [a, b], entrypoint: [e], pull_policy: [never, always], variables: {P: 1}}\n",
    );
    let image = a.image.unwrap();
    assert_eq!(image.platform.as_deref(), Some("linux/arm64"));
    assert_eq!(image.user.as_deref(), Some("u"));
    assert_eq!(image.kubernetes_user.as_deref(), Some("1000"));
    assert_eq!(image.entrypoint, Some(texts(&[""])));
    let [redis, postgres] = a.services.as_slice() else {
        panic!("{:?}", a.services);
    };
    assert_eq!(redis.image.name, "redis:7");
    assert_eq!(postgres.alias, ["db", "main", "other"]);
    assert_eq!(postgres.command, Some(texts(&["a", "b"])));
    assert_eq!(postgres.image.pull_policy, ["never", "always"]);
    assert_eq!(shown(&postgres.variables), "P=1");
}

#[test]
fn defaults_of_containers_and_tokens() {
    let text =
        "default: {services: [db], id_tokens: {T: {aud: x}}, hooks: {pre_get_sources_script: h}}\n";
    let a = job(&format!("{text}a: {{script: x}}"));
    assert_eq!(a.services[0].image.name, "db");
    assert_eq!(a.id_tokens[0].name, "T");
    assert_eq!(a.pre_get_sources_script, ["h"]);
    let a = job(&format!(
        "{text}a: {{script: x, services: [], inherit: {{default: [services]}}}}"
    ));
    assert_eq!((a.services.len(), a.id_tokens.len()), (0, 0));
    let old = job("services: [db]\na: {script: x}");
    assert_eq!(old.services.len(), 1);
}

#[test]
fn audiences_of_tokens_are_expanded() {
    let a = job(
        "a: {script: x, id_tokens: {ONE: {aud: 'https://$CI_PROJECT_NAME'}, TWO: {aud: [p, $NOPE]}}}",
    );
    let token = |name: &str, audience: &[&str]| IdToken {
        name: name.to_owned(),
        audience: texts(audience),
    };
    assert_eq!(
        a.id_tokens,
        [token("ONE", &["https://app"]), token("TWO", &["p", ""])]
    );
}

#[test]
fn sources_of_secrets_are_written_out() {
    let source = |secret: &str| {
        let a = job(&format!("a: {{script: x, secrets: {{S: {secret}}}}}"));
        let secret = a.secrets.into_iter().next().unwrap();
        assert_eq!(secret.name, "S");
        (secret.provider, secret.source, secret.file, secret.token)
    };
    let engine = |path: &str| json!({"name": "kv-v2", "path": path});
    assert_eq!(
        source("{vault: production/db/password@ops, token: $T}"),
        (
            "vault".to_owned(),
            json!({"engine": engine("ops"), "path": "production/db", "field": "password"}),
            true,
            Some("$T".to_owned())
        )
    );
    assert_eq!(
        source("{vault: a/b, file: false}"),
        (
            "vault".to_owned(),
            json!({"engine": engine("kv-v2"), "path": "a", "field": "b"}),
            false,
            None
        )
    );
    assert_eq!(
        source("{vault: {engine: {name: kv-v1, path: e}, path: p, field: f}}").1,
        json!({"engine": {"name": "kv-v1", "path": "e"}, "path": "p", "field": "f"})
    );
    assert_eq!(
        source("{gcp_secret_manager: {name: n}, token: $T}").1,
        json!({"name": "n", "version": "latest"})
    );
    assert_eq!(
        source("{azure_key_vault: {name: n, version: v}}").1,
        json!({"name": "n", "version": "v"})
    );
    assert_eq!(
        source("{aws_secrets_manager: 'id#f'}").1,
        json!({"secret_id": "id", "field": "f"})
    );
    assert_eq!(
        source("{gitlab_secrets_manager: {name: n}}").1,
        json!({"name": "n"})
    );
}

#[test]
fn steps_are_kept_as_they_are() {
    let a = job(
        "a:\n  run:\n    - {name: one, script: echo}\n    - {name: two, step: ./dir, inputs: {n: 1}, env: {A: b}}\n",
    );
    assert_eq!(a.script, [""; 0]);
    assert_eq!(
        a.steps,
        Some(json!([
            {"name": "one", "script": "echo"},
            {"name": "two", "step": "./dir", "inputs": {"n": 1}, "env": {"A": "b"}},
        ]))
    );
}

#[test]
fn inputs_of_jobs() {
    let a = job(
        "a: {script: x, inputs: {n: {type: number, default: 1, description: d}, s: {default: b, options: [a, b], regex: '^[ab]$'}}}",
    );
    let [number, text] = a.inputs.as_slice() else {
        panic!("{:?}", a.inputs);
    };
    assert_eq!(number.default, InputValue::Number(1.into()));
    assert_eq!(number.description.as_deref(), Some("d"));
    assert_eq!(text.options.len(), 2);
    assert_eq!(text.regex.as_deref(), Some("^[ab]$"));
}

#[test]
fn releases() {
    let a = job(
        "a:\n  script: x\n  release: {tag_name: $CI_COMMIT_TAG, description: notes.md, tag_message: m, name: N, ref: main, milestones: [m1], released_at: '2026-11-21T10:00:00Z',\n    \
         assets: {links: [{name: l, url: 'https://x', filepath: /f, link_type: package}]}}\n",
    );
    assert_debug_snapshot!(a.release.unwrap(), @r#"
    Release {
        tag_name: "$CI_COMMIT_TAG",
        description: "notes.md",
        tag_message: Some(
            "m",
        ),
        name: Some(
            "N",
        ),
        reference: Some(
            "main",
        ),
        milestones: [
            "m1",
        ],
        released_at: Some(
            "2026-11-21T10:00:00Z",
        ),
        links: [
            ReleaseLink {
                name: "l",
                url: "https://x",
                filepath: Some(
                    "/f",
                ),
                link_type: Some(
                    "package",
                ),
            },
        ],
    }
    "#);
}

#[test]
fn pages_are_part_of_the_artifacts() {
    let of = |text: &str, name: &str| {
        let plan = plan(text);
        let job = plan.find_job(name).unwrap().clone();
        (job.pages, job.artifacts.map(|it| it.paths))
    };
    let site = |publish: &str| Pages {
        publish: publish.to_owned(),
        ..Pages::default()
    };
    assert_eq!(
        of("pages: {script: x}", "pages"),
        (Some(site("public")), Some(texts(&["public"])))
    );
    assert_eq!(
        of(
            "pages: {script: x, publish: out, artifacts: {paths: [a]}}",
            "pages"
        ),
        (Some(site("out")), Some(texts(&["a", "out"])))
    );
    assert_eq!(
        of("pages: {script: x, pages: false}", "pages"),
        (None, None)
    );
    assert_eq!(
        of(
            "a: {script: x, pages: true, artifacts: {paths: [public]}}",
            "a"
        ),
        (Some(site("public")), Some(texts(&["public"])))
    );
    let (pages, _) = of(
        "a: {script: x, variables: {E: 1 day}, pages: {publish: $CI_PROJECT_NAME, path_prefix: p-$NOPE, expire_in: $E}}",
        "a",
    );
    assert_eq!(
        pages,
        Some(Pages {
            publish: "app".to_owned(),
            path_prefix: Some("p-".to_owned()),
            expire_in: Some(Expiry::AfterSecs(86_400)),
        })
    );
}
