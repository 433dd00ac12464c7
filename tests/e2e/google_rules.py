"""What the services of Google have in common: tokens, errors, and what a request may not bring."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import entra_rules
from entra import FORM
from entra_rules import WORDS
from replies import json_reply
from wire import Reply, Request

PROXIED = ("x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-egress-scheme")
OF_ENVOY = "x-envoy-"
OF_CALLERS = ("proxy-authorization", "cookie", "x-goog-api-key", "api-key", "x-api-key")
"""Headers that a client never sends here, but a careless proxy may: those of proxies, every one
that begins like Envoy's own, and credentials of callers."""

TO_A_CLUSTER = frozenset({"x-envoy-internal", "x-envoy-expected-rq-timeout-ms"})
"""What Envoy itself adds to a call to a cluster without the egress listener in between."""


class Refused(Exception):
    """The answer to a request that is not as it should be."""

    def __init__(self, reply: Reply, text: str) -> None:
        super().__init__(text)
        self.reply = reply


@dataclass(frozen=True)
class Token:
    """One that was given."""

    text: str
    kind: str
    """`service_account`, `user`, `federated`, `impersonated` or `metadata`."""
    who: str
    """The e-mail address of an account, or the principal of a pool."""
    scopes: tuple[str, ...]
    issued: float
    end: float


class Ledger:
    """All tokens that the services have given; those of one are known to the others."""

    def __init__(self) -> None:
        self.tokens: dict[str, Token] = {}
        self.revoked: set[str] = set()
        """Texts of tokens that count no longer."""

    def issue(self, kind: str, who: str, scopes: Sequence[str], seconds: float) -> Token:
        """A new one."""
        now = time.time()
        text = f"ya29.{kind[0]}.{secrets.token_urlsafe(60)}"
        token = Token(text, kind, who, tuple(scopes), now, now + seconds)
        self.tokens[text] = token
        return token

    def of(self, kind: str, who: str | None = None) -> list[Token]:
        """The tokens of a kind, or of one who has them, in the order in which they were given."""
        return [
            token
            for token in self.tokens.values()
            if token.kind == kind and who in (None, token.who)
        ]

    def alive(self, text: str, now: float | None = None) -> Token | None:
        """The token with this text, if it has not ended."""
        token = self.tokens.get(text)
        moment = time.time() if now is None else now
        if token is None or moment >= token.end or text in self.revoked:
            return None
        return token

    def bearer(self, request: Request) -> Token | None:
        """The token of a request: the only value of its header, and alive."""
        text = bearer_text(request)
        return None if text is None else self.alive(text)


@dataclass
class Life:
    """How tokens are answered; `raw` is the text of `expires_in`, None leaves it out."""

    seconds: float = 3599
    raw: str | None = ""
    more: Mapping[str, Any] = field(default_factory=dict)


def bearer_text(request: Request) -> str | None:
    """What stands in the only `authorization` of a request, behind `Bearer`."""
    values = request.values("authorization")
    if len(values) != 1 or values[0][:7] != b"Bearer ":
        return None
    return values[0][7:].decode("latin-1")


def granted(token: Token, life: Life, **more: Any) -> Reply:
    """The answer of an OAuth endpoint with a token."""
    raw = json.dumps(life.seconds) if life.raw == "" else life.raw
    fields = {"access_token": token.text, "token_type": "Bearer", **more, **life.more}
    body = json.dumps(fields)
    if raw is not None:
        body = f'{{"expires_in": {raw}, {body[1:]}'
    reply = json_reply({})
    reply.body = body.encode()
    return reply


# Errors.


def oauth_error(status: int, error: str, text: str, **headers: str) -> Reply:
    """As the token endpoint and STS write one."""
    body = {"error": error, "error_description": f"{text} {WORDS}"}
    return with_headers(json_reply(body, status), headers)


def api_error(status: int, state: str, text: str, reason: str = "", **headers: str) -> Reply:
    """As every other service of Google writes one."""
    error: dict[str, Any] = {"code": status, "message": f"{text} {WORDS}", "status": state}
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        detail = {"@type": kind, "reason": reason, "domain": "googleapis.com"}
        error["details"] = [detail]
    return with_headers(json_reply({"error": error}, status), headers)


def with_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    """The same with further headers, named with `_` for `-`."""
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    reply.headers = [*reply.headers, *more]
    return reply


# Requests.


def leaks(request: Request, tolerated: frozenset[str] = frozenset()) -> list[str]:
    """The headers of a request that must not be there."""
    found = {name.decode("latin-1") for name, _ in request.headers}
    own = {name for name in found if name.startswith(OF_ENVOY)}
    return sorted((own | found & {*PROXIED, *OF_CALLERS}) - tolerated)


def form_of(request: Request, tolerated: frozenset[str]) -> dict[str, str]:
    """The fields of a POST of a form that is as it should be."""

    def wrong(status: int, text: str) -> Refused:
        return Refused(oauth_error(status, "invalid_request", text), text)

    if request.method != "POST":
        raise wrong(405, f"the method is {request.method}")
    if found := leaks(request, tolerated):
        raise wrong(400, f"headers of a proxy: {found}")
    if request.values("content-type") != [FORM.encode()]:
        raise wrong(400, f"the content-type is {request.values('content-type')}")
    if request.query or request.trailers:
        raise wrong(400, "a query or trailers")
    try:
        return entra_rules.parsed(request.body)
    except entra_rules.Refused as error:
        raise wrong(400, str(error)) from None


def fields_are(
    form: Mapping[str, str], needed: set[str], allowed: frozenset[str] = frozenset()
) -> None:
    """A form has these fields, each of them filled, and no others."""
    names = set(form)
    if not needed <= names or names - needed - allowed or not all(form.values()):
        text = f"the fields are {sorted(names)}, filled {sorted(n for n in names if form[n])}"
        raise Refused(oauth_error(400, "invalid_request", text), text)


# Moments.


def stamp(moment: float, fraction: str = "", zone: str = "Z") -> str:
    """A moment as RFC 3339 writes it, cut to seconds; the rest as it is given."""
    text = datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}{fraction}{zone}"


Stamp = Callable[[float], str]
