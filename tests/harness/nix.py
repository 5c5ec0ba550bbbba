"""Stock nix as a client, offline and without a daemon, in a directory of its own; and what Attic's client sends, by hand."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import requests

from .git import Done
from .server import Server

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
SETTINGS = """\
experimental-features = nix-command ca-derivations
sandbox = false
build-users-group =
substituters =
require-sigs = true
connect-timeout = 5
"""


def nix32(data: bytes) -> str:
    """Returns bytes as Nix writes hashes."""
    number, length = int.from_bytes(data, "little"), (len(data) * 8 + 4) // 5
    return "".join(ALPHABET[number >> (5 * it) & 31] for it in reversed(range(length)))


def word(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def nar_of(content: bytes) -> bytes:
    """Returns the NAR of a file."""
    return b"".join(map(word, (b"nix-archive-1", b"(", b"type", b"regular", b"contents", content, b")")))


def path_of(name: str) -> str:
    """Returns a store path that follows from nothing, as those of builds do."""
    return f"/nix/store/{nix32(hashlib.sha256(name.encode()).digest()[:20])}-{name}"


class Nix:
    """A client with a configuration and stores of its own."""

    def __init__(self, directory: Path, *settings: str):
        self.directory = directory
        self.conf = directory / "conf"
        self.conf.mkdir(parents=True)
        self.set(*settings)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "NIX_CONF_DIR": str(self.conf),
            "NIX_REMOTE": self.store("own"),
            "LANG": "C.UTF-8",
        }

    def set(self, *settings: str) -> None:
        lines = [*settings, f"netrc-file = {self.conf / 'netrc'}"]
        (self.conf / "nix.conf").write_text(SETTINGS + "\n".join(lines) + "\n")

    def store(self, name: str) -> str:
        """Returns the address of a store for `/nix/store` that lies in the directory."""
        return f"local?root={self.directory / name}"

    def netrc(self, server: Server, token: str) -> None:
        (self.conf / "netrc").write_text(f"machine {server.listen.split(':')[0]} password {token}\n")

    def run(self, *command: object, check: bool = True, **env: str) -> Done:
        done = subprocess.run([*map(str, command)], env={**self.env, **env}, capture_output=True, text=True, timeout=120, cwd=self.directory)
        result = Done(" ".join(map(str, command)), done.returncode, done.stdout, done.stderr)
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return result

    def forget(self) -> None:
        """Forgets what the client remembers of caches."""
        subprocess.run(["rm", "-rf", "--", str(self.directory / "cache")], check=True)

    def add(self, name: str, files: dict[str, str]) -> str:
        """Adds a directory to the client's own store and returns its path."""
        source = self.directory / "sources" / name
        source.mkdir(parents=True)
        for file, text in files.items():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_text(text)
        return self.run("nix-store", "--add", source).out.strip()


class Attic:
    """What Attic's client asks, over plain HTTP."""

    def __init__(self, server: Server, token: str | None):
        self.url = f"{server.url}/-/cache"
        self.session = requests.Session()
        if token:
            self.session.headers["Authorization"] = f"bearer {token}"

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        return self.session.request(method, f"{self.url}/{path}", timeout=60, **options)

    def create(self, name: str, public: bool = False, upstream: tuple[str, ...] = (), **more: object) -> requests.Response:
        asked = {"keypair": "Generate", "is_public": public, "store_dir": "/nix/store", "priority": 41, "upstream_cache_key_names": list(upstream), **more}
        return self.ask("POST", f"_api/v1/cache-config/{name}", json=asked)

    def config(self, name: str) -> dict:
        answer = self.ask("GET", f"_api/v1/cache-config/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def configure(self, name: str, **settings: object) -> requests.Response:
        return self.ask("PATCH", f"_api/v1/cache-config/{name}", json=settings)

    def missing(self, name: str, paths: list[str]) -> list[str]:
        asked = {"cache": name, "store_path_hashes": [hash_of(it) for it in paths]}
        answer = self.ask("POST", "_api/v1/get-missing-paths", json=asked)
        assert answer.status_code == 200, answer.text
        return sorted(answer.json()["missing_paths"])

    def push(self, name: str, path: str, nar: bytes, references: list[str] = [], preamble: bool = False, **more: object) -> requests.Response:
        info = {
            "cache": name,
            "store_path_hash": hash_of(path),
            "store_path": path,
            "references": [it.split("/")[-1] for it in references],
            "system": None,
            "deriver": None,
            "sigs": [],
            "ca": None,
            "nar_hash": f"sha256:{hashlib.sha256(nar).hexdigest()}",
            "nar_size": len(nar),
            **more,
        }
        text = json.dumps(info).encode()
        if preamble:
            return self.ask("PUT", "_api/v1/upload-path", data=text + nar, headers={"X-Attic-Nar-Info-Preamble-Size": str(len(text))})
        return self.ask("PUT", "_api/v1/upload-path", data=nar, headers={"X-Attic-Nar-Info": text})

    def narinfo(self, name: str, path: str) -> requests.Response:
        return self.ask("GET", f"{name}/{hash_of(path)}.narinfo")


def hash_of(path: str) -> str:
    return path.split("/")[-1][:32]
