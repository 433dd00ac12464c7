"""Which STS is asked, as the environment of the VM says, and what it may not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from aws import STATIC, bedrock, parsed
from entra_rig import errors
from manifests import Manifest
from sts import Sts, arn, exchanging
from sts_rig import for_tokens, identity, over_tls, serving
from sts_rules import Role
from upstream import Authority

LEGACY = {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}
FIPS = {"AWS_USE_FIPS_ENDPOINT": "true"}
DUAL = {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
OWN = "vpce-1.sts.eu-west-1.vpce.amazonaws.com"
INSIDE = "sts.inside.test:8443"


class Place(NamedTuple):
    """An environment, the region of a policy, and where its STS is and what it is signed for."""

    env: Mapping[str, str]
    region: str
    host: str
    signed: str


PLACES: Mapping[str, Place] = {
    "plain": Place({}, "eu-west-1", "sts.eu-west-1.amazonaws.com", "eu-west-1"),
    "regional": Place(
        {"AWS_STS_REGIONAL_ENDPOINTS": "regional"},
        "eu-west-1",
        "sts.eu-west-1.amazonaws.com",
        "eu-west-1",
    ),
    "legacy": Place(LEGACY, "eu-west-1", "sts.amazonaws.com", "us-east-1"),
    "legacy for a new region": Place(
        LEGACY, "eu-south-1", "sts.eu-south-1.amazonaws.com", "eu-south-1"
    ),
    "FIPS": Place(FIPS, "us-west-2", "sts-fips.us-west-2.amazonaws.com", "us-west-2"),
    "dual stack": Place(DUAL, "us-west-2", "sts.us-west-2.api.aws", "us-west-2"),
    "both": Place({**FIPS, **DUAL}, "us-west-2", "sts-fips.us-west-2.api.aws", "us-west-2"),
    "letters": Place(
        {"AWS_USE_FIPS_ENDPOINT": "True"},
        "us-west-2",
        "sts-fips.us-west-2.amazonaws.com",
        "us-west-2",
    ),
    "switched off": Place(
        {"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": ""},
        "us-west-2",
        "sts.us-west-2.amazonaws.com",
        "us-west-2",
    ),
    "own": Place({"AWS_ENDPOINT_URL_STS": f"https://{OWN}"}, "eu-west-1", OWN, "eu-west-1"),
    "own with a slash": Place(
        {"AWS_ENDPOINT_URL_STS": f"https://{OWN}/"}, "eu-west-1", OWN, "eu-west-1"
    ),
    "own with a port": Place(
        {"AWS_ENDPOINT_URL_STS": f"https://{INSIDE}"}, "eu-west-1", INSIDE, "eu-west-1"
    ),
    "own before legacy": Place(
        {**LEGACY, "AWS_ENDPOINT_URL_STS": f"https://{OWN}"}, "eu-west-1", OWN, "eu-west-1"
    ),
}


def assuming(name: str) -> Manifest:
    """Settings: the policy of that name takes on a role."""
    return {"policies": {f"default/{name}": {"assumeRole": {"roleArn": arn(f"next-{name}")}}}}


def ready(sts: Sts) -> Sts:
    """With a role that keys may take on."""
    sts.roles[arn("next-keys")] = Role(principals=[sts.user("gateway", STATIC)])
    return sts


@pytest.mark.parametrize("name", PLACES)
def test_the_environment_says_where_sts_is(authority: Authority, name: str) -> None:
    env, region, host, signed = PLACES[name]
    issuer = identity(authority)
    roles = {"token": for_tokens(issuer)}
    policies: dict[str, Any] = {
        "token": exchanging("token", region=region),
        "keys": bedrock("keys", STATIC, region),
    }
    with ready(over_tls(authority, roles, {host: signed})) as sts, issuer:
        with serving(policies, sts, authority, issuer, env=env, plugin=assuming("keys")) as rig:
            # What requests are signed for is the policy's own region.
            assert rig.session("token", region).role == arn("token")
            assert rig.session("keys", region).role == arn("next-keys")
            (request,) = sts.of("next-keys")
            assert (parsed(request).region, request.authority.decode()) == (signed, host)
        assert sts.refused == []
        assert set(sts.server_names) == {host.partition(":")[0]}


def test_a_listed_host_is_asked_by_http(authority: Authority) -> None:
    issuer = identity(authority)
    host = "sts.inside.test:8080"
    env = {"AWS_ENDPOINT_URL_STS": f"http://{host}"}
    listed = {"plaintextHosts": ["sts.inside.test"]}
    sts = Sts({"token": for_tokens(issuer)}, hosts={host: "us-east-1"})
    policies: dict[str, Any] = {"token": exchanging("token"), "keys": bedrock("keys")}
    options: dict[str, Any] = {"egress_settings": listed, "plugin": assuming("keys")}
    with ready(sts), issuer:
        with serving(policies, sts, authority, issuer, env=env, **options) as rig:
            assert rig.session("token").role == arn("token")
            assert rig.session("keys").role == arn("next-keys")
        assert sts.refused == []


def endpoint(value: str, **options: Any) -> list[str]:
    """The error lines when the environment names this endpoint."""
    env = {"AWS_ENDPOINT_URL_STS": value}
    return errors(exchanging("aws"), env=env, **options)


@pytest.mark.parametrize(
    "value",
    [
        "http://sts.amazonaws.com",
        "HTTP://sts.test/",
        "http://inside.test.evil.test",
        "http://127.0.0.1:8080",
    ],
)
def test_an_endpoint_by_http_has_to_be_listed(value: str) -> None:
    (line,) = endpoint(value, egress_settings={"plaintextHosts": ["inside.test"]})
    assert "AWS_ENDPOINT_URL_STS" in line
    assert "https" in line
    assert "egress.plaintextHosts" in line


@pytest.mark.parametrize(
    "value",
    [
        "ftp://sts.test",
        "https://user:word@sts.test",
        "https://sts.test/?x=1",
        "https://sts.test/#x",
        "https://",
        "https://sts .test",
        "sts.test\\@other.test",
        "https://files.local",
        "sts.amazonaws.com",
        "http://169.254.169.254",
    ],
)
def test_an_endpoint_that_is_none_is_named(value: str) -> None:
    (line,) = endpoint(value)
    assert "AWS_ENDPOINT_URL_STS" in line
    assert "word" not in line
