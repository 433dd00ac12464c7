"""The official clients of Azure get tokens without a secret from the stand-ins.

They send what was recorded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msal
import pytest
import requests
import urllib3.util.connection
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CredentialUnavailableError,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from entra import CLIENT, PUBLIC, TENANT, Application, Entra, scope_of
from entra_rules import fields
from managed_identity import ADDRESS, AppService, Machine, ManagedIdentities
from managed_rules import SYSTEM, User, failure
from mounts import Secret
from oidc import Issuer
from upstream import Authority, Upstream
from wire import Reply, Request

RECORDINGS = Path(__file__).parent / "recordings"
SCOPE = scope_of(PUBLIC)
RESOURCE_ID = (
    "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u"
)
USER = User(CLIENT, object=CLIENT, resource=RESOURCE_ID)
ALWAYS_NEW = {"user-agent", "x-ms-client-request-id"}
"""Headers whose values differ from run to run."""

Arrive = Callable[[str, int, Upstream], None]


@pytest.fixture(autouse=True)
def arrive(monkeypatch: pytest.MonkeyPatch) -> Arrive:
    """Lets the clients of this process arrive at a stand-in when they call an address; they find
    nothing of the developer's, and no other address."""
    for name in os.environ:
        if name.startswith(("AZURE_", "MSI_", "IDENTITY_", "IMDS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
    places: dict[tuple[str, int], int] = {}
    real = urllib3.util.connection.create_connection

    def connect(address: tuple[str, int], *args: Any, **options: Any) -> Any:
        assert address in places, f"a call to {address}"
        return real(("127.0.0.1", places[address]), *args, **options)

    def put(host: str, port: int, server: Upstream) -> None:
        places[host, port] = server.port

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
    return put


@pytest.fixture
def machine(arrive: Arrive) -> Iterator[Machine]:
    """The metadata service, at its own address."""
    with Machine([USER], hosts=[ADDRESS], official=True) as server:
        arrive(ADDRESS, 80, server)
        yield server


@pytest.fixture
def app(arrive: Arrive, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppService]:
    """The endpoint of App Service, which the environment names."""
    with AppService([USER], official=True) as server:
        arrive("127.0.0.1", server.port, server)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def recorded(name: str) -> list[tuple[str, str, dict[str, str | None]]]:
    """Each request of a recording: method, target and headers."""
    document = json.loads((RECORDINGS / f"azure-{name}.json").read_text())
    return [
        (one["method"], one["target"], comparable(one["headers"])) for one in document["requests"]
    ]


def sent(server: Upstream) -> list[tuple[str, str, dict[str, str | None]]]:
    """The same of the requests that a stand-in got."""
    return [(one.method, one.target.decode(), comparable(decoded(one))) for one in server.requests]


def decoded(request: Request) -> list[tuple[str, str]]:
    """The headers as texts."""
    return [(name.decode(), value.decode()) for name, value in request.headers]


def comparable(headers: list[Any]) -> dict[str, str | None]:
    """Headers without what cannot be the same twice."""
    named = {name.lower(): value for name, value in headers}
    places = {"host", "x-identity-header", "content-length"}
    return {name: None if name in ALWAYS_NEW | places else named[name] for name in named}


def by_identity(**options: Any) -> ManagedIdentityCredential:
    """A credential of azure-identity that does not try again by itself."""
    return ManagedIdentityCredential(**{"retry_total": 0, **options})


def assert_given(server: ManagedIdentities, token: Any, client: str) -> None:
    """The client has a token of ours and knows how long it lives."""
    assert server.issued[token.token].client == client
    assert abs(server.issued[token.token].end - token.expires_on) < 5
    assert server.refused == []


OF_MACHINES: dict[str, tuple[dict[str, Any], str]] = {
    "mi-imds-system": ({}, SYSTEM),
    "mi-imds-client-id": ({"client_id": CLIENT}, CLIENT),
    "mi-imds-object-id": ({"identity_config": {"object_id": CLIENT}}, CLIENT),
    "mi-imds-resource-id": ({"identity_config": {"resource_id": RESOURCE_ID}}, CLIENT),
}


@pytest.mark.parametrize("recording", OF_MACHINES)
def test_azure_identity_gets_a_token_of_a_machine(machine: Machine, recording: str) -> None:
    options, client = OF_MACHINES[recording]
    token = by_identity(**options).get_token_info(SCOPE)
    assert_given(machine, token, client)
    assert sent(machine) == recorded(recording)


def test_msal_gets_a_token_of_a_machine(machine: Machine) -> None:
    client = msal.ManagedIdentityClient(
        msal.SystemAssignedManagedIdentity(), http_client=requests.Session()
    )
    answer = client.acquire_token_for_client(resource=SCOPE.removesuffix("/.default"))
    assert machine.issued[answer["access_token"]].client == SYSTEM
    assert abs(answer["expires_in"] - machine.life) < 5
    assert machine.refused == []
    assert sent(machine) == recorded("mi-msal")


def test_the_default_credential_has_a_look_first(machine: Machine) -> None:
    others = ("cli", "developer_cli", "powershell", "shared_token_cache", "visual_studio_code")
    kept_out = {f"exclude_{one}_credential": True for one in (*others, "broker")}
    token = DefaultAzureCredential(**kept_out, retry_total=0).get_token_info(SCOPE)
    assert_given(machine, token, SYSTEM)
    assert sent(machine) == recorded("default-credential-imds")


def test_azure_identity_tries_again_when_the_service_is_busy(machine: Machine) -> None:
    machine.script(SYSTEM, Reply(429, headers=[(b"retry-after", b"1")]))
    token = ManagedIdentityCredential().get_token_info(SCOPE)
    assert_given(machine, token, SYSTEM)
    assert sent(machine) == recorded("mi-imds-429")
    first, second = machine.times(SYSTEM)
    assert second - first >= 1


@pytest.mark.parametrize("status", [404, 410, 500, 503])
def test_azure_identity_tries_again_when_the_service_is_not_ready(
    machine: Machine, status: int
) -> None:
    machine.script(SYSTEM, failure(status, "server_error"))
    token = ManagedIdentityCredential().get_token_info(SCOPE)
    assert_given(machine, token, SYSTEM)
    assert len(machine.times(SYSTEM)) == 2


def test_azure_identity_understands_that_there_is_no_identity(machine: Machine) -> None:
    machine.system = None
    with pytest.raises(CredentialUnavailableError, match=r"invalid_request.*Identity not found"):
        ManagedIdentityCredential().get_token(SCOPE)
    assert sent(machine) == recorded("mi-imds-400-identity-not-found")


def test_azure_identity_understands_that_it_is_refused(machine: Machine) -> None:
    machine.hosts = {"other.test"}
    with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
        by_identity().get_token(SCOPE)
    assert len(machine.refused) == 1
    assert not machine.issued


def test_azure_identity_gets_a_token_of_app_service(app: AppService) -> None:
    token = by_identity(client_id=CLIENT).get_token_info(SCOPE)
    assert_given(app, token, CLIENT)
    assert sent(app) == recorded("mi-appservice")


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({}, None),
        ({"identity_config": {"object_id": CLIENT}}, "object_id"),
        ({"identity_config": {"resource_id": RESOURCE_ID}}, "mi_res_id"),
    ],
    ids=["system", "object", "resource"],
)
def test_azure_identity_names_identities_of_app_service(
    app: AppService, options: dict[str, Any], parameter: str | None
) -> None:
    token = by_identity(**options).get_token_info(SCOPE)
    assert_given(app, token, CLIENT if parameter else SYSTEM)
    (query,) = app.queries()
    assert query.keys() - {"api-version", "resource"} == ({parameter} if parameter else set())


def test_azure_identity_understands_refusals_of_app_service(
    app: AppService, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.system = None
    with pytest.raises(CredentialUnavailableError, match="400, Identity not found"):
        by_identity().get_token(SCOPE)
    monkeypatch.setenv("IDENTITY_HEADER", "of-another")
    with pytest.raises(CredentialUnavailableError, match="403, "):
        by_identity().get_token(SCOPE)
    assert len(app.refused) == 1
    assert not app.issued


def test_azure_identity_gets_a_token_by_workload_identity(
    arrive: Arrive, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issuer = Issuer("https://oidc.prod-aks.azure.com/a")
    volume = Secret(tmp_path, "tokens", "azure")
    volume.swap({"azure-identity-token": issuer.token()})
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    file = str(volume.path("azure-identity-token"))
    for name, value in {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": file,
        "AZURE_AUTHORITY_HOST": f"https://{PUBLIC}/",
    }.items():
        monkeypatch.setenv(name, value)
    known = {(TENANT, CLIENT): Application(federations=[issuer.federation()])}
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra(known, official=True, tls=tls) as entra:
        arrive(PUBLIC, 443, entra)
        token = WorkloadIdentityCredential(retry_total=0).get_token_info(SCOPE)
        assert abs(entra.issued[token.token].end - token.expires_on) < 5
        assert token.expires_on > time.time()
        assert entra.refused == []
        assert sent(entra) == recorded("workload-identity")
        (request,) = entra.requests
        document = json.loads((RECORDINGS / "azure-workload-identity.json").read_text())
        theirs = dict(document["requests"][0]["form"])
        ours = dict(fields(request.body))
        assert ours | {"client_assertion": ""} == theirs | {"client_assertion": ""}
