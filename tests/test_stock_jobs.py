"""Jobs of all kinds on the stock GitLab Runner with its shell executor."""

import io
import re
import zipfile
from collections.abc import Iterator

import pytest
from harness import secrets
from harness.gate import Gates
from harness.stock import StockRunner, raw_log, said
from harness.vault import Vault, verified
from harness.wait import wait_for
from harness.world import World, plain, unique

# What the server answers does not depend on the database; `test_protocol` asks on both.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def stock(world: World) -> Iterator[StockRunner]:
    """The runner that all these tests share."""
    with StockRunner(world) as it:
        yield it


def test_a_log_is_live_while_the_job_runs(stock: StockRunner, gates: Gates) -> None:
    word = unique("live")
    run = stock.ci(f"work:\n  script: [echo before, echo complaint >&2, {gates.wait_command(word)}, echo after]\n")
    gates.wait_for_arrival(word)
    wait_for("the first lines", lambda: {"before", "complaint"} <= set(run.trace("work").replace("\r", "").splitlines()))
    job = run.job("work")
    assert job.status == "running" and job.runner["id"] == stock.id and "after\n" not in run.trace("work")
    gates.open(word)
    run.end("success")
    log = run.trace("work")
    assert "Running with gitlab-runner 19.4.0" in log and "\nafter" in log and log.rstrip().endswith("Job succeeded")
    assert "Getting source from Git repository" in log and run.project.work.head()[:8] in log


def test_masked_values_prefixes_and_files(stock: StockRunner, gates: Gates) -> None:
    project, masked, word = stock.world.project(), secrets.new_password(), unique("variables")
    project.gitlab.variables.create({"key": "MASKED", "value": masked, "masked": True, "raw": True})
    project.gitlab.variables.create({"key": "CERT", "value": "line one\nline two\n", "variable_type": "file"})
    project.gitlab.variables.create({"key": "RAW", "value": "$CI_JOB_NAME", "raw": True})
    yaml = f"""
work:
  script:
    - echo "the secret is $MASKED"
    - echo "a token glpat-abcdefghijklmnopqrst stands here, and our rvs-abcdefghijklmnopqrst"
    - echo "https://example.org/?private_token=abcdef"
    - {gates.tell_command(word, "$RAW|$(cat $CERT)|$CERT")}
    - {gates.tell_command(word, "$MASKED")}
"""
    run = project.push_ci(stock.tagged(yaml)).end("success")
    raw, cert, path = gates.hear(word).split("|")
    assert (raw, cert) == ("$CI_JOB_NAME", "line one\nline two") and path.endswith(".tmp/CERT")
    assert gates.hear(word) == masked
    log = run.trace("work")
    assert "the secret is [MASKED]" in log and masked not in log
    assert "a token glpat-[MASKED] stands here, and our rvs-[MASKED]" in log and "private_token=[MASKED]" in log


def test_a_cancel_ends_the_script_and_lets_after_script_run(stock: StockRunner, gates: Gates) -> None:
    word, told = unique("cancel"), unique("after")
    yaml = f"""
work:
  script: [echo begun, {gates.wait_command(word)}, echo never-reached-$((1 + 1))]
  after_script: [{gates.tell_command(told, "$CI_JOB_STATUS")}, echo tidied-$((1 + 1))]
  artifacts: {{when: always, paths: [.gitlab-ci.yml]}}
"""
    run = stock.ci(yaml)
    gates.wait_for_arrival(word)
    run.job("work").cancel()
    assert run.job("work").status == "canceling", "this runner can end gracefully"
    assert gates.hear(told) == "canceled"
    run.end("canceled")
    log = run.trace("work")
    assert "tidied-2" in log and "never-reached-2" not in log


def test_a_forced_cancel_ends_everything(stock: StockRunner, gates: Gates) -> None:
    word = unique("forced")
    run = stock.ci(f"work:\n  script: [{gates.wait_command(word)}]\n  after_script: [{gates.wait_command(word)}]\n")
    gates.wait_for_arrival(word)
    job = run.job("work")
    for force in (False, True):
        answer = stock.world.root.post(f"/projects/{run.project.id}/jobs/{job.id}/cancel", json={"force": force})
        assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "canceled"
    # Neither of its scripts would end by itself.
    wait_for("the runner to drop the job", lambda: re.search(rf"Removed job from processing list .*job={job.id} ", plain(stock.log())), otherwise=stock.log)
    assert run.job("work").status == "canceled"


def test_a_job_that_takes_too_long_is_ended(stock: StockRunner, gates: Gates) -> None:
    wait = gates.wait_command(unique("never"))
    run = stock.ci(f"work:\n  timeout: 5 seconds\n  variables: {{GIT_STRATEGY: none}}\n  script: ['{wait}']\n").end("failed")
    assert run.job("work").failure_reason == "job_execution_timeout"


def test_failures_have_reasons(stock: StockRunner) -> None:
    yaml = """
code: {script: [exit 3]}
none: {script: ["true"], dependencies: [], artifacts: {paths: [absent]}}
source: {variables: {GIT_SUBMODULE_STRATEGY: nonsense}, script: ["true"]}
bad-dotenv: {script: ["echo 'not a variable' > x.env"], artifacts: {reports: {dotenv: x.env}}}
"""
    run = stock.ci(yaml).end("failed")
    jobs = run.jobs()
    assert (jobs["code"].status, jobs["code"].failure_reason) == ("failed", "script_failure")
    assert jobs["none"].status == "success" and "no matching files" in run.trace("none")
    assert jobs["source"].status == "failed" and "unknown GIT_SUBMODULE_STRATEGY" in run.trace("source")
    assert jobs["bad-dotenv"].status == "failed" and "400 Bad" in run.trace("bad-dotenv"), run.trace("bad-dotenv")


def test_a_cache_is_there_the_second_time(stock: StockRunner) -> None:
    yaml = """
work:
  cache:
    key: "$CI_COMMIT_REF_SLUG-two"
    fallback_keys: [common]
    paths: [.cache/]
  script:
    - cat .cache/seen || echo "nothing" "yet"
    - mkdir -p .cache
    - echo "made by $CI_PIPELINE_IID" >> .cache/seen
"""
    first = stock.ci(yaml).end("success")
    assert "nothing yet" in first.trace("work")
    second = first.project.push_ci(stock.tagged(yaml + "# again\n")).end("success")
    assert "made by 1" in second.trace("work") and "nothing yet" not in second.trace("work")
    first.project.push_ci(stock.tagged(yaml.replace('"$CI_COMMIT_REF_SLUG-two"', "common"))).end("success")
    other = first.project.push_ci(stock.tagged(yaml.replace("-two", "-other"))).end("success")
    assert "made by 3" in other.trace("work"), "a key without a cache falls back"


@pytest.fixture
def vault(world: World) -> Iterator[Vault]:
    it = Vault(world)
    yield it
    it.close()


def test_identity_tokens_open_a_vault(stock: StockRunner, vault: Vault) -> None:
    yaml = f"""
variables: {{VAULT_SERVER_URL: "{vault.url}", VAULT_AUTH_ROLE: deploy, VAULT_NAMESPACE: team}}
deploy:
  id_tokens: {{VAULT_ID_TOKEN: {{aud: "https://vault.test"}}}}
  secrets:
    PASSWORD: {{vault: production/db/password@ops}}
    PORT: {{vault: {{engine: {{name: kv-v2, path: ops}}, path: production/db, field: port}}, file: false}}
  script:
    - test "$(cat $PASSWORD)" = correct-horse-battery && test "$PORT" = 5432
    - echo "it is $(cat $PASSWORD)" "and $VAULT_ID_TOKEN"
    - printf %s "$VAULT_ID_TOKEN" > token
  artifacts: {{paths: [token]}}
"""
    run = stock.ci(yaml).end("success")
    log = run.trace("deploy")
    assert "Resolving secrets" in log and "it is [MASKED] and [MASKED]" in log
    token = zipfile.ZipFile(io.BytesIO(run.job("deploy").artifacts())).read("token").decode()
    assert verified(stock.world, token, "https://vault.test")["job_id"] == str(run.job("deploy").id)


def test_a_long_log_arrives_whole_in_pieces(stock: StockRunner) -> None:
    """Longer than one piece may be, and written quicker than it is sent. With time stamps it is near the runner's limit."""
    run = stock.ci("work:\n  variables: {GIT_STRATEGY: none}\n  script: [seq -f 'line %06g of many' 60000]\n").end("success")
    log = plain(raw_log(run, "work"))
    assert re.findall(r"line (\d{6}) of many", log) == [f"{it:06}" for it in range(1, 60001)]


def test_a_log_has_an_end(world: World) -> None:
    with StockRunner(world, "output_limit = 64\n") as runner:
        run = runner.ci("work:\n  variables: {GIT_STRATEGY: none}\n  script: [seq 100000, echo]\n").end("success")
    log = run.trace("work")
    assert "Job's log exceeded limit of 65536 bytes" in log and len(raw_log(run, "work")) < 70000


def test_sources_are_what_the_pipeline_is_for(stock: StockRunner, gates: Gates) -> None:
    """A branch that moved on and was rewritten meanwhile, a tag, whole history, and a shallow one."""
    word = unique("sources")
    yaml = f"""
stages: [first, then]
gate: {{stage: first, variables: {{GIT_STRATEGY: none}}, script: ["{gates.wait_command(word)}"]}}
shallow: {{stage: then, variables: {{GIT_DEPTH: "1", GIT_STRATEGY: clone}}, script: ["git rev-parse HEAD", "git rev-list --count HEAD", cat what]}}
whole: {{stage: then, variables: {{GIT_DEPTH: "0", GIT_STRATEGY: clone}}, script: ["git rev-parse HEAD", "git rev-list --count HEAD", cat what]}}
"""
    project = stock.world.project()
    project.push({"what": "zero\n"})
    project.work.git("checkout", "-q", "-b", "topic")
    project.push({"what": "one\n"})
    run = project.push_ci(stock.tagged(yaml))
    sha = project.work.head()
    gates.wait_for_arrival(word)
    project.work.git("reset", "-q", "--hard", "HEAD~1")
    project.push({"what": "rewritten\n"}, "--force", "-o", "ci.skip").must_succeed()
    gates.open(word)
    run.end("success")
    assert said(raw_log(run, "shallow"), "step_script")[1::2] == [sha, "1", "one"]
    assert said(raw_log(run, "whole"), "step_script")[1::2] == [sha, "3", "one"]
