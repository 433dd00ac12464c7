"""What the filter asks STS for a token of an identity provider, and what comes of the session."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from manifests import Manifest, target
from oidc import PASSWORD, OidcProvider, oidc
from sts import HOST, arn, exchanging
from sts_rig import IDP, Rig, for_tokens, identity, over_tls, serving
from sts_rules import SESSION, WEB
from upstream import Authority

RECORDINGS = Path(__file__).parent / "recordings"
LONG = "long-" + "x" * 58
"""As long as a label may be: with what is put in front it is too long for STS."""
LONGER = "a-name.of.many." + "labels." * 30 + "end"
PLAIN = "plain"
RESOURCE = "https://sts.amazonaws.com"
NAMES = [PLAIN, "x", "with.dots-and-9", LONG, LONGER]


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy, with a policy of each name."""
    issuer = identity(authority)
    policies = {name: exchanging(name, role=arn(f"role-{name[:30]}")) for name in NAMES}
    policies["path"] = exchanging("path", role=arn("team/of_=,.@-/path"))
    roles = [f"role-{name[:30]}" for name in NAMES] + ["team/of_=,.@-/path"]
    sts = over_tls(authority, {role: for_tokens(issuer) for role in roles})
    with issuer, sts:
        with serving(policies, sts, authority, issuer) as gateway:
            yield gateway
        assert sts.refused == []
        assert issuer.refused == []


def form_of(rig: Rig, name: str) -> dict[str, str]:
    """What was asked for a policy."""
    rig.session(name)
    (form,) = rig.sts.forms(f"role-{name[:30]}")
    return form


def test_the_form_holds_what_has_to_be_there_and_nothing_else(rig: Rig) -> None:
    form = form_of(rig, PLAIN)
    assert form.pop("WebIdentityToken").count(".") == 2
    assert form == {
        "Action": WEB,
        "Version": "2011-06-15",
        "RoleArn": arn(f"role-{PLAIN}"),
        "RoleSessionName": f"ai-gateway-{PLAIN}",
    }
    assert len(rig.sts.of(f"role-{PLAIN}")) == 1
    assert rig.metric(PLAIN, "fetched") == 1
    assert rig.failures(PLAIN) == {}


def test_the_request_has_the_form_that_botocore_gives_it(rig: Rig) -> None:
    rig.session(PLAIN)
    (request,) = rig.sts.of(f"role-{PLAIN}")
    recording = json.loads((RECORDINGS / "aws-sts-web-identity-irsa.json").read_text())
    theirs = recording["requests"][0]
    headers = {name.lower(): value for name, value in theirs["headers"]}
    assert request.method == theirs["method"]
    assert request.authority.decode() == theirs["host"] == HOST
    assert request.target.decode() == theirs["target"]
    assert request.header("content-type") == headers["content-type"]
    assert sorted(rig.sts.forms(f"role-{PLAIN}")[0]) == sorted(name for name, _ in theirs["form"])
    assert set(rig.sts.server_names) == {HOST}
    # It wants an answer that is easier to read.
    assert request.header("accept") == "application/json"


@pytest.mark.parametrize("name", ["x", "with.dots-and-9"])
def test_a_session_has_the_name_of_its_policy(rig: Rig, name: str) -> None:
    assert form_of(rig, name)["RoleSessionName"] == f"ai-gateway-{name}"


@pytest.mark.parametrize("name", [LONG, LONGER], ids=["label", "name"])
def test_the_name_of_a_session_is_never_too_long(rig: Rig, name: str) -> None:
    given = form_of(rig, name)["RoleSessionName"]
    assert SESSION.fullmatch(given)
    assert given.startswith("ai-gateway-" + name[:30])


def test_a_role_may_have_a_path(rig: Rig) -> None:
    session = rig.session("path")
    assert session.role == arn("team/of_=,.@-/path")


def test_the_end_of_the_session_is_told(rig: Rig) -> None:
    session = rig.session(PLAIN)
    assert abs(rig.metric(PLAIN, "expires_at") - session.end) < 2
    assert 3598 < session.end - session.issued < 3602


REGIONS: Mapping[str, tuple[str, str, str]] = {
    "eu-west-1": ("sts.eu-west-1.amazonaws.com", "aws", "amazonaws.com"),
    "ap-southeast-5": ("sts.ap-southeast-5.amazonaws.com", "aws", "amazonaws.com"),
    "us-gov-west-1": ("sts.us-gov-west-1.amazonaws.com", "aws-us-gov", "amazonaws.com"),
    "cn-north-1": ("sts.cn-north-1.amazonaws.com.cn", "aws-cn", "amazonaws.com.cn"),
    "eusc-de-east-1": ("sts.eusc-de-east-1.amazonaws.eu", "aws-eusc", "amazonaws.eu"),
}


def test_sts_is_asked_in_the_region_of_the_policy(authority: Authority) -> None:
    issuer = identity(authority)
    hosts = {host: region for region, (host, _, _) in REGIONS.items()}
    policies: dict[str, list[Manifest]] = {}
    sts = over_tls(authority, hosts=hosts)
    for region, (_, partition, _) in REGIONS.items():
        role = arn(region, partition)
        sts.roles[role] = for_tokens(issuer)
        policies[region] = exchanging(region, role=role, region=region)
    with issuer, sts, serving(policies, sts, authority, issuer) as rig:
        for region, (host, _, suffix) in REGIONS.items():
            session = rig.session(region, region)
            assert session.role == arn(region, REGIONS[region][1])
            (seen,) = [one for one in sts.requests if one.authority.decode() == host]
            assert region.encode() in seen.body
            sent = rig.upstream.only().authority.decode()
            assert sent == f"bedrock-runtime.{region}.{suffix}"
        assert set(sts.server_names) == set(hosts)
        assert sts.refused == []


@pytest.fixture(scope="module")
def certified(authority: Authority) -> Iterator[OidcProvider]:
    """The certified provider; the audience of its tokens has to be a URI."""
    clients = {"one": PASSWORD, "two": "other-word", "three": PASSWORD, "four": PASSWORD}
    options: dict[str, Any] = {"clients": clients, "audiences": {RESOURCE: "jwt"}}
    with OidcProvider(IDP, authority, **options) as provider:
        yield provider


def test_a_token_of_the_certified_provider_becomes_a_session(
    authority: Authority, certified: OidcProvider
) -> None:
    words = {"one": PASSWORD, "two": "other-word"}
    policies = {
        name: exchanging(name, oidc(IDP, name, name=name), password=word)
        for name, word in words.items()
    }
    roles = {name: for_tokens(certified, name, RESOURCE) for name in words}
    with over_tls(authority, roles) as sts, serving(policies, sts, authority, certified) as rig:
        for name in words:
            session = rig.session(name)
            assert (session.role, session.source) == (arn(name), name)
            (asked,) = [one for one in certified.tokens() if one["client"] == name]
            assert asked["form"] == {"grant_type": "client_credentials"}
            assert rig.failures(name) == {}
        assert sts.refused == []


def test_an_audience_of_the_policy_goes_to_the_provider_and_not_to_sts(
    authority: Authority,
) -> None:
    issuer = identity(authority)
    policies = {"aud": exchanging("aud", aud="sts.amazonaws.com")}
    roles = {"aud": for_tokens(issuer)}
    with over_tls(authority, roles) as sts, issuer:
        with serving(policies, sts, authority, issuer) as rig:
            rig.session("aud")
        (form,) = issuer.forms
        assert ("audience", "sts.amazonaws.com") in form
        assert sts.refused == []


def test_two_policies_with_one_role_are_two_sessions(authority: Authority) -> None:
    issuer = identity(authority)
    one, two = exchanging("one", role=arn("both")), exchanging("two", role=arn("both"))
    with over_tls(authority, {"both": for_tokens(issuer)}) as sts, issuer:
        with serving({"one": one, "two": two}, sts, authority, issuer) as rig:
            assert rig.session("one").name == "ai-gateway-one"
            assert rig.session("two").name == "ai-gateway-two"
        assert len(sts.sessions("both")) == 2


def test_a_policy_with_two_backends_has_one_session(authority: Authority) -> None:
    issuer = identity(authority)
    resources = exchanging("shared")
    resources[0]["spec"]["targetRefs"] = [target("first"), target("second")]
    with over_tls(authority, {"shared": for_tokens(issuer)}) as sts, issuer:
        policies = {"first": resources, "second": []}
        with serving(policies, sts, authority, issuer, concurrency=4) as rig:
            assert rig.session("first") == rig.session("second")
        assert len(sts.of("shared")) == 1
