"""A door in front of an upstream: connections are accepted, and nothing passes until it opens."""

from __future__ import annotations

import contextlib
import socket
import threading


class Gate:
    """Accepts on `port`; a TLS handshake through it hangs until `open()`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._opened = threading.Event()
        self._accepted = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Gate:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._opened.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def wait_for_connection(self, timeout: float = 10.0) -> None:
        """Until somebody stands before the door."""
        assert self._accepted.wait(timeout), "nobody has connected"

    def open(self) -> None:
        """Lets everything pass."""
        self._opened.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._accepted.set()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._opened.wait()
        at = ("127.0.0.1", self.target)
        with contextlib.suppress(OSError), client, socket.create_connection(at) as server:
            back = threading.Thread(target=pump, args=[server, client], daemon=True)
            back.start()
            pump(client, server)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copies until the source ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
