"""The real clients of Vertex are answered by its look-alike, if what they bring counts there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from google_clients import CLIENTS, THEIRS, Caller, Client, isolate
from google_keys import CLOUD
from google_recordings import VERTEX
from google_rules import Ledger
from google_vertex import Vertex
from replies import TEXT
from upstream import Upstream

EMAIL = "sa@proj.iam.gserviceaccount.com"
PLACE = ("p", "us-central1")


@pytest.fixture(autouse=True)
def nothing_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential but those of the test."""
    isolate(monkeypatch)


@pytest.fixture
def vertex() -> Vertex:
    """One project, in which the tokens of one account count."""
    return Vertex(Ledger(), {PLACE: {EMAIL}})


@pytest.fixture
def served(vertex: Vertex) -> Iterator[Upstream]:
    """A server of it."""
    with Upstream(default=vertex.served) as server:
        yield server
        assert server.errors == []


def right(vertex: Vertex, seconds: float = 60) -> Caller:
    """A caller whose token counts so long."""
    token = vertex.ledger.issue("service_account", EMAIL, [CLOUD], seconds)
    return Caller(token.text, *PLACE)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_with_a_live_token_is_answered(
    vertex: Vertex, served: Upstream, client: Client
) -> None:
    caller = right(vertex)
    answer = client.ask(caller, f"http://127.0.0.1:{served.port}")
    assert "".join(answer) == "".join(TEXT)
    (used,) = vertex.used
    assert (used.project, used.region, used.token) == (*PLACE, caller.token)
    request = served.only()
    recorded = VERTEX.get(client.name)
    assert request.path == f"/v1/projects/p/locations/us-central1/{client.path}"
    if recorded:
        assert (request.method, request.path) == recorded


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_without_one_is_refused(vertex: Vertex, served: Upstream, client: Client) -> None:
    url = f"http://127.0.0.1:{served.port}"
    ended, elsewhere = right(vertex, 0), Caller(right(vertex).token, THEIRS, PLACE[1])
    for caller, status in ((Caller(), "401"), (ended, "401"), (elsewhere, "403")):
        with pytest.raises(Exception, match=status):
            list(client.ask(caller, url))
    assert vertex.used == []
