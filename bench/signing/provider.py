"""A provider that does as little as it can: it reads a request to its end and answers two bytes.

A process of its own: `python provider.py` prints its port and serves until it is ended. From the
Envoy in front of it comes nothing but HTTP/1.1 with `content-length`.
"""

from __future__ import annotations

import hashlib
import json
import selectors
import socket

ECHO = b"x-bench-echo"
"""A request with this header is answered with what was received."""

SHORT = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
END = b"\r\n\r\n"
ROOM = bytearray(1 << 20)


class Connection:
    """Serves requests one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._head = b""
        self._missing: int | None = None
        """How much of the body has yet to come; None while the head is read."""
        self._kept: list[bytes] | None = None
        """The body, if it is to be told of."""

    def read(self) -> bool:
        """Reads what is there; tells whether the connection goes on."""
        count = self._socket.recv_into(ROOM)
        if not count:
            return False
        if self._missing is None:
            self._head += ROOM[:count]
            head, found, body = self._head.partition(END)
            if not found:
                return True
            self._head = head
            self._missing = self._length()
            self._kept = [] if ECHO in head.lower() else None
            self._take(body)
        else:
            self._take(ROOM[:count] if self._kept is not None else None, count)
        if not self._missing:
            self._socket.sendall(SHORT if self._kept is None else self._told(self._kept))
            self._head, self._missing, self._kept = b"", None, None
        return True

    def _take(self, part: bytes | bytearray | None, count: int | None = None) -> None:
        assert self._missing is not None
        self._missing -= len(part or b"") if count is None else count
        if self._kept is not None and part is not None:
            self._kept.append(bytes(part))

    def _length(self) -> int:
        for line in self._head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                return int(value)
        raise ValueError("a request without content-length")

    def _told(self, pieces: list[bytes]) -> bytes:
        first, *lines = self._head.decode("latin-1").split("\r\n")
        seen = {
            "method": first.split(" ")[0],
            "path": first.split(" ")[1],
            "headers": [line.split(": ", 1) for line in lines],
            "body_sha256": hashlib.sha256(b"".join(pieces)).hexdigest(),
        }
        text = json.dumps(seen).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text)


def main() -> None:
    """Serves."""
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    connection, _ = server.accept()
                    selector.register(connection, selectors.EVENT_READ, Connection(connection))
                elif not key.data.read():
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


if __name__ == "__main__":
    main()
