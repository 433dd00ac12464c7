"""The internal listener that serves mounted files and carries the filter's calls to other hosts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bootstrap import (
    DIR,
    EXTENSIONS,
    Config,
    Endpoint,
    access_log,
    bootstrap,
    cluster,
    extension,
    listener,
    router,
    upstream_tls,
)
from envoy import Envoy
from gateway import Gateway, assert_no_panic, clusters, routes
from upstream import Authority, Upstream

NAME = "egress"
"""Of the listener, of the cluster that leads to it, and of its statistics (`http.egress.`)."""

FILES = "files.local"
"""The host of mounted files."""

SETTINGS: Config = {"files": {"cluster": NAME}, "egress": {"cluster": NAME}}
"""What a plugin configuration has to say to use it."""

REMOVED = (
    "x-egress-scheme",
    "x-forwarded-proto",
    "x-request-id",
    "x-envoy-expected-rq-timeout-ms",
)
"""Headers that no other host gets to see."""

CACHE = {"name": "dfp", "dns_lookup_family": "V4_ONLY"}
DYNAMIC = "dynamic_forward_proxy"
LOG = "egress.log"
FORMAT = "%REQ(:METHOD)%\t%REQ(:AUTHORITY)%\t%REQ(:PATH)%\t%RESPONSE_CODE%\t%START_TIME(%s.%3f)%"

Place = int | tuple[str, int]
"""A port of 127.0.0.1, or an address and a port."""


@dataclass
class Egress:
    """The parts for a bootstrap."""

    listeners: list[Config]
    clusters: list[Config]
    bootstrap_extras: Config


class Call(NamedTuple):
    """A call that the listener has answered."""

    method: str
    host: str
    path: str
    status: int
    begun: float
    """Unix seconds."""


def egress(
    mounts: Sequence[Path | str] = (),
    *,
    ca_pem: str | None = None,
    hosts: Mapping[str, Place] | None = None,
) -> Egress:
    """The listener and its clusters.

    The host `files.local` serves the files below `mounts` by their absolute paths. `hosts` maps a
    name, or `name:port`, exactly as it stands in `:authority`, to a local server: a name stands for
    https and http, whichever `x-egress-scheme` says. Other hosts are looked up. Only `ca_pem` is
    trusted. A call without a scheme gets 400.
    """
    places = dict(hosts or {})
    trusted = ca_pem or nobody()
    virtual = [files(mounts)]
    behind = [internal(), forward(False, trusted), forward(True, trusted)]
    for name, place in places.items():
        address, port = ("127.0.0.1", place) if isinstance(place, int) else place
        plain, secure = f"http {name}", f"https {name}"
        virtual.append(virtual_host(name, [name], plain, secure))
        server = Endpoint(port, address)
        tls = upstream_tls(trusted, name.partition(":")[0])
        behind += [cluster(plain, [server]), cluster(secure, [server], tls=tls)]
    virtual.append(virtual_host("others", ["*"], "dfp_http", "dfp_https"))
    return Egress([internal_listener(virtual)], behind, {"bootstrap_extensions": [extensions()]})


@contextlib.contextmanager
def running_with_egress(
    plugins: Config | Mapping[str, Config | None],
    egress: Egress,
    *,
    dynamic: bool = False,
    http2: bool = False,
    hcm: Config | None = None,
    first: Sequence[Config] = (),
    more: Sequence[Config] = (),
    options: Mapping[str, Any] | None = None,
    extras: Mapping[str, Any] | None = None,
    **envoy_options: Any,
) -> Iterator[Gateway]:
    """`gateway.running` with this egress; a single plugin configuration is for `provider`.

    With `dynamic` the clusters with the filter come from CDS, for `update_cds`. `more` are further
    static clusters, `extras` further fields of the bootstrap, and the rest as in `running`.
    """
    named = {"provider": plugins} if "resources" in plugins else plugins
    with Upstream() as upstream:
        behind = clusters(named, upstream.port, http2=http2, **(options or {}))
        front = listener([*first, *routes(list(named))], hcm=hcm)
        static = [*egress.clusters, *more, *([] if dynamic else behind)]
        fields = egress.bootstrap_extras | dict(extras or {})
        whole = bootstrap([front, *egress.listeners], static, **fields)
        cds = behind if dynamic else None
        with Envoy(whole, cds=cds, **envoy_options) as envoy:
            yield Gateway(envoy, upstream)
            assert_no_panic(envoy)


def calls(envoy: Envoy, host: str | None = None, path: str | None = None) -> list[Call]:
    """The calls so far: all, or those to a host or of a path. Each is told a moment after its
    answer; a call that is under way is not among them."""
    file = envoy.folder / LOG
    lines = file.read_text(errors="replace").split("\n")[:-1] if file.exists() else []
    found = []
    for line in lines:
        method, authority, target, status, begun = line.split("\t")
        found.append(Call(method, authority, target, int(status), float(begun)))
    return [
        call
        for call in found
        if (host is None or call.host == host) and (path is None or call.path == path)
    ]


# The parts.


@functools.cache
def nobody() -> str:
    """An authority that has signed nothing."""
    return Authority().pem


def extensions() -> Config:
    """What makes internal listeners possible."""
    message = "bootstrap.internal_listener.v3.InternalListener"
    return extension("envoy.bootstrap.internal_listener", message)


def internal() -> Config:
    """The cluster that leads to the listener."""
    raw = extension(
        "envoy.transport_sockets.raw_buffer", "transport_sockets.raw_buffer.v3.RawBuffer"
    )
    message = "transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
    socket = extension("envoy.transport_sockets.internal_upstream", message, transport_socket=raw)
    address = {"envoy_internal_address": {"server_listener_name": NAME}}
    ends = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": NAME,
        "connect_timeout": "2s",
        "transport_socket": socket,
        "load_assignment": {"cluster_name": NAME, "endpoints": ends},
    }


def forward(secure: bool, ca_pem: str) -> Config:
    """The cluster of all hosts that are looked up."""
    name = "dfp_https" if secure else "dfp_http"
    message = f"clusters.{DYNAMIC}.v3.ClusterConfig"
    config: Config = {
        "name": name,
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension(f"envoy.clusters.{DYNAMIC}", message, dns_cache_config=CACHE),
    }
    if not secure:
        return config
    context = {"validation_context": {"trusted_ca": {"inline_string": ca_pem}}}
    message = "transport_sockets.tls.v3.UpstreamTlsContext"
    tls = extension("envoy.transport_sockets.tls", message, common_tls_context=context)
    options = {
        "@type": EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True},
    }
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return config | {"transport_socket": tls, "typed_extension_protocol_options": {kind: options}}


def file_server(mounts: Sequence[Path | str]) -> Config:
    """The settings of the file server: one mapping a folder, its path the same on both sides."""
    folders = [str(mount).rstrip("/") for mount in mounts]
    assert all(folder.startswith("/") for folder in folders), folders
    return {
        "@type": EXTENSIONS + "filters.http.file_server.v3.FileServerConfig",
        "manager_config": {"thread_pool": {"thread_count": 1}},
        "path_mappings": [
            {"request_path_prefix": folder, "file_path_prefix": folder} for folder in folders
        ],
        "default_content_type": "text/plain",
    }


def files(mounts: Sequence[Path | str]) -> Config:
    """The virtual host of files: 404 for what is not below a mount."""
    nothing: Config = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    if mounts:
        nothing["typed_per_filter_config"] = {"file_server": file_server(mounts)}
    return {"name": "files", "domains": [FILES], "routes": [nothing]}


def virtual_host(name: str, domains: Sequence[str], plain: str, secure: str) -> Config:
    """Routes by `x-egress-scheme`, and removes what other hosts need not know."""

    def scheme(text: str, cluster: str) -> Config:
        header = {"name": "x-egress-scheme", "string_match": {"exact": text}}
        return {"match": {"prefix": "/", "headers": [header]}, "route": {"cluster": cluster}}

    refusal = {"status": 400, "body": {"inline_string": "no x-egress-scheme"}}
    return {
        "name": name,
        "domains": list(domains),
        "request_headers_to_remove": list(REMOVED),
        "routes": [
            scheme("http", plain),
            scheme("https", secure),
            {"match": {"prefix": "/"}, "direct_response": refusal},
        ],
    }


def internal_listener(virtual: Sequence[Config]) -> Config:
    """The listener with these virtual hosts; `calls` reads its log."""
    log = access_log(FORMAT)
    log["typed_config"]["path"] = f"{DIR}/{LOG}"
    proxy = extension(
        f"envoy.filters.http.{DYNAMIC}",
        f"filters.http.{DYNAMIC}.v3.FilterConfig",
        dns_cache_config=CACHE,
    )
    server = {"name": "file_server", "disabled": True, "typed_config": file_server(["/nowhere"])}
    manager = extension(
        "hcm",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=NAME,
        access_log=[log],
        route_config={"name": NAME, "virtual_hosts": list(virtual)},
        http_filters=[server, proxy, router()],
    )
    return {"name": NAME, "internal_listener": {}, "filter_chains": [{"filters": [manager]}]}
