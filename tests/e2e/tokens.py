"""A token endpoint whose answers a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from launch import poll
from replies import json_reply
from upstream import Upstream
from wire import Reply, Request, opened

TENANT = "tenant-of-the-test"
PATH = f"/{TENANT}/oauth2/v2.0/token"
SCOPE = "https://cognitiveservices.azure.com/.default"
FORM = ("client_id", "client_secret", "grant_type", "scope")
GRANT = "client_credentials"
LONG = 3600
"""A life that no test outlives."""

PROXIED = ("x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-egress-scheme")
CALLERS = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
LEAKED = (*PROXIED, *CALLERS)
"""Headers that no identity provider has to see."""


@dataclass(frozen=True)
class Token:
    """One that was given; times are unix seconds."""

    text: str
    client: str
    issued: float
    end: float


class Never:
    """An answer that does not come."""


@dataclass(frozen=True)
class Late:
    """A token that comes after so many seconds."""

    after: float
    life: float = LONG


Step = Reply | Callable[[], Reply] | Never | Late | float
"""What to answer: a reply, what a function makes, nothing, or a token, given as its life."""


@dataclass
class Client:
    """A client of the token endpoint, and what it is answered: the script, then tokens."""

    name: str
    secret: str = field(repr=False)
    life: float = LONG
    script: deque[Step] = field(default_factory=deque)
    gate: threading.Event | None = None
    calls: list[float] = field(default_factory=list)
    """When it asked, in unix seconds: each call whose body was complete and right."""
    tokens: list[Token] = field(default_factory=list)
    at_once: int = 0
    at_most: int = 0
    """So many of its calls were open at once."""

    def hold(self) -> threading.Event:
        """From now on answers wait until the event is set."""
        self.gate = threading.Event()
        return self.gate

    def wait_for_calls(self, count: int = 1, timeout: float = 10.0) -> list[float]:
        """The calls, as soon as there are so many."""
        poll(lambda: len(self.calls) >= count, timeout, lambda: f"{len(self.calls)} of {count}")
        return list(self.calls)

    def wait_for_tokens(self, count: int = 1, timeout: float = 10.0) -> list[Token]:
        """The tokens, as soon as there are so many."""
        poll(lambda: len(self.tokens) >= count, timeout, lambda: f"{len(self.tokens)} of {count}")
        return list(self.tokens)

    def gaps(self) -> list[float]:
        """The seconds between one call and the next."""
        calls = list(self.calls)
        return [after - before for before, after in itertools.pairwise(calls)]


class TokenServer(Upstream):
    """The v2.0 token endpoint of one tenant, for clients with a secret.

    Its port can be closed and opened again; nobody else gets it in between. With `official` it
    takes what the official clients send beside what is needed.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, official: bool = False) -> None:
        super().__init__(default=self._reply, tls=tls)
        self.more = ("client_info",) if official else ()
        self.clients: dict[str, Client] = {}
        self.tokens: dict[str, Token] = {}
        """All that it gave, by their text."""
        self.refused: list[str] = []
        """What was wrong with requests."""
        self._socket.close()
        self._socket = kept_port()
        # From now on: who connects before the thread runs is not refused.
        self._socket.listen(512)
        self.port = self._socket.getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def client(self, name: str, *script: Step, life: float = LONG) -> Client:
        """A new client with a secret of its own."""
        client = Client(name, f"secret/of+{name} {secrets.token_hex(8)}", life, deque(script))
        self.clients[name] = client
        return client

    # Outages.

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """While it lasts connections are refused; the open ones break."""
        asyncio.run_coroutine_threadsafe(self._close_port(), self._loop).result(10)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._open_port(), self._loop).result(10)

    async def _close_port(self) -> None:
        assert self._server
        self._server.close()
        self._socket.shutdown(socket.SHUT_RDWR)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _open_port(self) -> None:
        self._socket.listen(512)
        shared = self._socket.dup()
        self._server = await asyncio.start_server(self._connected, sock=shared, ssl=self.tls)

    async def _serve(self) -> None:
        await self._open_port()
        await self._stop.wait()
        if self._server:
            self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await super()._connected(reader, writer)
        finally:
            self._writers.discard(writer)

    # Answers.

    async def _reply(self, request: Request) -> Reply:
        """A token, or what the script says; a request that is not right is refused."""
        problem, client = self._judge(request)
        if client is None:
            self.refused.append(problem)
            if problem == "client_secret":
                return denied()
            return denied("invalid_request", 900144, 400)
        client.calls.append(time.time())
        client.at_once += 1
        client.at_most = max(client.at_most, client.at_once)
        try:
            return await self._step(client)
        finally:
            client.at_once -= 1

    async def _step(self, client: Client) -> Reply:
        step: Step = client.script.popleft() if client.script else client.life
        if client.gate:
            await opened(client.gate)
        if isinstance(step, Never):
            await asyncio.Event().wait()
        if isinstance(step, Reply):
            return step
        if callable(step):
            return step()
        if isinstance(step, Late):
            await asyncio.sleep(step.after)
            return self.token(client, step.life)
        return self.token(client, step)

    def token(self, client: Client, life: float) -> Reply:
        """Gives a token."""
        now = time.time()
        text = f"eyJ0.{client.name}.{len(client.tokens)}.{secrets.token_urlsafe(24)}"
        token = Token(text, client.name, now, now + life)
        self.tokens[text] = token
        client.tokens.append(token)
        fields = {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life}
        return json_reply({**fields, "access_token": text})

    def _judge(self, request: Request) -> tuple[str, Client | None]:
        """What is wrong with a request, and whose it is."""
        if (request.method, request.target) != ("POST", PATH.encode()):
            return f"{request.method} {request.target!r}", None
        if request.values("content-type") != [b"application/x-www-form-urlencoded"]:
            return "content-type", None
        if leaked := [name for name in LEAKED if request.values(name)]:
            return f"headers {leaked}", None
        try:
            pairs = parse_qsl(request.body.decode("ascii"), True, True, errors="strict")
        except ValueError:
            return "form", None
        form = dict(pairs)
        if sorted(name for name, _ in pairs) != sorted([*FORM, *self.more]):
            return f"fields {[name for name, _ in pairs]}", None
        if (form["grant_type"], form["scope"]) != (GRANT, SCOPE):
            return "grant_type, scope", None
        client = self.clients.get(form["client_id"])
        if client is None or form["client_secret"] != client.secret:
            return "client_secret", None
        return "", client


def kept_port() -> socket.socket:
    """A socket that stays bound to its port when it does not listen."""
    with socket.socket() as first, contextlib.ExitStack() as stack:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        kept = stack.enter_context(socket.socket())
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Only a port that was asked for by its number is kept.
        kept.bind(first.getsockname())
        kept.setblocking(False)
        stack.pop_all()
    return kept


def denied(error: str = "invalid_client", code: int = 7000215, status: int = 401) -> Reply:
    """A refusal in the form of Entra."""
    text = f"AADSTS{code}: of the identity provider. Trace ID: 0 Correlation ID: 0"
    value = {"error": error, "error_description": text, "error_codes": [code], "trace_id": "0"}
    return json_reply(value, status)


def failing(status: int = 503, retry_after: str | None = None) -> Reply:
    """A failure of the server's own, or a request to come later."""
    reply = json_reply({"error": "temporarily_unavailable"}, status)
    if retry_after is not None:
        reply.headers = [*reply.headers, (b"retry-after", retry_after.encode())]
    return reply
