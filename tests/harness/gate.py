"""A meeting point for tests and jobs: a job waits at a gate that the test opens, and tells the test things."""

import queue
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .wait import DEADLINE_SECS


class Gates:
    """An HTTP server on the loopback device. `GET /wait/NAME` answers when the gate opens; `POST /tell/NAME` speaks."""

    def __init__(self) -> None:
        gates = self
        self._opened: dict[str, threading.Event] = defaultdict(threading.Event)
        self._arrived: dict[str, threading.Event] = defaultdict(threading.Event)
        self._told: dict[str, queue.Queue[str]] = defaultdict(queue.Queue)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                kind, _, name = self.path.strip("/").partition("/")
                if kind != "wait":
                    return self._answer(404)
                gates._arrived[name].set()
                return self._answer(200 if gates._opened[name].wait(DEADLINE_SECS) else 504)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
                gates._told[self.path.strip("/").partition("/")[2]].put(body)
                self._answer(200)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """The test's output is not the place."""

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    pass  # A job that was killed does not wait for the answer.

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait_command(self, name: str) -> str:
        """Returns a shell command that ends when the gate opens."""
        return f"curl --silent --show-error --fail --max-time {int(DEADLINE_SECS)} {self.url}/wait/{name}"

    def tell_command(self, name: str, text: str) -> str:
        """Returns a shell command that tells the test a text, in which the shell expands variables."""
        return f'curl --silent --show-error --fail --data-binary "{text}" {self.url}/tell/{name}'

    def open(self, name: str) -> None:
        self._opened[name].set()

    def wait_for_arrival(self, name: str, deadline_secs: float = DEADLINE_SECS) -> None:
        """Waits until a job stands at the gate."""
        assert self._arrived[name].wait(deadline_secs), f"nobody came to the gate {name} within {deadline_secs:g} s"

    def hear(self, name: str, deadline_secs: float = DEADLINE_SECS) -> str:
        """Returns the next thing that a job told."""
        try:
            return self._told[name].get(timeout=deadline_secs)
        except queue.Empty:
            raise AssertionError(f"no job told {name} anything within {deadline_secs:g} s") from None

    def heard(self, name: str) -> int:
        """Returns how many things wait to be heard."""
        return self._told[name].qsize()

    def close(self) -> None:
        for gate in list(self._opened.values()):
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
