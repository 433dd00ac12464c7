"""The ways to install that docs/install.md tells: the Envoy in each file works with a real one."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import platforms
from bootstrap import ROOT, bootstrap, cluster, listener, route, upstream_tls, wasm_path
from envoy import Envoy
from launch import validate
from test_demonstration import redirect
from upstream import Authority, Upstream

Config = dict[str, Any]
Start = Callable[..., Envoy]

HOST = "api.openai.com"
ENV = {"OPENAI_API_KEY": "real-key\n"}
GATEWAY, MESH = "httproute/default/openai/rule/0", f"outbound|80||{HOST}"
"""The clusters of the provider, as Envoy Gateway and Istio name them."""
CLOSED = 9
"""A port where nobody listens."""
WRONG = {"authorization": "Bearer wrong", "x-api-key": "wrong"}


def plain(name: str) -> Config:
    """The bootstrap of an example with free ports on this host."""
    config = platforms.plain(name)
    for holder in (config["admin"], *config["static_resources"]["listeners"]):
        holder["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    return config


def remote(digest: str, port: int = CLOSED) -> Config:
    """The example that fetches the module, from this host, with this digest."""
    config = plain("envoy-remote")
    (plugin,) = platforms.plugins(config)
    source = plugin["vm_config"]["code"]["remote"]
    assert re.fullmatch("0{64}", source["sha256"])
    source["sha256"] = digest
    source["retry_policy"]["retry_back_off"] = {"base_interval": "0.01s", "max_interval": "0.1s"}
    name = source["http_uri"]["cluster"]
    (way,) = [one for one in config["static_resources"]["clusters"] if one["name"] == name]
    (endpoint,) = way["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    # The host in the address is the one that is asked.
    assert source["http_uri"]["uri"].startswith(f"http://{address['address']}/")
    endpoint["endpoint"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    return config


def provider_cluster(name: str, port: int, authority: Authority) -> Config:
    """The provider's cluster as a platform makes it: TLS with a fixed name."""
    return cluster(name, [port], tls=upstream_tls(authority.pem, HOST))


def routed(way: Config, filters: list[Config] | None = None, **others: Any) -> Config:
    """A gateway with one provider, and what stands in its listener."""
    routes = [route("/openai/", way["name"], rewrite="/", host=HOST)]
    clusters = [way]
    for name, other in others.items():
        routes.append(route(f"/{name}/", name))
        clusters.append(other)
    return bootstrap([listener(routes, filters=filters or [])], clusters)


def local_example(port: int, authority: Authority) -> Config:
    config = platforms.with_module(plain("envoy-local"))
    redirect(config["static_resources"]["clusters"][0], port, authority)
    return config


def gateway_patch(port: int, authority: Authority) -> Config:
    way = provider_cluster(GATEWAY, port, authority)
    policy = platforms.one("envoy-gateway-patch", "EnvoyPatchPolicy")
    return routed(platforms.with_module(platforms.patched(way, policy)))


def gateway_policy(port: int, authority: Authority) -> Config:
    policy = platforms.one("envoy-gateway-policy", "EnvoyExtensionPolicy")
    way = provider_cluster(GATEWAY, port, authority)
    return routed(way, [platforms.gateway_filter(policy)])


def istio_patch(port: int, authority: Authority) -> Config:
    way = provider_cluster(MESH, port, authority)
    patch = platforms.one("istio-filter", "EnvoyFilter")
    return routed(platforms.with_module(platforms.merged(way, patch)))


def istio_plugin(port: int, authority: Authority) -> Config:
    way = provider_cluster(MESH, port, authority)
    plugin = platforms.one("istio-plugin", "WasmPlugin")
    return routed(way, [platforms.istio_filter(plugin)])


INSTALLED: dict[str, Callable[[int, Authority], Config]] = {
    "envoy-local": local_example,
    "envoy-gateway-patch": gateway_patch,
    "envoy-gateway-policy": gateway_policy,
    "istio-filter": istio_patch,
    "istio-plugin": istio_plugin,
}


def test_every_file_is_tried_and_told_of() -> None:
    assert platforms.examples() == {*INSTALLED, "envoy-remote"}
    text = (ROOT / "docs/install.md").read_text()
    for name in platforms.examples():
        assert f"examples/kubernetes/{name}.yaml" in text


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_envoy_takes_what_a_file_holds(name: str, authority: Authority) -> None:
    status, output = validate(INSTALLED[name](CLOSED, authority), ENV)
    assert status == 0, output


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_envoy_refuses_it_without_the_key(name: str, authority: Authority) -> None:
    status, output = validate(INSTALLED[name](CLOSED, authority), {})
    assert status != 0
    assert "OPENAI_API_KEY" in output


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_a_request_gets_the_key_over_verified_tls(
    name: str, start_envoy: Start, client: httpx.Client, authority: Authority
) -> None:
    with Upstream(tls=authority.server_context([HOST])) as provider:
        envoy = start_envoy(INSTALLED[name](provider.port, authority), env=ENV)
        answer = client.get(envoy.url("/openai/v1/models?key=wrong"), headers=WRONG)
        assert answer.status_code == 200, answer.text
        seen = provider.only()
        assert (seen.authority, seen.target) == (HOST.encode(), b"/v1/models")
        assert seen.values("authorization") == [b"Bearer real-key"]
        assert seen.values("x-api-key") == []


def test_envoy_fetches_the_module_and_checks_its_digest(
    start_envoy: Start, client: httpx.Client, authority: Authority, upstream: Upstream
) -> None:
    module = Path(wasm_path()).read_bytes()
    upstream.reply_with(200, body=module, path="/aigw_auth.wasm")
    config = remote(hashlib.sha256(module).hexdigest(), upstream.port)
    with Upstream(tls=authority.server_context([HOST])) as provider:
        redirect(config["static_resources"]["clusters"][0], provider.port, authority)
        status, output = validate(config, ENV)
        assert status == 0, output
        envoy = start_envoy(config, env=ENV)
        assert client.get(envoy.url("/openai/v1/models"), headers=WRONG).status_code == 200
        assert provider.only().values("authorization") == [b"Bearer real-key"]


def test_a_module_of_another_digest_is_not_run_and_nothing_is_forwarded(
    start_envoy: Start, client: httpx.Client, authority: Authority, upstream: Upstream
) -> None:
    module = Path(wasm_path()).read_bytes()
    upstream.reply_with(200, body=module + b"\0", path="/aigw_auth.wasm")
    config = remote(hashlib.sha256(module).hexdigest(), upstream.port)
    with Upstream(tls=authority.server_context([HOST])) as provider:
        redirect(config["static_resources"]["clusters"][0], provider.port, authority)
        envoy = start_envoy(config, env=ENV)
        upstream.wait_for(1)
        assert client.get(envoy.url("/openai/v1/models"), headers=WRONG).status_code == 503
        assert provider.begun == []


def test_calls_of_an_istio_application_to_other_hosts_pass_unchanged(
    start_envoy: Start, client: httpx.Client, authority: Authority, upstream: Upstream
) -> None:
    plugin = platforms.one("istio-plugin", "WasmPlugin")
    way = provider_cluster(MESH, CLOSED, authority)
    other = cluster("other", [upstream.port])
    envoy = start_envoy(routed(way, [platforms.istio_filter(plugin)], other=other), env=ENV)
    own = {"authorization": "Bearer of-the-application"}
    assert client.get(envoy.url("/other/x?key=k"), headers=own).status_code == 200
    seen = upstream.only()
    assert seen.values("authorization") == [b"Bearer of-the-application"]
    assert seen.target == b"/other/x?key=k"


def test_of_what_is_to_be_signed_such_a_listener_refuses_what_has_a_body(
    start_envoy: Start, client: httpx.Client, authority: Authority
) -> None:
    """The limit of EnvoyExtensionPolicy and WasmPlugin that docs/install.md tells."""
    policy = copy.deepcopy(platforms.one("envoy-gateway-policy", "EnvoyExtensionPolicy"))
    config = policy["spec"]["wasm"][0]["config"]
    (manifest,) = config["resources"]
    manifest["spec"].pop("apiKey")
    manifest["spec"].update(
        type="AWSCredentials",
        awsCredentials={"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}},
    )
    profile = "[default]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key=secret\n"
    config["resources"].append(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "aws"},
            "stringData": {"credentials": profile},
        }
    )
    config.pop("secrets")
    with Upstream(tls=authority.server_context([HOST])) as provider:
        way = provider_cluster(GATEWAY, provider.port, authority)
        envoy = start_envoy(routed(way, [platforms.gateway_filter(policy)]), env=ENV)
        answer = client.post(envoy.url("/openai/model/m/invoke"), json={"a": 1})
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "Misconfigured")
        assert provider.begun == []
        assert client.get(envoy.url("/openai/models")).status_code == 200
        (signature,) = provider.only().values("authorization")
        assert signature.startswith(b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")


def test_the_images_and_mounts_of_the_files_fit_together() -> None:
    text = json.dumps([platforms.documents(name) for name in platforms.examples()])
    images = set(re.findall(r'"(?:reference|url)": "(?:oci://)?(registry[^"]*)"', text))
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert version
    assert images == {f"registry.example.com/aigw-auth:{version[1]}"}
    for name in ("envoy-local", "envoy-gateway-patch", "istio-filter"):
        mounts = re.findall(
            r'"name": "module", "mountPath": "([^"]*)"', json.dumps(platforms.documents(name))
        )
        assert [f"{mount}/plugin.wasm" for mount in mounts] == [platforms.MOUNTED]


def test_the_clusters_that_the_files_name_are_those_of_their_routes() -> None:
    for name in ("envoy-gateway-policy", "envoy-gateway-patch"):
        assert platforms.cluster_of(platforms.one(name, "HTTPRoute")) == GATEWAY
    for name in ("istio-plugin", "istio-filter"):
        (port,) = platforms.one(name, "ServiceEntry")["spec"]["ports"]
        assert f"outbound|{port['number']}||{HOST}" == MESH
