"""How Entra ID reads a form, checks an assertion and words an error."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import jwt

from replies import json_reply
from wire import Reply

AUDIENCE = "api://AzureADTokenExchange"
BEARER_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

PIECE = re.compile(r"(?:[A-Za-z0-9*._~+-]|%[0-9A-Fa-f]{2})*")
"""A name or a value of a form, encoded."""

WORDS = "text that only the provider writes"
"""Part of every error that it describes; nobody else has to repeat it."""


class Refused(Exception):
    """The answer to a request that is not as it should be."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(f"AADSTS{number}: {text}")
        self.reply = failure(status, error, number, text)


@dataclass(frozen=True)
class Federation:
    """A federated credential: whose tokens stand for an application."""

    issuer: str
    subject: str
    keys: Callable[[], jwt.PyJWKSet]
    """The issuer's public keys."""
    audience: str = AUDIENCE


def federated(form: Mapping[str, str], credentials: Sequence[Federation]) -> None:
    """The assertion is one that a federated credential of the application accepts."""
    if form["client_assertion_type"] != BEARER_TYPE:
        raise Refused(400, "invalid_request", 900144, "no such client_assertion_type")
    try:
        header = jwt.get_unverified_header(form["client_assertion"])
        unverified = jwt.decode(form["client_assertion"], options={"verify_signature": False})
    except jwt.PyJWTError:
        raise Refused(400, "invalid_request", 50027, "the assertion is no JWT") from None
    left = list(credentials)
    for claim, wanted, number in (
        ("iss", "issuer", 700211),
        ("aud", "audience", 700212),
        ("sub", "subject", 700213),
    ):
        left = [one for one in left if unverified.get(claim) == getattr(one, wanted)]
        if not left:
            raise Refused(
                401, "invalid_client", number, f"no federated credential has this {claim}"
            )
    keys = [key for key in left[0].keys().keys if key.key_id == header.get("kid")]
    try:
        options = {"require": ["iss", "aud", "sub", "exp", "iat"], "verify_aud": False}
        jwt.decode(form["client_assertion"], keys[0], algorithms=["RS256"], options=options)
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        text = "the assertion is not within its valid time range"
        raise Refused(401, "invalid_client", 700024, text) from None
    except (jwt.PyJWTError, IndexError):
        text = "the assertion's signature cannot be verified"
        raise Refused(401, "invalid_client", 700027, text) from None


def fields(body: bytes) -> list[tuple[str, str]]:
    """The fields of a form whose encoding is exact."""
    pairs = []
    try:
        for pair in body.decode("ascii").split("&"):
            name, equals, value = pair.partition("=")
            if not equals or not PIECE.fullmatch(name) or not PIECE.fullmatch(value):
                raise ValueError(pair)
            pairs.append((decoded(name), decoded(value)))
    except ValueError:
        raise Refused(400, "invalid_request", 90014, "the form is not well encoded") from None
    return pairs


def parsed(body: bytes) -> dict[str, str]:
    """The same, each of them once."""
    pairs = fields(body)
    form = dict(pairs)
    if len(form) < len(pairs):
        raise Refused(400, "invalid_request", 90014, "a field occurs twice")
    return form


def decoded(text: str) -> str:
    """A name or value of a form, decoded once."""
    return unquote_to_bytes(text.replace("+", " ")).decode()


def encoded(part: Mapping[str, Any]) -> str:
    """A part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def failure(status: int, error: str, number: int, text: str = "", **headers: str) -> Reply:
    """An error as Entra writes it."""
    ids = {"trace_id": secrets.token_hex(8), "correlation_id": secrets.token_hex(8)}
    stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    described = f"AADSTS{number}: {text} {WORDS}. Trace ID: {ids['trace_id']} Timestamp: {stamp}"
    uri = f"https://login.microsoftonline.com/error?code={number}"
    body = {"error": error, "error_description": described, "error_codes": [number]}
    reply = json_reply({**body, "timestamp": stamp, **ids, "error_uri": uri}, status)
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    reply.headers = [*reply.headers, *more]
    return reply
