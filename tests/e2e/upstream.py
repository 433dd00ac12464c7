"""A provider in a thread of the test that records every request and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trustme

from http1 import Http1
from http2 import Http2
from replies import default_reply, json_reply
from wire import READ, Body, Handler, Header, Recorder, Reply, Request

Matcher = str | Callable[[Request], bool] | None
"""A path to which a rule applies, or a test of the request; None is every request."""

Text = str | bytes
Headers = Mapping[str, Text] | Sequence[tuple[Text, Text]]


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    @property
    def pem(self) -> str:
        """Its certificate, for whoever has to trust it."""
        return self.ca.cert_pem.bytes().decode()

    def server_context(self, names: Sequence[str], http2: bool = True) -> ssl.SSLContext:
        """The TLS side of a server with these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@dataclass
class Rule:
    """An answer for some requests, for a number of times or for ever."""

    matcher: Matcher
    handler: Handler
    left: int | None

    def applies(self, request: Request) -> bool:
        """Whether it answers this request."""
        if self.left == 0:
            return False
        if self.matcher is None:
            return True
        if isinstance(self.matcher, str):
            return request.path == self.matcher
        return self.matcher(request)


class Upstream(Recorder):
    """Speaks HTTP/1.1 and h2c with prior knowledge on a free port; TLS with `tls=`.

    The newest rule that applies answers; without one the reply has the shape of the provider that
    the path tells (see replies.py).
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        default: Handler = default_reply,
        host: str = "127.0.0.1",
    ) -> None:
        self.default = default
        self.tls = tls
        self.host = host
        self.errors: list[BaseException] = []
        """Protocol errors of peers and exceptions of handlers; a test may look here."""
        self.server_names: list[str | None] = []
        """The SNI of every TLS connection."""
        self.connections = 0
        """How many connections were accepted."""
        self._changed = threading.Condition()
        self._begun: list[Request] = []
        self._requests: list[Request] = []
        self._rules: list[Rule] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.bind((host, 0))
        self._socket.listen(512)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"upstream-{self.port}", daemon=True)
        if tls:
            tls.sni_callback = lambda _socket, name, _context: self.server_names.append(name)

    # For the test.

    @property
    def requests(self) -> list[Request]:
        """The requests whose body has come to its end, in that order."""
        with self._changed:
            return list(self._requests)

    @property
    def begun(self) -> list[Request]:
        """All requests whose headers have come, in that order."""
        with self._changed:
            return list(self._begun)

    def wait_for(self, count: int = 1, timeout: float = 10.0) -> list[Request]:
        """The requests, as soon as there are so many."""
        return self._wait(self._requests, count, timeout)

    def wait_for_begun(self, count: int = 1, timeout: float = 10.0) -> list[Request]:
        """The requests whose headers have come, as soon as there are so many."""
        return self._wait(self._begun, count, timeout)

    def only(self) -> Request:
        """The one request there was."""
        requests = self.wait_for(1)
        assert len(requests) == 1, f"{len(requests)} requests: {[r.target for r in requests]}"
        return requests[0]

    def clear(self) -> None:
        """Forgets the requests; the rules stay."""
        with self._changed:
            self._requests.clear()
            self._begun.clear()

    def reset(self) -> None:
        """Forgets requests and rules."""
        self.clear()
        self._rules.clear()

    def on(self, matcher: Matcher, handler: Handler, *, times: int | None = None) -> None:
        """Lets a function answer, async or not; it runs in the server's loop and must not block."""
        self._rules.insert(0, Rule(matcher, handler, times))

    def reply_with(
        self,
        status: int = 200,
        headers: Headers = (),
        body: Body | str | dict[str, Any] = b"",
        *,
        delay: float = 0.0,
        wait: threading.Event | None = None,
        abort: bool = False,
        path: Matcher = None,
        times: int | None = None,
    ) -> None:
        """A fixed answer: to every request or those of a path, for ever or so many times."""
        if isinstance(body, dict):
            reply = json_reply(body, status)
        else:
            reply = Reply(status, body=body.encode() if isinstance(body, str) else body)
        reply.headers = [*reply.headers, *header_list(headers)]
        reply.delay, reply.wait, reply.abort = delay, wait, abort
        self.on(path, lambda _request: reply, times=times)

    # The life of the server.

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, ssl=self.tls)
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection; the first bytes tell the protocol."""
        self.connections += 1
        first = b""
        try:
            while len(first) < 3 and (data := await reader.read(READ)):
                first += data
            if first:
                protocol = Http2 if first.startswith(b"PRI") else Http1
                await protocol(reader, writer, self).serve(first)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(Exception):
                writer.close()

    # What the connections tell.

    def began(self, request: Request) -> None:
        """Records the headers of a request."""
        with self._changed:
            self._begun.append(request)
            self._changed.notify_all()

    def ended(self, request: Request) -> None:
        """Records a complete request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    async def answer(self, request: Request) -> Reply:
        """The reply of the newest rule that applies."""
        rule = next((rule for rule in self._rules if rule.applies(request)), None)
        if rule and rule.left is not None:
            rule.left -= 1
        try:
            reply = (rule.handler if rule else self.default)(request)
            return await reply if inspect.isawaitable(reply) else reply
        except Exception as error:
            self.errors.append(error)
            return json_reply({"error": f"the handler raised {error!r}"}, 500)

    def _wait(self, requests: list[Request], count: int, timeout: float) -> list[Request]:
        end = time.monotonic() + timeout
        with self._changed:
            while len(requests) < count:
                left = end - time.monotonic()
                assert left > 0, f"{len(requests)} of {count} requests within {timeout} s"
                self._changed.wait(left)
            return list(requests)


def header_list(headers: Headers) -> list[Header]:
    """Headers as pairs of bytes, from a mapping or pairs of either type of text."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(as_bytes(name).lower(), as_bytes(value)) for name, value in pairs]


def as_bytes(text: Text) -> bytes:
    """Text as it goes on the wire."""
    return text if isinstance(text, bytes) else text.encode("latin-1")
