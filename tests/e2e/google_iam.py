"""A stand-in for IAM credentials of Google, stricter than the real one.

google-auth impersonates accounts with it in test_google_stand_in_clients.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google_keys import CLOUD, IAM, SCOPES, File, once
from google_rules import Ledger, Refused, Stamp, Token, api_error, leaks, stamp
from replies import json_reply
from upstream import Upstream
from wire import Reply, Request

HOST = "iamcredentials.googleapis.com"
PATH = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken")
ACCOUNT = re.compile(r"[a-z0-9.-]+@[a-z0-9.-]+\.gserviceaccount\.com")
LIFETIME = re.compile(r"([1-9]\d{0,4})s")
LONGEST, EXTENDED = 3600, 43200


def path_of(email: str) -> str:
    """Where tokens of an account are made."""
    return f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"


def url_of(email: str) -> str:
    """The same as a URL."""
    return f"https://{HOST}{path_of(email)}"


@dataclass
class Target:
    """An account that others may act as."""

    callers: set[str] = field(default_factory=set)
    """Who may: accounts by e-mail address, principals of pools."""
    delegates: Sequence[str] = ()
    """Through whom."""
    longest: int = LONGEST
    """Seconds that its tokens may live."""
    life: float | None = None
    """Of its tokens, in seconds; None is what was asked for."""
    stamp: Stamp = stamp
    """How their end is written."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the answer."""


@dataclass(frozen=True)
class Asked:
    """What a request asked for, and with whose token."""

    email: str
    by: Token
    body: Mapping[str, Any]


class IamCredentials(Upstream):
    """Makes tokens of accounts for those who may act as them."""

    def __init__(
        self,
        ledger: Ledger | None = None,
        targets: Mapping[str, Target] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.ledger = ledger or Ledger()
        self.targets = dict(targets or {})
        """By e-mail address."""
        self.tolerated: frozenset[str] = frozenset()
        """Headers of Envoy that a test cannot avoid."""
        self.asked: list[Asked] = []
        """What got a token."""
        self.refused: list[str] = []
        """Why requests were refused."""

    def of(self, email: str) -> list[Request]:
        """The requests for an account."""
        return [request for request in self.requests if request.path == path_of(email)]

    def script(self, email: str, handler: Any, *, times: int | None = 1) -> None:
        """The next requests for an account get what this function answers."""
        self.on(path_of(email), handler, times=times)

    def served(self, request: Request) -> Reply:
        """A token, if the request deserves one."""
        try:
            email = self.place(request)
            by = self.ledger.bearer(request)
            if by is None:
                told = "Request had invalid authentication credentials."
                raise refused(401, "UNAUTHENTICATED", told, "ACCESS_TOKEN_EXPIRED")
            if not {IAM, CLOUD} & set(by.scopes):
                told = "Request had insufficient authentication scopes."
                raise refused(403, "PERMISSION_DENIED", told, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
            body = wanted(request)
            seconds = self.allowed(email, by, body)
        except Refused as refusal:
            self.refused.append(str(refusal))
            return refusal.reply
        self.asked.append(Asked(email, by, body))
        target = self.targets[email]
        life = seconds if target.life is None else target.life
        token = self.ledger.issue("impersonated", email, body["scope"], life)
        end = target.stamp(token.end)
        return json_reply({"accessToken": token.text, "expireTime": end, **target.more})

    def place(self, request: Request) -> str:
        """The account that a request is for, if its form is right."""
        found = PATH.fullmatch(request.target.decode("latin-1"))
        if request.authority != HOST.encode() or not found:
            told = f"no such place: {request.authority!r} {request.target!r}"
            raise refused(404, "NOT_FOUND", told)
        if request.method != "POST" or request.trailers:
            raise refused(400, "INVALID_ARGUMENT", f"{request.method}, or trailers")
        if names := leaks(request, self.tolerated):
            raise refused(400, "INVALID_ARGUMENT", f"headers of a proxy: {names}")
        if request.values("content-type") != [b"application/json"]:
            told = f"the content-type is {request.values('content-type')}"
            raise refused(400, "INVALID_ARGUMENT", told)
        if not ACCOUNT.fullmatch(found[1]):
            raise refused(400, "INVALID_ARGUMENT", f"Invalid form of account ID {found[1]}.")
        return found[1]

    def allowed(self, email: str, by: Token, body: Mapping[str, Any]) -> int:
        """The seconds that a token lives, if it may be made."""
        target = self.targets.get(email)
        if target is None:
            raise refused(404, "NOT_FOUND", "Not found; Gaia id not found for email.")
        denied = by.who not in target.callers
        if denied or list(body.get("delegates") or ()) != list(target.delegates):
            told = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource."
            raise refused(403, "PERMISSION_DENIED", told, "IAM_PERMISSION_DENIED")
        seconds = int(body["lifetime"][:-1])
        if seconds > min(target.longest, EXTENDED):
            told = "The access token lifetime cannot exceed 1 hour"
            raise refused(400, "INVALID_ARGUMENT", told)
        return seconds


def wanted(request: Request) -> dict[str, Any]:
    """The body of a request, if it is as it should be."""
    try:
        body = json.loads(request.body.decode("utf-8"), object_pairs_hook=once)
    except ValueError:
        raise refused(400, "INVALID_ARGUMENT", "Invalid JSON payload received.") from None
    names = set(body) if isinstance(body, dict) else set()
    if not {"scope", "lifetime"} <= names <= {"scope", "lifetime", "delegates"}:
        raise refused(400, "INVALID_ARGUMENT", f"the fields are {sorted(names)}")
    if not texts(body["scope"]) or not body["scope"] or not set(body["scope"]) <= SCOPES:
        raise refused(400, "INVALID_ARGUMENT", f"the scopes are {body['scope']!r}")
    if not isinstance(body["lifetime"], str) or not LIFETIME.fullmatch(body["lifetime"]):
        raise refused(400, "INVALID_ARGUMENT", f"the lifetime is {body['lifetime']!r}")
    if body.get("delegates") is not None and not texts(body["delegates"]):
        raise refused(400, "INVALID_ARGUMENT", f"the delegates are {body['delegates']!r}")
    return body


def texts(value: Any) -> bool:
    """A list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def refused(status: int, state: str, text: str, reason: str = "") -> Refused:
    """A refusal that is told in the same words."""
    return Refused(api_error(status, state, text, reason), text)


def impersonated(
    email: str, source: Mapping[str, Any], delegates: Sequence[str] = (), **other: Any
) -> File:
    """A credential file that acts as an account, with the credential of another file."""
    return {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": url_of(email),
        "source_credentials": dict(source),
        "delegates": list(delegates),
        **other,
    }
