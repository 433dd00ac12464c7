"""Providers a, b and c behind one Envoy, each with a key of a type of its own, and what each of
them must and must not receive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from bootstrap import Config, Endpoint, route
from gateway import appears, host
from manifests import HEADERS, config, header_value, keyed
from upstream import Upstream
from wire import Header, Request

KINDS = {"a": "APIKey", "b": "AnthropicAPIKey", "c": "AzureAPIKey"}

BY_ENDPOINT = {"property": ["xds", "upstream_host_metadata", "filter_metadata", "aigw", "backend"]}
"""The setting `backend` for clusters whose endpoints tell which provider they are."""

CREDENTIALS = frozenset(
    b"authorization proxy-authorization cookie x-api-key api-key x-goog-api-key"
    b" ocp-apim-subscription-key x-amz-date x-amz-security-token x-amz-content-sha256".split()
)
"""The headers that the contract lists as credentials of callers, besides every `x-aigw-*`."""

MARKER = "of-the-caller-7d1c"
M = MARKER.encode()

Providers = dict[str, Upstream]


def key(name: str) -> str:
    """The key of a provider."""
    return f"sk-of-provider-{name}-04be"


def plugin(*names: str, targets: Sequence[str] = ("{}",), **settings: Any) -> Config:
    """A plugin configuration with the policies of these providers; each is for the backends
    `targets`, in which `{}` stands for the provider's name."""
    policies = [
        keyed(name, KINDS[name], key(name), [one.format(name) for one in targets]) for name in names
    ]
    return config(*policies, **settings)


def endpoint(at: Upstream | int, name: str, priority: int = 0) -> Endpoint:
    """An endpoint, an upstream or a port, that tells which provider it is."""
    port = at if isinstance(at, int) else at.port
    return Endpoint(port, priority=priority, metadata={"aigw": {"backend": name}})


@contextlib.contextmanager
def three_providers(**options: Any) -> Iterator[Providers]:
    """Their recording upstreams."""
    with Upstream(**options) as a, Upstream(**options) as b, Upstream(**options) as c:
        yield {"a": a, "b": b, "c": c}


def by_host(name: str, cluster: str, **action: Any) -> Config:
    """A route by the host `<name>.test`, which leaves the path alone."""
    header = {"name": ":authority", "string_match": {"exact": host(name).decode()}}
    return route("/", cluster, match={"headers": [header]}, **action)


def ours(name: str) -> Header:
    """The header with the key of a provider."""
    kind = KINDS[name]
    return HEADERS[kind].encode(), header_value(kind, key(name))


def credentials(request: Request) -> list[Header]:
    """Every header of a request in which a credential may be."""
    return sorted(
        header
        for header in request.headers
        if header[0] in CREDENTIALS or header[0].startswith(b"x-aigw-")
    )


def assert_own(request: Request, name: str, beside: Sequence[Header] = ()) -> None:
    """It carries this provider's key, what is expected `beside` it, and no other credential."""
    expected = sorted([ours(name), *beside])
    assert credentials(request) == expected, f"{credentials(request)}, not {expected}"
    assert_nothing_of(request, *(other for other in KINDS if other != name))


def assert_nothing_of(request: Request, *names: str) -> None:
    """The key of none of these providers is anywhere in it."""
    for name in names:
        assert appears(key(name), request) == [], f"the key of {name} in {request}"
