"""The examples of Azure OpenAI, in front of a strict Entra ID."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from azure_identity_rig import Pod
from entra import PUBLIC, Application, Entra
from test_examples import (
    Play,
    Scene,
    Start,
    assert_sends_what_it_obtained,
    assert_trusts_no_other_name,
    playing,
)
from upstream import Authority
from wire import Request

NOBODY = "00000000-0000-0000-0000-000000000000"
"""Tenant and application of the examples."""

SECRET = "real-secret/+~"
TARGET = "/azure/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
PROVIDER = "my-resource.openai.azure.com"


def answering(authority: Authority, application: Application) -> Entra:
    """Entra ID with the one application."""
    tls = authority.server_context([PUBLIC], http2=False)
    return Entra({(NOBODY, NOBODY): application}, tls=tls)


def token_of(entra: Entra, request: Request) -> str:
    """The token that a request carries, which is alive; Entra had nothing to refuse."""
    assert entra.refused == []
    assert entra.server_names == [PUBLIC]
    (asked,) = entra.requests
    assert asked.http_version == "1.1"
    (value,) = request.values("authorization")
    token = value.decode().removeprefix("Bearer ")
    assert entra.alive(token)
    assert request.path + "?" + request.query.decode() == TARGET.removeprefix("/azure")
    return token


@contextlib.contextmanager
def with_secret(authority: Authority, _folder: Path) -> Iterator[Scene]:
    """An application with a secret."""
    with answering(authority, Application(SECRET)) as entra:

        def judge(request: Request) -> Sequence[str]:
            assert entra.asked[0].form["client_secret"] == SECRET
            return [token_of(entra, request), SECRET]

        env = {"AZURE_CLIENT_SECRET": SECRET + "\n"}
        yield Scene(TARGET, entra.provider, judge, {PUBLIC: entra}, env)


@contextlib.contextmanager
def with_workload_identity(authority: Authority, folder: Path) -> Iterator[Scene]:
    """An application that trusts a service account of AKS."""
    pod = Pod(folder)
    assertion = pod.put("{}\n")
    with answering(authority, Application(federations=[pod.federation()])) as entra:

        def judge(request: Request) -> Sequence[str]:
            assert entra.asked[0].form["client_assertion"] == assertion
            return [token_of(entra, request), assertion]

        # The webhook sets this one too, with a slash at its end.
        env = pod.environment(AZURE_AUTHORITY_HOST=f"https://{PUBLIC}/")
        yield Scene(TARGET, entra.provider, judge, {PUBLIC: entra}, env, folder)


SCENES: Mapping[str, Play] = {
    "azure-entra": with_secret,
    "aks-workload-identity": with_workload_identity,
}


@pytest.mark.parametrize("name", SCENES)
def test_an_example_sends_a_token_of_entra(
    name: str, start_envoy: Start, client: httpx.Client, authority: Authority, tmp_path: Path
) -> None:
    with playing(name, SCENES[name], start_envoy, authority, tmp_path) as on:
        assert_sends_what_it_obtained(on, client)


@pytest.mark.parametrize("host", [PUBLIC, PROVIDER])
@pytest.mark.parametrize("name", SCENES)
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
