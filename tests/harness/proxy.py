"""A TCP proxy that stops in the middle, so that a request is under way for certain."""

import socket
import threading

from .server import Server


class HoldingProxy:
    """Passes everything on until clients have sent some number of bytes, then reads no more from them."""

    def __init__(self, server: Server, after_bytes: int):
        host, port = server.listen.split(":")
        self.held = threading.Event()
        self._upstream = (host, int(port))
        self._budget = after_bytes
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
            threading.Thread(target=self._pump, args=(client, upstream, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
                self._budget -= len(piece) if counted else 0
                if counted and self._budget < 0:
                    self.held.set()
                    return
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Either end may break at any time: that is what the proxy is for.
            pass

    def close(self) -> None:
        """Breaks all connections."""
        for it in self._sockets:
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            it.close()
