"""google-auth in this process, which takes the stand-ins for Google itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google.auth
import google.auth._exponential_backoff
import pytest
import urllib3.util.connection
from google.auth import identity_pool
from google.auth.transport.requests import Request as Transport
from google.oauth2 import service_account

from entra_rules import fields
from google_keys import CLOUD, ServiceAccount, decoded
from google_metadata import ADDRESS
from google_oauth import User
from google_recordings import HEADER, REQUESTS, RUNS, Sent
from google_services import Google
from google_sts import Provider
from upstream import Authority
from wire import Request

OF_REQUESTS = {"host", "user-agent", "accept-encoding", "accept", "connection"}
"""What the library `requests` always sends."""

USER = User("1//rt", "cid", "cs")
"""The user of the recordings."""

SUBJECT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln"
"""The subject token of the recordings."""


@contextlib.contextmanager
def official(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, folder: Path
) -> Iterator[Google]:
    """The stand-ins; google-auth arrives there when it calls Google by its real names, and does not
    sleep between its tries."""
    trusted = folder / "ca.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(folder / "nothing"))
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GCE_", "GCLOUD_"))]:
        monkeypatch.delenv(name)
    quick = SimpleNamespace(sleep=lambda _seconds: None)
    monkeypatch.setattr(google.auth._exponential_backoff, "time", quick)
    with Google(authority, official=True) as services:
        services.oauth.users.append(USER)
        services.metadata.hosts.add(ADDRESS)
        ports = {(name, 443): port for name, port in services.hosts.items()}
        ports |= {(name, 80): services.metadata.port for name in services.metadata.hosts}
        real = urllib3.util.connection.create_connection

        def connect(address: tuple[str, int], *args: Any, **options: Any) -> Any:
            own = address[0] == "127.0.0.1"
            assert own or address in ports, f"a call to {address}"
            place = address if own else ("127.0.0.1", ports[address])
            return real(place, *args, **options)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        yield services
        assert services.errors == []


def short(request: Request) -> Sent:
    """A request as the recordings tell one."""
    form: dict[str, str] = {}
    body: dict[str, Any] = {}
    claims: dict[str, Any] = {}
    kind = request.header("content-type")
    if kind == "application/x-www-form-urlencoded":
        form = dict(fields(request.body))
    elif request.body:
        body = request.json()
    if "assertion" in form:
        header, claims = decoded(form["assertion"])
        assert {**header, "kid": "KEY"} == HEADER
        claims["life"] = claims.pop("exp") - claims.pop("iat")
        form["assertion"] = "JWT"
    authorization = request.header("authorization")
    if authorization and authorization.startswith("Bearer "):
        authorization = "Bearer"
    names = {name.decode() for name, _ in request.headers} - OF_REQUESTS
    headers, target = " ".join(sorted(names)), request.target.decode()
    host = request.authority.decode()
    return Sent(request.method, host, target, headers, kind, authorization, form, body, claims)


def assert_recorded(services: Google, run: str, *without: str) -> None:
    """The stand-ins have had the requests of a recorded run, in the order of each of them; but for
    those to a place of the test's own."""
    names = [name for name in RUNS[run] if name not in without]
    expected = sorted((REQUESTS[name] for name in names), key=lambda one: one.host)
    hosts = {one.host for one in expected}
    seen = [short(request) for server in services.servers for request in server.requests]
    assert {one.host for one in seen} == hosts
    assert sorted(seen, key=lambda one: one.host) == expected


def refreshed(services: Google, credentials: Any) -> None:
    """The client gets a token that counts, and knows when it ends."""
    credentials.refresh(Transport())
    token = services.ledger.alive(credentials.token)
    assert token
    assert services.refused == []
    assert abs(credentials.expiry.replace(tzinfo=timezone.utc).timestamp() - token.end) < 5


def by_key(
    account: ServiceAccount, scopes: tuple[str, ...] = (CLOUD,), **file: Any
) -> service_account.Credentials:
    """What google-auth makes of a key."""
    return service_account.Credentials.from_service_account_info(
        account.file(**file), scopes=list(scopes)
    )


def external(provider: Provider, source: dict[str, Any], **other: Any) -> identity_pool.Credentials:
    """What google-auth makes of a file of this provider."""
    return identity_pool.Credentials.from_info(provider.file(source, **other), scopes=[CLOUD])
