"""TCP proxies that hold bytes back in the middle, so that a request is under way for certain, or break a connection there."""

import socket
import threading

from .server import Server


class HoldingProxy:
    """Passes everything on until some number of bytes went up (to the server) or down, then none until released."""

    def __init__(self, server: Server, up_bytes: int | None = None, down_bytes: int | None = None):
        host, port = server.listen.split(":")
        self.held = threading.Event()
        self._released = threading.Event()
        self._upstream = (host, int(port))
        self._budgets = {"up": up_bytes, "down": down_bytes}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                upstream = socket.create_connection(self._upstream)
            except OSError:
                return
            self._sockets += [client, upstream]
            threading.Thread(target=self._pump, args=(client, upstream, "up"), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, "down"), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
                budget = self._budgets[way]
                if budget is None:
                    continue
                self._budgets[way] = budget - len(piece)
                if budget <= len(piece):
                    self.held.set()
                    self._released.wait()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Either end may break at any time: that is what the proxy is for.
            pass

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        """Breaks all connections."""
        for it in self._sockets:
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            it.close()
        self._released.set()


class CuttingProxy:
    """Breaks the first connection on which that many bytes went down, once, and passes everything else on."""

    def __init__(self, server: Server, down_bytes: int):
        host, port = server.listen.split(":")
        self._upstream = (host, int(port))
        self._limit = down_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listener]
        self._heads = bytearray()
        self.cut = threading.Event()
        self.down_bytes = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def asked(self) -> str:
        """Returns what clients have said since the cut, in lower case."""
        return self._heads.decode(errors="replace").lower()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                upstream = socket.create_connection(self._upstream)
            except OSError:
                return
            self._open += [client, upstream]
            threading.Thread(target=self._pump_up, args=(client, upstream), daemon=True).start()
            threading.Thread(target=self._pump_down, args=(upstream, client), daemon=True).start()

    def _pump_up(self, client: socket.socket, upstream: socket.socket) -> None:
        try:
            while piece := client.recv(65536):
                if self.cut.is_set():
                    self._heads += piece[:4096]
                upstream.sendall(piece)
            upstream.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The other end is gone, and this one will be.

    def _pump_down(self, upstream: socket.socket, client: socket.socket) -> None:
        passed = 0
        try:
            while piece := upstream.recv(65536):
                client.sendall(piece)
                passed += len(piece)
                self.down_bytes += len(piece)
                if passed >= self._limit and not self.cut.is_set():
                    self.cut.set()
                    upstream.close()
                    break
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for it in self._open:
            it.close()
