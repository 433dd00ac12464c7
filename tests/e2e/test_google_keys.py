"""The key of a service account becomes a token of Google, signed by Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import google_oauth
from bootstrap import cluster, upstream_tls
from egress import calls
from entra_rules import fields
from google_keys import CLOUD, ServiceAccount, decoded
from google_oauth import JWT_BEARER
from google_recordings import HEADER, REQUESTS
from google_rig import CALLER, Rig, serving
from google_rules import TO_A_CLUSTER, Life
from google_services import Google, keyed
from launch import poll
from upstream import Authority
from wire import Request

FORMS = ("pkcs8", "pkcs1", "crlf", "bare")
OLD = "https://www.googleapis.com/oauth2/v4/token"
UNIVERSE = "my-universe.example"


def account_of(name: str, **options: Any) -> ServiceAccount:
    """Every policy of these tests has an account of its own."""
    return ServiceAccount(f"{name}@proj.iam.gserviceaccount.com", **options)


def known(services: Google, name: str, **options: Any) -> ServiceAccount:
    """An account whose tokens count in the project of the policy of its name."""
    account = account_of(name, **options)
    services.oauth.accounts[account.email] = account
    services.place(name, account.email)
    return account


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy: a policy for each form of a key, and odd files."""
    with Google(authority) as services:
        policies = {form: keyed(form, known(services, form).file(form)) for form in FORMS}
        old = known(services, "old", token_uri=OLD)
        policies["old"] = keyed("old", old.file())
        text = json.dumps(known(services, "blank").file())
        policies["blank"] = keyed("blank", f" \r\n{text}\n\n")
        policies["encoded"] = keyed(
            "encoded", json.dumps(known(services, "encoded").file()).encode()
        )
        bare = known(services, "few").file(
            project_id=None, client_id=None, auth_uri=None, universe_domain=None
        )
        policies["few"] = keyed("few", bare)
        more = known(services, "more").file(quota_project_id="q", comment={"by": ["a", 1, None]})
        policies["more"] = keyed("more", more)
        with serving(policies, services, authority) as rig:
            yield rig
        assert services.refused == []


NAMES = [*FORMS, "old", "blank", "encoded", "few", "more"]


@pytest.mark.parametrize("name", NAMES)
def test_a_key_in_any_form_gets_a_token(rig: Rig, name: str) -> None:
    _, used = rig.answered(name)
    token = rig.google.ledger.tokens[used.token]
    assert (token.who, token.scopes) == (f"{name}@proj.iam.gserviceaccount.com", (CLOUD,))
    assert len(rig.google.oauth.of(token.who)) == 1
    assert rig.metric(name, "fetched") == 1
    assert abs(rig.metric(name, "expires_at") - token.end) < 2
    assert rig.failures(name) == {}
    assert rig.complaints(name) == []


def request_of(rig: Rig, name: str) -> Request:
    """The token request of a policy."""
    rig.token(name)
    (request,) = rig.google.oauth.of(f"{name}@proj.iam.gserviceaccount.com")
    return request


@pytest.mark.parametrize("name", NAMES)
def test_a_request_is_like_that_of_the_official_client(rig: Rig, name: str) -> None:
    request = request_of(rig, name)
    recorded = REQUESTS["sa-legacy-token-uri" if name == "old" else "sa-jwt-bearer"]
    assert (request.method, request.authority.decode()) == (recorded.method, recorded.host)
    assert request.target.decode() == recorded.target
    assert request.header("content-type") == recorded.kind
    assert request.header("authorization") is None
    form = dict(fields(request.body))
    assert {**form, "assertion": "JWT"} == recorded.form
    header, claims = decoded(form["assertion"])
    assert {**header, "kid": "KEY"} == HEADER
    assert claims.keys() | {"life"} == recorded.claims.keys() | {"iat", "exp"}
    assert claims["scope"] == recorded.claims["scope"]
    # google-auth writes the same audience whatever the file says; the contract wants the file's.
    assert claims["aud"] == (OLD if name == "old" else recorded.claims["aud"])
    assert 0 < claims["exp"] - claims["iat"] <= recorded.claims["life"]
    assert CALLER not in repr(request)


def test_calls_may_have_a_cluster_of_their_own(authority: Authority) -> None:
    with Google(authority) as services:
        services.oauth.tolerated = TO_A_CLUSTER
        account = known(services, "own")
        tls = upstream_tls(authority.pem, google_oauth.HOST)
        own = cluster("google", [services.oauth.port], tls=tls)
        egress = {"clusters": {google_oauth.HOST: "google"}}
        options = {"without": [google_oauth.HOST], "more": [own], "egress_settings": egress}
        policies = {"own": keyed("own", account.file())}
        with serving(policies, services, authority, **options) as rig:
            rig.token("own")
            assert [call.host for call in calls(rig.envoy) if "google" in call.host] == []
            assert set(services.oauth.server_names) == {google_oauth.HOST}
        assert services.refused == []


def test_one_token_serves_all_workers_and_policies_with_the_same_key(authority: Authority) -> None:
    with Google(authority) as services:
        account = known(services, "one")
        services.place("two", account.email)
        policies = {name: keyed(name, account.file()) for name in ("one", "two")}
        for resources in policies.values():
            resources[0]["spec"]["gcpCredentials"]["credentialsFile"]["secretRef"]["name"] = "file"
            resources[1]["metadata"]["name"] = "file"
        policies["two"].pop()
        with serving(policies, services, authority, concurrency=4) as rig:
            tokens = {rig.token(name) for name in ("one", "two") for _ in range(12)}
            assert len(tokens) == 1
        (given,) = services.oauth.given
        assert given.grant == JWT_BEARER


def test_a_token_that_vertex_refuses_is_replaced(authority: Authority) -> None:
    with Google(authority) as services:
        account = known(services, "key")
        with serving({"key": keyed("key", account.file())}, services, authority) as rig:
            first = rig.token("key")
            services.ledger.revoked.add(first)
            assert rig.post("key").status == 401
            poll(lambda: len(services.oauth.given) > 1, 10, "another token")
            rig.wait_for_metric("key", "fetched", 2)
            second = poll(lambda: rig.post("key").status == 200 and rig.token("key"), 10, "it")
            assert second != first
            assert len(services.oauth.given) == 2


def test_a_token_is_renewed_before_its_end_and_no_request_waits(authority: Authority) -> None:
    with Google(authority) as services:
        account = known(services, "short")
        services.oauth.life = Life(6)
        with serving({"short": keyed("short", account.file())}, services, authority) as rig:
            end = time.monotonic() + 14
            tokens = set()
            while time.monotonic() < end:
                tokens.add(rig.token("short"))
            assert len(tokens) >= 3
            assert rig.metric("short", "refused") == 0
            assert rig.failures("short") == {}
        assert services.refused == []
        # Every assertion is a new one, of its own time.
        assert len({given.claims["iat"] for given in services.oauth.given}) >= 3


# Other universes.


@pytest.mark.parametrize("universe", [UNIVERSE, "a.b-c.example"])
def test_an_account_of_another_universe_signs_its_own_token(
    authority: Authority, universe: str
) -> None:
    with Google(authority) as services:
        account = known(services, "own", universe=universe)
        uri = f"https://oauth2.{universe}/token"
        policies = {"own": keyed("own", account.file(token_uri=uri))}
        with serving(policies, services, authority, concurrency=4) as rig:
            tokens = {rig.token("own") for _ in range(12)}
            assert len(tokens) == 1
            _, claims = decoded(tokens.pop())
            assert claims["scope"] == CLOUD
            assert abs(rig.metric("own", "expires_at") - claims["exp"]) < 2
            assert rig.metric("own", "fetched") == 1
            assert [call.host for call in calls(rig.envoy) if call.host != "files.local"] == []
        assert services.count() == 0


def test_the_default_universe_may_be_named(authority: Authority) -> None:
    with Google(authority) as services:
        account = known(services, "named", universe="googleapis.com")
        with serving({"named": keyed("named", account.file())}, services, authority) as rig:
            assert rig.token("named") in services.ledger.tokens
