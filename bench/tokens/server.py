"""A token endpoint and a provider that do as little as they can.

A process of its own: `python server.py DELAY SHORTEST LONGEST` prints its port and serves until it
is ended. A token is given after so many seconds, and lives a number of seconds between the two. The
provider answers two bytes, to tokens alone that were given and have not ended. To it comes nothing
but HTTP/1.1 with `content-length`.
"""

from __future__ import annotations

import heapq
import json
import random
import selectors
import socket
import sys
import time

CALLS = b"GET /calls "
"""This asks for the calls that were answered since the last time."""

TOKEN = "/oauth2/v2.0/token"
END = b"\r\n\r\n"
ROOM = 1 << 16


class Connection:
    """Cuts what comes into requests."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self._data = b""

    def read(self) -> bytes | None:
        """A whole request, if there is one; None at the end of the connection."""
        data = self.socket.recv(ROOM)
        if not data:
            return None
        self._data += data
        head, found, body = self._data.partition(END)
        if not found or len(body) < length(head):
            return b""
        whole, self._data = self._data, b""
        return whole


class Server:
    """Gives tokens and takes them."""

    def __init__(self, delay: float, shortest: int, longest: int) -> None:
        self._delay, self._lives = delay, (shortest, longest)
        self._draw = random.Random(1)
        self._tokens: dict[bytes, float] = {}
        self._due: list[tuple[float, int, str, Connection]] = []
        """When the answer to a call is due, when it was asked for, the tenant and the caller."""
        self._calls: list[tuple[str, int, int]] = []
        """The tenant, and when it asked and was answered, in nanoseconds of the steady clock."""

    def wait(self) -> float | None:
        """How long until an answer is due."""
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def serve(self, request: bytes, connection: Connection) -> None:
        """Answers a request, or notes that it is to be answered."""
        if request.startswith(CALLS):
            calls, self._calls = self._calls, []
            connection.socket.sendall(reply(json.dumps(calls).encode()))
        elif TOKEN in (path := request[:200].split(b" ", 2)[1].decode()):
            now = time.monotonic_ns()
            due = now / 1e9 + self._delay
            heapq.heappush(self._due, (due, now, path.split("/")[1], connection))
        else:
            connection.socket.sendall(self._provided(request))

    def answer(self) -> None:
        """Gives the tokens that are due."""
        while self._due and self._due[0][0] <= time.monotonic():
            _, asked, tenant, connection = heapq.heappop(self._due)
            life = self._draw.randint(*self._lives)
            token = f"eyJ0eXAiOiJKV1QifQ.{self._draw.getrandbits(8000):x}"
            self._tokens[token.encode()] = time.monotonic() + life
            fields = {"token_type": "Bearer", "expires_in": life, "access_token": token}
            connection.socket.sendall(reply(json.dumps(fields).encode()))
            self._calls.append((tenant, asked, time.monotonic_ns()))

    def _provided(self, request: bytes) -> bytes:
        _, _, rest = request.partition(b"\r\nauthorization: Bearer ")
        token, _, rest = rest.partition(b"\r\n")
        known = time.monotonic() < self._tokens.get(token, 0.0)
        if not known or b"\r\nauthorization:" in rest:
            return b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"
        return reply(b"{}")


def length(head: bytes) -> int:
    """What `content-length` says, 0 without one."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def reply(body: bytes) -> bytes:
    """A good answer."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def main(delay: str, shortest: str, longest: str) -> None:
    """Serves."""
    server = Server(float(delay), int(shortest), int(longest))
    door = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(door.getsockname()[1], flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(server.wait()):
                if key.data is None:
                    connection, _ = door.accept()
                    selector.register(connection, selectors.EVENT_READ, Connection(connection))
                    continue
                try:
                    request = key.data.read()
                except ConnectionError:
                    request = None
                if request:
                    server.serve(request, key.data)
                elif request is None:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            server.answer()


if __name__ == "__main__":
    main(*sys.argv[1:])
