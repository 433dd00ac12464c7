"""Small builders of Envoy configuration; each returns a dict that a test may still change."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Config = dict[str, Any]

DIR = "@DIR@"
"""Stands for the folder of the Envoy that reads the configuration."""

ROOT = Path(__file__).resolve().parents[2]
TYPE = "type.googleapis.com/"
EXTENSIONS = TYPE + "envoy.extensions."
CLUSTER = TYPE + "envoy.config.cluster.v3.Cluster"
PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def extension(name: str, message: str, **fields: Any) -> Config:
    """A named extension whose type is `envoy.extensions.<message>`."""
    return {"name": name, "typed_config": {"@type": EXTENSIONS + message, **fields}}


# Filters.


def wasm_path() -> str:
    """The module under test."""
    return os.environ.get("AIGW_TEST_WASM") or str(ROOT / "dist/aigw_auth.wasm")


def wasm_filter(
    config: Config | str | None,
    *,
    kind: str = "struct",
    name: str = "aigw_auth",
    root_id: str = "",
    vm_id: str = "aigw-auth",
    allow_on_headers_stop_iteration: bool = True,
    vm_env: Mapping[str, str] | None = None,
    host_env_keys: Sequence[str] = (),
    fail_policy: str | None = None,
    module: str | None = None,
) -> Config:
    """The filter with its plugin configuration, as a Struct or (`kind="string"`) a StringValue.

    A text goes into a StringValue as it is; None leaves the configuration out.
    """
    code = {"local": {"filename": module or wasm_path()}}
    vm: Config = {"vm_id": vm_id, "runtime": "envoy.wasm.runtime.v8", "code": code}
    variables: Config = {}
    if vm_env:
        variables["key_values"] = dict(vm_env)
    if host_env_keys:
        variables["host_env_keys"] = list(host_env_keys)
    if variables:
        vm["environment_variables"] = variables
    plugin: Config = {"name": name, "root_id": root_id, "vm_config": vm}
    if isinstance(config, str) or (kind == "string" and config is not None):
        text = config if isinstance(config, str) else json.dumps(config)
        plugin["configuration"] = {"@type": TYPE + "google.protobuf.StringValue", "value": text}
    elif config is not None:
        plugin["configuration"] = {"@type": TYPE + "google.protobuf.Struct", "value": config}
    if allow_on_headers_stop_iteration:
        plugin["allow_on_headers_stop_iteration"] = True
    if fail_policy:
        plugin["failure_policy"] = fail_policy
    return extension("envoy.filters.http.wasm", "filters.http.wasm.v3.Wasm", config=plugin)


def upstream_codec() -> Config:
    """The filter that has to end an upstream chain."""
    message = "filters.http.upstream_codec.v3.UpstreamCodec"
    return extension("envoy.filters.http.upstream_codec", message)


def router() -> Config:
    """The filter that has to end a listener's chain."""
    return extension("envoy.filters.http.router", "filters.http.router.v3.Router")


# Clusters.


@dataclass
class Endpoint:
    """An upstream's address with what a test may add to it."""

    port: int
    host: str = "127.0.0.1"
    hostname: str = ""
    priority: int = 0
    metadata: Mapping[str, Config] = field(default_factory=dict)
    """filter_metadata: namespace -> values."""


def cluster(
    name: str,
    endpoints: Sequence[Endpoint | int],
    *,
    filters: Sequence[Config] = (),
    http2: bool = False,
    metadata: Mapping[str, Config] | None = None,
    tls: Config | None = None,
    **extra: Any,
) -> Config:
    """A static cluster; a number is a port of this host. `filters` form its upstream chain."""
    groups: dict[int, list[Config]] = {}
    for one in endpoints:
        endpoint = Endpoint(one) if isinstance(one, int) else one
        groups.setdefault(endpoint.priority, []).append(lb_endpoint(endpoint))
    locality = [{"priority": level, "lb_endpoints": those} for level, those in groups.items()]
    config: Config = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": locality},
        "typed_extension_protocol_options": protocol_options(filters, http2=http2),
    }
    if metadata:
        config["metadata"] = {"filter_metadata": dict(metadata)}
    if tls:
        config["transport_socket"] = tls
    return config | extra


def lb_endpoint(endpoint: Endpoint) -> Config:
    """One entry of a load assignment."""
    socket = {"address": endpoint.host, "port_value": endpoint.port}
    entry: Config = {"endpoint": {"address": {"socket_address": socket}}}
    if endpoint.hostname:
        entry["endpoint"]["hostname"] = endpoint.hostname
    if endpoint.metadata:
        entry["metadata"] = {"filter_metadata": dict(endpoint.metadata)}
    return entry


def protocol_options(filters: Sequence[Config] = (), *, http2: bool = False) -> Config:
    """`typed_extension_protocol_options` with upstream filters and a fixed protocol."""
    protocol = "http2_protocol_options" if http2 else "http_protocol_options"
    options: Config = {
        "@type": TYPE + PROTOCOL_OPTIONS,
        "explicit_http_config": {protocol: {}},
    }
    if filters:
        options["http_filters"] = [*filters, upstream_codec()]
    return {PROTOCOL_OPTIONS: options}


def aggregate(name: str, clusters: Sequence[str], *, filters: Sequence[Config] = ()) -> Config:
    """A cluster of clusters; the upstream filters that run are its own."""
    message = "clusters.aggregate.v3.ClusterConfig"
    return {
        "name": name,
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension("envoy.clusters.aggregate", message, clusters=list(clusters)),
        "typed_extension_protocol_options": protocol_options(filters),
    }


def upstream_tls(ca_pem: str, sni: str) -> Config:
    """A transport socket that trusts one authority and one name."""
    names = [{"san_type": "DNS", "matcher": {"exact": sni}}]
    context = {
        "trusted_ca": {"inline_string": ca_pem},
        "match_typed_subject_alt_names": names,
    }
    message = "transport_sockets.tls.v3.UpstreamTlsContext"
    common = {"validation_context": context}
    return extension("envoy.transport_sockets.tls", message, sni=sni, common_tls_context=common)


# Routes and listeners.


def route(
    prefix: str,
    cluster: str,
    *,
    rewrite: str | None = None,
    host: str | None = None,
    retry: Config | None = None,
    mirror: str | None = None,
    internal_redirect: bool = False,
    hedge: bool = False,
    match: Config | None = None,
    **action: Any,
) -> Config:
    """A route by prefix. `rewrite` is the new prefix, `host` the new host, `mirror` a cluster;
    further keywords are fields of the route action, such as `timeout="1s"`."""
    action = {"cluster": cluster, **action}
    if rewrite is not None:
        action["prefix_rewrite"] = rewrite
    if host is not None:
        action["host_rewrite_literal"] = host
    if retry is not None:
        action["retry_policy"] = retry
    if mirror is not None:
        action["request_mirror_policies"] = [{"cluster": mirror}]
    if internal_redirect:
        action["internal_redirect_policy"] = {"max_internal_redirects": 3}
    if hedge:
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return {"match": {"prefix": prefix, **(match or {})}, "route": action}


def retry(
    retries: int = 1,
    on: str = "5xx",
    *,
    next_priority: bool = False,
    **extra: Any,
) -> Config:
    """A retry policy; with `next_priority` a retry leaves the priorities that were tried."""
    policy: Config = {"retry_on": on, "num_retries": retries, **extra}
    # The default waits 25 ms and more.
    policy.setdefault("retry_back_off", {"base_interval": "0.001s", "max_interval": "0.002s"})
    if next_priority:
        message = "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
        name = "envoy.retry_priorities.previous_priorities"
        policy["retry_priority"] = extension(name, message, update_frequency=1)
    return policy


def listener(
    routes: Sequence[Config],
    *,
    name: str = "main",
    filters: Sequence[Config] = (),
    access_log_format: str | None = None,
    codec: str = "AUTO",
    hcm: Config | None = None,
    **extra: Any,
) -> Config:
    """A listener on a free port. `filters` run in the listener's chain, before the router; `hcm`
    adds fields to the connection manager. The access log is the file that `Envoy` reads."""
    hosts = [{"name": "all", "domains": ["*"], "routes": list(routes)}]
    # The clusters may come later, from CDS.
    routing = {"name": name, "virtual_hosts": hosts, "validate_clusters": False}
    manager: Config = {
        "stat_prefix": name,
        "codec_type": codec,
        "route_config": routing,
        "http_filters": [*filters, router()],
    }
    if access_log_format is not None:
        manager["access_log"] = [access_log(access_log_format)]
    message = "filters.network.http_connection_manager.v3.HttpConnectionManager"
    chain = extension("hcm", message, **(manager | (hcm or {})))
    socket = {"address": "127.0.0.1", "port_value": 0}
    return {
        "name": name,
        "address": {"socket_address": socket},
        "filter_chains": [{"filters": [chain]}],
        **extra,
    }


def access_log(text_format: str) -> Config:
    """A file access log, one line a request."""
    source = {"inline_string": text_format + "\n"}
    return extension(
        "envoy.access_loggers.file",
        "access_loggers.file.v3.FileAccessLog",
        path=f"{DIR}/access.log",
        log_format={"text_format_source": source},
    )


def bootstrap(
    listeners: Sequence[Config],
    clusters: Sequence[Config] = (),
    **extra: Any,
) -> Config:
    """A whole configuration; `extra` are further fields of the bootstrap."""
    socket = {"address": "127.0.0.1", "port_value": 0}
    return {
        "node": {"id": "test", "cluster": "test"},
        "admin": {"address": {"socket_address": socket}},
        # Histograms are seen after a flush.
        "stats_flush_interval": "0.2s",
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        **extra,
    }
