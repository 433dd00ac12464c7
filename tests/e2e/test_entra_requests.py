"""What the filter asks Entra for, and what comes of the token."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from entra import (
    CLIENT,
    GOVERNMENT,
    PUBLIC,
    TENANT,
    Application,
    Entra,
    Life,
    azure,
    scope_of,
    token_path,
)
from entra_rig import CALLER, Rig, serving
from entra_rules import fields
from oidc import Issuer, exchanged, oidc
from upstream import Authority
from wire import Request

RECORDINGS = Path(__file__).parent / "recordings"
OF_CLIENTS = {"client_info"}
"""The fields of the official clients that a filter need not send."""

SECRETS = {
    "recorded": "se~cret+/=&%",
    "space": "se cret of the gateway",
    "escape": "%2B%25+%%",
    "quotes": "'\"\\`$(x){}[]<>;|^#?!@,:",
    "tab": "se\tcret",
    "latin": "gëheim§ÿ",
    "other": "秘密の鍵 😀 ключ",
    "composed": "e\u0301\u200bx",
    "printable": string.digits + string.ascii_letters + string.punctuation,
    "long": "x~" * 2000,
}


def tenant_of(name: str) -> str:
    """Every policy of these tests has a tenant of its own."""
    return f"{name}.onmicrosoft.test"


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy: a policy for each secret, and one by assertion."""
    idp = authority.server_context(["idp.test"], http2=False)
    issuer = Issuer("https://idp.test/realms/a", tls=idp)
    policies = {name: azure(name, text, tenant_of(name)) for name, text in SECRETS.items()}
    policies["assertion"] = exchanged(
        "assertion", oidc(issuer.issuer, name="assertion"), tenant=tenant_of("assertion")
    )
    policies["blank"] = azure("blank", " \t\nsecret \r\n", tenant_of("blank"))
    applications = {
        (tenant_of(name), CLIENT): Application(secret=text) for name, text in SECRETS.items()
    }
    applications[tenant_of("assertion"), CLIENT] = Application(federations=[issuer.federation()])
    applications[tenant_of("blank"), CLIENT] = Application(secret="secret")
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra(applications, tls=tls) as entra, issuer:
        with serving(policies, entra, authority, issuer) as gateway:
            yield gateway
        assert entra.refused == []
        assert issuer.refused == []


@pytest.mark.parametrize("name", [*SECRETS, "blank"])
def test_a_secret_arrives_as_it_is(rig: Rig, name: str) -> None:
    rig.token(name)
    (request,) = rig.entra.of(tenant_of(name))
    (asked,) = [one.form for one in rig.entra.asked if one.tenant == tenant_of(name)]
    assert asked["client_secret"] == SECRETS.get(name, "secret")
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert request.authority == PUBLIC.encode()
    assert rig.metric(name, "fetched") == 1
    assert rig.failures(name) == {}


def recorded(name: str) -> dict[str, Any]:
    """The token request of a recording."""
    requests = json.loads((RECORDINGS / f"azure-{name}.json").read_text())["requests"]
    return next(one for one in requests if one["target"].endswith("/oauth2/v2.0/token"))


def form_of(request: Request) -> dict[str, str]:
    """Its fields, read by two parsers."""
    form = dict(fields(request.body))
    assert form == dict(parse_qsl(request.body.decode(), strict_parsing=True))
    return form


def assert_like(
    request: Request, recording: dict[str, Any], tenant: str, scope: str = scope_of(PUBLIC)
) -> None:
    """A request has the form of one that an official client sends."""
    assert request.method == recording["method"]
    target = recording["target"].replace(TENANT, tenant)
    assert request.target.decode() == target
    assert request.authority.decode() == recording["host"]
    headers = {name.lower(): value for name, value in recording["headers"]}
    assert request.header("content-type") == headers["content-type"]
    assert request.header("accept") in ("application/json", headers["accept"])
    ours, theirs = form_of(request), {**dict(recording["form"]), "scope": scope}
    assert ours.keys() == theirs.keys() - OF_CLIENTS
    for name in ours.keys() - {"client_secret", "client_assertion"}:
        assert ours[name] == theirs[name]
    if "client_assertion" in theirs:
        shape = [part.isascii() and "=" not in part for part in ours["client_assertion"].split(".")]
        assert shape == [True] * theirs["client_assertion"].count(".") + [True]


@pytest.mark.parametrize("client", ["client-secret", "client-secret-no-discovery", "msal"])
def test_a_request_by_secret_is_like_those_of_the_official_clients(rig: Rig, client: str) -> None:
    rig.token("recorded")
    (request,) = rig.entra.of(tenant_of("recorded"))
    recording = recorded("msal-client-secret" if client == "msal" else client)
    assert_like(request, recording, tenant_of("recorded"))
    if client == "client-secret":
        assert form_of(request)["client_secret"] == dict(recording["form"])["client_secret"]


@pytest.mark.parametrize("client", ["client-assertion", "msal-client-assertion"])
def test_a_request_by_assertion_is_like_those_of_the_official_clients(
    rig: Rig, client: str
) -> None:
    rig.token("assertion")
    (request,) = rig.entra.of(tenant_of("assertion"))
    assert_like(request, recorded(client), tenant_of("assertion"))


def test_a_request_to_another_cloud_is_like_that_of_the_official_client(
    authority: Authority,
) -> None:
    tls = authority.server_context([GOVERNMENT], http2=False)
    applications = {(TENANT, CLIENT): Application(secret="s")}
    options = {"vm_env": {"AZURE_AUTHORITY_HOST": GOVERNMENT}}
    with (
        Entra(applications, host=GOVERNMENT, tls=tls) as entra,
        serving({"azure": azure(password="s")}, entra, authority, options=options) as rig,
    ):
        rig.token("azure")
        (request,) = entra.of(TENANT)
        assert_like(request, recorded("client-secret-usgov"), TENANT, scope_of(GOVERNMENT))


def test_a_token_of_any_shape_and_length_goes_on_as_it_is(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    applications = {(TENANT, CLIENT): Application(secret="s")}
    with Entra(applications, tls=tls) as entra:
        entra.life = Life(seconds=1500, kind="jwt", more={"refresh_in": 600, "foo": {"bar": [1]}})
        before = time.time()
        with serving({"azure": azure(password="s")}, entra, authority) as rig:
            tokens = {rig.token("azure") for _ in range(5)}
            assert tokens == set(entra.issued)
            assert [request.path for request in entra.requests] == [token_path(TENANT)]
            end = rig.metric("azure", "expires_at")
            assert before + 1500 - 2 <= end <= time.time() + 1500
            assert rig.metric("azure", "injected") == 5
            assert CALLER not in repr(entra.requests)
