"""What a configuration with `AzureCredentials` is refused for before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest

from bootstrap import Config
from egress import NAME, SETTINGS
from entra import CLIENT, TENANT, azure
from entra_rig import checked, errors
from manifests import Manifest, policy, secret
from oidc import exchanged, oidc

SUBJECT = "BackendSecurityPolicy default/"
EXACTLY_ONE = "Exactly one of clientSecretRef or oidcExchangeToken must be specified"


def with_azure(name: str = "azure", **fields: Any) -> Manifest:
    """A policy with these fields of `azureCredentials`."""
    whole = {"clientID": CLIENT, "tenantID": TENANT, **fields}
    return policy(name, "AzureCredentials", azureCredentials=whole)


def authority_is(value: str, **options: Any) -> list[str]:
    """The error lines when the environment names this authority."""
    return errors(azure(), env={"AZURE_AUTHORITY_HOST": value}, **options)


def test_a_policy_of_each_kind_is_taken() -> None:
    status, lines = checked(azure(), exchanged("other"))
    assert (status, lines) == (0, [])


@pytest.mark.parametrize(
    "value",
    [
        "http://login.microsoftonline.com",
        "HTTP://login.test/",
        "http://inside.test.evil.test",
        "http://127.0.0.1:8080",
    ],
)
def test_an_authority_by_http_has_to_be_listed(value: str) -> None:
    listed = {"plaintextHosts": ["inside.test"]}
    (line,) = authority_is(value, egress_settings=listed)
    assert "AZURE_AUTHORITY_HOST" in line
    assert "https" in line
    assert "egress.plaintextHosts" in line


@pytest.mark.parametrize(
    "value",
    [
        "ftp://login.test",
        "https://user:word@login.test",
        "https://login.test/?x=1",
        "https://login.test/#x",
        "https://",
        "https://login .test",
        "login.test\\@other.test",
        "https://files.local",
        "login.test:port",
    ],
)
def test_an_authority_that_is_none_is_named(value: str) -> None:
    (line,) = authority_is(value)
    assert "AZURE_AUTHORITY_HOST" in line


TENANTS = {
    "up": "..",
    "here": ".",
    "slash": "a/b",
    "start": "/a",
    "escape": "a%2fb",
    "question": "a?b",
    "fragment": "a#b",
    "space": "a b",
    "letters": "ä",
    "backslash": "a\\b",
    "line": "a\nb",
    "semicolon": "a;b",
}


def test_a_tenant_that_would_not_stay_in_its_place_is_refused() -> None:
    wrong = [azure(name, tenant=tenant) for name, tenant in TENANTS.items()]
    lines = errors(*wrong, azure("empty", tenant=""), azure("right", tenant="a.b-c_d:1"))
    names = [*TENANTS, "empty"]
    assert len(lines) == len(names), lines
    for name in names:
        place = f"{SUBJECT}{name}: spec.azureCredentials.tenantID"
        assert sum(line.startswith(place) for line in lines) == 1, (name, lines)


def test_one_way_to_prove_who_it_is_has_to_be_given() -> None:
    token = {"oidc": oidc()}
    reference = {"name": "s"}
    lines = errors(
        with_azure("neither"),
        with_azure("both", clientSecretRef=reference, oidcExchangeToken=token),
        with_azure("null", clientSecretRef=None, oidcExchangeToken=None),
        secret("s", "client-secret"),
        secret("idp-client", "client-secret"),
    )
    assert sorted(lines) == [
        f"{SUBJECT}{name}: spec.azureCredentials: {EXACTLY_ONE}"
        for name in ("both", "neither", "null")
    ]


def refused_exchange(exchange: Manifest | None = None, **fields: Any) -> list[str]:
    """The error lines of an exchange, without where they begin: its own place."""
    start = f"{SUBJECT}azure: spec.azureCredentials.oidcExchangeToken."
    lines = errors(exchanged("azure", exchange, **fields))
    assert all(line.startswith(start) for line in lines), lines
    return [line.removeprefix(start) for line in lines]


@pytest.mark.parametrize("grant", ["authorization_code", "Client_Credentials", "password"])
def test_another_grant_is_refused(grant: str) -> None:
    (line,) = refused_exchange(grantType=grant)
    assert (
        line == f'grantType: Unsupported value: "{grant}": supported values: "client_credentials"'
    )


def test_the_grant_may_be_named_and_may_be_empty() -> None:
    for grant in ("client_credentials", ""):
        assert checked(exchanged(grantType=grant)) == (0, [])


PROVIDERS: dict[str, tuple[str, Config, str]] = {
    "issuer by http": ("http://idp.test", {}, "provider.issuer: "),
    "issuer of files": ("https://files.local", {}, "provider.issuer: "),
    "issuer with a query": ("https://idp.test/?tenant=a", {}, "provider.issuer: "),
    "issuer with a fragment": ("https://idp.test/#a", {}, "provider.issuer: "),
    "no URL": ("idp.test", {}, "provider.issuer: "),
    "endpoint by http": (
        "https://idp.test",
        {"tokenEndpoint": "http://idp.test/token"},
        "provider.tokenEndpoint: ",
    ),
    "endpoint of files": (
        "https://idp.test",
        {"tokenEndpoint": "https://files.local/etc/passwd"},
        "provider.tokenEndpoint: ",
    ),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_that_must_not_be_asked_is_refused(name: str) -> None:
    issuer, provider, place = PROVIDERS[name]
    (line,) = refused_exchange(oidc(issuer, name="azure", provider=provider))
    assert line.startswith("oidc." + place)


def test_a_listed_provider_may_be_asked_by_http() -> None:
    exchange = oidc("http://IDP.test:8080/a", name="azure")
    listed = {"plaintextHosts": ["idp.test"]}
    assert checked(exchanged("azure", exchange), egress_settings=listed) == (0, [])
    lines = errors(
        exchanged("azure", exchange), egress_settings={"plaintextHosts": ["idp.test:80"]}
    )
    assert len(lines) == 1


def test_a_way_out_is_needed() -> None:
    for resources in (azure(), exchanged()):
        (line,) = errors(*resources, settings={"files": {"cluster": NAME}})
        assert line.startswith("egress.cluster: ")
        assert f"{SUBJECT}azure" in line
    assert checked(azure(), settings={"egress": SETTINGS["egress"]}) == (0, [])


def test_the_secrets_have_to_be_somewhere() -> None:
    own, *_ = exchanged("azure")
    by_reference = oidc(name="azure", clientIDRef={"name": "azure-client"})
    del by_reference["clientID"]
    lines = errors(
        with_azure("one", clientSecretRef={"name": "nowhere"}),
        exchanged("two", by_reference)[0],
        own,
        secret("azure-client", "client-secrets"),
    )
    assert len(lines) == 4, lines
    for name, place in {
        "one": "clientSecretRef",
        "azure": "oidcExchangeToken.oidc.clientSecret",
        "two": "oidcExchangeToken.oidc.clientIDRef",
    }.items():
        start = f"{SUBJECT}{name}: spec.azureCredentials.{place}"
        assert sum(line.startswith(start) for line in lines) == 1, (start, lines)


def test_the_fields_of_a_browsers_log_in_are_named_in_one_warning() -> None:
    log_in = {
        "redirectURL": "https://a.test/back",
        "logoutPath": "/logout",
        "cookieDomain": "a.test",
        "refreshToken": True,
        "forwardAccessToken": False,
    }
    provider = {"authorizationEndpoint": "https://idp.test/authorize"}
    exchange = oidc(name="azure", provider=provider, **log_in)
    status, lines = checked(exchanged("azure", exchange))
    assert status == 0
    ((level, line),) = lines
    assert level == "warning"
    assert line.startswith(f"{SUBJECT}azure: spec.azureCredentials.oidcExchangeToken.oidc: ")
    for name in (*log_in, "authorizationEndpoint"):
        assert name in line


def test_a_log_in_field_of_the_wrong_form_is_refused() -> None:
    (line, *_) = refused_exchange(oidc(name="azure", csrfTokenTTL="soon"))
    assert line.startswith("oidc.csrfTokenTTL: ")
    (line,) = refused_exchange(oidc(name="azure", scope=["typing error"]))
    assert line.startswith("oidc.scope: ")
