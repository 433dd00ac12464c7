"""A stand-in for STS, stricter than the real one, and policies for it.

What it refuses, and how, is modelled on the documentation of AWS. botocore gets its sessions from
it in test_sts_clients.py.
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from aws import REGION, Keys, parsed, verify
from bedrock import bedrock_reply
from manifests import Manifest, policy, secret
from oidc import PASSWORD, oidc
from replies import json_reply
from sts_answers import failure, json_answer, xml_answer
from sts_rules import (
    CHAIN,
    WEB,
    Asked,
    Refused,
    Role,
    Session,
    identified,
    signer,
    understood,
    unsigned,
)
from upstream import Upstream
from wire import Reply, Request

HOST = f"sts.{REGION}.amazonaws.com"
ACCOUNT = "123456789012"
Writer = Callable[[Asked, Session], Reply]


def arn(name: str, partition: str = "aws") -> str:
    """The role of that name."""
    return f"arn:{partition}:iam::{ACCOUNT}:role/{name}"


def user_arn(name: str) -> str:
    """The user of that name."""
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


class Sts(Upstream):
    """The service under some hosts, each with the region that a request to it is signed for.

    With `official` it takes what botocore sends beside what is needed.
    """

    def __init__(
        self,
        roles: Mapping[str, Role] | None = None,
        *,
        hosts: Mapping[str, str] | None = None,
        official: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.roles = {arn(name): role for name, role in (roles or {}).items()}
        """By their ARNs; the argument by their names."""
        self.users: dict[str, tuple[str, Keys]] = {}
        """Those with keys that last: the ARN and the keys, by access key."""
        self.hosts = dict(hosts or {HOST: REGION})
        self.official = official
        self.life: float | None = None
        """Of sessions, in seconds; None is what was asked for."""
        self.writers: dict[str, Writer] = {}
        """Who writes the answer for a role, if it is not as usual."""
        self.issued: dict[str, Session] = {}
        """By access key."""
        self.asked: list[Asked] = []
        """What was asked for, of the requests that were understood."""
        self.refused: list[str] = []
        """Why requests were refused."""
        self.moments: dict[int, float] = {}
        """When each request came, by its identity."""
        self.misused: list[str] = []
        """Why the provider behind it refused a request."""

    # For the test.

    def began(self, request: Request) -> None:
        """Notes when a request came."""
        self.moments[id(request)] = time.monotonic()
        super().began(request)

    def times(self, role: str) -> list[float]:
        """When each request for the role of that name came, by the steady clock."""
        return [self.moments[id(request)] for request in self.of(role)]

    def user(self, name: str, keys: Keys) -> str:
        """A user with these keys; its ARN."""
        self.users[keys.access] = user_arn(name), keys
        return user_arn(name)

    def script(self, role: str, reply: Callable[[], Reply], *, times: int | None = 1) -> None:
        """The next requests for the role of that name get this reply, each a new one."""
        self.on(lambda request: role_of(request) == arn(role), lambda _: reply(), times=times)

    def of(self, role: str) -> list[Request]:
        """The requests for the role of that name."""
        return [request for request in self.requests if role_of(request) == arn(role)]

    def forms(self, role: str) -> list[dict[str, str]]:
        """What was asked for the role of that name, of what was understood."""
        return [dict(one.form) for one in self.asked if one.role == arn(role)]

    def sessions(self, role: str) -> list[Session]:
        """The sessions of the role of that name, in the order in which they were given."""
        return [one for one in self.issued.values() if one.role == arn(role)]

    def issue(self, asked: Asked, source: str, life: float | None = None) -> Session:
        """A new session."""
        alphabet = string.ascii_letters + string.digits + "/+"
        word = "".join(secrets.choice(alphabet) for _ in range(38)) + "/+"
        token = "FwoGZXIvYXdz//" + secrets.token_urlsafe(270) + "/+=="
        access = "ASIA" + secrets.token_hex(8).upper()
        seconds = self.life if life is None else life
        if seconds is None:
            seconds = float(asked.form.get("DurationSeconds", "3600"))
        now = time.time()
        keys = Keys(access, word, token)
        session = Session(keys, asked.role, asked.name, now, now + seconds, source, asked.tags)
        self.issued[access] = session
        return session

    def relive(self, session: Session, life: float, keys: Keys | None = None) -> Session:
        """The same session with another life, and perhaps other keys of the same name."""
        again = replace(session, end=session.issued + life, keys=keys or session.keys)
        self.issued[session.keys.access] = again
        return again

    # The service.

    def served(self, request: Request) -> Reply:
        """A session, if the request deserves one."""
        form = "json" if request.values("accept") == [b"application/json"] else "xml"
        try:
            region = self.hosts.get(request.authority.decode("latin-1"))
            if region is None:
                raise Refused(400, "InvalidAction", f"this is not {request.authority!r}")
            asked = understood(request, official=self.official)
            source = self.judged(request, asked, region)
        except Refused as refusal:
            self.refused.append(str(refusal))
            return failure(refusal.status, refusal.code, refusal.text, form=form)
        self.asked.append(asked)
        session = self.issue(asked, source)
        usual = json_answer if asked.json else xml_answer
        return self.writers.get(asked.role, usual)(asked, session)

    def judged(self, request: Request, asked: Asked, region: str) -> str:
        """Who asks, if the role is for them."""
        role = self.roles.get(asked.role)
        if asked.action == WEB:
            unsigned(request)
            if role is None:
                raise Refused(403, "AccessDenied", f"not authorized to perform sts:{WEB}")
            source = identified(asked.form["WebIdentityToken"], role.federations)
        else:
            source = self.principal(signer(request, region, self.known))
            external = asked.form.get("ExternalId")
            trusted = role and self.trusted(source) in role.principals
            if not trusted or (role.external is not None and external != role.external):
                raise Refused(403, "AccessDenied", f"{source} may not perform sts:{CHAIN}")
        duration = int(asked.form.get("DurationSeconds", "3600"))
        chained = ":assumed-role/" in source
        if role and duration > (min(role.longest, 3600) if chained else role.longest):
            raise Refused(400, "ValidationError", f"{duration} s exceed the maximum of the role")
        return source

    def known(self, access: str) -> Keys | None:
        """The keys that an access key belongs to."""
        if access in self.users:
            return self.users[access][1]
        session = self.issued.get(access)
        if session and time.time() >= session.end:
            raise Refused(403, "ExpiredToken", "the security token has expired")
        return session.keys if session else None

    def principal(self, access: str) -> str:
        """The ARN of who has an access key."""
        return self.users[access][0] if access in self.users else self.issued[access].arn

    def trusted(self, principal: str) -> str:
        """What a trust policy calls a principal: a session by its role."""
        roles = {session.arn: session.role for session in self.issued.values()}
        return roles.get(principal, principal)

    # The provider behind it.

    def provider(self, request: Request) -> Reply:
        """What Bedrock answers: an error unless a session that is alive has signed the request."""
        try:
            session = self.issued.get(parsed(request).access)
            if session is None:
                return self.misuse("UnrecognizedClientException", "unknown keys")
            if time.time() >= session.end:
                return self.misuse("ExpiredTokenException", f"{time.time() - session.end} s late")
            verify(request, session.keys, region=parsed(request).region)
        except AssertionError as error:
            return self.misuse("InvalidSignatureException", str(error))
        return bedrock_reply(request)

    def misuse(self, code: str, text: str) -> Reply:
        """An error of Bedrock."""
        self.misused.append(f"{code}: {text}")
        reply = json_reply({"message": code}, 403)
        reply.headers = [*reply.headers, (b"x-amzn-errortype", code.encode())]
        return reply


def role_of(request: Request) -> str:
    """The role that a request asks for, if it is a request for one."""
    return dict(parse_qsl(request.body.decode("latin-1"))).get("RoleArn", "")


# Policies.


def exchanging(
    name: str,
    exchange: Manifest | None = None,
    *,
    role: str | None = None,
    region: str = REGION,
    password: str = PASSWORD,
    **more: Any,
) -> list[Manifest]:
    """A policy that takes on a role by a token of an identity provider, and the Secret of the
    exchange; the role has the policy's name, and `more` are fields of `oidcExchangeToken`."""
    token = {"awsRoleArn": role or arn(name), "oidc": exchange or oidc(name=name), **more}
    settings = {"region": region, "oidcExchangeToken": token}
    return [
        policy(name, "AWSCredentials", awsCredentials=settings),
        secret(f"{name}-client", "client-secret", password),
    ]
