"""A stand-in for the metadata server of a machine at Google, stricter than the real one.

google-auth gets its tokens from it in test_google_stand_in_clients.py.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

import entra_rules
from google_keys import CLOUD, SCOPES
from google_rules import Ledger, Life, Token, granted, leaks
from replies import json_reply
from upstream import Upstream
from wire import Reply, Request

HOST = "metadata.google.internal"
ADDRESS = "169.254.169.254"
ROOT = "/computeMetadata/v1"
ACCOUNT = f"{ROOT}/instance/service-accounts/default"
TOKEN = f"{ACCOUNT}/token"
FLAVOR = (b"metadata-flavor", b"Google")
SERVER = (b"server", b"Metadata Server for VM")
EMAIL = "123-compute@developer.gserviceaccount.com"
HELD = 300
"""Seconds before its end from which a token is not handed out again."""


class Metadata(Upstream):
    """The metadata server, by plain HTTP. With `official` it also answers what only the official
    clients ask for."""

    def __init__(
        self,
        ledger: Ledger | None = None,
        *,
        email: str = EMAIL,
        scopes: Sequence[str] = (CLOUD,),
        hosts: Sequence[str] = (HOST,),
        official: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(default=self.served, **options)
        self.ledger = ledger or Ledger()
        self.email = email
        self.scopes = list(scopes)
        """Of the machine: those of a token for which nobody asks for others."""
        self.hosts = set(hosts)
        """By which it may be called; its own address and port always."""
        self.official = official
        self.life = Life()
        self.held: float = HELD
        """A token is handed out again as long as more seconds than these are left to it."""
        self.universe: str | None = None
        self.flavor: bytes | None = FLAVOR[1]
        """What answers carry; None leaves it out."""
        self.given: list[tuple[float, Token]] = []
        """When each answer with a token was given, and the token."""
        self.refused: list[str] = []
        """Why requests were refused."""
        self._kept: dict[tuple[str, ...], Token] = {}

    @property
    def asked(self) -> list[Request]:
        """The requests for a token."""
        return [request for request in self.requests if request.path == TOKEN]

    def script(self, handler: Any, *, times: int | None = 1) -> None:
        """The next requests for a token get what this function answers."""
        self.on(TOKEN, handler, times=times)

    def forget(self) -> None:
        """The next token is a new one."""
        self._kept.clear()

    def served(self, request: Request) -> Reply:
        """What stands at a path, if the request is as it should be."""
        reply = self.answered(request)
        flavor = [] if self.flavor is None else [(FLAVOR[0], self.flavor)]
        reply.headers = [*reply.headers, *flavor, SERVER]
        return reply

    def answered(self, request: Request) -> Reply:
        """The same without what every answer carries."""
        hosts = {*self.hosts, f"{self.host}:{self.port}"}
        if request.authority.decode("latin-1") not in hosts:
            return self.refusal(404, f"this is not {request.authority!r}")
        if found := leaks(request):
            return self.refusal(403, f"headers of a proxy: {found}")
        if request.values("authorization"):
            return self.refusal(403, "an authorization")
        if request.values(FLAVOR[0].decode()) != [FLAVOR[1]]:
            return self.refusal(403, "Missing Metadata-Flavor:Google header.")
        if request.method != "GET" or request.body or request.trailers:
            return self.refusal(405, f"{request.method}, or a body")
        if request.path == TOKEN:
            return self.token(request)
        if self.official and (known := self.known(request.target.decode("latin-1"))):
            return known
        return self.refusal(404, f"no such path {request.target!r}")

    def token(self, request: Request) -> Reply:
        """A token, which may have been handed out before."""
        scopes = tuple(self.scopes)
        if b"?" in request.target:
            try:
                query = entra_rules.parsed(request.query)
            except entra_rules.Refused:
                return self.refusal(400, f"the query is {request.query!r}")
            scopes = tuple(query.get("scopes", "").split(","))
            if query.keys() != {"scopes"} or not set(scopes) <= SCOPES:
                return self.refusal(400, f"the query is {query}")
        kept = self._kept.get(scopes)
        if kept is None or kept.end - time.time() <= self.held:
            kept = self.ledger.issue("metadata", self.email, scopes, self.life.seconds)
            self._kept[scopes] = kept
        now = time.time()
        self.given.append((now, kept))
        left = max(0, math.floor(kept.end - now))
        raw = json.dumps(left) if self.life.raw == "" else self.life.raw
        return granted(kept, Life(left, raw, self.life.more))

    def known(self, target: str) -> Reply | None:
        """What official clients look up before."""
        account = {"aliases": ["default"], "email": self.email, "scopes": self.scopes}
        if target == f"{ACCOUNT}/?recursive=true":
            return json_reply(account)
        texts = {"/": "computeMetadata/\n", f"{ROOT}/project/project-id": "proj"}
        if self.universe is not None:
            texts[f"{ROOT}/universe/universe-domain"] = self.universe
        if target not in texts:
            return None
        return Reply(headers=[(b"content-type", b"text/plain")], body=texts[target].encode())

    def refusal(self, status: int, text: str) -> Reply:
        """An error, which is a page."""
        self.refused.append(text)
        page = f"<!DOCTYPE html><title>Error {status}</title><p>{text} {entra_rules.WORDS}"
        return Reply(status, headers=[(b"content-type", b"text/html")], body=page.encode())
