"""The binary cache with stock nix, and with what Attic's client sends."""

import hashlib
import json
from pathlib import Path

import pytest
import requests
from harness import secrets
from harness.nix import Attic, Nix, hash_of, nar_of, nix32, path_of
from harness.server import run
from harness.world import World, unique


@pytest.fixture
def attic(world: World) -> Attic:
    """The administrator, with their personal access token."""
    return Attic(world.server, world.root.token)


@pytest.fixture
def nix(world: World) -> Nix:
    return Nix(world.directory("nix"))


def incompressible(size: int) -> bytes:
    return b"".join(hashlib.sha256(str(it).encode()).digest() for it in range(size // 32))


def jwt(world: World, **rights: str) -> str:
    """Makes a token as `atticadm make-token` does."""
    options = [text for right, pattern in rights.items() for text in (f"--{right.replace('_', '-')}", pattern)]
    server = world.server
    where = ["--data", server.data]
    config = server.directory / "rave.toml"
    if config.exists():
        where += ["--config", config]
    done = run(["token", "cache", "--sub", "tester", "--validity", "1d", *options, *where], server.env, server.directory)
    assert done.returncode == 0, done.stderr
    return secrets.note(done.stdout.strip())


def substituter(world: World, name: str) -> str:
    return f"{world.server.url}/-/cache/{name}"


def test_nix_pushes_and_pulls(world: World, attic: Attic, nix: Nix) -> None:
    name = unique("plain")
    assert attic.create(name, public=True).status_code == 200
    config = attic.config(name)
    path = nix.add("hello", {"bin/hello": "hello\n", "share/text": "x" * 300_000})
    nix.netrc(world.server, world.root.token)
    url = substituter(world, name)
    for compression in ("none", "xz", "zstd", "gzip", "bzip2", "br"):
        # The same NAR comes packed in every way: what is kept is one.
        assert attic.ask("DELETE", f"_api/v1/caches/{name}/paths/{hash_of(path)}").status_code in (200, 404)
        nix.forget()
        nix.run("nix", "copy", "--to", f"{url}?compression={compression}&write-nar-listing=1", path)
        assert attic.narinfo(name, path).status_code == 200, compression
    text = attic.narinfo(name, path).text
    assert f"StorePath: {path}\n" in text and f"Sig: {name}:" in text and "CA: fixed:r:sha256:" in text
    (nix.conf / "netrc").unlink()
    nix.set(f"trusted-public-keys = {config['public_key']}")
    nix.forget()
    nix.run("nix", "copy", "--from", url, "--to", nix.store("other"), path)
    nix.run("nix-store", "--store", nix.store("other"), "--verify", "--check-contents")
    listing = requests.get(f"{url}/{hash_of(path)}.ls", timeout=30).json()
    assert listing["root"]["entries"]["bin"]["entries"]["hello"]["size"] == 6


def test_a_closure_comes_over_whole(world: World, attic: Attic, nix: Nix) -> None:
    name = unique("closure")
    assert attic.create(name, public=True).status_code == 200
    nix.set(f"trusted-public-keys = {attic.config(name)['public_key']}")
    low, high = nar_of(b"low\n"), nar_of(b"high\n")
    below, above = path_of("below"), path_of("above")
    assert attic.missing(name, [below, above]) == sorted(map(hash_of, (below, above)))
    # The client sends them in any order: what is not complete is neither missing nor served.
    assert attic.push(name, above, high, [below, above]).json()["kind"] == "Uploaded"
    assert attic.missing(name, [below, above]) == [hash_of(below)]
    assert attic.narinfo(name, above).status_code == 404
    assert attic.push(name, below, low, preamble=True).status_code == 200
    assert attic.missing(name, [below, above]) == []
    assert attic.narinfo(name, above).status_code == 200
    nix.run("nix", "copy", "--from", substituter(world, name), "--to", nix.store("dst"), above)
    assert (nix.directory / f"dst{below}").read_text() == "low\n"
    again = attic.push(name, below, low)
    assert again.json()["kind"] == "Deduplicated" and again.json()["frac_deduplicated"] == 1


def test_what_is_wrong_does_not_come_in(world: World, attic: Attic) -> None:
    name = unique("strict")
    assert attic.create(name).status_code == 200
    nar, path = nar_of(b"content\n"), path_of("wrong")
    broken = nar.replace(b"regular", b"regulaR")
    cases = {
        "no NAR": attic.push(name, path, broken),
        "hash": attic.push(name, path, nar, nar_hash="sha256:" + "0" * 64),
        "longer": attic.push(name, path, nar, nar_size=len(nar) + 8),
        "shorter": attic.push(name, path, nar, nar_size=len(nar) - 8),
        "path": attic.push(name, path, nar, store_path_hash=hash_of(path_of("other"))),
        "store": attic.push(name, path.replace("/nix/", "/gnu/"), nar),
        "address": attic.push(name, path, nar, ca=f"fixed:r:sha256:{nix32(hashlib.sha256(nar).digest())}"),
    }
    for what, answer in cases.items():
        assert answer.status_code == 400 and answer.json()["error"] == "RequestError", f"{what}: {answer.status_code} {answer.text}"
    assert attic.narinfo(name, path).status_code == 404
    assert attic.missing(name, [path]) == [hash_of(path)]
    assert attic.configure(name, trusts_pushers=False).status_code == 200
    assert attic.push(name, path, nar).status_code == 403, "no trusted key signed it"


def test_only_a_trusted_key_counts(world: World, attic: Attic, nix: Nix) -> None:
    name = unique("signed")
    assert attic.create(name, public=True).status_code == 200
    nar, path = nar_of(b"signed\n"), path_of("signed")
    assert attic.push(name, path, nar).status_code == 200
    nix.set("trusted-public-keys = other:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    refused = nix.run("nix", "copy", "--from", substituter(world, name), "--to", nix.store("dst"), path, check=False)
    assert refused.code != 0 and "lacks a valid signature" in refused.err
    # Another key becomes the first, and the old one goes on signing until it is removed.
    old = attic.config(name)["public_key"]
    new = attic.ask("POST", f"_api/v1/caches/{name}/keys").json()["public_key"]
    text = attic.narinfo(name, path).text
    assert attic.config(name)["public_key"] == new != old
    assert f"Sig: {new.split(':')[0]}:" in text and f"Sig: {old.split(':')[0]}:" in text
    for key in (old, new):
        nix.set(f"trusted-public-keys = {key}")
        nix.forget()
        nix.run("nix", "copy", "--from", substituter(world, name), "--to", nix.store(f"dst-{key[:12]}"), path)


def test_a_private_cache_looks_absent(world: World, attic: Attic, nix: Nix) -> None:
    name, absent = unique("private"), unique("nothing")
    assert attic.create(name).status_code == 200
    nar, path = nar_of(b"secret\n"), path_of("secret")
    assert attic.push(name, path, nar).status_code == 200
    routes = ["nix-cache-info", "attic-cache-info", f"{hash_of(path)}.narinfo", f"{'0' * 32}.narinfo", f"{hash_of(path)}.ls"]
    routes += [f"nar/{nix32(hashlib.sha256(nar).digest())}.nar", "log/x", "realisations/x.doi"]
    stranger = world.account("stranger")
    for client in (Attic(world.server, None), Attic(world.server, "eyJub3Qi.YSB0b2tlbg.AAAA"), Attic(world.server, stranger.token)):
        for method in ("GET", "HEAD", "PUT"):
            for route in routes:
                both = [client.ask(method, f"{it}/{route}") for it in (name, absent)]
                assert both[0].status_code == both[1].status_code in (401, 404), f"{method} {route}: {both}"
                assert both[0].text == both[1].text, route
        both = [client.ask("GET", f"_api/v1/cache-config/{it}") for it in (name, absent)]
        assert both[0].status_code == both[1].status_code and both[0].text == both[1].text
    refused = nix.run("nix", "path-info", "--store", substituter(world, name), path, check=False)
    assert refused.code != 0
    nix.netrc(world.server, world.root.token)
    nix.forget()
    assert path in nix.run("nix", "path-info", "--store", substituter(world, name), path).out


def test_tokens_of_attics_kind(world: World, attic: Attic) -> None:
    prefix = unique("team")
    name, other = f"{prefix}-ci", unique("other")
    maker = Attic(world.server, jwt(world, create_cache=f"{prefix}-*", configure_cache=f"{prefix}-*", destroy_cache=f"{prefix}-*", pull=f"{prefix}-*"))
    assert maker.create(name).status_code == 200
    assert maker.create(name).json()["error"] == "CacheAlreadyExists"
    assert maker.create(other).status_code == 401
    path, nar = path_of("token"), nar_of(b"token\n")
    assert maker.push(name, path, nar).status_code == 403, "it may not push"
    assert maker.configure(name, retention_period={"Period": 60}).status_code == 403, "nor say how long paths stay"
    assert maker.configure(name, priority=7).status_code == 200
    assert maker.configure(name).json()["message"] == "No modifiable fields were set."
    pusher = Attic(world.server, jwt(world, push=name))
    assert pusher.push(name, path, nar).status_code == 200
    assert pusher.narinfo(name, path).status_code == 403, "it may not pull"
    assert maker.narinfo(name, path).status_code == 200
    basic = requests.get(f"{maker.url}/{name}/nix-cache-info", auth=("any", maker.session.headers["Authorization"][7:]), timeout=30)
    assert basic.status_code == 200 and "Priority: 7\n" in basic.text
    assert maker.ask("GET", f"_api/v1/cache-config/{prefix}-none").json()["error"] == "NoSuchCache"
    assert maker.ask("DELETE", f"_api/v1/cache-config/{name}").status_code == 200
    assert maker.ask("GET", f"_api/v1/cache-config/{name}").status_code == 404
    assert maker.create(name).status_code == 200, "the name is free again"


def test_scopes_and_roles_reach_as_far_as_they_say(world: World, attic: Attic) -> None:
    group = world.root.gitlab.groups.create({"name": "Caches", "path": unique("caches")})
    name = unique("roles")
    assert attic.create(name).status_code == 200
    attached = attic.ask("PUT", f"_api/v1/caches/{name}/attachments", json={"path": group.path})
    assert attached.status_code == 200, attached.text
    nar, path = nar_of(b"role\n"), path_of("role")

    def reach(level: int, *scopes: str) -> tuple[int, int]:
        account = world.account("member", scopes=scopes)
        group.members.create({"user_id": account.id, "access_level": level})
        client = Attic(world.server, account.token)
        return client.ask("GET", f"{name}/nix-cache-info").status_code, client.push(name, path, nar).status_code

    # Who may make caches of their own learns nothing of others.
    assert reach(10, "api") == (404, 404)
    assert reach(20, "api") == (200, 403)
    assert reach(30, "api") == (200, 200)
    assert reach(30, "read_cache") == (200, 403)
    assert reach(30, "write_cache") == (200, 200)
    assert reach(30, "read_user") == (401, 401)


def test_nars_can_be_had_in_parts(world: World, attic: Attic) -> None:
    name = unique("ranges")
    assert attic.create(name, public=True).status_code == 200
    nar, path = nar_of(incompressible(1_000_000)), path_of("ranges")
    assert attic.push(name, path, nar).status_code == 200
    info = dict(line.split(": ", 1) for line in attic.narinfo(name, path).text.splitlines())
    url = f"{substituter(world, name)}/{info['URL']}"
    head = requests.head(url, timeout=30)
    assert head.headers["Accept-Ranges"] == "bytes" and head.headers["ETag"]
    whole = requests.get(url, timeout=30)
    assert len(whole.content) == int(whole.headers["Content-Length"]) == int(head.headers["Content-Length"])
    part = requests.get(url, headers={"Range": "bytes=1000-"}, timeout=30)
    assert part.status_code == 206 and part.content == whole.content[1000:]
    assert requests.get(url, headers={"Range": f"bytes={len(whole.content)}-"}, timeout=30).status_code == 416
    assert requests.get(url, headers={"If-None-Match": head.headers["ETag"]}, timeout=30).status_code == 304


def test_logs_and_realisations(world: World, attic: Attic) -> None:
    name = unique("extras")
    assert attic.create(name, public=True).status_code == 200
    drv = path_of("thing.drv").split("/")[-1]
    assert attic.ask("PUT", f"{name}/log/{drv}", data=b"built\n").status_code == 200
    assert attic.ask("GET", f"{name}/log/{drv}").text == "built\n"
    identity = f"sha256:{'ab' * 32}!out"
    realisation = {"id": identity, "outPath": path_of("thing").split("/")[-1], "signatures": [], "dependentRealisations": {}}
    assert attic.ask("PUT", f"{name}/realisations/{identity}.doi", json=realisation).status_code == 200
    found = attic.ask("GET", f"{name}/realisations/{identity}.doi").json()
    assert found["outPath"] == realisation["outPath"] and found["signatures"][0].startswith(f"{name}:")
    assert attic.ask("PUT", f"{name}/realisations/sha256:{'cd' * 32}!out.doi", json=realisation).status_code == 400
    trace = f"{name}/build-trace-v2/{drv}/out.doi"
    assert attic.ask("PUT", trace, json={"outPath": realisation["outPath"], "signatures": []}).status_code == 200
    assert attic.ask("GET", trace).json()["signatures"][0]["keyName"] == name


def test_pins_quotas_and_reasons(world: World, attic: Attic) -> None:
    name = unique("gc")
    assert attic.create(name).status_code == 200
    paths = [path_of(f"gc-{it}") for it in range(4)]
    nar = nar_of(b"x" * 1000)
    for at, path in enumerate(paths):
        # The second refers to the first, the third to the second.
        assert attic.push(name, path, nar, paths[max(0, at - 1) : at] if at < 3 else []).status_code == 200
    assert attic.ask("PUT", f"_api/v1/caches/{name}/pins/release", json={"store_path": paths[1]}).status_code == 200
    refused = attic.ask("DELETE", f"_api/v1/caches/{name}/paths/{hash_of(paths[0])}")
    assert refused.status_code == 409 and paths[1].split("/")[-1] in refused.json()["message"]
    assert attic.configure(name, quota_bytes=1).status_code == 200
    plan = attic.ask("GET", f"_api/v1/caches/{name}/gc").json()
    assert {it["store_path"] for it in plan["paths"]} == {paths[2], paths[3]} and plan["paths"][0]["reason"] == "quota"
    assert plan["kept_paths"] == 2 and attic.missing(name, paths) == [], "nothing happened yet"
    done = attic.ask("POST", f"_api/v1/caches/{name}/gc").json()
    assert done["total"] == 2
    assert attic.missing(name, paths) == sorted(map(hash_of, paths[2:]))
    assert attic.ask("DELETE", f"_api/v1/caches/{name}/pins/release").status_code == 200
    assert attic.ask("POST", f"_api/v1/caches/{name}/gc").json()["total"] == 2
    listed = attic.ask("GET", f"_api/v1/caches/{name}/paths").json()
    assert listed["total"] == 0


def test_a_cache_behind_another(world: World, own_server, attic: Attic, nix: Nix) -> None:
    name = unique("upstream")
    assert attic.create(name, public=True).status_code == 200
    key = attic.config(name)["public_key"]
    low, high = path_of("up-low"), path_of("up-high")
    assert attic.push(name, low, nar_of(b"low\n")).status_code == 200
    assert attic.push(name, high, nar_of(b"high\n"), [low]).status_code == 200
    server = own_server(config="[cache]\nprivate_upstreams = true\nabsent_secs = 1\n").start()
    root = Attic(server, server.create_token())
    front = unique("front")
    assert root.create(front, public=True).status_code == 200
    upstream = {"url": substituter(world, name), "public_keys": ["wrong:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], "pull": True}
    assert root.configure(front, upstreams=[upstream]).status_code == 200
    assert root.narinfo(front, high).status_code == 404, "no key of the upstream vouches for it"
    other = unique("front")
    assert root.create(other, public=True).status_code == 200
    assert root.configure(other, upstreams=[{**upstream, "public_keys": [key]}]).status_code == 200
    nix.set(f"trusted-public-keys = {root.config(other)['public_key']}")
    url = f"{server.url}/-/cache/{other}"
    nix.run("nix", "copy", "--from", url, "--to", nix.store("dst"), high)
    assert (nix.directory / f"dst{low}").read_text() == "low\n"
    # What was fetched stays when the upstream loses it.
    assert attic.ask("DELETE", f"_api/v1/cache-config/{name}").status_code == 200
    nix.forget()
    nix.run("nix", "copy", "--from", url, "--to", nix.store("again"), high)
    assert root.narinfo(other, path_of("never")).status_code == 404


def test_what_was_asked_is_counted(world: World, attic: Attic) -> None:
    name = unique("counted")
    assert attic.create(name).status_code == 200
    nar, path = nar_of(b"counted\n" * 100), path_of("counted")
    assert attic.push(name, path, nar).status_code == 200
    for wanted in (path, path, path_of("absent")):
        attic.narinfo(name, wanted)
    served = attic.ask("GET", f"{name}/nar/{hash_of(path)}.nar")
    shown = attic.ask("GET", f"_api/v1/caches/{name}/statistics").json()
    totals = shown["totals"]
    assert (totals["hits"], totals["misses"], totals["paths_added"], totals["bytes_pushed"]) == (2, 1, 1, len(nar))
    assert shown["paths"] == 1 and shown["days"][-1]["hits"] == 2
    assert served.status_code in (200, 404)
    metrics = requests.get(f"{world.server.url}/metrics", timeout=30).text
    assert "rave_cache_narinfo_requests_total" in metrics


def test_what_is_built_can_be_had_elsewhere(world: World, attic: Attic, tmp_path: Path) -> None:
    """A derivation is built offline, pushed with what it was built of, wiped, and substituted instead of built."""
    name = unique("build")
    home = world.directory("build")
    store = home / "s/store"
    assert attic.create(name, public=True, store_dir=str(store)).status_code == 200
    url = substituter(world, name)
    places = {"NIX_STORE_DIR": str(store), "NIX_STATE_DIR": f"{home}/s/var/nix", "NIX_LOG_DIR": f"{home}/s/var/log", "NIX_REMOTE": ""}
    nix = Nix(home / "client", f"trusted-public-keys = {attic.config(name)['public_key']}")
    nix.netrc(world.server, world.root.token)
    expression = home / "x.nix"
    expression.write_text(
        """derivation { name = "built"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" "echo made; echo result > $out"]; }\n"""
    )
    built = nix.run("nix-build", expression, "--no-out-link", **places).out.strip()
    nix.run("nix", "copy", "--to", url, built, **places)
    drv = nix.run("nix-store", "--query", "--deriver", built, **places).out.strip()
    nix.run("nix", "store", "copy-log", "--to", url, drv, **places)
    assert "made" in nix.run("nix", "log", "--store", url, built, **places).out
    nix.run("nix-store", "--delete", built, **places)
    nix.forget()
    again = nix.run("nix-build", expression, "--no-out-link", "--option", "substituters", url, **places)
    assert again.out.strip() == built and "copying path" in again.err and (store / built.split("/")[-1]).read_text() == "result\n"


def test_a_job_has_the_caches_of_its_project(world: World, attic: Attic) -> None:
    """Nothing is configured: the group has a private cache, and nix in the job reads it and pushes to it."""
    name = unique("jobs")
    group = world.root.gitlab.groups.create({"name": "Jobs", "path": unique("jobs-group")})
    assert attic.create(name).status_code == 200
    asked = {"path": group.path, "jobs_push": True}
    assert attic.ask("PUT", f"_api/v1/caches/{name}/attachments", json=asked).status_code == 200
    path = path_of("for-jobs")
    assert attic.push(name, path, nar_of(b"out of the cache\n")).status_code == 200
    script = f"""\
use:
  script:
    - export HOME="$PWD/home" NIX_REMOTE="local?root=$PWD/own"
    - mkdir home && echo built > made
    - nix --extra-experimental-features nix-command copy --from "$RAVE_CACHE_URL" --to "local?root=$PWD/dst" {path}
    - cat dst{path}
    - made=$(nix-store --add made)
    - nix --extra-experimental-features nix-command copy --to "$RAVE_CACHE_URL" "$made"
    - echo "pushed $made"
"""
    project = world.project(namespace_id=group.id)
    done = project.push_ci(script).end("success")
    log = done.trace("use")
    assert "out of the cache" in log and "pushed /nix/store/" in log
    pushed = log.split("pushed /nix/store/")[1].split()[0]
    assert attic.narinfo(name, pushed).status_code == 200
    page = world.root.sign_in().get(f"{world.server.url}/{project.path}/-/jobs/{done.job('use').id}", timeout=30).text
    assert f"Cache {name}" in page and "1 paths pushed" in page


def test_a_damaged_nar_is_refused_and_comes_back_by_a_push(own_server) -> None:
    server = own_server().start()
    root, name = Attic(server, server.create_token()), unique("damaged")
    assert root.create(name, public=True).status_code == 200
    nar, path = nar_of(incompressible(600_000)), path_of("damaged")
    assert root.push(name, path, nar).status_code == 200
    url = f"{server.url}/-/cache/{name}/nar/{hash_of(path)}.nar"
    assert requests.get(url, timeout=30).content == nar
    for pack in (server.data / "blobs/packs").rglob("*"):
        if pack.is_file() and pack.stat().st_size > 500_000:
            with pack.open("r+b") as file:
                file.seek(300_000)
                byte = file.read(1)[0]
                file.seek(300_000)
                file.write(bytes([byte ^ 1]))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(url, timeout=30)
    # A client that asks again is told that it is not there, and builds or asks elsewhere.
    assert requests.get(url, timeout=30).status_code == 404
    assert root.narinfo(name, path).status_code == 404
    assert root.missing(name, [path]) == [hash_of(path)]
    assert root.push(name, path, nar).status_code == 200
    assert requests.get(url, timeout=30).content == nar
