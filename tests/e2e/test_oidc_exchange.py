"""A token of an identity provider becomes one of Entra, by the certified provider."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from entra import CLIENT, PUBLIC, Application, Entra, Life
from entra_rig import Rig, serving
from entra_rules import AUDIENCE, BEARER_TYPE
from launch import poll
from manifests import Manifest, secret
from oidc import POST, WELL_KNOWN, OidcProvider, exchanged, oidc
from upstream import Authority

ISSUER = "https://idp.test"
POSTING = "https://posting.test"
ODD = "".join(character for character in string.punctuation if character != "\\") + " x"
OPAQUE = "https://opaque.test"
GRANT = {"grant_type": "client_credentials"}


@dataclass
class Case:
    """What a policy says beyond the usual, and the form that the provider has to get."""

    more: dict[str, Any]
    form: dict[str, Any]
    password: str = "pass-word"
    client: str = ""


def cases() -> dict[str, Case]:
    """By the names of policies, which are those of the clients too unless they say another."""
    return {
        "plain": Case({}, GRANT),
        "no-scopes": Case({"scopes": []}, GRANT),
        "scope": Case({"scopes": ["models"]}, {**GRANT, "scope": "models"}),
        "scopes": Case({"scopes": ["read", "models"]}, {**GRANT, "scope": "read models"}),
        "unknown-scope": Case({"scopes": ["openid"]}, {**GRANT, "scope": "openid"}),
        "resource": Case({"resources": [AUDIENCE]}, {**GRANT, "resource": AUDIENCE}),
        "odd": Case({}, GRANT, ODD, "odd:" + ODD),
        "endpoint": Case({"provider": {"tokenEndpoint": f"{ISSUER}/token"}}, GRANT),
        "by-reference": Case({"clientIDRef": {"name": "by-reference-id"}}, GRANT),
        "elsewhere": Case(
            {
                "clientIDRef": {"name": "elsewhere-id", "namespace": "other"},
                "clientSecret": {"name": "elsewhere-word", "namespace": "other"},
            },
            GRANT,
        ),
    }


CASES = cases()
CLIENTS = {case.client or name: case.password for name, case in CASES.items()}


def of_case(name: str, case: Case) -> Sequence[Manifest]:
    """The policy of a case and its Secrets."""
    client = case.client or name
    exchange = oidc(ISSUER, client, name=name, **dict(case.more))
    if "clientIDRef" in exchange:
        del exchange["clientID"]
    manifests = exchanged(name, exchange, case.password, tenant=name)
    if name == "by-reference":
        manifests.append(secret("by-reference-id", "client-id", f" {client}\n"))
    if name == "elsewhere":
        manifests = [
            manifests[0],
            secret("elsewhere-id", "client-id", client, "other"),
            secret("elsewhere-word", "client-secret", case.password, "other"),
            # The same names in the namespace of the policy are not meant.
            secret("elsewhere-id", "client-id", "wrong"),
            secret("elsewhere-word", "client-secret", "wrong"),
        ]
    return manifests


@dataclass
class Both:
    """The gateway and the provider."""

    rig: Rig
    idp: OidcProvider

    def tokens(self, client: str) -> list[dict[str, Any]]:
        """The token requests of a client."""
        return [one for one in self.idp.tokens() if one["client"] == client]


@pytest.fixture(scope="module")
def both(authority: Authority) -> Iterator[Both]:
    """One Envoy with a policy for each case."""
    tls = authority.server_context([PUBLIC], http2=False)
    options = {"clients": CLIENTS, "scopes": ["models", "read"]}
    with OidcProvider(ISSUER, authority, **options) as idp, Entra(tls=tls) as entra:
        for name, case in CASES.items():
            federation = idp.federation(case.client or name)
            entra.applications[name, CLIENT] = Application(federations=[federation])
        policies = {name: of_case(name, case) for name, case in CASES.items()}
        with serving(policies, entra, authority, idp) as rig:
            yield Both(rig, idp)
        assert entra.refused == []


@pytest.mark.parametrize("name", CASES)
def test_the_provider_is_asked_for_what_the_policy_says_and_no_more(both: Both, name: str) -> None:
    case = CASES[name]
    both.rig.token(name)
    (asked,) = both.tokens(case.client or name)
    assert asked["form"] == case.form
    assert asked["basic"]
    assert asked["type"] == "application/x-www-form-urlencoded"
    assert (asked["status"], asked["method"]) == (200, "POST")
    assert set(asked["names"]) <= {
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    }
    assert both.rig.failures(name) == {}
    assert both.rig.metric(name, "fetched") == 1


@pytest.mark.parametrize("name", CASES)
def test_its_token_is_the_assertion(both: Both, name: str) -> None:
    both.rig.token(name)
    (form,) = [dict(one.form) for one in both.rig.entra.asked if one.tenant == name]
    assert form.pop("client_assertion").count(".") == 2
    assert form == {
        **GRANT,
        "client_id": CLIENT,
        "client_assertion_type": BEARER_TYPE,
        "scope": "https://cognitiveservices.azure.com/.default",
    }


def test_the_discovery_document_is_asked_for_only_where_no_endpoint_is_given(
    authority: Authority,
) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    endpoint = {"tokenEndpoint": f"{ISSUER}/token"}
    with OidcProvider(ISSUER, authority) as idp, Entra(tls=tls) as entra:
        entra.applications["azure", CLIENT] = Application(federations=[idp.federation()])
        exchange = oidc(ISSUER, name="azure", provider=endpoint)
        policies = {"azure": exchanged("azure", exchange, tenant="azure")}
        with serving(policies, entra, authority, idp) as rig:
            rig.token("azure")
            # The stand-in looks up the keys.
            assert {one["path"] for one in idp.requests} == {"/token", "/jwks"}
        exchange = oidc(ISSUER, name="azure")
        policies = {"azure": exchanged("azure", exchange, tenant="azure")}
        with serving(policies, entra, authority, idp) as rig:
            rig.token("azure")
            asked = [one for one in idp.requests if one["path"] == WELL_KNOWN]
            assert [(one["method"], one["status"]) for one in asked] == [("GET", 200)]
            assert "authorization" not in asked[0]["names"]


def test_a_provider_that_takes_posted_secrets_only_gets_them_at_once(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with OidcProvider(POSTING, authority, methods=[POST]) as idp, Entra(tls=tls) as entra:
        entra.applications["azure", CLIENT] = Application(federations=[idp.federation()])
        policies = {"azure": exchanged("azure", oidc(POSTING, name="azure"), tenant="azure")}
        with serving(policies, entra, authority, idp) as rig:
            rig.token("azure")
            (asked,) = idp.tokens()
            assert not asked["basic"]
            assert asked["form"].keys() == {*GRANT, "client_id", "client_secret"}
            assert rig.failures("azure") == {}


def test_an_opaque_token_is_no_assertion_and_both_are_told(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    audiences = {OPAQUE: "opaque"}
    with OidcProvider(ISSUER, authority, audiences=audiences) as idp, Entra(tls=tls) as entra:
        entra.applications["azure", CLIENT] = Application(federations=[idp.federation()])
        policies = {"azure": exchanged("azure", oidc(ISSUER, name="azure"), tenant="azure")}
        with serving(policies, entra, authority, idp) as rig:
            poll(lambda: rig.failures("azure"), 10, "a failure")
            assert rig.refused("azure") > 5
            assert rig.failures("azure") == {"denied": 1}
            line = rig.complaint("azure")
            assert "entra" in line
            assert "AADSTS50027" in line


REFUSED = {
    "one-word": ({"word": "other"}, "401", "invalid_client"),
    "one-target": ({"resources": ["https://nowhere.test"]}, "400", "invalid_target"),
    "two-targets": ({"resources": [AUDIENCE, OPAQUE]}, "400", "invalid_target"),
}


def test_what_the_certified_provider_refuses_is_told(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    audiences = {AUDIENCE: "jwt", OPAQUE: "opaque"}
    options = {"clients": dict.fromkeys(REFUSED, "right"), "audiences": audiences}
    policies = {}
    for name, (more, *_) in REFUSED.items():
        fields = dict(more)
        word = fields.pop("word", "right")
        policies[name] = exchanged(name, oidc(ISSUER, name, name=name, **fields), word, name)
    with (
        OidcProvider(ISSUER, authority, **options) as idp,
        Entra(tls=tls) as entra,
        serving(policies, entra, authority, idp) as rig,
    ):
        for name, (_, status, error) in REFUSED.items():
            poll(lambda name=name: rig.failures(name), 10, f"a failure of {name}")
            assert rig.refused(name) > 5
            line = rig.complaint(name)
            assert "oidc" in line
            assert status in line
            assert error in line
            assert rig.failures(name) == {"denied": 1}
        assert entra.requests == []
        # By Basic, and after a 401 as fields; nothing is tried in another way for another error.
        tried = Counter((one["form"].get("client_id"), one["basic"]) for one in idp.tokens())
        assert tried == {(None, True): len(REFUSED), ("one-word", False): 1}


def test_a_token_about_to_end_is_renewed_with_a_new_assertion(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with OidcProvider(ISSUER, authority) as idp, Entra(tls=tls) as entra:
        entra.life = Life(seconds=5)
        entra.applications["azure", CLIENT] = Application(federations=[idp.federation()])
        policies = {"azure": exchanged("azure", oidc(ISSUER, name="azure"), tenant="azure")}
        with serving(policies, entra, authority, idp, concurrency=4) as rig:
            first = rig.token("azure")
            entra.wait_for(2, timeout=10)
            poll(lambda: rig.token("azure") != first, 5, "a new token")
            assertions = [one.form["client_assertion"] for one in entra.asked]
            assert len(set(assertions)) == len(assertions)
            assert len(idp.tokens()) == len(assertions)
