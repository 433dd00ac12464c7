"""Crowds and steady streams of requests."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import raw
from gateway import host
from wire import Header

CONNECTIONS = 40
"""So many that every one of four workers has some."""


class Answer(NamedTuple):
    """The answer to a request; status 0 means that none came."""

    sent: float
    """Unix seconds."""
    seconds: float
    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header."""
        found = [value for key, value in self.headers if key.lower() == name.encode()]
        return found[0].decode() if found else None


class Connection:
    """An HTTP/1.1 connection that stays open from one request to the next."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(
        self, backend: str, headers: Sequence[Header] = (), body: bytes = b"", **at: Any
    ) -> Answer:
        """One request: GET, or POST if it has a body."""
        sent = time.time()
        try:
            status, fields, text = await self._exchange(backend, headers, body, **at)
        except (OSError, EOFError, ValueError):
            self.close()
            return Answer(sent, time.time() - sent, 0)
        return Answer(sent, time.time() - sent, status, fields, text)

    def close(self) -> None:
        """Breaks it off."""
        if self.writer:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def _exchange(
        self, backend: str, headers: Sequence[Header], body: bytes, target: bytes = b"/v1/models"
    ) -> tuple[int, list[Header], bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        assert self.reader
        lines = [(b"POST " if body else b"GET ") + target + b" HTTP/1.1"]
        lines += [b"host: " + host(backend), *(name + b": " + value for name, value in headers)]
        lines += [b"content-length: %d" % len(body)] if body else []
        self.writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = [(n, v.strip()) for n, _, v in (line.partition(b":") for line in head[1:-2])]
        length = next(int(value) for name, value in fields if name == b"content-length")
        text = await self.reader.readexactly(length)
        if (b"connection", b"close") in fields:
            self.close()
        return int(head[0].split(b" ")[1]), fields, text


def crowd(
    port: int, backends: Iterable[str], body: bytes = b"", headers: Sequence[Header] = ()
) -> list[Answer]:
    """One request for each backend in the list, all at once, each on a connection of its own."""

    async def all_of_them() -> list[Answer]:
        connections = [(Connection(port), backend) for backend in backends]
        asked = [one.ask(backend, headers, body) for one, backend in connections]
        answers = await asyncio.gather(*asked)
        for one, _ in connections:
            one.close()
        return answers

    return asyncio.run(all_of_them())


@dataclass
class Load:
    """Requests at a steady rate while it is entered; a slow answer delays only its connection."""

    port: int
    backend: str
    rate: float = 200
    connections: int = CONNECTIONS
    target: bytes = b"/v1/models"
    answers: list[Answer] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Sends no more, and waits for the answers."""
        self._stop.set()
        self._thread.join(60)

    def lasted(self) -> float:
        """The seconds from the first request to the last."""
        return self.answers[-1].sent - self.answers[0].sent if self.answers else 0.0

    @property
    def failed(self) -> list[Answer]:
        """Answers that are no success."""
        return [answer for answer in self.answers if answer.status != 200]

    @property
    def slowest(self) -> float:
        """The longest time that an answer took."""
        return max(answer.seconds for answer in self.answers)

    def assert_kept_up(self) -> None:
        """It was the load that it claims to be."""
        assert len(self.answers) >= 0.8 * self.rate * self.lasted()

    async def _run(self) -> None:
        await asyncio.gather(*(self._steadily(number) for number in range(self.connections)))

    async def _steadily(self, number: int) -> None:
        period = self.connections / self.rate
        due = time.monotonic() + period * number / self.connections
        connection = Connection(self.port)
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # What was missed is not made up for.
            due = max(due + period, time.monotonic())
            sent = [(b"x-sent", b"%.3f" % time.time())]
            answer = await connection.ask(self.backend, sent, target=self.target)
            # Nobody looks at the texts of so many.
            self.answers.append(answer._replace(headers=(), body=b""))
        connection.close()


def assert_unavailable(answer: Answer | raw.Response) -> None:
    """It is the refusal of the contract."""
    assert answer.status == 503
    fields = {name.lower(): value for name, value in answer.headers}
    assert fields[b"content-type"].startswith(b"application/json")
    assert int(fields[b"retry-after"]) >= 1
    error = json.loads(answer.body)
    assert set(error) == {"type", "error"}
    assert error["type"] == "error"
    assert set(error["error"]) == {"type", "code", "message"}
    assert (error["error"]["type"], error["error"]["code"]) == ("CredentialUnavailable", "503")
    assert error["error"]["message"]
