"""Which backend a request is for, and which policy that backend has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import raw
from bootstrap import Config, Endpoint, bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from gateway import PLAIN, Gateway, assert_no_panic, others, running
from manifests import API, Manifest, config, header_value, keyed, policy, secret
from upstream import Upstream
from wire import Header

Start = Callable[..., Envoy]

MARKER = b"of-the-caller-4f0a"
NAMESPACE, ATTRIBUTE = "ai", "backend"
METADATA = ["filter_metadata", NAMESPACE, ATTRIBUTE]

OPENAI, TEAM, POOL, SAME = "key-openai", "key-team", "key-pool", "key-same-name"
POLICIES = [
    *keyed("openai", "APIKey", OPENAI, ["openai", "also-openai"]),
    # The same names in another namespace; targets are in the namespace of their policy.
    *keyed("openai", "AnthropicAPIKey", TEAM, ["openai", "only-team"], namespace="team"),
    *keyed("pool", "AzureAPIKey", POOL, ["InferencePool/pool"]),
    *keyed("both", "APIKey", SAME, ["both", "InferencePool/both"]),
]
FOUND: dict[str, Header] = {
    "openai": (b"authorization", b"Bearer key-openai"),
    "default/openai": (b"authorization", b"Bearer key-openai"),
    "AIServiceBackend/default/openai": (b"authorization", b"Bearer key-openai"),
    "also-openai": (b"authorization", b"Bearer key-openai"),
    "team/openai": (b"x-api-key", b"key-team"),
    "AIServiceBackend/team/openai": (b"x-api-key", b"key-team"),
    "team/only-team": (b"x-api-key", b"key-team"),
    "InferencePool/default/pool": (b"api-key", b"key-pool"),
    "both": (b"authorization", b"Bearer key-same-name"),
    "InferencePool/default/both": (b"authorization", b"Bearer key-same-name"),
    # By backend.names.
    "outbound|443||api.openai.com": (b"authorization", b"Bearer key-openai"),
    "outbound|443||short": (b"authorization", b"Bearer key-openai"),
    "outbound|443||team": (b"x-api-key", b"key-team"),
    "outbound|443||pool": (b"api-key", b"key-pool"),
}
NAMES = {
    "outbound|443||api.openai.com": "default/openai",
    "outbound|443||short": "openai",
    "outbound|443||team": "AIServiceBackend/team/openai",
    "outbound|443||pool": "InferencePool/default/pool",
}
NOT_FOUND = [
    "nobody",
    "Openai",
    "openai ",
    "openai/",
    "/openai",
    "only-team",
    "team/also-openai",
    "pool",
    "default/pool",
    "AIServiceBackend/default/pool",
    "InferencePool/pool",
    "InferencePool/team/openai",
    "InferencePool/default/openai",
    "aiservicebackend/default/openai",
    "Service/default/openai",
    "outbound|443||other",
    "",
]


def marked(value: Any) -> Config:
    """Metadata that names a backend."""
    return {NAMESPACE: {ATTRIBUTE: value}}


def by_route(number: int, backend: Any) -> Config:
    """The route `/<number>/`, whose metadata names a backend."""
    metadata = {"filter_metadata": marked(backend)}
    return {**route(f"/{number}/", "one"), "metadata": metadata}


def refused(answer: raw.Response) -> None:
    """The reply to a request whose backend has no policy."""
    assert answer.status == 500
    assert answer.values("content-type") == [b"application/json"]
    start = b'{"type":"error","error":{"type":"UnknownBackend","code":"500","message":"'
    assert answer.body.startswith(start)
    reply = json.loads(answer.body)
    assert reply["error"].pop("message")
    assert reply == {"type": "error", "error": {"type": "UnknownBackend", "code": "500"}}
    assert MARKER not in answer.body


@pytest.fixture(scope="module")
def named() -> Iterator[Gateway]:
    """One cluster; the metadata of a route tells the backend: those found, then the others."""
    values: list[Any] = [*FOUND, *NOT_FOUND, 7, True, {"name": "openai"}, ["openai"]]
    plugin = config(
        POLICIES, backend={"property": ["xds", "route_metadata", *METADATA], "names": NAMES}
    )
    routes = [by_route(number, value) for number, value in enumerate(values)]
    with running({"one": plugin}, first=[*routes, route("/none/", "one")]) as gateway:
        yield gateway


@pytest.mark.parametrize("number", range(len(FOUND)), ids=list(FOUND).__getitem__)
def test_a_backend_may_be_named_in_every_spelling(named: Gateway, number: int) -> None:
    (header, value) = list(FOUND.values())[number]
    seen = named.send("any", [(header, MARKER)], b"/%d/v1" % number)
    keys = {name: seen.values(name) for name in ("authorization", "x-api-key", "api-key")}
    assert {name: found for name, found in keys.items() if found} == {header.decode(): [value]}


def test_other_names_are_unknown_backends(named: Gateway) -> None:
    named.upstream.clear()
    last = len(FOUND) + len(NOT_FOUND) + 4
    targets = [b"/%d/" % number for number in range(len(FOUND), last)]
    for target in [*targets, b"/none/"]:
        refused(named.ask("any", [(b"authorization", MARKER)], target))
    assert named.upstream.begun == []
    named.send("any", [], b"/0/")


def test_an_unknown_backend_is_answered_and_nothing_is_forwarded() -> None:
    plugins = dict.fromkeys(("openai", "openai-2", "outbound|443||a"), config(POLICIES))
    sent = [(b"authorization", MARKER)]
    with running(plugins) as gateway:
        for name in ("openai-2", "outbound|443||a"):
            refused(gateway.ask(name, sent, b"/v1?key=" + MARKER, b"POST", b"body"))
        assert gateway.upstream.begun == []
        assert gateway.envoy.wait_for_metric("unknown_backend", 2) == 2
        seen = gateway.send("openai", sent, b"/v1", b"POST", b"body")
        assert seen.values("authorization") == [header_value("APIKey", OPENAI)]


def test_allow_lets_requests_without_a_policy_pass_unchanged() -> None:
    plugin = config(POLICIES, unmatchedBackend="Allow")
    sent = [
        (b"authorization", MARKER),
        (b"x-aigw-a", b"1"),
        (b"x-api-key", MARKER),
        (b"cookie", b"a"),
        (b"x-api-key", b"2"),
    ]
    target = b"/v1?key=" + MARKER + b"&&X-Amz-Date=%2f&a=%zz"
    with running({"openai": plugin, "other": plugin, PLAIN: None}) as gateway:
        plain = gateway.send(PLAIN, sent, target, b"POST", b"body")
        seen = gateway.send("other", sent, target, b"POST", b"body")
        assert others(seen) == others(plain)
        assert (seen.target, seen.body) == (plain.target, plain.body) == (target, b"body")
        seen = gateway.send("openai", sent, target)
        assert seen.values("authorization") == [header_value("APIKey", OPENAI)]
        assert (seen.values("x-api-key"), seen.target) == ([], b"/v1?&a=%zz")


def test_the_metadata_of_a_cluster_may_name_the_backend(
    upstream: Upstream, start_envoy: Start
) -> None:
    plugin = config(POLICIES, backend={"property": ["xds", "cluster_metadata", *METADATA]})
    filters = [wasm_filter(plugin)]
    backends = {"a": "openai", "b": "team/openai", "openai": "nobody"}
    clusters = [
        cluster(name, [upstream.port], filters=filters, metadata=marked(backend))
        for name, backend in backends.items()
    ]
    clusters.append(cluster("bare", [upstream.port], filters=filters))
    routes = [route(f"/{name}/", name) for name in [*backends, "bare"]]
    port = start_envoy(bootstrap([listener(routes)], clusters)).port()
    assert raw.request(port, target=b"/a/").status == 200
    assert raw.request(port, target=b"/b/").status == 200
    refused(raw.request(port, target=b"/openai/"))
    refused(raw.request(port, target=b"/bare/"))
    first, second = upstream.requests
    assert first.header("authorization") == f"Bearer {OPENAI}"
    assert (second.header("authorization"), second.header("x-api-key")) == (None, TEAM)


def test_the_metadata_of_an_endpoint_may_name_the_backend(
    upstream: Upstream, second: Upstream, start_envoy: Start
) -> None:
    plugin = config(POLICIES, backend={"property": ["xds", "upstream_host_metadata", *METADATA]})
    endpoints = [
        Endpoint(upstream.port, metadata=marked("openai")),
        Endpoint(second.port, metadata=marked("team/openai")),
    ]
    one = cluster("one", endpoints, filters=[wasm_filter(plugin)])
    envoy = start_envoy(bootstrap([listener([route("/", "one")])], [one]), concurrency=1)
    for _ in range(6):
        assert raw.request(envoy.port(), headers=[(b"host", b"a")]).status == 200
    assert len(upstream.requests) == len(second.requests) == 3
    for seen in upstream.requests:
        assert (seen.header("authorization"), seen.header("x-api-key")) == (
            f"Bearer {OPENAI}",
            None,
        )
    for seen in second.requests:
        assert (seen.header("authorization"), seen.header("x-api-key")) == (None, TEAM)


def test_a_policy_may_have_sixteen_targets_and_a_secret_of_another_namespace() -> None:
    targets = [f"backend-{number}" for number in range(16)]
    one = policy("many", "APIKey", targets, namespace="team")
    one["spec"]["apiKey"]["secretRef"] = {"name": "shared", "namespace": "vault"}
    decoys = [secret("shared", value="wrong", namespace=name) for name in ("team", "default")]
    plugin = config(one, decoys, secret("shared", value="right", namespace="vault"))
    plugins = {f"team/{targets[0]}": plugin, f"team/{targets[15]}": plugin, targets[1]: plugin}
    with running(plugins) as gateway:
        for name in (targets[0], targets[15]):
            seen = gateway.send(f"team/{name}")
            assert seen.header("authorization") == "Bearer right"
        refused(gateway.ask(targets[1]))


def test_a_list_of_manifests_with_other_kinds_among_them_is_understood() -> None:
    other: list[Manifest] = [
        {"apiVersion": f"{API}/v1beta1", "kind": "AIServiceBackend", "metadata": {"name": "a"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"any": ["thing"]}},
    ]
    old = policy("old", "AzureAPIKey", version="v1alpha1")
    items = [*other, old, secret("old-key", value="key-old", encoded=True), *POLICIES]
    plugin = {"resources": {"apiVersion": "v1", "kind": "List", "items": items}}
    with running({"old": plugin, "openai": plugin}) as gateway:
        assert gateway.send("old").header("api-key") == "key-old"
        assert gateway.send("openai").header("authorization") == f"Bearer {OPENAI}"


def test_fifty_clusters_share_one_configuration(upstream: Upstream, start_envoy: Start) -> None:
    names = [f"backend-{number}" for number in range(50)]
    plugin = config(*(keyed(name, "APIKey", f"key-of-{name}") for name in names))
    filters = [wasm_filter(plugin)]
    clusters = [cluster(name, [upstream.port], filters=filters) for name in names]
    routes = [route(f"/{name}/", name) for name in names]
    envoy = start_envoy(bootstrap([listener(routes)], clusters))
    for name in names:
        answer = raw.request(envoy.port(), target=f"/{name}/".encode())
        assert answer.status == 200
    keys = [seen.header("authorization") for seen in upstream.requests]
    assert keys == [f"Bearer key-of-{name}" for name in names]
    assert_no_panic(envoy)
