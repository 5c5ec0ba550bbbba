"""What the file says reaches jobs, and what is wrong with it reaches whoever pushed."""

import base64
import re

import pytest
from harness import secrets
from harness.gate import Gates
from harness.world import World, unique


def test_variables_come_from_everywhere_in_their_order(world: World, gates: Gates) -> None:
    word = unique("env")
    yaml = f"""
variables: {{GLOBAL: global, BOTH: global, COMPOSED: "$CI_COMMIT_BRANCH-$GLOBAL"}}
default:
  before_script: [export FROM_BEFORE=before]
job:
  variables: {{BOTH: job, QUOTED: 'a "b" $$c', RAW: {{value: "$GLOBAL", expand: false}}}}
  script:
    - env -0 | base64 -w0 > env.b64
    - curl --silent --fail --data-binary @env.b64 {gates.url}/tell/{word}
"""
    run = world.ci(yaml, options=("-o", "ci.variable=PUSHED=by hand"))
    env = dict(it.split("=", 1) for it in base64.b64decode(gates.hear(word)).decode().split("\0") if "=" in it)
    run.end("success")
    project, work = run.project, run.project.work
    secrets.note(env["CI_JOB_TOKEN"])
    expected = {
        "GLOBAL": "global",
        "BOTH": "job",
        "COMPOSED": "main-global",
        "QUOTED": 'a "b" $c',
        "RAW": "$GLOBAL",
        "FROM_BEFORE": "before",
        "PUSHED": "by hand",
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_COMMIT_SHA": work.head(),
        "CI_COMMIT_SHORT_SHA": work.head()[:8],
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_REF_SLUG": "main",
        "CI_COMMIT_REF_PROTECTED": "true",
        "CI_COMMIT_TITLE": "Commit 1",
        "CI_COMMIT_AUTHOR": "Ada <ada@example.org>",
        "CI_DEFAULT_BRANCH": "main",
        "CI_JOB_NAME": "job",
        "CI_JOB_STAGE": "test",
        "CI_JOB_ID": str(run.job("job").id),
        "CI_JOB_URL": run.job("job").web_url,
        "CI_PIPELINE_ID": str(run.id),
        "CI_PIPELINE_IID": "1",
        "CI_PIPELINE_SOURCE": "push",
        "CI_PIPELINE_URL": run.pipeline.web_url,
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": project.gitlab.path,
        "CI_PROJECT_NAMESPACE": "root",
        "CI_PROJECT_PATH": project.path,
        "CI_PROJECT_URL": project.url,
        "CI_PROJECT_VISIBILITY": "private",
        "CI_SERVER_URL": world.server.url,
        "CI_API_V4_URL": f"{world.server.url}/api/v4",
        "CI_REGISTRY_USER": None,
        "CI_COMMIT_TAG": None,
        "GITLAB_USER_LOGIN": "root",
        "GITLAB_USER_ID": "1",
    }
    found = {name: env.get(name) for name in expected}
    assert found == expected
    assert env["CI_PROJECT_DIR"] == env["PWD"] and env["CI_PROJECT_DIR"].startswith(env["CI_BUILDS_DIR"])
    assert env["CI_REPOSITORY_URL"].endswith(f"{project.path}.git") and env["CI_JOB_TOKEN"] in env["CI_REPOSITORY_URL"]
    foreign = env.keys() & {"RAVE_DATABASE_URL", "RAVE_DATA", "RAVE_CONFIG", "RAVE_RUNNER_TOKEN", "RUST_BACKTRACE", "RAVE_PUSH_POLICY"}
    assert not foreign, "the server's own environment reaches jobs"


@pytest.mark.parametrize(
    ("yaml", "place", "text"),
    [
        ("work:\n  scirpt: echo\n", ".gitlab-ci.yml:1:1", "config should implement the script:"),
        ("work:\n  script: [echo\n", ".gitlab-ci.yml:3:1", "flow sequence"),
        ("stages: [one]\nwork:\n  stage: two\n  script: echo\n", ".gitlab-ci.yml:3", "two"),
        ("work:\n  needs: [absent]\n  script: echo\n", ".gitlab-ci.yml:2", "absent"),
        ("a:\n  needs: [b]\n  script: echo\nb:\n  needs: [a]\n  script: echo\n", ".gitlab-ci.yml:", "circular"),
    ],
)
def test_an_error_in_the_file_reaches_whoever_pushed(world: World, yaml: str, place: str, text: str) -> None:
    run = world.ci(yaml)
    assert run.pushed
    said = " ".join(line.removeprefix("remote:").strip() for line in run.pushed.err.splitlines() if line.startswith("remote:"))
    assert re.search(re.escape(place) + r":?\d*", said) and text in said.lower(), run.pushed.err
    pipeline = run.pipeline
    assert pipeline.status == "failed" and text in pipeline.yaml_errors.lower() and run.jobs() == {}
    page = world.root.sign_in().get(pipeline.web_url, timeout=10).text
    assert place in page and text in page.lower()


def test_a_keyword_that_is_not_done_yet_is_reported(world: World) -> None:
    run = world.ci("work:\n  script: echo\n  identity: google_cloud\n  dast_configuration: {site_profile: x}\n").end("success")
    page = world.root.sign_in().get(run.pipeline.web_url, timeout=10).text
    assert "identity is recognised but not done yet" in page and "dast_configuration" in page
    assert run.pushed and "not done yet" in run.pushed.err
