"""The server's first minutes: files, claim, configuration, and what it refuses."""

import re
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import requests
from harness import secrets
from harness.postgres import free_port
from harness.server import Server, environment, run
from harness.world import Account, unique

Make = Callable[..., Server]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_first_boot_makes_private_files_and_serves_within_a_second(own_server: Make) -> None:
    server = own_server()
    start = time.monotonic()
    server.start(with_password=False)
    assert server.get("/-/health").text == "RAVE OK\n"
    # A second is the aim for a release build on a quiet machine; the debug build of a test gets more.
    assert time.monotonic() - start < 5
    assert mode(server.data) == 0o700
    keys = list((server.data / "keys").iterdir())
    assert keys and {mode(it) for it in keys} == {0o600}
    exposed = [it for it in server.data.rglob("*") if it.is_file() and it.parent.name in ("keys",) and mode(it) & 0o077]
    assert exposed == []
    assert server.log().count("/-/claim/") == 1


def test_the_administrator_is_claimed_by_the_link_and_only_once(own_server: Make) -> None:
    server = own_server().start(with_password=False)
    assert server.claim and server.claim.startswith(server.url + "/-/claim/")
    page = requests.get(server.claim, timeout=10)
    assert page.status_code == 200 and 'type="password"' in page.text
    fields = dict.fromkeys(re.findall(r'name="(password\w*)"', page.text), server.admin_password)
    assert fields, page.text
    session = requests.Session()

    foreign = session.post(server.claim, data=fields, headers={"Origin": "http://evil.example"}, timeout=10)
    assert foreign.status_code == 403
    weak = session.post(server.claim, data=dict.fromkeys(fields, "short"), headers={"Origin": server.url}, timeout=10)
    assert weak.status_code in (400, 422) and "12" in weak.text

    claimed = session.post(server.claim, data=fields, headers={"Origin": server.url}, timeout=10, allow_redirects=False)
    assert claimed.status_code in (302, 303), claimed.text
    cookie = claimed.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    again = requests.get(server.claim, timeout=10)
    assert again.status_code == 404
    root = Account(server, "root", "", server.admin_password)
    assert "root" in root.sign_in().get(server.url + "/", timeout=10).text


def test_an_open_claim_is_offered_again_and_a_password_file_replaces_it(own_server: Make) -> None:
    server = own_server().start(with_password=False)
    first = server.claim
    assert server.stop() == 0
    server.start(with_password=False)
    assert server.claim and requests.get(server.claim, timeout=10).status_code == 200
    assert server.stop() == 0
    start = len(server.log())
    server.start(with_password=True)
    assert "/-/claim/" not in server.log(start)
    assert first and requests.get(first, timeout=10).status_code == 404, "the password closes the links"
    Account(server, "root", "", server.admin_password).sign_in()


def test_there_is_no_default_password(own_server: Make) -> None:
    server = own_server().start(with_password=False)
    for password in ("root", "admin", "password", "5iveL!fe", "", "changeme"):
        form = {"login": "root", "password": password}
        answer = requests.post(f"{server.url}/-/login", data=form, headers={"Origin": server.url}, timeout=10, allow_redirects=False)
        assert answer.status_code in (400, 401, 403, 422), f"{password!r} is answered by {answer.status_code}"
        assert "rave_session" not in answer.headers.get("Set-Cookie", "")


def test_a_bad_configuration_reports_all_problems_with_file_and_line(scratch: Path) -> None:
    directory = scratch / unique("config")
    directory.mkdir()
    text = '[server]\nlisten = 8080\nexternal_url = "rave.example.org"\n\n[runer]\n\n[runner]\nexecuter = "shell"\nconcurrency = -1\n'
    (directory / "rave.toml").write_text(text)
    done = run(["up", "--config", "rave.toml", "--data", "data"], environment(directory / "home"), directory)
    assert done.returncode == 1
    expected = [
        "rave.toml:2:10: server.listen must be a string",
        "rave.toml:3:16: server.external_url is not a URL",
        "rave.toml:5:2: unknown section runer; did you mean runner?",
        "rave.toml:8:1: unknown key runner.executer; did you mean runner.executor?",
        "rave.toml:9:15: runner.concurrency must be a whole number, at least 0",
    ]
    places = [done.stderr.find(it) for it in expected]
    assert -1 not in places and places == sorted(places), done.stderr
    assert not (directory / "data").exists(), "nothing is made for a configuration that is not valid"


def test_the_documented_defaults_are_a_valid_configuration(own_server: Make, scratch: Path) -> None:
    directory = scratch / unique("defaults")
    directory.mkdir()
    printed = run(["config"], environment(directory / "home"), directory)
    assert printed.returncode == 0
    server = own_server(config=printed.stdout).start()
    assert server.get("/-/ready").status_code == 200


def test_usage_errors_exit_with_2(scratch: Path) -> None:
    done = run(["up", "--no-such-option"], environment(scratch / "home"), scratch)
    assert done.returncode == 2 and "--no-such-option" in done.stderr


def test_a_second_server_refuses_the_same_directory(own_server: Make) -> None:
    server = own_server().start()
    second = server.rave("up", "--data", server.data, "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert "another RAVE is running" in second.stderr and str(server.data) in second.stderr
    assert server.get("/-/health").status_code == 200


def test_a_taken_address_is_named_with_a_hint(own_server: Make) -> None:
    server = own_server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = server.rave("up", "--data", server.data, "--listen", address)
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr and "hint:" in done.stderr and "--listen" in done.stderr


def test_the_server_answers_with_its_security_headers(server: Server) -> None:
    page = server.get("/-/login")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"] and "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff" and page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Request-Id"]


def test_a_login_is_throttled(own_server: Make) -> None:
    server = own_server().start()

    def attempt(password: str) -> int:
        form = {"login": "root", "password": password}
        return requests.post(f"{server.url}/-/login", data=form, headers={"Origin": server.url}, timeout=30, allow_redirects=False).status_code

    tries = [attempt(secrets.new_password()) for _ in range(11)]
    assert tries[0] in (401, 403, 422) and tries[-1] == 429, tries
    assert attempt(server.admin_password) == 429, "the right password does not get around the limit"


def test_behind_a_path_and_another_name_links_follow_the_external_url(own_server: Make) -> None:
    arguments = ("--external-url", "https://rave.example.org/forge")
    server = own_server(arguments=arguments, listen=f"127.0.0.1:{free_port()}").start()
    page = requests.get(f"{server.url}/forge/-/login", timeout=10)
    assert page.status_code == 200
    links = re.findall(r'(?:href|src|action)="([^"#]*)"', page.text)
    assert links and all(it.startswith(("/forge/", "https://rave.example.org/forge")) for it in links if it), links
    form = {"login": "root", "password": server.admin_password}
    answer = requests.post(
        f"{server.url}/forge/-/login", data=form, headers={"Origin": "https://rave.example.org"}, timeout=10, allow_redirects=False
    )
    assert answer.status_code in (302, 303) and "Secure" in answer.headers["Set-Cookie"]
