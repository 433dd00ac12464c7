"""What the filter asks services of managed identities for, and what comes of the token."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from azure_identity_rig import Rig, bare, managed, serving
from bootstrap import Config, cluster
from egress import calls
from entra import CHINA, CLIENT, GOVERNMENT, PUBLIC, TENANT, azure, scope_of
from entra_rig import CALLER
from launch import poll
from managed_identity import ADDRESS, AppService, Machine, ManagedIdentities
from managed_rules import OF_ENVOY, PIECE, SYSTEM, User
from manifests import keyed
from wire import Request

RECORDINGS = Path(__file__).parent / "recordings"
RESOURCE_ID = (
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u"
)
ODD_ID = "/subscriptions/a b/ü+%41&resource=https://evil.test#?'\"/u"

USERS = {
    "by-client": User("client-of-a-user"),
    "by-object": User("another", object=CLIENT),
    "by-resource": User("third", resource=RESOURCE_ID),
    "by-odd-resource": User("fourth", resource=ODD_ID),
}
IDENTITIES = {
    "system": managed(),
    "by-client": managed(clientID="client-of-a-user"),
    "by-object": managed(objectID=CLIENT),
    "by-resource": managed(resourceID=RESOURCE_ID),
    "by-odd-resource": managed(resourceID=ODD_ID),
}
CLIENTS = {"system": SYSTEM, **{name: user.client for name, user in USERS.items()}}

Kinds = dict[str, type[ManagedIdentities]]
KINDS: Kinds = {"machine": Machine, "app service": AppService}


@pytest.fixture(scope="module", params=KINDS)
def rig(request: pytest.FixtureRequest) -> Any:
    """One Envoy with a policy for every way to name an identity."""
    with KINDS[request.param](list(USERS.values())) as service:
        with serving(IDENTITIES, service, concurrency=4) as rig:
            yield rig
        assert service.refused == []


def service_of(rig: Rig) -> ManagedIdentities:
    """The stand-in."""
    assert isinstance(rig.entra, ManagedIdentities)
    return rig.entra


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_request_carries_a_token_of_the_identity_of_its_policy(rig: Rig, name: str) -> None:
    service = service_of(rig)
    token = rig.token(name)
    assert service.issued[token].client == CLIENTS[name]
    assert service.issued[token].resource == "https://cognitiveservices.azure.com"
    # One call for the process, and the same token for everybody.
    assert {rig.token(name) for _ in range(5)} == {token}
    assert service.given(CLIENTS[name]) == [token]
    assert rig.metric(name, "fetched") == 1
    assert rig.failures(name) == {}
    assert rig.complaints(name) == []
    assert abs(rig.metric(name, "expires_at") - service.issued[token].end) < 2


def test_the_ids_of_the_manifest_and_what_callers_bring_are_sent_to_nobody(rig: Rig) -> None:
    service = service_of(rig)
    for name in IDENTITIES:
        rig.token(name)
    told = repr(service.requests)
    assert TENANT not in told
    assert CALLER not in told
    # It is the object id of one, too.
    assert told.count(CLIENT) == len(service.queries(CLIENT)) == 1


def test_the_service_is_called_through_the_egress_listener(rig: Rig) -> None:
    service = service_of(rig)
    for name in IDENTITIES:
        rig.token(name)
    host = f"127.0.0.1:{service.port}"
    poll(lambda: len(calls(rig.envoy, host)) == len(IDENTITIES), 5, "every call in the log")
    made = {(call.method, call.status) for call in calls(rig.envoy, host)}
    assert made == {("GET", 200)}


def recorded(name: str) -> dict[str, Any]:
    """The one request of a recording."""
    (request,) = json.loads((RECORDINGS / f"azure-{name}.json").read_text())["requests"]
    return request


def assert_like(request: Request, recording: dict[str, Any]) -> None:
    """A request has the form of one that an official client sends."""
    path, _, query = recording["target"].partition("?")
    assert (request.method, request.path) == (recording["method"], path)
    assert request.http_version == recording["http_version"].removeprefix("HTTP/")
    ours = parse_qsl(request.query.decode(), strict_parsing=True)
    theirs = parse_qsl(query, strict_parsing=True)
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert ours == theirs
    assert all(PIECE.fullmatch(piece) for piece in re.split("[&=]", request.query.decode()))
    headers = {name.lower(): value for name, value in recording["headers"]}
    if "x-identity-header" not in headers:
        assert request.values("metadata") == [headers["metadata"].encode()]
    names = {name.decode() for name, _ in request.headers}
    assert names <= headers.keys()


OF_RECORDINGS: dict[str, Config] = {
    "mi-imds-system": managed(),
    "mi-msal": managed(),
    "mi-imds-client-id": managed(clientID=CLIENT),
    "mi-imds-object-id": managed(objectID=CLIENT),
    "mi-imds-resource-id": managed(resourceID=RESOURCE_ID),
    "mi-appservice": managed(clientID=CLIENT),
}


@pytest.mark.parametrize("recording", OF_RECORDINGS)
def test_a_request_is_like_that_of_the_official_client(recording: str) -> None:
    user = User(CLIENT, object=CLIENT, resource=RESOURCE_ID)
    kind = AppService if recording == "mi-appservice" else Machine
    with kind([user]) as service:
        with serving({"azure": OF_RECORDINGS[recording]}, service) as rig:
            rig.token("azure")
        (request,) = service.requests
        assert_like(request, recorded(recording))


@pytest.mark.parametrize("host", [GOVERNMENT, CHINA])
def test_a_token_is_for_the_cloud_that_the_environment_names(host: str) -> None:
    with Machine() as service:
        service.resources = [scope_of(host).removesuffix("/.default")]
        env = {"AZURE_AUTHORITY_HOST": f"https://{host}/"}
        with serving({"azure": managed()}, service, env=env) as rig:
            token = rig.token("azure")
            assert service.issued[token].resource == service.resources[0]
            assert service.resources[0] != scope_of(PUBLIC).removesuffix("/.default")


def test_a_machine_is_asked_at_its_fixed_address() -> None:
    with Machine(hosts=[ADDRESS]) as service:
        hosts = {ADDRESS: service.port}
        env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": " "}
        with serving({"azure": managed()}, service, env=env, hosts=hosts) as rig:
            rig.token("azure")
            (request,) = service.requests
            assert request.authority == ADDRESS.encode()
            (call,) = poll(lambda: calls(rig.envoy, ADDRESS), 5, "the call in the log")
            assert call.path == request.target.decode()
        assert service.refused == []


@pytest.mark.parametrize("named", [True, False], ids=["of its own", "for http"])
def test_a_machine_may_be_reached_through_a_cluster(named: bool) -> None:
    with Machine(hosts=[ADDRESS], passes=OF_ENVOY) as service:
        more = [cluster("metadata", [service.port])]
        way: Config = {"clusters": {ADDRESS: "metadata"}}
        if not named:
            way = {"plaintextCluster": "metadata"}
        env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": ""}
        options: dict[str, Any] = {"env": env, "egress_settings": way, "more": more}
        with serving({"azure": managed()}, service, **options) as rig:
            rig.token("azure")
            assert calls(rig.envoy, ADDRESS) == []
            (request,) = service.requests
            assert request.authority == ADDRESS.encode()
            passed = {name.decode() for name, _ in request.headers} & OF_ENVOY
            assert passed, "Envoy adds none of them any more: take them out"
        assert service.refused == []


def test_a_machine_needs_no_egress_listener_if_it_has_a_cluster() -> None:
    with Machine(hosts=[ADDRESS], passes=OF_ENVOY) as service:
        more = [cluster("metadata", [service.port])]
        plugin = {"egress": {"clusters": {ADDRESS: "metadata"}}}
        env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": ""}
        with serving({"azure": managed()}, service, env=env, plugin=plugin, more=more) as rig:
            rig.token("azure")
        assert service.refused == []


SPELLINGS: dict[str, Callable[[str], str]] = {
    "slash": lambda url: f"{url}/",
    "blanks": lambda url: f"  {url}\t",
    "letters": lambda url: url.replace("http", "HTTP"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_address_of_a_machine_may_be_written_in_any_way(name: str) -> None:
    with Machine() as service:
        ((variable, url),) = service.environment().items()
        with serving({"azure": managed()}, service, env={variable: SPELLINGS[name](url)}) as rig:
            rig.token("azure")
        assert service.refused == []


def test_app_service_comes_before_the_machine() -> None:
    with Machine() as machine, AppService() as service:
        # Whoever sets it up may write a blank more.
        env = {**machine.environment(), "IDENTITY_HEADER": f" {service.header} "}
        with serving({"azure": managed()}, service, env=env) as rig:
            rig.token("azure")
            assert machine.begun == []
        assert service.refused == []


def test_an_identity_takes_the_place_of_a_secret_that_the_manifest_names() -> None:
    policy, secret = azure("azure", "secret-of-the-manifest")
    with Machine() as service:
        manifests = {"azure": policy}
        identities = {"azure": managed()}
        for more in ({}, {"resources": [policy, secret, *keyed("other")]}):
            with serving(identities, service, manifests=manifests, plugin=more) as rig:
                rig.token("azure")
        assert "secret-of-the-manifest" not in repr(service.requests)
        assert service.refused == []


def test_policies_of_one_identity_share_a_token_and_others_do_not() -> None:
    with Machine([User("u")]) as service:
        identities = {"one": managed(), "two": managed(), "three": managed(clientID="u")}
        manifests = {"two": bare("two", tenant="other", client="other")}
        with serving(identities, service, manifests=manifests, concurrency=4) as rig:
            tokens = {name: rig.token(name) for name in identities}
            assert len(set(tokens.values())) == len(service.requests)
            assert tokens["three"] not in (tokens["one"], tokens["two"])
            assert len(service.times("u")) == 1
            assert len(service.times(SYSTEM)) == 1
