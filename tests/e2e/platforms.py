"""What Envoy Gateway and Istio make of their resources, as far as the filter is concerned.

The rules are those of their sources: the EnvoyExtensionPolicy of Envoy Gateway
(internal/xds/translator/wasm.go), its patches (jsonpatch.go), Istio's WasmPlugin
(pilot/pkg/model/extensions.go) and EnvoyFilter (envoyfilter/cluster_patch.go).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bootstrap import PROTOCOL_OPTIONS, ROOT, TYPE, extension, wasm_path

Config = dict[str, Any]

FOLDER = ROOT / "examples/kubernetes"
MOUNTED = "/etc/aigw-auth/module/plugin.wasm"
"""Where the examples mount the module."""


def documents(name: str) -> list[Config]:
    """All objects in one of the examples."""
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))


def one(name: str, kind: str) -> Config:
    """The only object of a kind."""
    (found,) = [document for document in documents(name) if document["kind"] == kind]
    return found


def plain(name: str) -> Config:
    """The bootstrap in the ConfigMap of an example."""
    return yaml.safe_load(one(name, "ConfigMap")["data"]["envoy.yaml"])


def plugins(value: Any) -> Iterator[Config]:
    """Every plugin configuration within a configuration of Envoy."""
    if isinstance(value, dict):
        if "vm_config" in value:
            yield value
        for inner in value.values():
            yield from plugins(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from plugins(inner)


def with_module(config: Config, path: str | None = None) -> Config:
    """The module under test in place of the mounted one."""
    for plugin in plugins(config):
        local = plugin["vm_config"]["code"]["local"]
        assert local["filename"] == MOUNTED
        local["filename"] = path or wasm_path()
    return config


# Envoy Gateway.


def patched(cluster: Config, policy: Config) -> Config:
    """A cluster after the patches of an EnvoyPatchPolicy that are for it; there has to be one."""
    cluster, applied = copy.deepcopy(cluster), 0
    for patch in policy["spec"]["jsonPatches"]:
        if (patch["type"], patch["name"]) == (
            f"{TYPE}envoy.config.cluster.v3.Cluster",
            cluster["name"],
        ):
            assert patch["operation"]["op"] == "add"
            *parents, last = patch["operation"]["path"].removeprefix("/").split("/")
            target = cluster
            # As in RFC 6902: what holds the new value has to be there.
            for parent in parents:
                target = target[parent]
            target[last] = patch["operation"]["value"]
            applied += 1
    assert applied == 1
    return cluster


def gateway_filter(policy: Config) -> Config:
    """The filter in the listener by an EnvoyExtensionPolicy, but for where the module is."""
    (wasm,) = policy["spec"]["wasm"]
    assert wasm["code"]["type"] == "Image"
    assert wasm["failOpen"] is False
    return listener_filter(wasm["name"], wasm["rootID"], wasm["config"], wasm["env"]["hostKeys"])


def cluster_of(route: Config) -> str:
    """The cluster of the only rule of an HTTPRoute."""
    assert len(route["spec"]["rules"]) == 1
    metadata = route["metadata"]
    return f"httproute/{metadata['namespace']}/{metadata['name']}/rule/0"


# Istio.


def merged(cluster: Config, patch: Config) -> Config:
    """A cluster after an EnvoyFilter's merge: the entries of a map take the place of old ones."""
    (change,) = patch["spec"]["configPatches"]
    assert (change["applyTo"], change["patch"]["operation"]) == ("CLUSTER", "MERGE")
    match = change["match"]["cluster"]
    assert cluster["name"] == f"outbound|{match['portNumber']}||{match['service']}"
    assert list(change["patch"]["value"]) == ["typed_extension_protocol_options"]
    cluster = copy.deepcopy(cluster)
    new = change["patch"]["value"]["typed_extension_protocol_options"]
    cluster.setdefault("typed_extension_protocol_options", {}).update(new)
    assert list(cluster["typed_extension_protocol_options"]) == [PROTOCOL_OPTIONS]
    return cluster


def istio_filter(plugin: Config) -> Config:
    """The filter in the listener by a WasmPlugin, but for where the module is."""
    spec = plugin["spec"]
    policy = {"FAIL_RELOAD": "FAIL_RELOAD", "FAIL_CLOSE": "FAIL_CLOSED"}[spec["failStrategy"]]
    keys = [entry["name"] for entry in spec["vmConfig"]["env"] if entry["valueFrom"] == "HOST"]
    name = "{namespace}.{name}".format(**plugin["metadata"])
    # Istio names no VM.
    return listener_filter(name, spec["pluginName"], spec["pluginConfig"], keys, "", policy)


def listener_filter(
    name: str,
    root_id: str,
    config: Config,
    host_env_keys: list[str],
    vm_id: str | None = None,
    failure_policy: str = "FAIL_CLOSED",
) -> Config:
    """Neither of them lets a plugin wait for a body, and both give it its configuration as JSON."""
    plugin = {
        "name": name,
        "root_id": root_id,
        "failure_policy": failure_policy,
        "vm_config": {
            "vm_id": name if vm_id is None else vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": wasm_path()}},
            "environment_variables": {"host_env_keys": host_env_keys},
        },
        "configuration": {
            "@type": TYPE + "google.protobuf.StringValue",
            "value": json.dumps(config),
        },
    }
    return extension("envoy.filters.http.wasm", "filters.http.wasm.v3.Wasm", config=plugin)


def examples() -> set[str]:
    """The names of all of them."""
    return {Path(path).stem for path in FOLDER.glob("*.yaml")}
