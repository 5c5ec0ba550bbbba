"""The binary cache beside Attic's server, with the same client, the same paths and the same machine, one after the other."""

import base64
import contextlib
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time

import measure
import requests

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))
from harness.postgres import Postgres  # noqa: E402

LARGE_BYTES = int(os.environ.get("BENCH_LARGE_MB", "512")) << 20
SMALL_PATHS = int(os.environ.get("BENCH_SMALL_PATHS", "1000"))
MIB = 1 << 20
# Attic's server and its tool, built from their public source: the README says how.
ATTICD, ATTICADM = os.environ.get("ATTICD", "atticd"), os.environ.get("ATTICADM", "atticadm")


class Store:
    """A store of stock nix in a directory: one path of programs and libraries, and many small ones."""

    def __init__(self, root):
        self.env = {**os.environ, "NIX_REMOTE": f"local?root={root}/store", "HOME": str(root / "home"), "NIX_CONF_DIR": str(root / "conf")}
        (root / "conf").mkdir()
        (root / "conf/nix.conf").write_text("build-users-group =\nsandbox = false\nexperimental-features = nix-command\n")
        large, taken = root / "large", 0
        large.mkdir()
        files = [it for it in pathlib.Path("/usr/lib").rglob("*") if it.is_file() and not it.is_symlink()]
        for number, file in enumerate(sorted(files, key=lambda it: (-it.stat().st_size, str(it)))):
            if taken >= LARGE_BYTES:
                break
            shutil.copyfile(file, large / f"{number}-{file.name}")
            taken += file.stat().st_size
        small, texts = [], [it for it in files if 2000 < it.stat().st_size < 100_000]
        for number in range(SMALL_PATHS):
            path = root / "small" / f"small-{number}"
            path.mkdir(parents=True)
            shutil.copyfile(texts[number * 7 % len(texts)], path / "file")
            (path / "name").write_text(str(number))
            small.append(path)
        self.large = self.add([large])[0]
        self.small = self.add(small)

    def add(self, sources):
        added = subprocess.run(["nix-store", "--add", *map(str, sources)], env=self.env, check=True, capture_output=True, text=True)
        return added.stdout.split()


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


class Rave:
    name = "RAVE"

    def __init__(self, root):
        config = root / "rave.toml"
        config.write_text("[runner]\nembedded = false\n")
        self.server = measure.Server(None, "--config", config)
        self.server.wait()
        self.pid, self.helpers = self.server.process.pid, []
        self.endpoint, self.token = f"{self.server.url}/-/cache", self.server.token()
        self.files = self.server.data / "blobs"

    def stop(self):
        self.server.stop()


class Attic:
    name = "atticd"

    def __init__(self, root):
        self.postgres = Postgres()
        port, self.files = measure.free_port(), root / "attic-storage"
        self.files.mkdir()
        config = root / "attic.toml"
        config.write_text(f"""
listen = "127.0.0.1:{port}"
allowed-hosts = []
[database]
url = "{self.postgres.create_database()}"
[storage]
type = "local"
path = "{self.files}"
[chunking]
nar-size-threshold = 65536
min-size = 16384
avg-size = 65536
max-size = 262144
[compression]
type = "zstd"
[garbage-collection]
interval = "12 hours"
[jwt.signing]
token-hs256-secret-base64 = "{base64.b64encode(secrets.token_bytes(32)).decode()}"
""")
        subprocess.run([ATTICD, "-f", config, "--mode", "db-migrations"], check=True, capture_output=True)
        self.process = subprocess.Popen([ATTICD, "-f", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        postmaster = int((self.postgres.data / "postmaster.pid").read_text().split()[0])
        self.helpers = [postmaster]
        self.endpoint = f"http://127.0.0.1:{port}"
        rights = [word for right in ("pull", "push", "create-cache", "configure-cache", "destroy-cache") for word in (f"--{right}", "*")]
        made = subprocess.run([ATTICADM, "-f", config, "make-token", "--sub", "bench", "--validity", "1d", *rights], check=True, capture_output=True, text=True)
        self.token = made.stdout.strip()
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(self.endpoint, timeout=5)
                break
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.postgres.close()


def wrk(url):
    """Answers a second of one address, by 32 connections on 2 threads."""
    out = subprocess.run(["wrk", "-t2", "-c32", "-d5s", url], check=True, capture_output=True, text=True).stdout
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def trial(server, store, root):
    """Returns the figures of one server."""
    home = root / f"home-{server.name}"
    home.mkdir()
    env = {**store.env, "HOME": str(home)}

    def rave(*words, stdin=None):
        subprocess.run([measure.BINARY, "cache", *words], env=env, check=True, input=stdin, text=True, capture_output=True)

    def pids():
        return [server.pid, *(it for helper in server.helpers for it in [helper, *measure.descendants(helper)])]

    rave("login", "bench", server.endpoint, "--token-stdin", "--set-default", stdin=server.token)
    rave("create", "bench", "--public")
    figures, head = {}, {"Authorization": f"bearer {server.token}"}
    before = cpu_seconds(pids())
    seconds = measure.timed(lambda: rave("push", "bench", store.large))
    cpu = cpu_seconds(pids()) - before
    hash_part = pathlib.Path(store.large).name[:32]
    narinfo = requests.get(f"{server.endpoint}/bench/{hash_part}.narinfo", timeout=60).text
    size = int(re.search(r"NarSize: (\d+)", narinfo)[1])
    figures["push of one large path"] = (size / MIB / seconds, "MiB/s")
    figures["CPU of the server for it"] = (cpu / (size / 1e9), "s/GB")
    figures["again, nothing to send"] = (measure.timed(lambda: rave("push", "bench", store.large)) * 1000, "ms")
    used = [it for it in server.files.rglob("*") if it.is_file()]
    figures["stored of it"] = (sum(it.stat().st_size for it in used) / size * 100, "%")
    figures["files for it"] = (len(used), "")
    nar = f"{server.endpoint}/bench/{re.search(r'URL: (.*)', narinfo)[1]}"
    pulls = [measure.timed(lambda: subprocess.run(["curl", "-sf", "-o", "/dev/null", nar], check=True)) for _ in range(3)]
    figures["pull of it by curl, as stored"] = (size / MIB / min(pulls), "MiB/s")
    figures["push of small paths"] = (len(store.small) / measure.timed(lambda: rave("push", "bench", "--stdin", "-j", "16", stdin="\n".join(store.small))), "/s")
    small = pathlib.Path(store.small[0]).name[:32]
    figures["narinfo, found"] = (wrk(f"{server.endpoint}/bench/{small}.narinfo"), "/s")
    figures["narinfo, absent"] = (wrk(f"{server.endpoint}/bench/{'0' * 32}.narinfo"), "/s")
    some = [format(it, "032d") for it in range(10_000)]
    asked = {"cache": "bench", "store_path_hashes": some}
    ask = lambda: requests.post(f"{server.endpoint}/_api/v1/get-missing-paths", json=asked, headers=head, timeout=60).raise_for_status()  # noqa: E731
    figures["missing of 10,000"] = (min(measure.timed(ask) for _ in range(3)) * 1000, "ms")
    key = subprocess.run([measure.BINARY, "cache", "info", "bench", "--json"], env=env, check=True, capture_output=True, text=True).stdout
    public = re.search(r'"(bench:[^"]+)"', key)[1]
    (home / "nix.conf").write_text(f"build-users-group =\nsandbox = false\nexperimental-features = nix-command\ntrusted-public-keys = {public}\n")
    pull_env = {**env, "NIX_CONF_DIR": str(home)}
    few = store.small[:200]
    pull = ["nix", "copy", "--from", f"{server.endpoint}/bench", "--to", f"local?root={home}/pulled", *few]
    figures["pull of small paths by nix copy"] = (len(few) / measure.timed(lambda: subprocess.run(pull, env=pull_env, check=True, capture_output=True)), "/s")
    figures["peak memory of the server"] = (peak_bytes(server.pid) / MIB, "MiB")
    return figures


TARGETS = {
    "push of one large path": "200", "CPU of the server for it": "6", "push of small paths": "1500", "narinfo, found": "30000",
    "pull of it by curl, as stored": "3500", "pull of small paths by nix copy": "95", "peak memory of the server": "under 100",
}


def cache():
    """The binary cache: pushes, pulls and look-ups, beside Attic's server where it is at hand."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="rave-bench-cache-"))
    root.chmod(0o755)
    try:
        store, results = Store(root), {}
        kinds = [Rave, Attic] if shutil.which(ATTICD) else [Rave]
        if len(kinds) == 1:
            print("  (Attic's server is not at hand: set ATTICD and ATTICADM to compare)")
        for kind in kinds:
            server = kind(root)
            try:
                for label, (value, unit) in trial(server, store, root).items():
                    target = TARGETS.get(label, "") if kind is Rave else ""
                    results[f"{server.name}: {label}"] = (value, unit, target)
            finally:
                server.stop()
        return results
    finally:
        subprocess.run(["chmod", "-R", "u+w", root], check=False)
        shutil.rmtree(root, ignore_errors=True)
