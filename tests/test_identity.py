"""What jobs can prove about themselves to others, and the secrets that they get for it."""

from collections.abc import Iterator
from io import BytesIO
from zipfile import ZipFile

import jwt
import pytest
import requests
from harness.vault import Vault, verified
from harness.wait import wait_for
from harness.world import World, unique

TOKENS = """
identify:
  id_tokens:
    FIRST: {aud: "https://$CI_PROJECT_NAME.example.org"}
    BOTH: {aud: [one, two]}
  environment: {name: review/$CI_COMMIT_BRANCH}
  script:
    - echo "seen $FIRST"
    - printf %s "$FIRST" > first
    - printf %s "$BOTH" > both
  artifacts: {paths: [first, both]}
"""


def test_an_identity_token_is_verified_by_the_published_keys(world: World) -> None:
    run = world.ci(TOKENS).end("success")
    job = run.job("identify")
    archive = ZipFile(BytesIO(job.artifacts()))
    first, both = archive.read("first").decode(), archive.read("both").decode()
    name = run.project.gitlab.path
    claims = verified(world, first, f"https://{name}.example.org")
    path = run.project.path
    expected = {
        "sub": f"project_path:{path}:ref_type:branch:ref:main",
        "project_path": path,
        "project_id": str(run.project.id),
        "namespace_path": "root",
        "user_login": "root",
        "user_access_level": "owner",
        "pipeline_id": str(run.id),
        "pipeline_source": "push",
        "job_id": str(job.id),
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": "true",
        "sha": run.pipeline.sha,
        "environment": "review/main",
        "runner_environment": "self-hosted",
    }
    assert {it: claims[it] for it in expected} == expected
    assert claims["exp"] - claims["iat"] == 3600 and claims["nbf"] == claims["iat"] - 5
    assert verified(world, both, "two")["aud"] == ["one", "two"]
    with pytest.raises(jwt.InvalidAudienceError):
        verified(world, both, "three")
    assert claims["jti"] != verified(world, both, "one")["jti"]
    assert "seen [MASKED]" in run.trace("identify")


def test_the_signing_key_outlives_a_restart(own_server) -> None:
    server = own_server().start()
    keys = lambda: requests.get(f"{server.url}/oauth/discovery/keys", timeout=60).json()
    before = keys()
    assert set(before["keys"][0]) == {"kty", "kid", "e", "n", "use", "alg"}, "nothing private is published"
    server.kill()
    server.start()
    assert keys() == before


@pytest.fixture
def vault(world: World) -> Iterator[Vault]:
    it = Vault(world)
    yield it
    it.close()


def with_vault(vault: Vault, role: str, secrets: str) -> str:
    return f"""
variables: {{VAULT_SERVER_URL: "{vault.url}", VAULT_AUTH_ROLE: {role}, VAULT_NAMESPACE: team}}
deploy:
  id_tokens: {{VAULT_ID_TOKEN: {{aud: "https://vault.test"}}}}
  secrets:
{secrets}
  script:
    - test "$(cat $PASSWORD)" = correct-horse-battery
    - test "$PORT" = 5432 && test "$WORD" = unversioned-word
    - echo "it is $(cat $PASSWORD)"
"""


def test_secrets_of_a_vault_reach_the_job_masked(world: World, vault: Vault) -> None:
    secrets = """
    PASSWORD: {vault: production/db/password@ops}
    PORT: {vault: {engine: {name: kv-v2, path: ops}, path: production/db, field: port}, file: false}
    WORD: {vault: {engine: {name: kv-v1, path: old}, path: plain, field: word}, file: false, token: $VAULT_ID_TOKEN}
"""
    run = world.ci(with_vault(vault, "deploy", secrets)).end("success")
    log = run.trace("deploy")
    assert "Resolving secrets" in log and "it is [MASKED]" in log and "correct-horse" not in log
    assert vault.asked.count("/v1/auth/jwt/login") == 1, "one login serves all secrets of a job"
    assert vault.revoked == 1


def test_a_secret_that_is_not_to_be_had_fails_the_job_and_says_why(world: World, vault: Vault) -> None:
    one = "    PASSWORD: {vault: production/db/password@ops}\n"
    run = world.ci(with_vault(vault, "other", one)).end("failed")
    log = run.trace("deploy")
    assert 'secret PASSWORD: 127.0.0.1 answered 400 to the login: role "other" could not be found' in log
    assert "eyJ" not in log and run.job("deploy").failure_reason == "runner_configuration_error"
    run = world.ci(with_vault(vault, "deploy", "    PASSWORD: {vault: production/none/password@ops}\n")).end("failed")
    assert "answered 404 to reading the secret" in run.trace("deploy")
    other = "    PASSWORD: {azure_key_vault: {name: x}}\n"
    run = world.ci(with_vault(vault, "deploy", other)).end("failed")
    assert "this runner cannot ask azure_key_vault" in run.trace("deploy")


def test_run_steps_and_inputs(world: World) -> None:
    yaml = """
steps:
  run:
    - name: greet
      script: echo "hello $WHO"
      env: {WHO: "it's me"}
    - name: alone
      script: echo "again ${WHO:-nobody}"
inputs:
  inputs:
    target: {default: staging}
    count: {default: 3, type: number}
  script: echo "to ${{ job.inputs.target }} ${{ job.inputs.count }} times"
"""
    run = world.ci(yaml).end("success")
    log = run.trace("steps")
    assert "hello it's me" in log and "again nobody" in log
    assert "to staging 3 times" in run.trace("inputs")
    word = unique("step")
    run = world.ci(f"job:\n  run:\n    - name: {word}\n      step: ./somewhere\n").end("failed")
    assert f"the step {word} of run refers to another one" in run.trace("job")
    wait_for("the reason", lambda: run.job("job").failure_reason == "runner_configuration_error")
