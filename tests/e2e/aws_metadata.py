"""What the services of AWS that lend keys to whoever runs on a machine have in common: a ledger of
the keys, the provider that takes them, and how a request is looked at."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from aws import Keys, parsed, verify
from bedrock import bedrock_reply
from entra_rules import WORDS
from replies import json_reply
from upstream import Upstream
from wire import Reply, Request

PROXIED = ("x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-egress-scheme", "forwarded")
OF_ENVOY = "x-envoy-"
"""Headers of a proxy: a metadata service refuses who comes through one."""

COMMON = {"host", "user-agent", "accept", "content-length"}
OF_CLIENTS = {"accept-encoding"}
"""Headers that every client sends, and one that botocore adds."""

TO_A_CLUSTER = frozenset({"x-envoy-internal", "x-envoy-expected-rq-timeout-ms"})
"""What Envoy itself adds to a call to a cluster without the egress listener in between."""

ALPHABET = string.ascii_letters + string.digits + "/+"


class Refused(Exception):
    """The answer to a request that is not as it should be."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass(frozen=True)
class Lent:
    """Keys that were given."""

    keys: Keys
    role: str
    issued: float
    end: float
    """Until when they work; whole seconds, as they are told."""


class Ledger:
    """All keys that the services have given, and the Bedrock that takes those that are alive."""

    def __init__(self) -> None:
        self.lent: dict[str, Lent] = {}
        """By access key."""
        self.misused: list[str] = []
        """Why the provider refused a request."""

    def issue(self, role: str, life: float, keys: Keys | None = None) -> Lent:
        """New keys, or these."""
        if keys is None:
            word = "".join(secrets.choice(ALPHABET) for _ in range(38)) + "/+"
            token = "IQoJb3JpZ2luX2Vj//" + secrets.token_urlsafe(270) + "/+=="
            keys = Keys("ASIA" + secrets.token_hex(8).upper(), word, token)
        now = time.time()
        lent = Lent(keys, role, now, float(int(now + life)))
        self.lent[keys.access] = lent
        return lent

    def of(self, role: str) -> list[Lent]:
        """The keys of a role, in the order in which they were given."""
        return [one for one in self.lent.values() if one.role == role]

    def end(self, lent: Lent) -> None:
        """Keys work no longer, whatever was said of them."""
        self.lent[lent.keys.access] = replace(lent, end=time.time())

    def provider(self, request: Request) -> Reply:
        """What Bedrock answers: an error unless keys that are alive have signed the request."""
        try:
            lent = self.lent.get(parsed(request).access)
            if lent is None:
                return self.misuse("UnrecognizedClientException", "unknown keys")
            if time.time() >= lent.end:
                return self.misuse("ExpiredTokenException", f"{time.time() - lent.end} s late")
            verify(request, lent.keys, region=parsed(request).region)
        except AssertionError as error:
            return self.misuse("InvalidSignatureException", str(error))
        return bedrock_reply(request)

    def misuse(self, code: str, text: str) -> Reply:
        """An error of Bedrock."""
        self.misused.append(f"{code}: {text}")
        reply = json_reply({"message": code}, 403)
        reply.headers = [*reply.headers, (b"x-amzn-errortype", code.encode())]
        return reply


class Service(Upstream):
    """One of the services, by plain HTTP unless `tls=` says otherwise.

    Every request is looked at, whatever a test has scripted: only one that is as it should be gets
    a scripted answer. `hosts` are those by which it may be called, its own address and port
    always; with `official` it takes what botocore sends beside what is needed.
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        *,
        hosts: Collection[str] = (),
        official: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.ledger = ledger or Ledger()
        self.hosts = {*hosts, f"127.0.0.1:{self.port}"}
        self.official = official
        self.passed: frozenset[str] = frozenset()
        """Headers of a proxy that it lets pass all the same."""
        self.life: float = 3600
        """Of the keys, in seconds."""
        self.given: list[Lent] = []
        """The keys of each answer."""
        self.refused: list[str] = []
        """Why requests were refused."""
        self._moments: dict[int, float] = {}

    @property
    def url(self) -> str:
        """Its own address."""
        return f"http://127.0.0.1:{self.port}"

    def began(self, request: Request) -> None:
        """Notes when a request came."""
        self._moments[id(request)] = time.monotonic()
        super().began(request)

    def moment(self, request: Request) -> float:
        """When a request came, by the steady clock."""
        return self._moments[id(request)]

    # The service.

    async def answer(self, request: Request) -> Reply:
        """What the request deserves."""
        try:
            self.checked(request)
        except Refused as refusal:
            return self.refusal(refusal)
        return await super().answer(request)

    def served(self, request: Request) -> Reply:
        """What it answers when nothing is scripted."""
        try:
            return self.usual(request)
        except Refused as refusal:
            return self.refusal(refusal)

    def checked(self, request: Request) -> None:
        """The request has the right form, and came here without a detour."""
        names = [name.decode() for name, _ in request.headers]
        barred = {name for name in names if name in PROXIED or name.startswith(OF_ENVOY)}
        if barred - self.passed:
            raise Refused(403, f"headers of a proxy: {sorted(barred - self.passed)}")
        known = COMMON | self.passed | self.own(request) | (OF_CLIENTS if self.official else set())
        if unknown := sorted({one for one in names if one not in known or names.count(one) > 1}):
            raise Refused(403, f"headers of somebody else, or twice: {unknown}")
        if request.authority.decode("latin-1") not in self.hosts:
            raise Refused(404, f"this is not {request.authority!r}")
        if request.body or request.trailers:
            raise Refused(400, "a body")
        self.inspected(request)

    def own(self, request: Request) -> set[str]:
        """The headers of its own that the request may have."""
        raise NotImplementedError

    def inspected(self, request: Request) -> None:
        """Method, path and its own headers are right."""
        raise NotImplementedError

    def usual(self, request: Request) -> Reply:
        """The answer to a request that has the right form."""
        raise NotImplementedError

    def refusal(self, refusal: Refused) -> Reply:
        """An error, with words that nobody else has to repeat."""
        self.refused.append(str(refusal))
        body = f"{refusal} {WORDS}".encode()
        return Reply(refusal.status, [(b"content-type", b"text/plain")], body)

    def lend(self, role: str) -> Lent:
        """Keys: those given last while half of their life is left."""
        last = self.given[-1] if self.given else None
        left = last.end - time.time() if last else 0.0
        fresh = last is None or last.role != role or left <= self.life / 2
        lent = self.ledger.issue(role, self.life) if fresh else last
        assert lent
        self.given.append(lent)
        return lent


Script = Callable[[], Reply]
"""Makes a reply, every time anew."""
