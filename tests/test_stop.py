"""SIGTERM: what is under way finishes, what only waits is let go, and the exit code is 0."""

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import requests
from harness import secrets
from harness.proxy import HoldingProxy
from harness.server import Server
from harness.wait import wait_for
from harness.world import Account, World, unique

Make = Callable[..., Server]


def test_sigterm_lets_a_running_upload_and_a_running_clone_finish(own_server: Make, scratch: Path) -> None:
    server = own_server().start()
    world = World(server, scratch)
    project = world.project()
    # More than the kernel's buffers hold, so that the server is in the middle of it.
    project.push({"big.bin": os.urandom(32 << 20)})
    proxy = HoldingProxy(server, down_bytes=1 << 20)
    remote = project.owner.remote(project.path).replace(server.listen, proxy.address)
    clone = project.work.start("clone", "--quiet", "--bare", remote, "../clone.git")
    upload = SlowUpload(server, world.root)
    upload.begin()
    assert proxy.held.wait(60), "the clone did not begin"

    process = server.process
    assert process
    process.terminate()
    _wait_until_refused(server)
    assert process.poll() is None, "the server ended with a request under way"
    status, body = upload.finish()
    assert status == 201, body
    assert process.poll() is None, "the server ended with a clone under way"
    proxy.release()
    clone.end().must_succeed()
    proxy.close()
    assert process.wait(45) == 0
    server.process = None
    server.start()
    assert [it["name"] for it in world.root.get(f"/projects/{project.id}/repository/branches").json()] == ["main"]
    assert world.root.get(f"/users?username={upload.username}").json()[0]["username"] == upload.username


class SlowUpload:
    """A request whose body arrives in two halves, with as much time between them as the test takes."""

    def __init__(self, server: Server, root: Account):
        host, port = server.url.removeprefix("http://").split(":")
        self.username = unique("slow")
        person = {"username": self.username, "name": "Slow", "email": f"{self.username}@example.org", "password": secrets.new_password()}
        self.body = json.dumps(person).encode()
        self.head = (
            f"POST /api/v4/users HTTP/1.1\r\nHost: {host}:{port}\r\nPRIVATE-TOKEN: {root.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        self.socket = socket.create_connection((host, int(port)), timeout=30)

    def begin(self) -> None:
        self.socket.sendall(self.head + self.body[:10])

    def finish(self) -> tuple[int, str]:
        answer = b""
        with self.socket:
            self.socket.sendall(self.body[10:])
            while piece := self.socket.recv(65536):
                answer += piece
        text = answer.decode(errors="replace")
        return int(text.split(" ", 2)[1]), text


def _wait_until_refused(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")

    def refused() -> bool:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for("the server to take no more connections", refused)


def test_sigterm_ends_held_requests_and_idle_connections_soon(own_server: Make, scratch: Path) -> None:
    server = own_server().start()
    idle = requests.Session()
    idle.get(f"{server.url}/-/health", timeout=10)
    start = time.monotonic()
    assert server.stop() == 0
    # The embedded runner holds a long poll all the time.
    assert time.monotonic() - start < 10
