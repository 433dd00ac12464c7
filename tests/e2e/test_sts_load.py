"""What a configuration with roles of AWS is refused for before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aws import ambient, bedrock
from egress import NAME, SETTINGS
from entra_rig import checked, errors
from manifests import Manifest, keyed, policy, secret
from oidc import oidc
from sts import arn, exchanging

SUBJECT = "BackendSecurityPolicy default/aws: "
EXCHANGE = SUBJECT + "spec.awsCredentials.oidcExchangeToken."
ROLE = "policies.default/aws.assumeRole"


def test_a_policy_of_each_kind_is_taken() -> None:
    settings = {**SETTINGS, **assuming(roleArn=arn("next"))}
    assert checked(exchanging("aws"), bedrock("other"), settings=settings) == (0, [])


def test_a_role_has_to_be_named() -> None:
    (line,) = errors(exchanging("aws", awsRoleArn=""))
    assert line.startswith(EXCHANGE + "awsRoleArn: ")
    assert line.endswith("awsRoleArn in body should be at least 1 chars long")
    without = exchanging("aws")
    del without[0]["spec"]["awsCredentials"]["oidcExchangeToken"]["awsRoleArn"]
    (line,) = errors(without)
    assert line.startswith(EXCHANGE + "awsRoleArn")


@pytest.mark.parametrize(
    "grant", ["authorization_code", "password", "Client_Credentials", "refresh_token"]
)
def test_another_grant_is_refused(grant: str) -> None:
    (line,) = errors(exchanging("aws", grantType=grant))
    told = f'Unsupported value: "{grant}": supported values: "client_credentials"'
    assert line == f"{EXCHANGE}grantType: {told}"


def test_two_sources_are_refused() -> None:
    both = exchanging("aws")
    both[0]["spec"]["awsCredentials"]["credentialsFile"] = {"secretRef": {"name": "file"}}
    lines = errors(both, secret("file", "credentials", "[default]\n"))
    assert [line for line in lines if "credentialsFile" in line and "oidcExchangeToken" in line]


PROVIDERS: Mapping[str, tuple[str, dict[str, str], str]] = {
    "issuer by http": ("http://idp.test", {}, "oidc.provider.issuer: "),
    "issuer of files": ("https://files.local", {}, "oidc.provider.issuer: "),
    "endpoint by http": (
        "https://idp.test",
        {"tokenEndpoint": "http://idp.test/token"},
        "oidc.provider.tokenEndpoint: ",
    ),
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_that_must_not_be_asked_is_refused(name: str) -> None:
    issuer, provider, place = PROVIDERS[name]
    (line,) = errors(exchanging("aws", oidc(issuer, name="aws", provider=provider)))
    assert line.startswith(EXCHANGE + place)


@pytest.mark.parametrize(
    "region", ["", "us-east-1.evil.test/", "us-east-1/../x", "a@b", "us east", "us-east-1#", "ü"]
)
def test_a_region_that_would_not_stay_in_its_place_is_refused(region: str) -> None:
    (line,) = errors(exchanging("aws", region=region))
    assert line.startswith(SUBJECT + "spec.awsCredentials.region")


def test_a_way_out_is_needed() -> None:
    (line,) = errors(exchanging("aws"), settings={"files": {"cluster": NAME}})
    assert line.startswith("egress.cluster: ")
    assert "default/aws" in line
    settings = {"files": {"cluster": NAME}, **assuming(roleArn=arn("next"))}
    (line,) = errors(bedrock("aws"), settings=settings)
    assert line.startswith("egress.cluster: ")
    assert "default/aws" in line
    assert checked(bedrock("aws"), settings={}) == (0, [])


def assuming(**role: Any) -> Manifest:
    """Settings of the one policy."""
    return {"policies": {"default/aws": {"assumeRole": role}}}


def refused(**role: Any) -> list[str]:
    """The error lines of an `assumeRole`, without its own place in front."""
    lines = errors(bedrock("aws"), settings={**SETTINGS, **assuming(**role)})
    assert all(line.startswith(ROLE) for line in lines), lines
    return [line.removeprefix(ROLE) for line in lines]


ROLES: Mapping[str, tuple[dict[str, Any], str]] = {
    "no role": ({"roleArn": None}, ".roleArn"),
    "empty role": ({"roleArn": ""}, ".roleArn"),
    "a name": ({"roleArn": "next"}, ".roleArn"),
    "a user": ({"roleArn": "arn:aws:iam::123456789012:user/x"}, ".roleArn"),
    "a line feed": ({"roleArn": arn("x") + "\n"}, ".roleArn"),
    "a short name": ({"sessionName": "x"}, ".sessionName"),
    "a long name": ({"sessionName": "x" * 65}, ".sessionName"),
    "a slash": ({"sessionName": "a/b"}, ".sessionName"),
    "a space": ({"sessionName": "a b"}, ".sessionName"),
    "an umlaut": ({"sessionName": "aü"}, ".sessionName"),
    "a short id": ({"externalID": "x"}, ".externalID"),
    "a long id": ({"externalID": "x" * 1225}, ".externalID"),
    "a percent sign": ({"externalID": "a%20b"}, ".externalID"),
    "too short": ({"durationSeconds": 899}, ".durationSeconds"),
    "too long": ({"durationSeconds": 43201}, ".durationSeconds"),
    "half a second": ({"durationSeconds": 900.5}, ".durationSeconds"),
    "negative": ({"durationSeconds": -3600}, ".durationSeconds"),
    "a text": ({"durationSeconds": "3600"}, ".durationSeconds"),
    "a duration": ({"durationSeconds": "1h"}, ".durationSeconds"),
    "tags in a list": ({"tags": [{"Key": "a", "Value": "b"}]}, ".tags"),
    "a number": ({"tags": {"a": 1}}, ".tags"),
    "an empty key": ({"tags": {"": "b"}}, ".tags"),
    "a long key": ({"tags": {"k" * 129: "b"}}, ".tags"),
    "a long value": ({"tags": {"k": "b" * 257}}, ".tags"),
    "many tags": ({"tags": {f"k{n}": "b" for n in range(51)}}, ".tags"),
    "a key of AWS": ({"tags": {"aws:x": "b"}}, ".tags"),
    "another field": ({"roleARN": arn("x")}, ".roleARN"),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_wrong_role_is_named(name: str) -> None:
    fields, place = ROLES[name]
    whole = {"roleArn": arn("next"), **fields}
    (line,) = refused(**{key: value for key, value in whole.items() if value is not None})
    assert line.startswith(place), line


def test_what_is_on_the_edge_is_taken() -> None:
    for fields in (
        {"sessionName": "ab", "externalID": "ab", "durationSeconds": 900},
        {"sessionName": "x" * 64, "externalID": "x" * 1224, "durationSeconds": 43200},
        {"tags": {"k" * 128: "v" * 256, **{f"k{n}": "" for n in range(49)}}},
        {"roleArn": "arn:aws-us-gov:iam::123456789012:role/a/path/of_+=,.@-x"},
    ):
        settings = {**SETTINGS, **assuming(**{"roleArn": arn("next"), **fields})}
        assert checked(bedrock("aws"), settings=settings) == (0, []), fields


def test_all_that_is_wrong_with_a_role_is_told_at_once() -> None:
    lines = refused(roleArn="x", sessionName="x", durationSeconds=1, tags={"": ""}, more=1)
    places = {".roleArn", ".sessionName", ".durationSeconds", ".tags", ".more"}
    assert {place for place in places for line in lines if line.startswith(place)} == places


def test_a_role_is_for_a_policy_of_aws_that_is_there() -> None:
    settings = {**SETTINGS, **assuming(roleArn=arn("next"))}
    (line,) = errors(keyed("aws"), settings=settings)
    assert line.startswith(ROLE)
    (line,) = errors(bedrock("other"), settings=settings)
    assert line.startswith("policies.default/aws")


def test_a_bearer_token_of_the_environment_cannot_take_on_a_role() -> None:
    env = {"AWS_BEARER_TOKEN_BEDROCK": "bearer-of-the-gateway"}
    settings = {**SETTINGS, **assuming(roleArn=arn("next"))}
    (line,) = errors(ambient("aws"), settings=settings, env=env)
    assert "assumeRole" in line
    assert "bearer-of-the-gateway" not in line


def test_the_secret_of_the_exchange_has_to_be_somewhere() -> None:
    (line,) = errors(exchanging("aws")[0])
    assert line.startswith(EXCHANGE + "oidc.clientSecret")
    by_reference = oidc(name="aws", clientIDRef={"name": "aws-id"})
    del by_reference["clientID"]
    (line,) = errors(exchanging("aws", by_reference))
    assert line.startswith(EXCHANGE + "oidc.clientIDRef")


def test_an_unknown_field_is_refused() -> None:
    (line,) = errors(exchanging("aws", awsRoleARN=arn("x")))
    assert line.startswith(EXCHANGE + "awsRoleARN")
    two = policy("aws", "AWSCredentials", awsCredentials={"region": "us-east-1", "role": "x"})
    (line,) = errors(two, env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert line.startswith(SUBJECT + "spec.awsCredentials.role")


FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
IRSA = {"AWS_ROLE_ARN": arn("pod"), FILE: "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"}
WRONG: Mapping[str, tuple[dict[str, str], str]] = {
    "no role": ({"AWS_ROLE_ARN": ""}, "AWS_ROLE_ARN"),
    "a file somewhere": ({FILE: "token"}, FILE),
    "a folder": ({FILE: "/var/run/secrets/"}, FILE),
    "a file above": ({FILE: "/var/run/../token"}, FILE),
    "a name of one letter": ({"AWS_ROLE_SESSION_NAME": "x"}, "AWS_ROLE_SESSION_NAME"),
    "a name with a slash": ({"AWS_ROLE_SESSION_NAME": "a/b"}, "AWS_ROLE_SESSION_NAME"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_environment_that_cannot_be_is_refused(name: str) -> None:
    other, variable = WRONG[name]
    (line,) = errors(ambient("irsa"), env={**IRSA, **other})
    assert line.startswith("BackendSecurityPolicy default/irsa: ")
    assert variable in line


def test_a_way_to_the_file_and_one_to_sts_are_needed() -> None:
    assert checked(ambient("irsa"), env=IRSA) == (0, [])
    (line,) = errors(ambient("irsa"), env=IRSA, settings={"egress": {"cluster": "egress"}})
    assert line.startswith("files.cluster: ")
    assert "default/irsa" in line
    (line,) = errors(ambient("irsa"), env=IRSA, settings={"files": {"cluster": "egress"}})
    assert line.startswith("egress.cluster: ")
    assert "default/irsa" in line
