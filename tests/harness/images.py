"""Images made by hand, and put into a registry without anybody's help."""

import gzip
import hashlib
import io
import json
import platform
import tarfile

import requests

PROGRAMS = "sh cat id ls echo httpd wget stat test true command grep".split()


def push(host: str, name: str, layer: bytes, config: dict[str, object]) -> str:
    """Pushes an image of one layer, and returns the name by which jobs use it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    described = {"os": "linux", "architecture": machine, "config": config, "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": _blob(host, name, "application/vnd.docker.container.image.v1+json", json.dumps(described).encode()),
        "layers": [_blob(host, name, "application/vnd.docker.image.rootfs.diff.tar.gzip", gzip.compress(layer, 1))],
    }
    url = f"http://{host}/v2/{name}/manifests/latest"
    requests.put(url, json.dumps(manifest), headers={"Content-Type": kind}, timeout=60).raise_for_status()
    return f"{host}/{name}"


def _blob(host: str, name: str, kind: str, content: bytes) -> dict[str, object]:
    started = requests.post(f"http://{host}/v2/{name}/blobs/uploads/", timeout=60)
    started.raise_for_status()
    query = {"digest": _digest(content)}
    requests.put(started.headers["Location"], content, params=query, timeout=60).raise_for_status()
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def busybox(**files: str) -> bytes:
    """Returns a layer with a static busybox under a few names, a user `app`, and files of one's own at the root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        program = tar.gettarinfo("/bin/busybox", "bin/busybox")
        program.uid = program.gid = 0
        with open("/bin/busybox", "rb") as content:
            tar.addfile(program, content)
        for name in PROGRAMS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        accounts = {"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1001:1001::/:/bin/sh\n", "etc/group": "root:x:0:\napp:x:1001:\n"}
        for name, text in (accounts | files).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()
