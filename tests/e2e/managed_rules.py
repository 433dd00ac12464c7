"""How services of managed identities read a request, and what identities and tokens are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from entra_rules import WORDS, decoded
from replies import json_reply
from wire import Reply

SYSTEM = "of-the-system"
"""Stands for the system-assigned identity where one is named, and is its client id."""

PLAIN_HEADERS = {"host", "accept", "user-agent"}
"""What a request may carry beside what it has to."""

OF_CLIENTS = {
    "accept-encoding",
    "connection",
    "metadata",
    "x-client-sku",
    "x-client-ver",
    "x-ms-client-request-id",
}
"""Headers that the official clients add."""

OF_ENVOY = {"x-envoy-internal", "x-envoy-expected-rq-timeout-ms"}
"""Headers that Envoy adds to what goes to a cluster without a listener in between."""

PIECE = re.compile(r"(?:[A-Za-z0-9._~!$'()*,;:@/?-]|%[0-9A-Fa-f]{2})+")
"""A name or a value of a query (RFC 3986 section 3.4); a plus sign would be read in two ways."""

Fields = dict[str, Any]
Answer = Reply | Callable[[], Reply]


@dataclass(frozen=True)
class User:
    """A user-assigned identity, by its three names."""

    client: str
    object: str = ""
    resource: str = ""


@dataclass(frozen=True)
class Issued:
    """A token that was given; times are unix seconds."""

    client: str
    resource: str
    begin: float
    end: float


class Refused(Exception):
    """A request that no client of ours may send."""


def parsed(query: bytes, known: set[str]) -> dict[str, str]:
    """The parameters of a query, each of them known and there once."""
    found: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if not PIECE.fullmatch(name) or not PIECE.fullmatch(value):
            raise Refused(f"the query is {query!r}")
        if name in found or name not in known:
            raise Refused(f"the parameter {name!r}")
        found[name] = decoded(value)
    return found


def failure(status: int, error: str, text: str = "no", **headers: str) -> Reply:
    """An error of the metadata service."""
    reply = json_reply({"error": error, "error_description": f"{text} {WORDS}"}, status)
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    reply.headers = [*reply.headers, *more]
    return reply
