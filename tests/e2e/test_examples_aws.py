"""The examples of Bedrock, in front of strict services of AWS and of an identity provider."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from aws import REGION, Keys, parsed, verify
from aws_container import EKS, POD_PATH, Container
from aws_imds import ADDRESS, Imds
from aws_metadata import Ledger, Service
from mounts import Secret
from oidc import PASSWORD, Issuer, OidcProvider
from sts import HOST, Sts, arn
from sts_rig import for_tokens, over_tls
from sts_rules import WEB
from test_examples import (
    Play,
    Scene,
    Start,
    assert_came_from_the_filter,
    assert_sends_what_it_obtained,
    assert_trusts_no_other_name,
    playing,
)
from upstream import Authority
from wire import Request

TARGET = "/bedrock/model/anthropic.claude-v2%3A0/invoke"
PROVIDER = f"bedrock-runtime.{REGION}.amazonaws.com"
SUBJECT = "system:serviceaccount:ai:gateway"
IDP = "idp.example.com"
RESOURCE = "https://sts.amazonaws.com"
"""The audience of the provider's tokens, which has to be a URI there."""


def signed(request: Request, keys: Keys) -> list[str]:
    """What of these keys, with which the request is signed, nobody may show."""
    verify(request, keys, region=REGION, host=PROVIDER)
    assert request.path == TARGET.removeprefix("/bedrock")
    assert keys.token
    return [keys.secret, keys.token]


def of_session(sts: Sts, request: Request, role: str, source: str) -> list[str]:
    """The request is signed with a session of that role, the only one that was asked for."""
    assert sts.refused == []
    assert sts.misused == []
    assert sts.server_names == [HOST]
    session = sts.issued[parsed(request).access]
    assert (session.role, session.source, session.name) == (arn(role), source, "ai-gateway-bedrock")
    (form,) = sts.forms(role)
    assert form["Action"] == WEB
    return [*signed(request, session.keys), form["WebIdentityToken"]]


def of_machine(service: Service, request: Request) -> list[str]:
    """The request is signed with the keys that a service of the machine has lent."""
    assert service.refused == []
    assert service.ledger.misused == []
    (lent,) = service.given
    assert parsed(request).access == lent.keys.access
    return signed(request, lent.keys)


@contextlib.contextmanager
def of_account(authority: Authority, folder: Path) -> Iterator[Scene]:
    """A pod of EKS whose service account has a role."""
    # Nobody asks it for anything: the kubelet brings its tokens.
    issuer = Issuer("https://oidc.eks.us-east-1.amazonaws.com/id/0A1B")
    issuer.claims |= {"aud": "sts.amazonaws.com", "sub": SUBJECT}
    token = issuer.token()
    volume = Secret(folder, "serviceaccount", "eks.amazonaws.com")
    volume.swap({"token": token + "\n"})
    with over_tls(authority, {"pod": for_tokens(issuer, SUBJECT)}) as sts:

        def judge(request: Request) -> Sequence[str]:
            hidden = of_session(sts, request, "pod", SUBJECT)
            assert token in hidden
            return hidden

        env = {
            "AWS_ROLE_ARN": arn("pod"),
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(volume.path("token")),
        }
        yield Scene(TARGET, sts.provider, judge, {HOST: sts}, env, folder)


@contextlib.contextmanager
def of_pod(_authority: Authority, folder: Path) -> Iterator[Scene]:
    """A pod of EKS with which a role is associated."""
    token = "token-of-the-pod.5b1e"
    volume = Secret(folder, "serviceaccount", "pods.eks.amazonaws.com")
    volume.swap({"eks-pod-identity-token": token + "\n"})
    with Container(hosts=[EKS], target=POD_PATH, token=token) as agent:

        def judge(request: Request) -> Sequence[str]:
            assert agent.presented == [token]
            return [*of_machine(agent, request), token]

        env = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{EKS}{POD_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(volume.path("eks-pod-identity-token")),
        }
        yield Scene(TARGET, agent.ledger.provider, judge, {EKS: agent}, env, folder)


@contextlib.contextmanager
def of_ec2(_authority: Authority, _folder: Path) -> Iterator[Scene]:
    """A machine with a role."""
    with Imds(Ledger(), hosts=[ADDRESS]) as imds:

        def judge(request: Request) -> Sequence[str]:
            assert imds.steps() == ["token", "role", "keys"]
            return [*of_machine(imds, request), *imds.tokens]

        yield Scene(TARGET, imds.ledger.provider, judge, {ADDRESS: imds})


@contextlib.contextmanager
def of_client(authority: Authority, _folder: Path) -> Iterator[Scene]:
    """A client of an identity provider that a role trusts."""
    clients, audiences = {"envoy": PASSWORD}, {RESOURCE: "jwt"}
    issuer = OidcProvider(f"https://{IDP}", authority, clients=clients, audiences=audiences)
    with issuer, over_tls(authority) as sts:
        sts.roles[arn("bedrock")] = for_tokens(issuer, "envoy", RESOURCE)

        def judge(request: Request) -> Sequence[str]:
            form = {"grant_type": "client_credentials", "audience": "sts.amazonaws.com"}
            assert_came_from_the_filter(issuer, form)
            return [*of_session(sts, request, "bedrock", "envoy"), PASSWORD]

        env = {"OIDC_CLIENT_SECRET": PASSWORD + "\n"}
        yield Scene(TARGET, sts.provider, judge, {IDP: issuer, HOST: sts}, env)


SCENES: Mapping[str, Play] = {
    "bedrock-oidc": of_client,
    "ec2": of_ec2,
    "eks-irsa": of_account,
    "eks-pod-identity": of_pod,
}

STRANGERS = [
    *((name, PROVIDER) for name in SCENES),
    ("eks-irsa", HOST),
    ("bedrock-oidc", IDP),
    ("bedrock-oidc", HOST),
]


@pytest.mark.parametrize("name", SCENES)
def test_an_example_signs_with_keys_that_it_obtained(
    name: str, start_envoy: Start, client: httpx.Client, authority: Authority, tmp_path: Path
) -> None:
    with playing(name, SCENES[name], start_envoy, authority, tmp_path) as on:
        assert_sends_what_it_obtained(on, client)


@pytest.mark.parametrize(("name", "host"), STRANGERS)
def test_an_example_sends_nothing_to_a_host_with_another_name(
    name: str,
    host: str,
    start_envoy: Start,
    client: httpx.Client,
    authority: Authority,
    tmp_path: Path,
) -> None:
    with playing(name, SCENES[name], start_envoy, authority, tmp_path, host) as on:
        assert_trusts_no_other_name(on, client, host)
