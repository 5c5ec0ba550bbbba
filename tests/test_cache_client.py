"""`rave cache`: pushes what stock nix built, and what it pushed stock nix fetches."""

import functools
import http.server
import json
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from harness.git import Done
from harness.nix import Nix, hash_of
from harness.server import BINARY
from harness.wait import wait_for
from harness.world import World, unique

EXPRESSION = """
let
  text = builtins.toFile "text" "WORD\\n";
  derive = name: script: derivation { inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ]; };
in rec {
  lib = derive "lib" "echo library of ${text} > $out";
  app = derive "app" "echo uses ${lib} and $out > $out";
  other = derive "other" "echo alone > $out";
  big = derive "big" "i=0; while [ $i -lt 100000 ]; do echo line $i of a larger file; i=$((i+1)); done > $out";
  many = builtins.toFile "many" (toString (builtins.genList (n: builtins.toFile "part-${toString n}" "WORD ${toString n}") 120));
}
"""
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True, scope="session")
KEY = "upstream-1:R6bMSzfJQbQC8xRCIQVkr5mQ5RT+q3vYQwtRkXbPJ3s="


class Machine:
    """Somebody's machine: a Nix that builds in a store of its own, and the client with the home directory beside it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.nix = Nix(directory)
        self.store_dir = f"{directory}/s/store"
        self.env = {
            **self.nix.env,
            "NIX_REMOTE": "",
            "NIX_STORE_DIR": self.store_dir,
            "NIX_STATE_DIR": f"{directory}/s/var/nix",
            "NIX_LOG_DIR": f"{directory}/s/var/log",
        }
        Path(self.nix.env["HOME"]).mkdir()
        (directory / "default.nix").write_text(EXPRESSION.replace("WORD", directory.name))

    def run(self, *command: object, check: bool = True) -> Done:
        return self.nix.run(*command, check=check, **self.env)

    def build(self, name: str) -> str:
        return self.run("nix-build", "default.nix", "-A", name, "-o", f"result-{name}").out.strip()

    def client(self, *arguments: object, stdin: str = "", check: bool = True, **env: str) -> Done:
        command = [str(BINARY), "cache", *map(str, arguments)]
        done = subprocess.run(command, env={**self.env, **env}, cwd=self.directory, input=stdin, capture_output=True, text=True, timeout=120)
        result = Done(" ".join(command), done.returncode, done.stdout, done.stderr)
        return result.must_succeed() if check else result

    def answer(self, *arguments: object) -> dict:
        return json.loads(self.client(*arguments, "--json").out)

    def login(self, world: World) -> None:
        self.client("login", "here", f"{world.server.url}/-/cache", "--token-stdin", stdin=world.root.token + "\n")

    def create(self, *options: str) -> str:
        name = unique("client")
        self.client("create", name, "--store-dir", self.store_dir, *options)
        return name


@pytest.fixture
def machine(world: World) -> Machine:
    machine = Machine(world.directory("machine"))
    machine.login(world)
    return machine


def names(paths: list[str]) -> set[str]:
    return {it.split("-", 1)[1] for it in paths}


def test_what_was_built_is_pushed_wiped_and_substituted(machine: Machine) -> None:
    cache = machine.create()
    app = machine.build("app")
    pushed = machine.answer("push", cache, "./result-app")
    assert names(pushed["pushed"]) == {"app", "lib", "text"}
    # The order is that of the references, so that a push that is cut off leaves nothing that lacks something.
    assert [it.split("-", 1)[1] for it in pushed["pushed"]] == ["text", "lib", "app"]
    again = machine.answer("push", cache, app)
    assert (again["pushed"], again["already_there"]) == ([], 3)

    conf = machine.directory / "user" / "nix" / "nix.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("# mine\ncores = 1")
    machine.client("use", cache, "--nix-conf", conf)
    text = conf.read_text()
    assert text.startswith("# mine\ncores = 1\n") and f"/{cache}\n" in text and f"{cache}:" in text
    (machine.directory / "result-app").unlink()
    machine.run("nix-store", "--delete", "--ignore-liveness", app)
    assert not Path(app).exists()
    # The machine's own configuration has no substituters and trusts no key: both come from the user's.
    machine.env["NIX_USER_CONF_FILES"] = str(conf)
    (machine.nix.conf / "nix.conf").write_text("sandbox = false\nbuild-users-group =\nsubstituters =\ntrusted-public-keys =\n")
    done = machine.run("nix-store", "--realise", app)
    assert "copying path" in done.err and "from 'http" in done.err, done.err
    assert Path(app).read_text().startswith("uses ")
    machine.run("nix-store", "--verify", "--check-contents")


def test_use_changes_files_with_care(machine: Machine) -> None:
    cache = machine.create("--public")
    home = Path(machine.env["HOME"])
    conf, netrc = home / ".config/nix/nix.conf", home / ".config/nix/netrc"
    shown = machine.client("use", cache, "--dry-run").out
    assert "extra-substituters = http" in shown and "password [token]" in shown
    assert not conf.exists() and not netrc.exists()
    netrc.parent.mkdir(parents=True)
    netrc.write_text("machine elsewhere login me password theirs\n")
    machine.client("use", cache)
    first = (conf.read_text(), netrc.read_text())
    assert first[1].startswith("machine elsewhere login me password theirs\nmachine 127.0.0.1 password ")
    assert f"netrc-file = {netrc}" in first[0]
    assert stat.S_IMODE(netrc.stat().st_mode) == 0o600
    assert "has it already" in machine.client("use", cache).err
    assert (conf.read_text(), netrc.read_text()) == first
    other = machine.create("--public")
    machine.client("use", other)
    assert conf.read_text().count("extra-substituters") == 1 and f"/{cache} " in conf.read_text() and f"/{other}\n" in conf.read_text()
    login = home / ".config/rave/cache.toml"
    assert stat.S_IMODE(login.stat().st_mode) == 0o600


def test_paths_of_upstreams_are_left_out(machine: Machine) -> None:
    cache = machine.create("--upstream-cache-key-name", "upstream-1")
    app = machine.build("app")
    machine.run("nix-store", "--generate-binary-cache-key", "upstream-1", "sk", "pk")
    lib = machine.build("lib")
    machine.run("nix", "store", "sign", "--key-file", "sk", lib)
    done = machine.client("push", cache, app)
    assert "Left out 1 path with a signature of upstream-1" in done.err
    assert names(machine.answer("push", cache, app, "--no-closure", "--ignore-upstream-filter")["pushed"]) <= {"app"}
    assert names(machine.answer("push", cache, app, "--ignore-upstream-filter")["pushed"]) == {"lib"}


def test_a_push_goes_on_where_it_was(machine: Machine) -> None:
    cache = machine.create()
    app, lib = machine.build("app"), Path(machine.build("lib"))
    aside = machine.directory / "aside"
    lib.rename(aside)
    done = machine.client("push", cache, app, "--json", check=False)
    done.must_fail("2 paths could not be pushed", "hint: run it again")
    first = json.loads(done.out)
    assert names(first["pushed"]) == {"text"}
    # What refers to something that is not there does not come in either.
    assert [(it["path"].split("-", 1)[1], "cannot read" in it["error"]) for it in first["failed"]] == [("lib", True), ("app", False)]
    aside.rename(lib)
    second = machine.answer("push", cache, app)
    assert (names(second["pushed"]), second["already_there"]) == ({"lib", "app"}, 1)


def test_paths_come_by_lines_and_links(machine: Machine) -> None:
    cache = machine.create()
    machine.build("other")
    many = machine.run("nix-instantiate", "--eval", "--read-write-mode", "-A", "many").out.strip().strip('"')
    # 120 references make a description that goes before the NAR, not into a header.
    done = machine.client("push", cache, "--stdin", "-j", "8", "--json", stdin=f"./result-other\n\n{many}\n")
    pushed = json.loads(done.out)
    assert len(pushed["pushed"]) == 122 and pushed["pushed"][-1].endswith("-many")
    verified = machine.answer("verify", cache, many)
    assert verified["verified"] == 121 and verified["signatures"] and not verified["wrong"]


def test_paths_are_pulled_with_and_without_nix(machine: Machine) -> None:
    cache = machine.create()
    app, big = machine.build("app"), machine.build("big")
    machine.client("push", cache, app, big)
    machine.client("pull", cache, app, big, "--to", "out", "--closure")
    unpacked = machine.directory / "out"
    assert names([it.name for it in unpacked.iterdir()]) == {"app", "lib", "text", "big"}
    assert (unpacked / Path(big).name).read_text() == Path(big).read_text()
    machine.client("pull", cache, app, "--to", "out", check=False).must_fail("is there already")

    content = Path(app).read_text()
    (machine.directory / "result-app").unlink()
    machine.run("nix-store", "--delete", "--ignore-liveness", app)
    machine.client("pull", cache, app)
    assert Path(app).read_text() == content
    machine.run("nix-store", "--verify", "--check-contents")


def test_caches_are_copied_without_a_store(machine: Machine) -> None:
    one, two = machine.create(), machine.create()
    app = machine.build("app")
    machine.client("push", one, app)
    copied = machine.answer("copy", one, f"here:{two}", app)
    assert names(copied["pushed"]) == {"app", "lib", "text"}
    assert "3 paths" in machine.client("verify", two, hash_of(app)).err
    three = unique("client")
    machine.client("create", three)
    machine.client("copy", one, three, app, check=False).must_fail("is for the store /nix/store", "hint: rave cache create")


FLAKE = """
{
  outputs = { self }: {
    packages.SYSTEM.app = derivation {
      name = "flake-app"; system = "SYSTEM"; builder = "/bin/sh"; args = [ "-c" "echo of a flake > $out" ];
    };
  };
}
"""


def test_a_cache_is_warmed_by_what_a_flake_would_be(machine: Machine) -> None:
    cache = machine.create("--public")
    system = machine.run("nix-instantiate", "--eval", "--expr", "builtins.currentSystem").out.strip().strip('"')
    flake = machine.directory / "flake"
    flake.mkdir()
    (flake / "flake.nix").write_text(FLAKE.replace("SYSTEM", system))
    missing = machine.answer("warm", cache, "--flake", "path:./flake#app")
    assert (missing["warm"], len(missing["missing"])) == (0, 1)
    machine.run("nix", "--extra-experimental-features", "flakes", "build", "path:./flake#app", "-o", "result-flake")
    machine.client("push", cache, "./result-flake")
    assert "Warm: 1 path" in machine.client("warm", cache, "--flake", "path:./flake#app").err


def test_nix_is_asked_where_the_database_cannot_be_read(machine: Machine) -> None:
    cache = machine.create()
    machine.build("app")
    tools = machine.directory / "tools"
    tools.mkdir()
    real = machine.run("sh", "-c", "command -v nix").out.strip()
    (tools / "nix").write_text(f'#!/bin/sh\nNIX_STATE_DIR={machine.env["NIX_STATE_DIR"]} exec {real} "$@"\n')
    (tools / "nix").chmod(0o755)
    elsewhere = {"NIX_STATE_DIR": str(machine.directory / "nothing"), "PATH": f"{tools}:{machine.env['PATH']}"}
    pushed = machine.client("push", cache, "./result-app", "--json", **elsewhere)
    assert names(json.loads(pushed.out)["pushed"]) == {"app", "lib", "text"}
    without = {**elsewhere, "PATH": str(machine.directory / "nothing")}
    machine.client("push", cache, "./result-app", check=False, **without).must_fail("cannot read the store's database", "cannot run `nix`", "hint:")


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def plain(machine: Machine) -> Iterator[str]:
    """A binary cache of files, as `nix copy --to file://` makes it."""
    directory = machine.directory / "files"
    directory.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(directory))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_any_binary_cache_is_verified_and_copied(machine: Machine, plain: str) -> None:
    cache = machine.create()
    app = machine.build("app")
    machine.run("nix-store", "--generate-binary-cache-key", "plain-1", "sk", "pk")
    key, wrong = (machine.directory / "pk").read_text().strip(), KEY
    files = machine.directory / "files"
    for compression in ("none", "zstd", "gzip", "xz", "bzip2"):
        subprocess.run(["rm", "-rf", "--", *map(str, files.iterdir())], check=True)
        machine.run("nix", "copy", "--to", f"file://{files}?compression={compression}&secret-key=sk", app)
        assert "3 paths" in machine.client("verify", plain, app, "--trusted-public-key", key).err, compression
    machine.client("verify", plain, app, "--trusted-public-key", wrong, check=False).must_fail("is signed by plain-1 and not by upstream-1")

    copied = machine.answer("copy", plain, cache, app, "--trusted-public-key", key)
    assert len(copied["pushed"]) == 3
    # What was changed on the way is neither verified nor taken.
    info = next(it for it in files.glob("*.narinfo") if it.name.startswith(hash_of(app)))
    text = info.read_text()
    nar = files / text.split("URL: ")[1].split("\n")[0]
    nar.write_bytes(next(it for it in (files / "nar").iterdir() if it != nar).read_bytes())
    verified = machine.client("verify", plain, app, "--json", check=False)
    assert verified.code == 1 and [it["path"] for it in json.loads(verified.out)["wrong"]] == [Path(app).name]
    other = machine.create()
    machine.client("copy", plain, other, app, check=False).must_fail("1 path could not be pushed", "app")
    machine.client("info", other)
    assert json.loads(machine.client("verify", other, app, "--no-closure", "--json", check=False).out)["verified"] == 0


def test_what_becomes_valid_is_pushed_at_once(machine: Machine) -> None:
    cache = machine.create("--public")
    old = machine.build("other")
    command = [str(BINARY), "cache", "watch", cache]
    log = machine.directory / "watch.log"
    with log.open("w") as out:
        watcher = subprocess.Popen(command, env=machine.env, cwd=machine.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_for("the watcher", lambda: "Watching" in log.read_text())
        app = machine.build("app")
        url = json.loads(machine.client("info", cache, "--json").out)["substituter_endpoint"]
        got = lambda path: requests.get(f"{url}/{hash_of(path)}.narinfo", timeout=30).status_code == 200
        wait_for("the new path in the cache", lambda: got(app), otherwise=log.read_text)
        assert not got(old), "it was there before"
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(30) == 0
    finally:
        watcher.kill()
        watcher.wait()


def test_a_cache_is_kept_in_order(machine: Machine) -> None:
    cache = machine.create()
    app, other = machine.build("app"), machine.build("other")
    machine.client("push", cache, app, other)
    assert cache in machine.client("ls").out
    listed = machine.answer("ls", cache)
    assert listed["total"] == 4 and {it["store_path"] for it in listed["paths"]} >= {app, other}
    assert app in machine.client("ls", cache, "--search", "app").out
    assert machine.answer("ls", cache, "-n", "1")["total"] == 4

    machine.client("pin", cache, "release/1.0", app, "--for", "30 days")
    assert "release/1.0" in machine.client("pins", cache).out and app in machine.client("pins", cache).out
    assert machine.answer("gc", cache, "--dry-run")["total"] == 0
    assert "4 paths" in machine.client("gc", cache).err
    machine.client("unpin", cache, "release/1.0")
    assert machine.client("pins", cache).out == ""
    machine.client("rm", cache, other)
    assert machine.answer("ls", cache)["total"] == 3
    assert "Paths" in machine.client("stats", cache).out
    assert machine.answer("verify", cache)["verified"] == 3
    machine.client("configure", cache, "--public", "--priority", "39", "--retention-period", "2 weeks")
    info = machine.answer("info", cache)
    assert (info["is_public"], info["priority"], info["retention_period"]) == (True, 39, {"Period": 14 * 86400})
    machine.client("destroy", cache, check=False).must_fail("--yes")
    machine.client("destroy", cache, "--yes")
    machine.client("info", cache, check=False).must_fail("hint:")


def test_failures_say_what_to_do(machine: Machine, world: World) -> None:
    cache = machine.create()
    app = machine.build("app")
    url = f"{world.server.url}/-/cache/{cache}"
    nobody = {"HOME": str(machine.directory / "nobody")}
    machine.client("info", "x", check=False, **nobody).must_fail("there is no login", "hint: rave cache login")
    machine.client("info", url, check=False, **nobody).must_fail("hint: this needs a token")
    machine.client("info", url, check=False, RAVE_CACHE_TOKEN="wrong-token", **nobody).must_fail("hint: the token may have run out")
    assert machine.client("info", url, RAVE_CACHE_TOKEN=world.root.token, **nobody).code == 0
    machine.client("push", cache, "/etc/hostname", check=False).must_fail("is not in the store")
    machine.client("push", cache, app + "x", check=False).must_fail("is not valid in the local store")
    machine.client("configure", cache, check=False).must_fail("nothing is to be changed")
    # Who is logged in with attic need not log in again.
    attic = Path(nobody["HOME"]) / ".config/attic"
    attic.mkdir(parents=True)
    attic.joinpath("config.toml").write_text(
        f'default-server = "a"\n[servers.a]\nendpoint = "{world.server.url}/-/cache/"\ntoken = "{world.root.token}"\n'
    )
    assert names(json.loads(machine.client("push", cache, app, "--json", **nobody).out)["pushed"]) == {"app", "lib", "text"}
