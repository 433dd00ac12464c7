"""Where the secrets of token policies come from: the policy's namespace, files, the environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from egress import SETTINGS, egress, running_with_egress
from entra import CLIENT, PUBLIC, Application, Entra, azure
from entra_rig import CALLER, TARGET, THEIRS
from gateway import appears
from launch import poll
from manifests import Manifest, config
from mounts import Secret
from oidc import ID, PASSWORD, Issuer, exchanged, oidc
from upstream import Authority

TEAM = "team-a"
BASE = "https://idp.test"
SECRET = "secret-of-the-gateway-90cc"
TRACE = ["--component-log-level", "wasm:trace"]


def moved(manifests: Sequence[Manifest], namespace: str = TEAM) -> list[Manifest]:
    """The same manifests in another namespace."""
    return [{**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in manifests]


def without_secrets(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The policies alone."""
    return [one for one in manifests if one["kind"] != "Secret"]


def policies(password: str, word: str, name: str = ID) -> list[Manifest]:
    """One policy by secret and one by exchange, whose client is in a Secret too."""
    exchange = oidc(BASE, name="oidc", clientIDRef={"name": "oidc-id"})
    del exchange["clientID"]
    (by_exchange, its_secret) = exchanged("oidc", exchange, word, tenant="oidc")
    client = {**its_secret, "metadata": {"name": "oidc-id"}, "stringData": {"client-id": name}}
    return [*azure("azure", password, "azure"), by_exchange, its_secret, client]


class World:
    """The providers, and what a running gateway has to do with them."""

    def __init__(self, authority: Authority) -> None:
        self.idp = Issuer(BASE, tls=authority.server_context(["idp.test"], http2=False))
        self.entra = Entra(
            {
                ("azure", CLIENT): Application(secret=SECRET),
                ("oidc", CLIENT): Application(federations=[self.idp.federation()]),
            },
            tls=authority.server_context([PUBLIC], http2=False),
        )
        self.authority = authority

    def assert_served(self, plugin: Manifest, namespace: str, mounts: Sequence[Path] = ()) -> str:
        """Both policies get their tokens; the log, the configuration in force and statistics."""
        hosts = {PUBLIC: self.entra.port, "idp.test": self.idp.port}
        way = egress(mounts, ca_pem=self.authority.pem, hosts=hosts)
        names = {f"{namespace}/{name}": plugin for name in ("azure", "oidc")}
        env = {"AIGW_TEST_SECRET": SECRET, "AIGW_TEST_ID": ID, "AIGW_TEST_WORD": PASSWORD}
        options = {"host_env_keys": list(env)}
        with (
            self.idp,
            self.entra,
            running_with_egress(names, way, options=options, env=env, args=TRACE) as gateway,
        ):
            gateway.upstream.on(None, self.entra.provider)
            for name in names:
                answer = gateway.ask(name, THEIRS, TARGET)
                assert answer.status == 200, (name, answer)
                assert gateway.envoy.metric(f"policy.{name}.injected") == 1
            assert all(appears(CALLER, request) == [] for request in gateway.upstream.requests)
            assert self.entra.refused == []
            assert self.idp.refused == []
            assert len(self.entra.asked) == 2
            told = [
                gateway.envoy.log(),
                gateway.envoy.get("/stats").text,
                json.dumps(gateway.envoy.config_dump()),
            ]
            assert "proxy_on_request_headers" in told[0]
            for issued in (*self.entra.issued, *self.idp.given):
                assert all(issued not in text for text in told)
            return "\n".join(told)


def test_a_secret_is_looked_for_in_the_namespace_of_its_policy(authority: Authority) -> None:
    right = moved(policies(SECRET, PASSWORD))
    wrong = [one for one in policies("wrong", "wrong", "wrong") if one["kind"] == "Secret"]
    names = {f"{TEAM}/{name}": f"{TEAM}/{name}" for name in ("azure", "oidc")}
    plugin = config(right, wrong, **SETTINGS, backend={"names": names})
    World(authority).assert_served(plugin, TEAM)


def test_secrets_in_files_are_read_and_seen_nowhere(authority: Authority, tmp_path: Path) -> None:
    for name, key, text in (
        ("azure-secret", "client-secret", f"{SECRET}\n"),
        ("oidc-client", "client-secret", f" {PASSWORD}\r\n"),
        ("oidc-id", "client-id", f"{ID}\n"),
    ):
        Secret(tmp_path, name).swap({key: text})
    found = {"secrets": {"mountPath": str(tmp_path)}}
    plugin = config(without_secrets(policies("", "")), **SETTINGS, **found)
    told = World(authority).assert_served(plugin, "default", [tmp_path])
    assert SECRET not in told
    assert PASSWORD not in told


def test_secrets_of_the_environment_are_read_and_seen_nowhere(authority: Authority) -> None:
    variables = [
        {"name": name, "key": key, "variable": variable}
        for name, key, variable in (
            ("azure-secret", "client-secret", "AIGW_TEST_SECRET"),
            ("oidc-client", "client-secret", "AIGW_TEST_WORD"),
            ("oidc-id", "client-id", "AIGW_TEST_ID"),
        )
    ]
    plugin = config(without_secrets(policies("", "")), **SETTINGS, secrets={"env": variables})
    told = World(authority).assert_served(plugin, "default")
    assert SECRET not in told
    assert PASSWORD not in told


def test_a_secret_that_comes_later_is_waited_for(authority: Authority, tmp_path: Path) -> None:
    world = World(authority)
    found = {"secrets": {"mountPath": str(tmp_path)}}
    plugin = config(without_secrets(azure("azure", "", "azure")), **SETTINGS, **found)
    way = egress([tmp_path], ca_pem=authority.pem, hosts={PUBLIC: world.entra.port})
    with world.entra, running_with_egress({"azure": plugin}, way) as gateway:
        gateway.upstream.on(None, world.entra.provider)
        gateway.envoy.wait_for_log("default/azure")
        answer = gateway.ask("azure", THEIRS, TARGET)
        assert answer.status == 503
        assert world.entra.begun == []
        Secret(tmp_path, "azure-secret").swap({"client-secret": SECRET})
        poll(lambda: gateway.ask("azure", THEIRS, TARGET).status == 200, 15, "a token")
        assert world.entra.refused == []
