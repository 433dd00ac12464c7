"""What a recording upstream sees and answers, the same for both versions of HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Header = tuple[bytes, bytes]
Body = bytes | Sequence[bytes] | AsyncIterator[bytes]
READ = 65536


@dataclass
class Request:
    """One request as it came over the wire. Header names are in lower case, the rest is untouched.

    Over HTTP/1.1 `host` is among the headers; over HTTP/2 the pseudo-headers are not.
    """

    method: str
    target: bytes
    authority: bytes
    http_version: str
    headers: list[Header]
    body: bytes = b""
    trailers: list[Header] = field(default_factory=list)
    protocol: str = ""
    """`:protocol` of an extended CONNECT, or the value of an HTTP/1.1 `upgrade`."""
    complete: bool = False
    """The end of the body has come."""
    reset: bool = False
    """The caller gave the stream up (HTTP/2 only)."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def query(self) -> bytes:
        """What follows the question mark."""
        return self.target.partition(b"?")[2]

    def values(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key == wanted]

    def header(self, name: str) -> str | None:
        """The value of a header that occurs at most once."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values}"
        return values[0].decode("latin-1") if values else None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class Reply:
    """What to answer. A body in pieces goes out as it is made: chunked, or one DATA frame each.

    Status 101 (HTTP/1.1), or 200 to a CONNECT, turns the connection into an echo of raw bytes.
    """

    status: int = 200
    headers: Sequence[Header] = ()
    body: Body = b""
    delay: float = 0.0
    wait: threading.Event | None = None
    """The reply is held back until the test sets this."""
    trailers: Sequence[Header] = ()
    abort: bool = False
    """Break off instead of ending: at once, or after a body in pieces."""


Handler = Callable[[Request], Reply | Awaitable[Reply]]


class Recorder:
    """What a connection tells about requests, and asks for answers."""

    def began(self, request: Request) -> None:
        """The headers of a request are there."""

    def ended(self, request: Request) -> None:
        """Its body is complete."""

    async def answer(self, request: Request) -> Reply:
        """The reply to a complete request."""
        raise NotImplementedError


async def opened(gate: threading.Event) -> None:
    """Waits for a gate that another thread opens."""
    while not gate.is_set():
        await asyncio.sleep(0.01)


async def prepared(reply: Reply) -> None:
    """Waits as long as the reply says."""
    if reply.delay:
        await asyncio.sleep(reply.delay)
    if reply.wait:
        await opened(reply.wait)


async def pieces(body: Body) -> AsyncIterator[bytes]:
    """The parts of a body, however it was given."""
    if isinstance(body, bytes):
        if body:
            yield body
    elif isinstance(body, Sequence):
        for piece in body:
            yield piece
    else:
        async for piece in body:
            yield piece


def framed(reply: Reply) -> list[Header]:
    """The headers of a reply, with the length of a body that is known."""
    headers = list(reply.headers)
    bodiless = reply.status < 200 or reply.status in (204, 304)
    if isinstance(reply.body, bytes) and not reply.abort and not bodiless:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    return headers
