"""What jobs can prove about themselves to others, and the secrets that they get for it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from zipfile import ZipFile

import jwt
import pytest
import requests
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


def verified(world: World, token: str, audience: str) -> dict[str, object]:
    """Verifies a token as any relying party does: by what the issuer publishes."""
    issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
    document = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=30).json()
    assert document["issuer"] == issuer == world.server.url
    key = jwt.PyJWKClient(document["jwks_uri"]).get_signing_key_from_jwt(token)
    return jwt.decode(token, key.key, algorithms=["RS256"], audience=audience, issuer=issuer)


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


class Vault:
    """Speaks the parts of Vault's API that a job's secrets need, and verifies logins as a Vault does.

    A real Vault cannot be had from the package registries.
    """

    def __init__(self, world: World):
        vault = self
        self.asked: list[str] = []
        self.revoked = 0

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                vault.asked.append(self.path)
                if self.path == "/v1/auth/token/revoke-self":
                    vault.revoked += self.headers["X-Vault-Token"] == "s.login"
                    return self.answer(204, {})
                login = json.loads(body)
                try:
                    claims = verified(world, login["jwt"], "https://vault.test")
                except jwt.PyJWTError as error:
                    return self.answer(400, {"errors": [f"error validating token: {error}"]})
                if login.get("role") != "deploy" or claims["ref"] != "main":
                    return self.answer(400, {"errors": ["role \"other\" could not be found"]})
                self.answer(200, {"auth": {"client_token": "s.login"}})

            def do_GET(self) -> None:
                vault.asked.append(self.path)
                if self.headers["X-Vault-Token"] != "s.login" or self.headers["X-Vault-Namespace"] != "team":
                    return self.answer(403, {"errors": ["permission denied"]})
                versioned = {"/v1/ops/data/production/db": {"password": "correct-horse-battery", "port": 5432}}
                if self.path in versioned:
                    return self.answer(200, {"data": {"data": versioned[self.path], "metadata": {}}})
                if self.path == "/v1/old/plain":
                    return self.answer(200, {"data": {"word": "unversioned-word"}})
                self.answer(404, {"errors": []})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def vault(world: World) -> Iterator[Vault]:
    it = Vault(world)
    yield it
    it.server.shutdown()
    it.server.server_close()


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
