"""The token request to an identity provider: what is sent, and what comes of each answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from entra import CLIENT, PUBLIC, Application, Entra, token_path
from entra_rig import Rig, serving
from entra_rules import WORDS, failure, fields
from launch import poll
from oidc import ID, PASSWORD, POST, Issuer, exchanged, oidc
from replies import JSON, json_reply
from upstream import Authority
from wire import Reply, Request

BASE = "https://idp.test"
GRANT = ("grant_type", "client_credentials")
SECOND = "api://second?x=1&y=2"
UNWANTED = "assertion-that-must-not-be-used"


def path_of(name: str) -> str:
    """Where the provider gives the tokens of a policy."""
    return f"/{name}/token"


@dataclass
class Asked:
    """Settings of `oidc` and of the exchange, and the fields that they make."""

    fields: list[tuple[str, str]]
    oidc: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


ASKED = {
    "nothing": Asked([]),
    "empty": Asked([], {"scopes": [], "resources": []}, {"aud": ""}),
    "scopes": Asked(
        [("scope", "b a api://x/.default")], {"scopes": ["b", "a", "api://x/.default"]}
    ),
    "resource": Asked([("resource", "api://first")], {"resources": ["api://first"]}),
    "two-resources": Asked(
        [("resource", "api://first"), ("resource", SECOND)],
        {"resources": ["api://first", SECOND]},
    ),
    "audience": Asked([("audience", "api://a b+c/ü")], {}, {"aud": "api://a b+c/ü"}),
    "all": Asked(
        [("audience", "a"), ("resource", "r"), ("scope", "s")],
        {"scopes": ["s"], "resources": ["r"]},
        {"aud": "a", "grantType": "client_credentials"},
    ),
}

MALFORMED: dict[str, Reply] = {
    "html": Reply(headers=[(b"content-type", b"text/html")], body=f"<html>{WORDS}".encode()),
    "truncated": Reply(headers=[JSON], body=f'{{"access_token": "{UNWANTED}"'.encode()),
    "redirect": Reply(302, headers=[(b"location", f"{BASE}/nothing/token".encode())]),
    "no-token": json_reply({"token_type": "Bearer", "expires_in": 60, "id_token": UNWANTED}),
    "line": json_reply({"access_token": f"{UNWANTED}\r\nx: y", "token_type": "Bearer"}),
    "mac": json_reply({"access_token": UNWANTED, "token_type": "mac"}),
    "ended": json_reply({"access_token": UNWANTED, "token_type": "Bearer", "expires_in": 0}),
}

REFUSED: dict[str, tuple[Reply, str, str]] = {
    "grant": (json_reply({"error": "unauthorized_client"}, 400), "denied", "unauthorized_client"),
    "scope": (json_reply({"error": "invalid_scope"}, 400), "denied", "invalid_scope"),
    "inside": (json_reply({"error": "invalid_client"}), "denied", "invalid_client"),
    "busy": (json_reply({"error": "slow_down"}, 429), "throttled", "429"),
    "fault": (Reply(503, body=WORDS.encode()), "server", "503"),
}


@dataclass
class World:
    """The gateway and the provider."""

    rig: Rig
    idp: Issuer

    def tries(self, name: str) -> list[Request]:
        """The token requests for a policy."""
        return self.idp.asked(path_of(name))


def policy_of(name: str, asked: Asked | None = None) -> list[Any]:
    """A policy that needs no discovery."""
    how = asked or Asked([])
    provider = {"tokenEndpoint": BASE + path_of(name)}
    exchange = oidc(f"{BASE}/{name}", name=name, provider=provider, **dict(how.oidc))
    return exchanged(name, exchange, tenant=name, **how.more)


OTHERS = ("posting", "stale", "stale-twice", "recovers")


@pytest.fixture(scope="module")
def world(authority: Authority) -> Iterator[World]:
    """One Envoy with a policy for each case."""
    names = [*ASKED, *MALFORMED, *REFUSED, *OTHERS]
    tls = authority.server_context(["idp.test"], http2=False)
    entra_tls = authority.server_context([PUBLIC], http2=False)
    with Issuer(BASE, tls=tls) as idp, Entra(tls=entra_tls) as entra:
        idp.targets = {path_of(name) for name in names}
        refusals = {name: case[0] for name, case in REFUSED.items()}
        for name, reply in (MALFORMED | refusals).items():
            idp.on(path_of(name), lambda _request, reply=reply: reply)
        refusal = json_reply({"error": "invalid_client", "error_description": WORDS}, 401)
        idp.on(
            lambda one: one.path == path_of("posting") and bool(one.values("authorization")),
            lambda _request: refusal,
        )
        idp.on(path_of("recovers"), lambda _request: MALFORMED["html"], times=1)
        for name in names:
            entra.applications[name, CLIENT] = Application(federations=[idp.federation()])
        stale = failure(401, "invalid_client", 700024)
        entra.answer_once("stale", stale)
        entra.on(token_path("stale-twice"), lambda _request: stale)
        policies = {name: policy_of(name, ASKED.get(name)) for name in names}
        plugin = {"credentialWait": "100ms"}
        with serving(policies, entra, authority, idp, plugin=plugin) as rig:
            yield World(rig, idp)
        assert entra.refused == []
        assert idp.refused == []


@pytest.mark.parametrize("name", ASKED)
def test_a_request_holds_what_is_configured_and_no_more(world: World, name: str) -> None:
    world.rig.wait_for_metric(name, "fetched")
    world.rig.token(name)
    (request,) = world.tries(name)
    assert sorted(fields(request.body)) == sorted([GRANT, *ASKED[name].fields])
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert request.header("accept") == "application/json"
    assert (request.header("authorization") or "").startswith("Basic ")


@pytest.mark.parametrize("name", MALFORMED)
def test_an_odd_reply_ends_before_entra(world: World, name: str) -> None:
    poll(lambda: world.rig.failures(name), 10, f"a failure of {name}")
    line = world.rig.complaint(name)
    assert "oidc" in line
    assert UNWANTED not in line
    assert WORDS not in line
    world.rig.refused(name)
    assert set(world.rig.failures(name)) == {"malformed"}
    assert world.rig.entra.of(name) == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_told_apart_and_named(world: World, name: str) -> None:
    _, reason, told = REFUSED[name]
    poll(lambda: world.rig.failures(name), 10, f"a failure of {name}")
    line = world.rig.complaint(name)
    assert "oidc" in line
    assert told in line
    assert WORDS not in line
    wait = world.rig.refused(name)
    assert wait > 5 if reason == "denied" else wait <= 6
    assert set(world.rig.failures(name)) == {reason}
    assert world.rig.entra.of(name) == []


def test_a_provider_that_refuses_basic_gets_the_secret_in_the_form(world: World) -> None:
    world.rig.wait_for_metric("posting", "fetched")
    world.rig.token("posting")
    first, second = world.tries("posting")
    assert first.values("authorization") != []
    assert fields(first.body) == [GRANT]
    assert second.values("authorization") == []
    proof = [("client_id", ID), ("client_secret", PASSWORD)]
    assert sorted(fields(second.body)) == sorted([GRANT, *proof])
    assert world.rig.failures("posting") == {}
    assert world.rig.metric("posting", "fetched") == 1


def test_a_stale_assertion_is_replaced_at_once(world: World) -> None:
    world.rig.wait_for_metric("stale", "fetched")
    world.rig.token("stale")
    assert len(world.tries("stale")) == 2
    assertions = [dict(fields(one.body))["client_assertion"] for one in world.rig.entra.of("stale")]
    assert len(assertions) == 2
    assert world.rig.failures("stale") == {}


def test_a_second_stale_assertion_is_a_failure(world: World) -> None:
    poll(lambda: world.rig.failures("stale-twice"), 10, "a failure")
    assert "AADSTS700024" in world.rig.complaint("stale-twice")
    assert set(world.rig.failures("stale-twice")) == {"denied"}
    failed = world.rig.metric("stale-twice", "fetch_failed.denied")
    assert 2 * failed <= len(world.rig.entra.of("stale-twice")) <= 2 * (failed + 1)


def test_the_next_answer_counts(world: World) -> None:
    world.rig.wait_for_metric("recovers", "fetched")
    world.rig.token("recovers")
    assert world.rig.failures("recovers") == {"malformed": 1}


def test_a_provider_that_refuses_both_ways_is_left_alone(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with (
        Issuer(BASE, tls=tls) as idp,
        Entra(tls=authority.server_context([PUBLIC], http2=False)) as entra,
    ):
        idp.methods = []
        with serving({"azure": exchanged(tenant="azure")}, entra, authority, idp) as rig:
            poll(lambda: rig.failures("azure"), 10, "a failure")
            line = rig.complaint("azure")
            assert "401" in line
            assert "invalid_client" in line
            assert rig.refused("azure") > 5
            assert rig.failures("azure") == {"denied": 1}
            first, second = idp.asked("/token")
            assert (bool(first.values("authorization")), bool(second.values("authorization"))) == (
                True,
                False,
            )
            assert entra.requests == []
            assert POST in idp.refused[1]
