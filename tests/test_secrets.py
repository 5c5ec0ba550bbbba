"""No secret is ever logged. Marked to run last, so that it searches what all other tests left behind."""

import subprocess

import pytest
import requests
from harness import secrets
from harness.gate import Gates
from harness.world import Account, World, unique


@pytest.mark.last
def test_no_log_shows_a_secret(world: World, gates: Gates) -> None:
    # Every place that a secret can be in, for the case that this test runs alone.
    url, token = world.server.url, world.root.token
    requests.get(f"{url}/api/v4/user?private_token={token}", timeout=10)
    requests.get(f"{url}/api/v4/user", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    requests.get(f"{url}/root/absent.git/info/refs?service=git-upload-pack", auth=("root", secrets.new_password()), timeout=10)
    wrong = Account(world.server, "root", "", secrets.new_password())
    with pytest.raises(AssertionError):
        wrong.sign_in()
    Account(world.server, "root", "", world.server.admin_password).sign_in()
    word = unique("secret")
    run = world.ci(f"work:\n  script: {gates.tell_command(word, '$CI_JOB_TOKEN')}\n").end("success")
    secrets.note(gates.hear(word))
    assert "request answered" in world.server.log() and "private_token" not in world.server.log()
    assert run.id and len(secrets.noted()) >= 6 and secrets.logs()
    assert secrets.leaks() == []


@pytest.mark.last
def test_secrets_at_rest_are_private(world: World) -> None:
    """Tokens and passwords are stored as digests: neither the database file nor any other file shows them."""
    plain = {secret.encode() for secret in secrets.noted()}
    data = world.server.data
    own = (data / "keys/embedded-runner-token").read_text().strip()
    assert own.startswith("glrt-")
    shown = []
    for path in data.rglob("*"):
        if path.is_file() and path.suffix in (".db", ".db-wal", ".json", ".toml", ".log"):
            content = path.read_bytes()
            shown += [str(path) for secret in plain if secret in content]
    if url := world.server.env.get("RAVE_DATABASE_URL"):
        dumped = subprocess.run(["pg_dump", url], capture_output=True, check=True, timeout=60).stdout
        assert b"auth_token" in dumped
        shown += [f"{url} holds a secret" for secret in plain if secret in dumped]
    assert shown == []
