"""The files that people run: the demonstration and the examples, as they are but for addresses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from aws import AUTHORIZATION, Keys, verify
from bootstrap import PROTOCOL_OPTIONS, ROOT, wasm_path
from envoy import Envoy
from launch import validate
from upstream import Authority, Upstream

Start = Callable[..., Envoy]

KEYED = {
    "openai": ("OPENAI_API_KEY", "/openai/v1/models", "authorization", b"Bearer real-key"),
    "anthropic": ("ANTHROPIC_API_KEY", "/anthropic/v1/messages", "x-api-key", b"real-key"),
    "azure-openai": ("AZURE_OPENAI_API_KEY", "/azure/openai/models", "api-key", b"real-key"),
}
"""Examples with a key: the variable, a path, the header and what it must hold."""

OBTAINED = {
    "aks-workload-identity",
    "azure-entra",
    "bedrock-oidc",
    "ec2",
    "eks-irsa",
    "eks-pod-identity",
    "gke",
    "mounted-secrets",
    "vertex-federation",
    "vertex-service-account",
}
"""Those whose credential is obtained: see test_examples.py."""
EXAMPLES = sorted({path.stem for path in (ROOT / "examples").glob("*.yaml")} - OBTAINED)
KEYS = Keys("AKIDOFTHEEXAMPLE", "real-key-of/aws", "real-key-token")


def environment(name: str) -> dict[str, str]:
    """What an example needs in the environment."""
    return KEYS.environment() if name == "bedrock" else {KEYED[name][0]: "real-key\n"}


def load(path: Path) -> dict[str, Any]:
    """A configuration with free ports and the module under test."""
    config = yaml.safe_load(path.read_text())
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    for listener in config["static_resources"]["listeners"]:
        if "address" in listener:
            listener["address"]["socket_address"]["port_value"] = 0
    for wasm in wasm_configs(config):
        wasm["vm_config"]["code"]["local"]["filename"] = wasm_path()
    return config


def wasm_configs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The filter's part of every cluster."""
    return [
        cluster["typed_extension_protocol_options"][PROTOCOL_OPTIONS]["http_filters"][0][
            "typed_config"
        ]["config"]
        for cluster in config["static_resources"]["clusters"]
        if "http_filters"
        in cluster.get("typed_extension_protocol_options", {}).get(PROTOCOL_OPTIONS, {})
    ]


def test_each_provider_of_the_demonstration_shows_its_key_and_no_other(
    start_envoy: Start, client: httpx.Client
) -> None:
    envoy = start_envoy(load(ROOT / "envoy.yaml"))
    wrong = {
        "authorization": "Bearer wrong",
        "x-api-key": "wrong",
        "api-key": "wrong",
        "cookie": "wrong",
        "x-goog-api-key": "wrong",
    }
    for path, host, header, value in [
        ("/openai/v1/chat", "api.openai.com", "authorization", "Bearer demo-key-of-openai"),
        ("/anthropic/v1/messages", "api.anthropic.com", "x-api-key", "demo-key-of-anthropic"),
        ("/azure/openai/x", "demo.openai.azure.com", "api-key", "demo-key-of-azure"),
    ]:
        answer = client.post(envoy.url(path + "?key=wrong&a=b", "gateway"), headers=wrong)
        assert answer.status_code == 200
        seen = answer.json()
        assert seen.pop("host") == host
        assert seen.pop("path") == "/" + path.split("/", 2)[2] + "?a=b"
        assert seen.pop(header) == value
        assert set(seen.values()) == {None}
    signed = client.post(envoy.url("/bedrock/model/m:0/invoke?key=w", "gateway"), headers=wrong)
    seen = signed.json()
    assert seen.pop("host") == "bedrock-runtime.us-east-1.amazonaws.com"
    assert seen.pop("path") == "/model/m:0/invoke"
    assert re.fullmatch(AUTHORIZATION, seen.pop("authorization"))
    assert re.fullmatch(r"\d{8}T\d{6}Z", seen.pop("x-amz-date"))
    assert set(seen.values()) == {None}
    obtained = client.post(envoy.url("/entra/openai/x?key=w", "gateway"), headers=wrong).json()
    assert (obtained.pop("host"), obtained.pop("path")) == ("demo.openai.azure.com", "/openai/x")
    token = obtained.pop("authorization")
    assert re.fullmatch(r"Bearer demo-token-of-entra-\d\d:\d\d:\d\d", token)
    assert set(obtained.values()) == {None}
    assert envoy.metric("policy.default/entra.fetched") == 1
    path = "/vertex/v1/publishers/google/models/m:generateContent?key=w&alt=sse"
    vertex = client.post(envoy.url(path, "gateway"), headers=wrong).json()
    assert vertex.pop("host") == "us-central1-aiplatform.googleapis.com"
    project = "/v1/projects/demo-project/locations/us-central1"
    model = "/publishers/google/models/m:generateContent?alt=sse"
    assert vertex.pop("path") == project + model
    token = vertex.pop("authorization")
    assert re.fullmatch(r"Bearer demo-token-of-google-\d\d:\d\d:\d\d", token)
    assert set(vertex.values()) == {None}
    refused = client.get(envoy.url("/unknown/x", "gateway"))
    assert (refused.status_code, refused.json()["error"]["type"]) == (500, "UnknownBackend")
    # Envoy 1.38 puts the cluster before the name and into a label.
    line = r'aigw_auth_policy_injected\{aigw_policy="default/azure"[^}]*\} 1\n'
    assert re.search(line, envoy.prometheus())


def test_the_lines_that_scripts_run_prints_are_routes_of_the_demonstration() -> None:
    text = (ROOT / "scripts/run").read_text()
    paths = re.findall(r"http://\$listen(/\w+/)", text)
    config = load(ROOT / "envoy.yaml")
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    routes = manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    prefixes = {route["match"]["prefix"] for route in routes}
    assert len(paths) == 6
    assert set(paths) < prefixes


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_sends_the_key_of_the_environment_over_verified_tls(
    name: str, start_envoy: Start, client: httpx.Client, authority: Authority
) -> None:
    config = load(ROOT / f"examples/{name}.yaml")
    (cluster,) = config["static_resources"]["clusters"]
    tls = cluster["transport_socket"]["typed_config"]
    host = tls["sni"]
    _, path, header, value = KEYED.get(name, ("", f"/{name}/model/m/invoke", "authorization", b""))
    with Upstream(tls=authority.server_context([host])) as provider:
        redirect(cluster, provider.port, authority)
        envoy = start_envoy(config, env=environment(name))
        answer = client.post(envoy.url(path, "gateway"), headers={header: "wrong"}, json={"a": 1})
        assert answer.status_code == 200
        seen = provider.only()
        assert seen.authority == host.encode()
        if name in KEYED:
            assert seen.values(header) == [value]
        else:
            verify(seen, KEYS)
        assert provider.server_names == [host]
        assert "real-key" not in json.dumps(envoy.config_dump())


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_sends_nothing_to_a_provider_with_another_name(
    name: str, start_envoy: Start, client: httpx.Client, authority: Authority
) -> None:
    config = load(ROOT / f"examples/{name}.yaml")
    (cluster,) = config["static_resources"]["clusters"]
    with Upstream(tls=authority.server_context(["other.example"])) as stranger:
        redirect(cluster, stranger.port, authority)
        envoy = start_envoy(config, env=environment(name))
        manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
        routes = manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
        answer = client.get(envoy.url(routes[0]["match"]["prefix"] + "x", "gateway"))
        assert answer.status_code == 503
        # It was asked for its certificate, and not believed.
        envoy.wait_for_stat(f"cluster.{cluster['name']}.ssl.fail_verify_san", 1)
        assert stranger.begun == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_without_its_key_names_the_variable(name: str) -> None:
    status, output = validate(load(ROOT / f"examples/{name}.yaml"), {})
    assert status != 0
    for variable in set(environment(name)) - {"AWS_SESSION_TOKEN"}:
        assert variable in output
    assert "environment of the VM" in output


def redirect(cluster: dict[str, Any], port: int, authority: Authority) -> None:
    """Sends a cluster to this host, and lets it trust this authority and nobody else."""
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"] = {
        "address": "127.0.0.1",
        "port_value": port,
    }
    tls = cluster["transport_socket"]["typed_config"]
    tls["common_tls_context"]["validation_context"]["trusted_ca"] = {"inline_string": authority.pem}


def test_the_configuration_in_the_readme_is_one_that_the_filter_takes(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (clusters,) = [block for block in blocks if block.startswith("clusters:")]
    (cluster,) = yaml.safe_load(clusters)["clusters"]
    options = cluster["typed_extension_protocol_options"][PROTOCOL_OPTIONS]
    plugin = options["http_filters"][0]["typed_config"]["config"]["configuration"]["value"]
    file = tmp_path / "plugin.json"
    file.write_text(json.dumps(plugin))
    command = ROOT / "target/release/aigw-auth"
    if not command.exists():
        subprocess.run([ROOT / "scripts/build"], check=True, stdout=sys.stderr)
    done = subprocess.run([command, "check", file], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{cluster['name']}" in plugin["resources"][0]["spec"]["targetRefs"][0]["name"]
