"""The stand-ins for the metadata server and for Vertex take what is right and refuse the rest."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from google_keys import CLOUD, IAM, ServiceAccount
from google_metadata import ACCOUNT, EMAIL, HOST, TOKEN, Metadata
from google_rules import PROXIED, TO_A_CLUSTER, Ledger, Life
from google_vertex import Vertex
from raw import Response
from raw import request as raw_request
from replies import TEXT
from upstream import Upstream

FLAVOR = (b"metadata-flavor", b"Google")


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    """The metadata server as a filter finds it."""
    with Metadata() as server:
        yield server


def get(
    metadata: Metadata,
    target: str = TOKEN,
    *more: tuple[bytes, bytes],
    flavor: bool = True,
    host: str = HOST,
    method: bytes = b"GET",
) -> Response:
    """The answer to a request."""
    headers = [(b"host", host.encode()), *([FLAVOR] if flavor else []), *more]
    return raw_request(metadata.port, method, target.encode(), headers)


def test_a_token_is_handed_out_again_until_minutes_are_left(metadata: Metadata) -> None:
    answers = [get(metadata) for _ in range(2)]
    for answer in answers:
        assert answer.values("metadata-flavor") == [b"Google"]
        body = json.loads(answer.body)
        assert body["token_type"] == "Bearer"
        assert 3589 <= body["expires_in"] <= 3599
    first, second = (json.loads(answer.body)["access_token"] for answer in answers)
    token = metadata.ledger.alive(first)
    assert first == second
    assert token
    assert (token.who, token.scopes) == (EMAIL, (CLOUD,))
    metadata.forget()
    assert json.loads(get(metadata).body)["access_token"] != first


def test_a_token_near_its_end_is_replaced_unless_the_test_says_otherwise(
    metadata: Metadata,
) -> None:
    metadata.life = Life(299.9)
    bodies = [json.loads(get(metadata).body) for _ in range(2)]
    assert bodies[0]["access_token"] != bodies[1]["access_token"]
    assert 289 <= bodies[0]["expires_in"] <= 299
    metadata.held = 0
    bodies = [json.loads(get(metadata).body) for _ in range(2)]
    assert bodies[0]["access_token"] == bodies[1]["access_token"]
    for at, token in metadata.given:
        assert math.floor(token.end - at) <= 299


def test_other_scopes_may_be_asked_for(metadata: Metadata) -> None:
    scopes = quote(f"{CLOUD},{IAM}", "")
    body = json.loads(get(metadata, f"{TOKEN}?scopes={scopes}").body)
    token = metadata.ledger.alive(body["access_token"])
    assert token
    assert token.scopes == (CLOUD, IAM)
    wrong = ("", "?", "?scopes=", "?scopes=openid", f"?scope={quote(CLOUD, '')}", "?alt=json")
    for query in (*wrong[1:], f"?scopes={quote(CLOUD + ' ' + IAM, '')}", "?scopes=%zz"):
        assert get(metadata, TOKEN + query).status == 400
    assert len(metadata.given) == 1


def test_a_wrong_request_to_the_metadata_server_is_refused(metadata: Metadata) -> None:
    refusals = [get(metadata, flavor=False), get(metadata, TOKEN, FLAVOR)]
    other = (b"metadata-flavor", b"google")
    refusals.append(get(metadata, TOKEN, other, flavor=False))
    for name in (*PROXIED, *TO_A_CLUSTER, "x-envoy-anything", "authorization", "cookie"):
        refusals.append(get(metadata, TOKEN, (name.encode(), b"x")))
    assert {answer.status for answer in refusals} == {403}
    assert get(metadata, method=b"POST").status == 405
    for target in ("/", f"{TOKEN}/", f"{ACCOUNT}/?recursive=true", TOKEN.replace("v1", "v1beta1")):
        assert get(metadata, target).status == 404
    for host in ("169.254.169.254", f"{HOST}:80", "localhost"):
        assert get(metadata, host=host).status == 404
    assert get(metadata, host=f"127.0.0.1:{metadata.port}").status == 200
    assert len(metadata.given) == 1
    assert {len(answer.values("metadata-flavor")) for answer in refusals} == {1}


def test_an_answer_may_lack_the_flavor_or_be_scripted(metadata: Metadata) -> None:
    metadata.flavor = None
    assert get(metadata).values("metadata-flavor") == []
    metadata.flavor = b"AWS"
    assert get(metadata).values("metadata-flavor") == [b"AWS"]
    metadata.script(lambda request: metadata.refusal(503, "no"), times=2)
    assert [get(metadata).status for _ in range(3)] == [503, 503, 200]
    metadata.life = Life(raw='"299"')
    assert b'"expires_in": "299"' in get(metadata).body
    assert len(metadata.asked) == 6


# Vertex.

PLACE = ("proj", "us-central1")
MODEL = "/v1/projects/proj/locations/us-central1/publishers/google/models/m:generateContent"
CLAUDE = MODEL.replace("google/models/m:generateContent", "anthropic/models/c@20241022:rawPredict")


@pytest.fixture(scope="module")
def account() -> ServiceAccount:
    """One whose own JWTs count."""
    return ServiceAccount()


@pytest.fixture
def vertex(account: ServiceAccount) -> Vertex:
    """One project."""
    places = {PLACE: {account.email}}
    return Vertex(Ledger(), places, {account.email: account})


@pytest.fixture
def served(vertex: Vertex) -> Iterator[Upstream]:
    """A server of it."""
    with Upstream(default=vertex.served) as server:
        yield server
        assert server.errors == []


def ask(
    served: Upstream, *bearers: str, target: str = MODEL, body: bytes = b"{}", **more: Any
) -> Response:
    """The answer to a request with these tokens."""
    headers = [(b"host", b"us-central1-aiplatform.googleapis.com")]
    headers += [(b"authorization", f"Bearer {one}".encode()) for one in bearers]
    headers += [(name.replace("_", "-").encode(), b"x") for name in more]
    return raw_request(served.port, b"POST", target.encode(), headers, body)


def test_a_live_token_of_the_right_account_is_answered(
    vertex: Vertex, served: Upstream, account: ServiceAccount
) -> None:
    token = vertex.ledger.issue("service_account", account.email, [CLOUD], 60).text
    answers = [ask(served, token, target=target) for target in (MODEL, CLAUDE)]
    assert [answer.status for answer in answers] == [200, 200]
    assert all("".join(TEXT).encode() in answer.body for answer in answers)
    now = int(time.time())
    claims = {"iss": account.email, "sub": account.email, "iat": now, "exp": now + 3600}
    own = account.signed({**claims, "scope": CLOUD})
    assert ask(served, own, target=MODEL.replace("/v1/", "/v1beta1/")).status == 200
    assert [(used.project, used.region, used.who) for used in vertex.used] == [
        (*PLACE, account.email)
    ] * 3
    assert [used.token for used in vertex.used] == [token, token, own]


def test_any_other_credential_is_refused(
    vertex: Vertex, served: Upstream, account: ServiceAccount
) -> None:
    def issued(who: str = account.email, scope: str = CLOUD, seconds: float = 60) -> str:
        return vertex.ledger.issue("service_account", who, [scope], seconds).text

    for wrong in ([], [""], ["ya29.x"], [issued(), issued()], [issued(seconds=0)]):
        assert ask(served, *wrong).status == 401
    assert ask(served, issued(scope=IAM)).status == 401
    assert ask(served, account.assertion()).status == 401
    assert ask(served, issued("other@proj.iam.gserviceaccount.com")).status == 403
    for name in ("x_goog_api_key", "cookie", "api_key"):
        assert ask(served, issued(), **{name: True}).status == 400
    assert ask(served, issued(), target=MODEL + "?key=x").status == 400
    assert vertex.used == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/publishers/google/models/m:generateContent",
        "publishers/google/models/m:generateContent",
        MODEL.replace("/v1/", "/v2/"),
        MODEL.replace("/v1/", "/"),
        MODEL.replace("/v1/projects", "/v1//projects"),
        MODEL.replace("/locations/us-central1", ""),
        MODEL.replace("projects/proj", "projects/"),
        "/v1/projects/proj/locations/us-central1" + MODEL[3:],
        MODEL.replace("generateContent", "rawPredict"),
        MODEL.replace(":generateContent", ""),
    ],
)
def test_any_other_path_is_nowhere(
    vertex: Vertex, served: Upstream, account: ServiceAccount, target: str
) -> None:
    token = vertex.ledger.issue("service_account", account.email, [CLOUD], 60).text
    answer = ask(served, token, target=target)
    assert answer.status == 404
    assert answer.body.startswith(b"<!DOCTYPE html>")
    assert vertex.used == []


def test_another_project_or_location_is_not_this_account_s(
    vertex: Vertex, served: Upstream, account: ServiceAccount
) -> None:
    token = vertex.ledger.issue("service_account", account.email, [CLOUD], 60).text
    for target in (MODEL.replace("proj/", "other/"), MODEL.replace("us-central1", "us-east5")):
        answer = ask(served, token, target=target)
        assert answer.status == 403
        assert json.loads(answer.body)["error"]["status"] == "PERMISSION_DENIED"
