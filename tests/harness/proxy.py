"""A TCP proxy that holds the bytes back in the middle, so that a request is under way for certain."""

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
