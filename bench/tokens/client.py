"""A client that sends one request after the other, and notes when."""

from __future__ import annotations

import itertools
import json
import time
from array import array
from collections.abc import Sequence

from keys.load import HEADERS, PATH, body
from sockets import answer, connected
from tokens.server import CALLS, TOKEN

MINE = "mine"
"""The tenant of the client's own calls to the token endpoint."""

CALLS_REQUEST = CALLS + b"HTTP/1.1\r\nhost: login\r\n\r\n"


def request(name: str) -> bytes:
    """What a well-known client sends, for the backend of that name."""
    lines = [f"POST /{name}{PATH} HTTP/1.1", "host: api.bench"]
    lines += [f"{header}: {value}" for header, value in HEADERS.items()]
    return "\r\n".join([*lines, f"content-length: {len(body())}", "", body()]).encode()


def call() -> bytes:
    """A call to the token endpoint, of the client's own."""
    form = "grant_type=client_credentials"
    head = f"POST /{MINE}{TOKEN} HTTP/1.1\r\nhost: login\r\ncontent-length: {len(form)}"
    return f"{head}\r\n\r\n{form}".encode()


class Client:
    """One connection to Envoy, and one to the server behind it."""

    def __init__(self, envoy: int, server: int, names: Sequence[str]) -> None:
        self._envoy, self._server = connected(envoy), connected(server)
        self._requests = itertools.cycle([request(name) for name in names])
        self._call = call()
        self.begun, self.ended = array("q"), array("q")
        """When requests were sent and answered, in nanoseconds of the steady clock."""

    def __len__(self) -> int:
        return len(self.begun)

    def close(self) -> None:
        """Ends the connections."""
        self._envoy.close()
        self._server.close()

    def run(self, seconds: float, call_after: float) -> list[tuple[str, int, int]]:
        """Sends for so long, and after a time makes a call to the token endpoint. Gives the calls
        that the token endpoint has answered: the tenant, when it was asked and when it answered."""
        now, connection, called = time.monotonic_ns, self._envoy, False
        begun, ended = self.begun.append, self.ended.append
        end = now()
        due, stop = end + round(call_after * 1e9), end + round(seconds * 1e9)
        for one in self._requests:
            if not called and end > due:
                self._server.sendall(self._call)
                called = True
            begun(now())
            connection.sendall(one)
            answer(connection)
            end = now()
            ended(end)
            if called and end > stop:
                break
        # The answer to the call has come meanwhile.
        answer(self._server)
        self._server.sendall(CALLS_REQUEST)
        return [(tenant, first, last) for tenant, first, last in json.loads(answer(self._server))]
