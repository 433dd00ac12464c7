"""The stand-ins for managed identities take what is right and refuse the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import h11
import pytest

from entra import PUBLIC, scope_of
from launch import poll
from managed_identity import ADDRESS, AppService, Machine, ManagedIdentities
from managed_rules import OF_CLIENTS, OF_ENVOY, SYSTEM, User, failure
from raw import Response
from raw import request as raw_request
from wire import Header

USER = User("client-1", "object-1", "/subscriptions/s/u")
RESOURCE = scope_of(PUBLIC).removesuffix("/.default")
METADATA = (b"metadata", b"true")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """With one user-assigned identity."""
    with Machine([USER], hosts=[ADDRESS]) as server:
        yield server


@pytest.fixture
def app() -> Iterator[AppService]:
    """The same."""
    with AppService([USER]) as server:
        yield server


def query(server: ManagedIdentities, **more: str) -> bytes:
    """A query that is right, with what is added."""
    return urlencode({"api-version": server.version, "resource": RESOURCE, **more}).encode()


def get(
    server: ManagedIdentities,
    text: bytes | None = None,
    *headers: Header,
    path: bytes | None = None,
    host: bytes | None = None,
    method: bytes = b"GET",
    body: bytes = b"",
    proof: list[Header] | None = None,
) -> Response:
    """The answer to a request that is right but for what the arguments say."""
    target = (path or server.path.encode()) + b"?" + (query(server) if text is None else text)
    name = host or f"127.0.0.1:{server.port}".encode()
    if proof is None:
        proof = [METADATA]
        if isinstance(server, AppService):
            proof = [(b"x-identity-header", server.header.encode())]
    return raw_request(server.port, method, target, [(b"host", name), *proof, *headers], body)


def assert_refused(server: ManagedIdentities, answer: Response) -> None:
    """It is a refusal, and the stand-in says so."""
    assert answer.status == 403, answer
    assert len(server.refused) == 1
    server.refused.clear()
    assert not server.issued
    assert not server.asked


def test_a_machine_gets_a_token_that_counts_until_its_end(machine: Machine) -> None:
    machine.life = 1800
    asked = time.time()
    body = json.loads(get(machine).body)
    token = body.pop("access_token")
    assert body.pop("token_type") == "Bearer"
    assert body.pop("client_id") == SYSTEM
    assert body.pop("resource") == RESOURCE
    assert all(isinstance(value, str) for value in body.values())
    assert body["expires_in"] == body["ext_expires_in"] == "1800"
    assert abs(int(body["expires_on"]) - asked - 1800) < 2
    assert abs(int(body["not_before"]) - asked) < 2
    assert machine.alive(token, asked + 1799)
    assert not machine.alive(token, time.time() + 1800)
    assert not machine.alive(token + "x")
    assert json.loads(get(machine, host=ADDRESS.encode()).body)["access_token"] != token
    assert machine.given() == list(machine.issued)
    assert len(machine.given()) == 2
    assert machine.refused == []


def test_app_service_tells_the_end_of_a_token_and_not_its_life(app: AppService) -> None:
    app.life = 1800
    body = json.loads(get(app).body)
    assert body.keys() == {"access_token", "client_id", "expires_on", "resource", "token_type"}
    assert isinstance(body["expires_on"], str)
    assert abs(int(body["expires_on"]) - time.time() - 1800) < 2
    assert app.alive(body["access_token"])


@pytest.mark.parametrize("kind", [Machine, AppService])
def test_a_token_may_be_given_again_while_it_lives(kind: type[ManagedIdentities]) -> None:
    with kind([USER]) as server:
        server.life, server.keeps = 2, 1
        first = json.loads(get(server).body)
        assert json.loads(get(server).body)["access_token"] == first["access_token"]
        other = json.loads(get(server, query(server, client_id=USER.client)).body)
        assert other["access_token"] != first["access_token"]

        def another() -> bool:
            return json.loads(get(server).body)["access_token"] != first["access_token"]

        poll(another, 5, "another token")
        assert server.alive(first["access_token"], time.time())


NAMES = {
    Machine: {"client_id": USER.client, "object_id": USER.object, "msi_res_id": USER.resource},
    AppService: {"client_id": USER.client, "object_id": USER.object, "mi_res_id": USER.resource},
}


@pytest.mark.parametrize("kind", NAMES)
def test_an_identity_has_three_names(kind: type[ManagedIdentities]) -> None:
    with kind([USER]) as server:
        for name, value in NAMES[kind].items():
            body = json.loads(get(server, query(server, **{name: value})).body)
            assert body["client_id"] == USER.client
            answer = get(server, query(server, **{name: value + "0"}))
            assert answer.status == 400
            assert b"Identity not found" in answer.body
            assert len(server.queries(value)) == 1
        assert server.refused == []
        server.system = None
        assert get(server).status == 400
        wrong = query(server).replace(b"cognitiveservices", b"other")
        answer = get(server, wrong)
        assert answer.status == 400
        assert b"AADSTS500011" in answer.body
        form = {"error", "error_description"} if kind is Machine else {"statusCode", "message"}
        assert form <= json.loads(answer.body).keys()


@pytest.mark.parametrize("kind", [Machine, AppService])
def test_a_query_may_be_escaped_or_not(kind: type[ManagedIdentities]) -> None:
    with kind() as server:
        for resource in (RESOURCE, urlencode({"": RESOURCE})[1:]):
            text = f"resource={resource}&api-version={server.version}".encode()
            assert get(server, text).status == 200


LEAKS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "x-egress-scheme",
    "x-envoy-internal",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-attempt-count",
    "forwarded",
    "via",
    "authorization",
    "cookie",
    "api-key",
    "content-type",
    *sorted(OF_CLIENTS - {"metadata"}),
)


@pytest.mark.parametrize("kind", [Machine, AppService])
def test_a_header_that_no_client_sends_is_refused(kind: type[ManagedIdentities]) -> None:
    with kind() as server:
        for name in LEAKS:
            assert_refused(server, get(server, None, (name.encode(), b"1")))
        assert get(server, None, (b"accept", b"*/*"), (b"user-agent", b"x")).status == 200
    with kind(passes=OF_ENVOY) as server:
        for name in set(LEAKS) - OF_ENVOY:
            assert_refused(server, get(server, None, (name.encode(), b"1")))
        assert get(server, None, *((name.encode(), b"1") for name in OF_ENVOY)).status == 200


@pytest.mark.parametrize("kind", [Machine, AppService])
def test_a_request_of_another_form_is_refused(kind: type[ManagedIdentities]) -> None:
    with kind([USER]) as server:
        right = query(server)
        for method, body in ((b"POST", b""), (b"PUT", b""), (b"HEAD", b""), (b"GET", b"x")):
            assert_refused(server, get(server, method=method, body=body))
        for path in (b"/", server.path.encode() + b"/", b"/" + server.path.encode(), b"/x"):
            assert_refused(server, get(server, path=path))
        for host in (b"127.0.0.1", b"files.local", b"169.254.169.253"):
            assert_refused(server, get(server, host=host))
        for text in (
            b"",
            right + b"&",
            right + b"&x=1",
            right + b"&x",
            right + b"&resource=https://a.test",
            right + b"&api-version=" + server.version.encode(),
            right + b"&client_id=",
            right + b"&client_id=a+b",
            right + b"&client_id=%4",
            right + b"&client_id=client-1&object_id=object-1",
            right.replace(b"api-version", b"Api-Version"),
            right.replace(server.version.encode(), b"2017-09-01"),
            right.partition(b"&")[0],
            right.partition(b"&")[2],
            right + (b"&mi_res_id=a" if kind is Machine else b"&msi_res_id=a"),
        ):
            assert_refused(server, get(server, text))


def test_a_request_that_could_be_forged_is_refused(machine: Machine, app: AppService) -> None:
    for values in ([], [b"True"], [b"false"], [b""], [b"true", b"true"]):
        assert_refused(machine, get(machine, proof=[(b"metadata", value) for value in values]))
    for values in ([], [b"x"], [app.header.encode()] * 2, [app.header.upper().encode()]):
        assert_refused(app, get(app, proof=[(b"x-identity-header", value) for value in values]))
    assert_refused(app, get(app, None, METADATA))
    with AppService() as other:
        assert other.header != app.header


def test_it_answers_what_a_test_scripts(machine: Machine) -> None:
    machine.script(SYSTEM, failure(429, "throttled", retry_after="3"), lambda: failure(410, "gone"))
    machine.always(USER.client, failure(404, "not_found"))
    answer = get(machine)
    assert (answer.status, answer.values("retry-after")) == (429, [b"3"])
    assert get(machine).status == 410
    assert get(machine).status == 200
    for _ in range(2):
        assert get(machine, query(machine, client_id=USER.client)).status == 404
    # What is scripted is no way round the rules.
    assert get(machine, query(machine, client_id=USER.client), proof=[]).status == 403
    assert len(machine.times(SYSTEM)) == 3
    assert len(machine.queries()) == 5
    with machine.outage(), pytest.raises(h11.RemoteProtocolError, match="ConnectionClosed"):
        get(machine)
    assert get(machine).status == 200


def test_the_provider_behind_it_takes_one_token_that_is_alive(machine: Machine) -> None:
    machine.life = 0.4
    token = json.loads(get(machine).body)["access_token"]
    machine.on("/v1/models", machine.provider)

    def status(*values: str) -> int:
        headers = [(b"host", b"x"), *((b"authorization", value.encode()) for value in values)]
        return raw_request(machine.port, target=b"/v1/models", headers=headers).status

    assert status(f"Bearer {token}") == 200
    assert status() == 401
    assert status(token) == 401
    assert status(f"Bearer {token}", f"Bearer {token}") == 401
    poll(lambda: status(f"Bearer {token}") == 401, 5, "the token's end")
