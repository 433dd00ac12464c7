"""The real clients of Vertex, each with a token and a project of its own that must not arrive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway import appears
from google_clients import CLIENTS, THEIRS, WRONG, Caller, Client, isolate
from google_keys import ServiceAccount
from google_metadata import EMAIL
from google_rig import Rig, serving
from google_services import REGION, Google, default, keyed, project
from replies import TEXT
from upstream import Authority

NAMES = ("key", "machine")


@pytest.fixture(autouse=True)
def nothing_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential but those of the test."""
    isolate(monkeypatch)


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def rig(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Rig]:
    """A policy with a key, and one with the token of the machine."""
    with Google(authority) as services:
        account = ServiceAccount()
        services.oauth.accounts[account.email] = account
        services.place("key", account.email)
        services.place("machine", EMAIL)
        policies = {"key": keyed("key", account.file()), "machine": default("machine")}
        with serving(policies, services, authority, http2=request.param) as rig:
            yield rig
        assert services.refused == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_with_a_wrong_token_is_answered(rig: Rig, client: Client, name: str) -> None:
    rig.upstream.clear()
    before = len(rig.google.vertex.used)
    assert "".join(client.ask(Caller(), rig.url(name))) == "".join(TEXT)
    request = rig.upstream.only()
    (used,) = rig.google.vertex.used[before:]
    assert used.path == f"/v1/projects/{project(name)}/locations/{REGION}/{client.path}"
    # Envoy tells the provider the path from before a rewrite of the route.
    assert [place for place in appears(THEIRS, request) if place != "x-envoy-original-path"] == []
    assert appears(WRONG, request) == []
    assert rig.google.ledger.alive(used.token)
    assert rig.upstream.errors == []
