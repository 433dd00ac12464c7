"""A client that adds as little as it can to what it measures: one thread, blocking sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from signing.cases import HEADERS, PATH, Body
from signing.provider import ECHO
from sockets import answer, connected

GAP = 0.002
"""Seconds between two pieces of a body that arrives over time."""


class Client:
    """Connections to one listener."""

    def __init__(self, port: int, connections: int = 1) -> None:
        self._sockets = [connected(port) for _ in range(connections)]
        self._first = self._sockets[0]

    def close(self) -> None:
        """Ends the connections."""
        for one in self._sockets:
            one.close()

    def at_once(self, request: bytes) -> float:
        """Microseconds from the first byte sent to the answer, everything sent at once."""
        begun = time.perf_counter_ns()
        self._first.sendall(request)
        answer(self._first)
        return (time.perf_counter_ns() - begun) / 1e3

    def over_time(self, pieces: Sequence[bytes]) -> float:
        """Microseconds from the last byte sent to the answer, with time between the pieces."""
        for piece in pieces[:-1]:
            self._first.sendall(piece)
            time.sleep(GAP)
        self._first.sendall(pieces[-1])
        sent = time.perf_counter_ns()
        answer(self._first)
        return (time.perf_counter_ns() - sent) / 1e3

    def on_all(self, request: bytes) -> None:
        """Sends a request on every connection before it waits for an answer."""
        for one in self._sockets:
            one.sendall(request)
        for one in self._sockets:
            answer(one)

    def asked(self, body: Body) -> dict[str, Any]:
        """What the provider saw of a request, sent as the body says."""
        *before, last = cut(body, echo=True)
        for piece in before:
            self._first.sendall(piece)
            time.sleep(GAP)
        self._first.sendall(last)
        return json.loads(answer(self._first))


def cut(body: Body, *, echo: bool = False) -> list[bytes]:
    """The request as it is sent, in one piece or many of one size; the head is in the first."""
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in HEADERS)]
    lines += [f"{ECHO.decode()}: 1"] if echo else []
    head = "\r\n".join([*lines, f"content-length: {body.size}", "", ""]).encode()
    content = content_of(body.size)
    step = -(-body.size // body.pieces)
    pieces = [content[start : start + step] for start in range(0, body.size, step)]
    return [head + pieces[0], *pieces[1:]]


def content_of(size: int) -> bytes:
    """A conversation of so many bytes."""
    content = {"messages": [{"role": "user", "content": [{"text": ""}]}]}
    missing = size - len(json.dumps(content))
    content["messages"][0]["content"] = [{"text": "x" * missing}]
    return json.dumps(content).encode()
