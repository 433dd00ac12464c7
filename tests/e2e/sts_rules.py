"""How STS reads a form, and checks an identity token and a signature."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import jwt

import entra_rules
from aws import Keys, parsed, resigned
from entra_rules import Federation
from wire import Request

VERSION = "2011-06-15"
WEB, CHAIN = "AssumeRoleWithWebIdentity", "AssumeRole"
AUDIENCE = "sts.amazonaws.com"
FORM = "application/x-www-form-urlencoded; charset=utf-8"

ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
SESSION = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
EXTERNAL = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
TAG = re.compile(r"Tags\.member\.([1-9]\d?)\.(Key|Value)", re.ASCII)

HEADERS = {"host", "accept", "content-type", "content-length", "user-agent"}
SIGNED = {"authorization", "x-amz-date", "x-amz-security-token"}
OF_CLIENTS = {"accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request"}
"""Headers that botocore adds."""


class Refused(Exception):
    """The answer to a request that is not as it should be."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.status, self.code, self.text = status, code, text


@dataclass
class Role:
    """Who may have it, and on what conditions."""

    federations: Sequence[Federation] = ()
    """Whose identity tokens stand for it."""
    principals: Sequence[str] = ()
    """The ARNs of the users and roles that may take it on."""
    external: str | None = None
    longest: int = 3600
    """Of its sessions, in seconds."""


@dataclass(frozen=True)
class Asked:
    """What a request asked for, once decoded."""

    action: str
    role: str
    name: str
    form: Mapping[str, str]
    json: bool
    """Whether the answer should be."""

    @property
    def tags(self) -> dict[str, str]:
        """Of the session, in order of their numbers."""
        pairs = {}
        while key := self.form.get(f"Tags.member.{len(pairs) + 1}.Key"):
            pairs[key] = self.form[f"Tags.member.{len(pairs) + 1}.Value"]
        return pairs


@dataclass(frozen=True)
class Session:
    """One that was given."""

    keys: Keys
    role: str
    name: str
    issued: float
    end: float
    source: str
    """Who got it: the subject of a token, or the ARN of a principal."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """What it is called itself."""
        start, _, path = self.role.partition(":role/")
        place = start.replace(":iam:", ":sts:")
        return f"{place}:assumed-role/{path.rpartition('/')[2]}/{self.name}"


# Requests.


def understood(request: Request, *, official: bool = False) -> Asked:
    """The request decoded, if it has the right form."""
    if (request.method, request.target) != ("POST", b"/"):
        raise Refused(404, "InvalidAction", f"{request.method} {request.target!r}")
    if request.values("content-type") != [FORM.encode()]:
        raise Refused(400, "InvalidAction", f"a body of {request.values('content-type')}")
    accept = request.values("accept")
    if accept != [b"application/json"] and not (official and accept in ([], [b"*/*"])):
        raise Refused(406, "InvalidAction", f"accept {accept}")
    known = HEADERS | SIGNED | (OF_CLIENTS if official else set())
    names = [name.decode() for name, _ in request.headers]
    if unknown := sorted({name for name in names if name not in known or names.count(name) > 1}):
        raise Refused(400, "InvalidAction", f"headers of somebody else: {unknown}")
    if request.trailers:
        raise Refused(400, "InvalidAction", "trailers")
    form = fields(request.body)
    action = form.get("Action", "")
    if action not in (WEB, CHAIN) or form.get("Version") != VERSION:
        raise Refused(400, "InvalidAction", f"could not find operation {action!r}")
    checked(action, form)
    json = accept == [b"application/json"]
    return Asked(action, form["RoleArn"], form["RoleSessionName"], form, json)


def fields(body: bytes) -> dict[str, str]:
    """The fields of a form, each of them once."""
    try:
        return entra_rules.parsed(body)
    except entra_rules.Refused as refusal:
        raise Refused(400, "MalformedInput", str(refusal).partition(": ")[2]) from None


def checked(action: str, form: Mapping[str, str]) -> None:
    """The fields are those of the action, and each is of the right form."""
    required = {"Action", "Version", "RoleArn", "RoleSessionName"}
    required |= {"WebIdentityToken"} if action == WEB else set()
    optional = {"DurationSeconds"} | ({"ExternalId"} if action == CHAIN else set())
    missing = required - form.keys()
    unknown = {name for name in form.keys() - required - optional if not TAG.fullmatch(name)}
    tags = [int(found[1]) for name in form if (found := TAG.fullmatch(name))]
    if missing or unknown or (tags and action == WEB):
        raise Refused(400, "ValidationError", f"without {missing}, with {unknown}, {len(tags)}")
    every = list(range(1, len(tags) // 2 + 1))
    if sorted(tags) != sorted(every * 2) or len(every) > 50:
        raise Refused(400, "ValidationError", f"the numbers of tags are {tags}")
    keys = [form.get(f"Tags.member.{number}.Key", "") for number in every]
    values = [form.get(f"Tags.member.{number}.Value", "") for number in every]
    if not all(1 <= len(key) <= 128 for key in keys) or any(len(one) > 256 for one in values):
        raise Refused(400, "ValidationError", "a tag is too short or too long")
    if len({key.lower() for key in keys}) < len(keys):
        raise Refused(400, "InvalidParameterValue", "a tag occurs twice")
    for name, pattern in (
        ("RoleArn", ROLE),
        ("RoleSessionName", SESSION),
        ("ExternalId", EXTERNAL),
    ):
        if name in form and not pattern.fullmatch(form[name]):
            raise Refused(400, "ValidationError", f"{name} {form[name]!r}")
    duration = form.get("DurationSeconds", "3600")
    if not re.fullmatch(r"[1-9]\d{2,4}", duration) or not 900 <= int(duration) <= 43200:
        raise Refused(400, "ValidationError", f"DurationSeconds {duration!r}")


# Who asks.


def identified(token: str, federations: Sequence[Federation]) -> str:
    """The subject of a token that one of the federations accepts."""
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise Refused(400, "InvalidIdentityToken", "the token is no JWT") from None
    left = [one for one in federations if one.issuer == claims.get("iss")]
    if not left:
        raise Refused(400, "InvalidIdentityToken", "no provider has this issuer")
    keys = [key for key in left[0].keys().keys if key.key_id == header.get("kid")]
    options: Any = {"require": ["iss", "aud", "sub", "exp", "iat"], "verify_aud": False}
    try:
        jwt.decode(token, keys[0], algorithms=["RS256"], options=options)
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        raise Refused(400, "ExpiredTokenException", "the token has expired") from None
    except (jwt.PyJWTError, IndexError):
        raise Refused(400, "InvalidIdentityToken", "its signature is wrong") from None
    left = [one for one in left if one.audience == claims["aud"]]
    if not left:
        raise Refused(400, "InvalidIdentityToken", "incorrect token audience")
    if claims["sub"] not in [one.subject for one in left]:
        raise Refused(403, "AccessDenied", f"not authorized to perform sts:{WEB}")
    return claims["sub"]


def unsigned(request: Request) -> None:
    """Nothing of the request says who asks, but the token."""
    if names := sorted(name for name in SIGNED if request.values(name)):
        raise Refused(400, "InvalidAction", f"this operation is not signed: {names}")


def signer(request: Request, region: str, known: Callable[[str], Keys | None]) -> str:
    """The access key that the request is signed with, as it was received, for STS and now."""
    try:
        found = parsed(request)
    except AssertionError as error:
        raise Refused(403, "MissingAuthenticationToken", str(error)) from None
    keys = known(found.access)
    token = request.values("x-amz-security-token")
    if keys is None or token != ([keys.token.encode()] if keys.token else []):
        raise Refused(403, "InvalidClientTokenId", "the security token is invalid")
    wanted = {"content-type", "host", "x-amz-date"}
    wanted |= {"x-amz-security-token"} if keys.token else set()
    if found.signed != tuple(sorted(wanted)):
        raise Refused(400, "IncompleteSignature", f"signed headers {found.signed}")
    if (found.service, found.region) != ("sts", region):
        text = f"scoped to {found.service} in {found.region}, not {region}"
        raise Refused(403, "SignatureDoesNotMatch", text)
    if abs(datetime.now(timezone.utc) - found.date) > timedelta(minutes=5):
        raise Refused(403, "SignatureDoesNotMatch", f"signature expired: {found.date}")
    if resigned(request, keys, found) != request.header("authorization"):
        raise Refused(403, "SignatureDoesNotMatch", "the signature is wrong")
    return found.access
