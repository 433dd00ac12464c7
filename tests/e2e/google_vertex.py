"""A look-alike of Vertex AI that takes live tokens alone, and asks whose they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google_keys import CLOUD, ServiceAccount, Wrong, decoded
from google_rules import OF_CALLERS, Ledger, api_error, bearer_text
from replies import anthropic, anthropic_stream, body_of, default_reply
from wire import Reply, Request

PATH = re.compile(
    r"/(?P<version>v1|v1beta1)/projects/(?P<project>[a-z0-9:.-]+)/locations/(?P<region>[a-z0-9-]+)"
    r"/publishers/(?P<publisher>[a-z-]+)/models/(?P<model>[^/:?]+):(?P<method>[A-Za-z]+)"
)
METHODS = {
    "google": {"generateContent", "streamGenerateContent", "countTokens"},
    "anthropic": {"rawPredict", "streamRawPredict"},
}

Place = tuple[str, str]
"""A project and a location."""


@dataclass(frozen=True)
class Used:
    """A request that was answered: what it asked for, and with whose token."""

    project: str
    region: str
    path: str
    who: str
    token: str


@dataclass
class Vertex:
    """Not a server: its `served` answers the requests of one."""

    ledger: Ledger
    places: Mapping[Place, Collection[str]] = field(default_factory=dict)
    """Whose tokens count where: accounts by e-mail address, principals of pools."""
    accounts: Mapping[str, ServiceAccount] = field(default_factory=dict)
    """Those whose own JWTs count as tokens, by e-mail address."""
    used: list[Used] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why requests were refused."""

    def served(self, request: Request) -> Reply:
        """An answer in the shape of the publisher, or an error of Google."""
        found = PATH.fullmatch(request.path)
        if not found or found["method"] not in METHODS.get(found["publisher"], set()):
            return self.missing(request)
        others = [name for name in OF_CALLERS if request.values(name)]
        if others or b"key=" in request.query or request.method != "POST":
            text = f"{request.method}, {others}, {request.query!r}"
            return self.refusal(400, "INVALID_ARGUMENT", text)
        text = bearer_text(request)
        who = None if text is None else self.owner(text)
        if text is None or who is None:
            told = f"{len(request.values('authorization'))} values, or no live token"
            return self.refusal(401, "UNAUTHENTICATED", told, "ACCESS_TOKEN_EXPIRED")
        place = found["project"], found["region"]
        if who not in self.places.get(place, ()):
            told = f"Permission 'aiplatform.endpoints.predict' denied for {who} on {place}"
            return self.refusal(403, "PERMISSION_DENIED", told, "IAM_PERMISSION_DENIED")
        self.used.append(Used(*place, request.path, who, text))
        return answer(request, found["method"])

    def owner(self, text: str) -> str | None:
        """Whose token this is, if it counts."""
        if token := self.ledger.alive(text):
            return token.who if CLOUD in token.scopes else None
        try:
            account = self.accounts.get(str(decoded(text)[1].get("iss")))
            if account and CLOUD in account.self_signed(text)["scope"].split(" "):
                return account.email
        except Wrong as wrong:
            self.refused.append(str(wrong))
        return None

    def missing(self, request: Request) -> Reply:
        """The page of a path that is nowhere."""
        self.refused.append(f"no such path {request.target!r}")
        page = b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>"
        return Reply(404, headers=[(b"content-type", b"text/html; charset=UTF-8")], body=page)

    def refusal(self, status: int, state: str, text: str, reason: str = "") -> Reply:
        """An error."""
        self.refused.append(text)
        return api_error(status, state, text, reason)


def answer(request: Request, method: str) -> Reply:
    """What the publisher's own service would answer."""
    if method == "rawPredict":
        return anthropic(body_of(request))
    if method == "streamRawPredict":
        return anthropic_stream(body_of(request))
    return default_reply(request)
