"""A token of an identity provider becomes one of Google, and of an account there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from entra_rules import Federation, fields
from google_iam import Target
from google_keys import CLOUD, IAM
from google_recordings import REQUESTS
from google_rig import CALLER, Rig, serving
from google_rules import Life, stamp
from google_services import Google, federated, project
from google_sts import Provider, provider_name
from launch import poll
from oidc import ID, Issuer, OidcProvider, oidc
from upstream import Authority

ISSUER = "https://idp.test"
AUDIENCE = "https://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool"


@dataclass
class Case:
    """The account to act as: what the policy says and what its address is."""

    said: str | None = None
    email: str | None = None


def short(name: str) -> str:
    """The address of an account of the policy's own project."""
    return f"gateway@{project(name)}.iam.gserviceaccount.com"


CASES = {
    "direct": Case(),
    "short": Case("gateway", short("short")),
    "mail": Case("sa@other.iam.gserviceaccount.com", "sa@other.iam.gserviceaccount.com"),
}


def provider_of(services: Google, name: str, issuer: Issuer | OidcProvider) -> Provider:
    """The provider of a policy's pool, which takes tokens of that issuer."""
    federation = Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)
    one = Provider(provider_name(name), federations=[federation])
    services.sts.providers[one.name] = one
    return one


def prepared(services: Google, name: str, case: Case, issuer: Issuer | OidcProvider) -> str:
    """Lets the policy of a case in; whose token it gets."""
    one = provider_of(services, name, issuer)
    who = one.principal(ID)
    if case.email:
        one.impersonating = True
        services.iam.targets[case.email] = Target({who})
        who = case.email
    services.place(name, who)
    return who


def of_case(name: str, case: Case) -> list[dict[str, object]]:
    """Its policy."""
    return federated(name, oidc(ISSUER, name=name), account=case.said)


@pytest.fixture(scope="module")
def certified(authority: Authority) -> Iterator[OidcProvider]:
    """The real identity provider; its tokens are for the pool."""
    with OidcProvider(ISSUER, authority, audiences={AUDIENCE: "jwt"}) as provider:
        yield provider


@pytest.fixture(scope="module")
def rig(authority: Authority, certified: OidcProvider) -> Iterator[Rig]:
    """One Envoy with a policy for each case."""
    with Google(authority) as services:
        for name, case in CASES.items():
            prepared(services, name, case, certified)
        policies = {name: of_case(name, case) for name, case in CASES.items()}
        with serving(policies, services, authority, certified) as rig:
            yield rig
        assert services.refused == []


@pytest.mark.parametrize("name", CASES)
def test_a_token_of_an_identity_provider_gets_one_of_google(rig: Rig, name: str) -> None:
    _, used = rig.answered(name)
    token = rig.google.ledger.tokens[used.token]
    case = CASES[name]
    assert token.scopes == (CLOUD,)
    assert token.who == (case.email or rig.google.sts.providers[provider_name(name)].principal(ID))
    assert rig.metric(name, "fetched") == 1
    assert rig.failures(name) == {}
    assert abs(rig.metric(name, "expires_at") - token.end) < 2


@pytest.mark.parametrize("name", CASES)
def test_an_exchange_is_like_that_of_the_official_client(rig: Rig, name: str) -> None:
    rig.token(name)
    (request,) = rig.google.sts.of(provider_name(name))
    acting = CASES[name].email is not None
    recorded = REQUESTS["wif-file-impersonation/1" if acting else "wif-file"]
    assert (request.method, request.target.decode()) == (recorded.method, recorded.target)
    assert request.authority.decode() == recorded.host
    assert request.header("content-type") == recorded.kind
    assert request.header("authorization") is None
    form = dict(fields(request.body))
    assert form["scope"] == (IAM if acting else CLOUD)
    own = {"subject_token": recorded.form["subject_token"], "audience": recorded.form["audience"]}
    assert {**form, **own} == recorded.form
    assert CALLER not in repr(request)


@pytest.mark.parametrize("name", ["short", "mail"])
def test_an_account_is_acted_as_like_the_official_client_does(rig: Rig, name: str) -> None:
    rig.token(name)
    (request,) = rig.google.iam.of(CASES[name].email or "")
    recorded = REQUESTS["wif-file-impersonation/2"]
    assert (request.method, request.authority.decode()) == (recorded.method, recorded.host)
    assert request.header("content-type") == recorded.kind
    body = request.json()
    assert {"delegates": None, **body} == recorded.body
    assert CALLER not in repr(request)


ENDS = {
    "whole": ("", "Z", 0),
    "milli": (".5", "Z", 0),
    "nano": (".123456789", "Z", 0),
    "east": ("", "+05:30", 5.5),
    "west": (".25", "-08:00", -8),
}


def test_the_end_of_a_token_is_read_in_any_form(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        policies = {}
        for name, (fraction, zone, hours) in ENDS.items():
            case = Case("gateway", short(name))
            prepared(services, name, case, issuer)
            services.iam.targets[short(name)] = replace(
                services.iam.targets[short(name)],
                life=1500,
                stamp=lambda end, f=fraction, z=zone, h=hours: stamp(end + h * 3600, f, z),
            )
            policies[name] = of_case(name, case)
        with serving(policies, services, authority, issuer) as rig:
            for name in ENDS:
                token = services.ledger.tokens[rig.token(name)]
                assert abs(rig.metric(name, "expires_at") - token.end) <= 2, name
                assert rig.failures(name) == {}


def test_every_exchange_has_a_subject_token_of_its_own_or_one_that_lives(
    authority: Authority,
) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        issuer.life = 5
        case = Case("gateway", short("short"))
        prepared(services, "short", case, issuer)
        services.iam.targets[short("short")].life = 6
        with serving({"short": of_case("short", case)}, services, authority, issuer) as rig:
            end = time.monotonic() + 14
            while time.monotonic() < end:
                rig.token("short")
            assert len(services.iam.asked) >= 3
            assert rig.metric("short", "refused") == 0
        # No subject token came too late.
        assert services.refused == []


def test_one_chain_serves_all_workers(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        case = Case("gateway", short("one"))
        prepared(services, "one", case, issuer)
        policies = {"one": of_case("one", case)}
        with serving(policies, services, authority, issuer, concurrency=4) as rig:
            assert len({rig.token("one") for _ in range(24)}) == 1
        counts = (len(issuer.given), len(services.sts.asked), len(services.iam.asked))
        assert counts == (1, 1, 1)


def test_a_failure_in_the_middle_begins_the_chain_anew(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        case = Case("gateway", short("middle"))
        prepared(services, "middle", case, issuer)
        one = services.sts.providers[provider_name("middle")]
        # The token of the pool has ended when it is used.
        one.life = Life(0, raw="3599")
        with serving(
            {"middle": of_case("middle", case)},
            services,
            authority,
            issuer,
            plugin={"credentialWait": "500ms"},
        ) as rig:
            assert set(rig.wait_for_failure("middle")) == {"denied"}
            line = rig.complaint("middle")
            assert "UNAUTHENTICATED" in line
            assert "401" in line
            rig.refused("middle")
        assert services.sts.asked
        assert services.iam.asked == []


def test_two_pools_have_two_tokens(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        names = ("one", "two")
        for name in names:
            prepared(services, name, Case(), issuer)
        policies = {name: of_case(name, Case()) for name in names}
        with serving(policies, services, authority, issuer) as rig:
            owners = {name: rig.answered(name)[1].who for name in names}
            poll(lambda: len(services.sts.asked) == 2, 10, "two exchanges")
            assert owners["one"] != owners["two"]
