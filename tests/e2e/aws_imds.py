"""A stand-in for the metadata service of a machine of EC2 (IMDSv2, and v1 where a test wants it),
stricter than the real one.

What it refuses, and how, is modelled on the documentation of AWS. botocore gets its keys from it in
test_aws_metadata_stand_in_clients.py.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from aws_metadata import Lent, Refused, Script, Service
from sts_answers import iso
from upstream import Matcher
from wire import Reply, Request

ADDRESS, ADDRESS_6 = "169.254.169.254", "[fd00:ec2::254]"
TTL, TOKEN = "x-aws-ec2-metadata-token-ttl-seconds", "x-aws-ec2-metadata-token"
TOKEN_PATH = "/latest/api/token"
ROLE_PATH = "/latest/meta-data/iam/security-credentials/"
LONGEST = 21600
TEXT = (b"content-type", b"text/plain")
SERVER = (b"server", b"EC2ws")


class Imds(Service):
    """The service of one machine, with the role `role`; without one it answers 404."""

    def __init__(self, *args: Any, role: str | None = "of-the-machine", **options: Any) -> None:
        super().__init__(*args, **options)
        self.role = role
        self.root = ""
        """What stands before every path."""
        self.after_role = ""
        """What follows the name of the role in an answer."""
        self.version_2 = True
        """Whether a request has to have a token."""
        self.version_1: int | None = None
        """The status with which a machine that knows no tokens answers who wants one."""
        self.late: float | None = None
        """So many seconds ago the keys have ended, if one believes it; they work."""
        self.tokens: dict[str, float] = {}
        """When each token ends that was given."""

    # For the test.

    def script(self, step: str, reply: Script, *, times: int | None = 1) -> None:
        """The next requests of a step (`token`, `role` or `keys`) get this reply."""
        matchers: dict[str, Matcher] = {
            "token": self.root + TOKEN_PATH,
            "role": self.root + ROLE_PATH,
            "keys": lambda request: self.step(request) == "keys",
        }
        self.on(matchers[step], lambda _: reply(), times=times)

    def step(self, request: Request) -> str | None:
        """What a request is for."""
        path = request.path.removeprefix(self.root)
        if path in (TOKEN_PATH, ROLE_PATH):
            return "token" if path == TOKEN_PATH else "role"
        return "keys" if path.startswith(ROLE_PATH) else None

    def of(self, step: str) -> list[Request]:
        """The requests of a step."""
        return [request for request in self.requests if self.step(request) == step]

    def steps(self) -> list[str | None]:
        """What the requests were for, in order."""
        return [self.step(request) for request in self.requests]

    def forget_tokens(self) -> None:
        """No token counts any longer, as after a restart of the service."""
        self.tokens = dict.fromkeys(self.tokens, 0.0)

    def document(self, lent: Lent, **other: Any) -> dict[str, Any]:
        """The answer with these keys; None leaves a field out."""
        end = lent.end if self.late is None else time.time() - self.late
        whole = {
            "Code": "Success",
            "LastUpdated": iso(lent.issued),
            "Type": "AWS-HMAC",
            "AccessKeyId": lent.keys.access,
            "SecretAccessKey": lent.keys.secret,
            "Token": lent.keys.token,
            "Expiration": iso(end),
            **other,
        }
        return {name: value for name, value in whole.items() if value is not None}

    # The service.

    def own(self, request: Request) -> set[str]:
        """A token, or how long one should last."""
        return {TTL} if self.step(request) == "token" else {TOKEN}

    def inspected(self, request: Request) -> None:
        """One of the three requests, with a token where one has to be."""
        step = self.step(request)
        wanted = "PUT" if step == "token" else "GET"
        if step is None or b"?" in request.target or not request.path.startswith(self.root):
            raise Refused(404, f"no such path {request.target!r}")
        if request.method != wanted:
            raise Refused(405, f"{request.method} {request.path}")
        if step == "token":
            ttl = (request.header(TTL) or "").encode()
            if not (ttl.isdigit() and not ttl.startswith(b"0") and 1 <= int(ttl) <= LONGEST):
                raise Refused(400, f"a life of {ttl!r}")
            return
        token = request.header(TOKEN)
        if token is None and self.version_2 and self.version_1 is None:
            raise Refused(401, "no token")
        if token is not None and (self.version_1 or self.tokens.get(token, 0.0) <= time.time()):
            raise Refused(401, "a token that does not count")

    def usual(self, request: Request) -> Reply:
        """The answer of a machine with a role."""
        step = self.step(request)
        if step == "token":
            return self.token(request)
        if self.role is None:
            return text("Not Found", 404)
        if step == "role":
            return text(self.role + self.after_role)
        if request.path.removeprefix(self.root + ROLE_PATH) != self.role:
            raise Refused(404, f"no role {request.path!r}")
        return text(json.dumps(self.document(self.lend(self.role)), indent=2))

    def token(self, request: Request) -> Reply:
        """A token for so long as was asked for."""
        if self.version_1:
            return text("", self.version_1)
        word = "AQAE" + secrets.token_urlsafe(36) + "=="
        ttl = request.header(TTL) or ""
        self.tokens[word] = time.time() + int(ttl)
        reply = text(word)
        reply.headers = [*reply.headers, (TTL.encode(), ttl.encode())]
        return reply


def text(body: str | bytes, status: int = 200) -> Reply:
    """A reply as the service makes them: text, whatever it is."""
    return Reply(status, [TEXT, SERVER], body.encode() if isinstance(body, str) else body)
