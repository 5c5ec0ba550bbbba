"""An S3 server with buckets: moto, which keeps objects in memory and speaks as Amazon's does."""

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from botocore.config import Config

from .wait import wait_for


@contextmanager
def serve(*buckets: str) -> Iterator[str]:
    """Runs a server. Yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for("the S3 server", answers)
        for name in buckets:
            client(f"http://127.0.0.1:{port}").create_bucket(Bucket=name)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def client(url: str):  # type: ignore[no-untyped-def]
    settings = Config(s3={"addressing_style": "path"}, proxies={})
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret", config=settings)


def credentials(directory: Path) -> Path:
    """Writes a file of credentials as Amazon's tools have it."""
    path = directory / "s3-credentials"
    path.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    return path


class Troubled:
    """A front of an S3 server that fails in turns: what is asked of an object is refused twice, then broken off, then done."""

    TURNS = ("500", "503", "short", "done")

    def __init__(self, upstream: str):
        host, port = upstream.removeprefix("http://").split(":")
        troubled = self
        self.turns: dict[str, int] = {}
        self.failed: dict[str, int] = dict.fromkeys(self.TURNS, 0)
        lock = threading.Lock()

        class Front(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                with lock:
                    asked = f"{self.command} {self.path} {self.headers.get('Range')}"
                    number = troubled.turns.get(asked, 0)
                    troubled.turns[asked] = number + 1
                    turn = Troubled.TURNS[number % len(Troubled.TURNS)] if self.path.split("?")[0].endswith(".pack") else "done"
                    troubled.failed[turn] += 1
                if turn in ("500", "503"):
                    text = f"<Error><Code>{'InternalError' if turn == '500' else 'SlowDown'}</Code><Message>trouble</Message></Error>".encode()
                    return self.answer(int(turn), {"Content-Type": "application/xml"}, text, len(text))
                connection = http.client.HTTPConnection(host, int(port), timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "expect")}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                length = int(answer.headers.get("Content-Length", len(content)))
                if turn == "short" and len(content) > 1:
                    content = content[: len(content) // 2]
                    self.close_connection = True
                keep = {name: value for name, value in answer.headers.items() if name.lower() not in ("connection", "transfer-encoding", "content-length")}
                self.answer(answer.status, keep, content, length)
                connection.close()
                return None

            def answer(self, status: int, headers: dict[str, str], content: bytes, length: int) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Front)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
