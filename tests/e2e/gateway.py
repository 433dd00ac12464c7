"""An Envoy with the filter in the chain of each cluster, in front of one recording upstream."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import raw
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from upstream import Upstream
from wire import Header, Request

PLAIN = "plain"
"""A backend without the filter: what a request looks like when nobody touches it."""

PANIC = re.compile(r"panicked|Function: proxy_on|wasm trap|Uncaught|plugin crashed", re.I)


@dataclass
class Gateway:
    """A running Envoy and the upstream behind all of its clusters."""

    envoy: Envoy
    upstream: Upstream

    def url(self, backend: str, path: str = "") -> str:
        """The address at which a backend is reached, for clients; the route takes its name off."""
        return self.envoy.url(f"/{backend}{path}")

    def ask(
        self,
        backend: str,
        headers: Sequence[Header] = (),
        target: bytes = b"/v1/models",
        method: bytes = b"GET",
        body: bytes = b"",
    ) -> raw.Response:
        """Sends one HTTP/1.1 request as it is, without any rewriting on the way."""
        fields = [(b"host", host(backend)), *headers]
        return raw.request(self.envoy.port(), method, target, fields, body)

    def send(self, backend: str, headers: Sequence[Header] = (), *rest: bytes) -> Request:
        """The same; gives what the upstream recorded of it."""
        self.upstream.clear()
        answer = self.ask(backend, headers, *rest)
        assert answer.status in (101, 200), answer
        return self.upstream.only()


def host(backend: str) -> bytes:
    """The `host` by which a backend is reached: its name, with `-` for what a host cannot hold."""
    return re.sub(r"[^0-9A-Za-z.-]", "-", backend).encode() + b".test"


def routes(backends: Sequence[str]) -> list[Config]:
    """To the cluster of its name goes `/<backend>/...` as `/...`, and every request for the host
    `<backend>.test` as it is."""
    by_host = [
        {
            "match": {
                "safe_regex": {"regex": ".*"},
                "headers": [{"name": ":authority", "string_match": {"exact": host(name).decode()}}],
            },
            "route": {"cluster": name},
        }
        for name in backends
    ]
    return by_host + [route(f"/{name}/", name, rewrite="/") for name in backends]


def clusters(
    plugins: Mapping[str, Config | None], port: int, *, http2: bool = False, **options: Any
) -> list[Config]:
    """A cluster for each backend with its plugin configuration; None is one without the filter."""
    chains = {
        name: [] if plugin is None else [wasm_filter(plugin, **options)]
        for name, plugin in plugins.items()
    }
    return [cluster(name, [port], filters=filters, http2=http2) for name, filters in chains.items()]


@contextlib.contextmanager
def running(
    plugins: Mapping[str, Config | None],
    *,
    http2: bool = False,
    hcm: Config | None = None,
    first: Sequence[Config] = (),
    options: Mapping[str, Any] | None = None,
    **envoy_options: Any,
) -> Iterator[Gateway]:
    """A gateway; `first` are routes before its own, `options` those of `wasm_filter`, further ones
    those of `Envoy`. At its end the log must tell of no panic."""
    with Upstream() as upstream:
        front = listener([*first, *routes(list(plugins))], hcm=hcm)
        behind = clusters(plugins, upstream.port, http2=http2, **(options or {}))
        with Envoy(bootstrap([front], behind), **envoy_options) as envoy:
            yield Gateway(envoy, upstream)
            assert_no_panic(envoy)


def assert_no_panic(envoy: Envoy) -> None:
    """Nothing has gone wrong inside the VM."""
    found = [line for line in envoy.log().splitlines() if PANIC.search(line)]
    assert not found, found[0]


def appears(marker: str, request: Request) -> list[str]:
    """Where a text appears in what was recorded, letter case aside."""
    wanted = marker.lower().encode()
    places = {"target": request.target, "authority": request.authority, "body": request.body}
    found = [place for place, text in places.items() if wanted in text.lower()]
    fields = [*request.headers, *request.trailers]
    return found + [
        name.decode("latin-1")
        for name, value in fields
        if wanted in name.lower() or wanted in value.lower()
    ]


def others(request: Request, *without: str) -> list[Header]:
    """The headers in order, without those named, the host and the number that Envoy gives."""
    left_out = {b"host", b"x-request-id", *(name.encode() for name in without)}
    return [header for header in request.headers if header[0] not in left_out]
