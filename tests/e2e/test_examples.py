"""The examples whose credential is obtained, as they are but for addresses and folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

import mounts
from bootstrap import ROOT, cluster, upstream_tls
from entra import PUBLIC, Application, Entra
from envoy import Envoy
from launch import poll
from test_demonstration import OBTAINED, load, redirect
from upstream import Authority, Upstream

Start = Callable[..., Envoy]

NOBODY = "00000000-0000-0000-0000-000000000000"
SECRET = "real-secret/+~"
MOUNT = "/etc/aigw-auth/secrets"


def clusters(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The clusters by name."""
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


def test_the_entra_example_obtains_a_token_over_verified_tls(
    start_envoy: Start, client: httpx.Client, authority: Authority
) -> None:
    assert "azure-entra" in OBTAINED
    config = load(ROOT / "examples/azure-entra.yaml")
    host = "my-resource.openai.azure.com"
    with (
        Entra(
            {(NOBODY, NOBODY): Application(SECRET)}, tls=authority.server_context([PUBLIC])
        ) as entra,
        Upstream(tls=authority.server_context([host]), default=entra.provider) as provider,
    ):
        redirect(clusters(config)["azure"], provider.port, authority)
        # The name cannot be looked up here: the cluster of all hosts becomes one of this host.
        way = clusters(config)["egress_https"]
        tls = upstream_tls(authority.pem, PUBLIC)
        way.clear()
        way.update(cluster("egress_https", [entra.port], tls=tls))
        envoy = start_envoy(config, env={"AZURE_CLIENT_SECRET": SECRET + "\n"})
        path = "/azure/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
        answer = client.post(envoy.url(path, "gateway"), headers={"api-key": "wrong"}, json={})
        assert answer.status_code == 200, answer.text
        seen = provider.only()
        assert seen.authority == host.encode()
        assert seen.values("api-key") == []
        assert entra.refused == []
        assert SECRET not in json.dumps(envoy.config_dump())


def test_the_example_of_mounted_secrets_follows_the_file(
    start_envoy: Start, client: httpx.Client, authority: Authority, tmp_path: Path
) -> None:
    text = json.dumps(load(ROOT / "examples/mounted-secrets.yaml"))
    assert text.count(MOUNT) == 3
    config = json.loads(text.replace(MOUNT, str(tmp_path)))
    host = "api.openai.com"
    secret = mounts.Secret(tmp_path, "openai")
    secret.swap({"apiKey": "real-key\n"})
    with Upstream(tls=authority.server_context([host])) as provider:
        redirect(clusters(config)["openai"], provider.port, authority)
        envoy = start_envoy(config)

        def key() -> list[bytes]:
            provider.clear()
            url = envoy.url("/openai/v1/models", "gateway")
            answer = client.get(url, headers={"authorization": "Bearer wrong"})
            assert answer.status_code == 200, answer.text
            return provider.only().values("authorization")

        assert key() == [b"Bearer real-key"]
        secret.swap({"apiKey": "newer-key"})
        poll(lambda: key() == [b"Bearer newer-key"], 15, "the newer key")
        assert "newer-key" not in json.dumps(envoy.config_dump())
