"""Token files that hold no token, and tokens that Entra does not trust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from azure_identity_rig import WORKLOAD, Pod, serving
from entra import CLIENT, PUBLIC, TENANT, Application, Entra
from entra_rules import fields
from upstream import Authority

ONE: Mapping[str, Any] = {"azure": WORKLOAD}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """Without a token."""
    return Pod(tmp_path)


@pytest.fixture
def entra(authority: Authority, pod: Pod) -> Iterator[Entra]:
    """With an application that trusts the account."""
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({(TENANT, CLIENT): Application(federations=[pod.federation()])}, tls=tls) as server:
        yield server


BROKEN: Mapping[str, Callable[[str], str | bytes]] = {
    "empty": lambda _: "",
    "blank": lambda _: " \n\t\n",
    "two lines": lambda token: f"{token}\n{token}\n",
    "CR": lambda token: f"{token}\r{token}",
    "NUL": lambda token: f"{token}\0",
    "no UTF-8": lambda token: token.encode() + b"\xff",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_sent_to_nobody_and_not_shown(
    authority: Authority, pod: Pod, entra: Entra, name: str
) -> None:
    token = pod.put()
    pod.volume.swap({pod.path.name: BROKEN[name](token)})
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root]}
    options["plugin"] = {"credentialWait": "200ms"}
    with serving(ONE, entra, authority, **options) as rig:
        assert set(rig.wait_for_failures("azure")) == {"malformed"}
        assert "file" in rig.complaint("azure")
        rig.refused("azure")
        assert entra.requests == []
        assert token not in rig.envoy.log()
        pod.put()
        rig.wait_for_fetches("azure", timeout=15)
        rig.token("azure")


CODES = {
    "issuer": (700211, {"iss": "https://eastus.oic.prod-aks.azure.com/0a1b/2c3d"}),
    "audience": (700212, {"aud": "API://AzureADTokenExchange"}),
    "subject": (700213, {"sub": "system:serviceaccount:ai:Gateway"}),
    "no JWT": (50027, None),
}


@pytest.mark.parametrize("name", CODES)
def test_a_token_that_entra_does_not_trust_is_sent_once(
    authority: Authority, pod: Pod, entra: Entra, name: str
) -> None:
    number, claims = CODES[name]
    token = pod.put(**claims) if claims else "opaque-text-in-place-of-a-token"
    if claims is None:
        pod.volume.swap({pod.path.name: token})
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root]}
    with serving(ONE, entra, authority, **options) as rig:
        assert rig.wait_for_failures("azure") == {"denied": 1}
        line = rig.complaint("azure")
        assert f"AADSTS{number}" in line
        assert token not in rig.envoy.log()
        assert 27 <= rig.refused("azure") <= 31
        (request,) = entra.requests
        assert dict(fields(request.body))["client_assertion"] == token
