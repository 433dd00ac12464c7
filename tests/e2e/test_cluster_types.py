"""The filter tells its position whatever the cluster finds its hosts by."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from bootstrap import (
    TYPE,
    Config,
    bootstrap,
    cluster,
    extension,
    lb_endpoint,
    listener,
    protocol_options,
    route,
    wasm_filter,
)
from bootstrap import Endpoint as Host
from envoy import Envoy
from manifests import config, keyed
from upstream import Upstream

Start = Callable[..., Envoy]
Build = Callable[[Sequence[Config], int, Path], Config]

CACHE = {"name": "cache", "dns_lookup_family": "V4_ONLY"}


def typed(kind: str, metadata: dict[str, Any] | None = None) -> Build:
    """A cluster of one of Envoy's own types, with or without metadata of its endpoint."""

    def build(filters: Sequence[Config], port: int, _folder: Path) -> Config:
        return cluster("up", [Host(port, metadata=metadata or {})], filters=filters, type=kind)

    return build


def forward_proxy(filters: Sequence[Config], _port: int, _folder: Path) -> Config:
    """A dynamic forward proxy: hosts come from the requests."""
    message = "clusters.dynamic_forward_proxy.v3.ClusterConfig"
    return {
        "name": "up",
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension(
            "envoy.clusters.dynamic_forward_proxy",
            message,
            dns_cache_config=CACHE,
            allow_insecure_cluster_options=True,
        ),
        "typed_extension_protocol_options": protocol_options(filters),
    }


def discovered(filters: Sequence[Config], port: int, folder: Path) -> Config:
    """Endpoints from a file."""
    assignment = {
        "@type": TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "up",
        "endpoints": [{"lb_endpoints": [lb_endpoint(Host(port))]}],
    }
    file = folder / "eds.json"
    file.write_text(json.dumps({"resources": [assignment]}))
    return {
        "name": "up",
        "type": "EDS",
        "connect_timeout": "2s",
        "eds_cluster_config": {"eds_config": {"path_config_source": {"path": str(file)}}},
        "typed_extension_protocol_options": protocol_options(filters),
    }


TYPES: dict[str, Build] = {
    "STATIC": typed("STATIC"),
    "STRICT_DNS": typed("STRICT_DNS"),
    "LOGICAL_DNS": typed("LOGICAL_DNS"),
    "STRICT_DNS with metadata": typed("STRICT_DNS", {"any": {"key": "value"}}),
    "dynamic forward proxy": forward_proxy,
    "EDS": discovered,
}


def envoy_config(build: Build, port: int, folder: Path, place: str, position: str) -> Config:
    """The filter in a cluster or in a listener, configured for one of them."""
    wasm = wasm_filter(config(keyed("up", key="ours"), position=position))
    message = "filters.http.dynamic_forward_proxy.v3.FilterConfig"
    proxy = extension("envoy.filters.http.dynamic_forward_proxy", message, dns_cache_config=CACHE)
    here = [wasm] if place == "listener" else []
    filters = [*here, proxy] if build is forward_proxy else here
    upstream_filters = [wasm] if place == "cluster" else []
    return bootstrap(
        [listener([route("/", "up")], filters=filters)],
        [build(upstream_filters, port, folder)],
    )


@pytest.mark.parametrize(("place", "position"), [("cluster", "Upstream"), ("listener", "Listener")])
@pytest.mark.parametrize("kind", TYPES)
def test_the_right_position_is_known_for_every_type_of_cluster(
    kind: str,
    place: str,
    position: str,
    upstream: Upstream,
    start_envoy: Start,
    client: httpx.Client,
    tmp_path: Path,
) -> None:
    envoy = start_envoy(envoy_config(TYPES[kind], upstream.port, tmp_path, place, position))
    headers = {"host": f"127.0.0.1:{upstream.port}", "authorization": "Bearer theirs"}
    assert client.get(envoy.url("/x"), headers=headers).status_code == 200
    assert upstream.only().values("authorization") == [b"Bearer ours"]


@pytest.mark.parametrize(("place", "position"), [("cluster", "Listener"), ("listener", "Upstream")])
@pytest.mark.parametrize("kind", TYPES)
def test_the_wrong_position_is_refused_for_every_type_of_cluster(
    kind: str,
    place: str,
    position: str,
    upstream: Upstream,
    start_envoy: Start,
    client: httpx.Client,
    tmp_path: Path,
) -> None:
    envoy = start_envoy(envoy_config(TYPES[kind], upstream.port, tmp_path, place, position))
    answer = client.get(envoy.url("/x"), headers={"host": f"127.0.0.1:{upstream.port}"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "Misconfigured")
    assert upstream.begun == []
