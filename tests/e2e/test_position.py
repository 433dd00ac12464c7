"""The filter in the listener's chain, and the filter in the other place than configured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

import raw
from bootstrap import (
    Config,
    Endpoint,
    bootstrap,
    cluster,
    listener,
    retry,
    route,
    wasm_filter,
)
from envoy import Envoy
from gateway import appears, assert_no_panic
from providers import KINDS, MARKER, M, Providers, assert_own, credentials, plugin, three_providers
from wire import Header, Request

Start = Callable[..., Envoy]

THEIRS: list[Header] = [
    (b"host", b"gateway.test"),
    (b"authorization", b"Bearer " + M),
    (b"authorization", b"Basic " + M),
    (b"x-api-key", M),
    (b"api-key", M),
    (b"cookie", b"session=" + M),
    (b"x-aigw-key", M),
]


@dataclass
class Rig:
    """A running Envoy in front of the providers."""

    envoy: Envoy
    providers: Providers

    def ask(
        self, target: bytes, listener: str = "main", headers: Sequence[Header] = THEIRS
    ) -> raw.Response:
        """One request, with credentials of the caller."""
        return raw.request(self.envoy.port(listener), b"POST", target, headers, b"body")

    def nothing_came(self) -> bool:
        """No provider has seen anything."""
        return not any(upstream.begun for upstream in self.providers.values())


def error(answer: raw.Response) -> tuple[int, str]:
    """The status and the type of a reply of the filter, which is in the form of the contract."""
    assert answer.values("content-type") == [b"application/json"]
    reply = json.loads(answer.body)
    assert reply.keys() == {"type", "error"}
    assert reply["error"].keys() == {"type", "code", "message"}
    assert (reply["type"], reply["error"]["code"]) == ("error", str(answer.status))
    assert reply["error"]["message"]
    return answer.status, reply["error"]["type"]


def fresh(rig: Rig) -> Rig:
    """The rig with nothing recorded and nothing scripted."""
    for upstream in rig.providers.values():
        upstream.reset()
    return rig


@pytest.fixture(scope="module")
def listening() -> Iterator[Rig]:
    """The filter in the chains of listeners that strip, allow unmatched backends, and keep what the
    caller sent. `b` goes first to provider b and then to c."""
    settings = plugin("a", "b", position="Listener")
    allow = plugin("a", "b", position="Listener", unmatchedBackend="Allow")
    keep = plugin("a", "b", position="Listener", clientCredentials="Keep")
    weighted = {"clusters": [{"name": name, "weight": 1} for name in "ab"]}
    routes = [
        route("/a", "a"),
        route("/b", "b", retry=retry(1, next_priority=True)),
        route("/unknown", "c"),
        {"match": {"prefix": "/weighted"}, "route": {"weighted_clusters": weighted}},
        route("/mirrored", "a", mirror="c"),
        route("/redirected", "a", internal_redirect=True),
    ]
    with three_providers() as providers:
        ports = {name: [upstream.port] for name, upstream in providers.items()}
        clusters = [cluster(name, ports[name]) for name in "ac"]
        clusters.append(
            cluster("b", [Endpoint(ports["b"][0]), Endpoint(ports["c"][0], priority=1)])
        )
        listeners = [
            listener(routes, filters=[wasm_filter(settings)]),
            listener(routes, name="allow", filters=[wasm_filter(allow, name="allow")]),
            listener(routes, name="keep", filters=[wasm_filter(keep, name="keep")]),
        ]
        with Envoy(bootstrap(listeners, clusters)) as envoy:
            yield Rig(envoy, providers)
            assert_no_panic(envoy)


@pytest.fixture
def rig(listening: Rig) -> Rig:
    """The same with nothing recorded and nothing scripted."""
    return fresh(listening)


@pytest.mark.parametrize("name", ["a", "b"])
def test_in_a_listener_the_key_is_injected_and_the_credentials_of_the_caller_removed(
    rig: Rig, name: str
) -> None:
    assert rig.ask(f"/{name}?key=".encode() + M + b"&z=%2f").status == 200
    seen = rig.providers[name].only()
    assert_own(seen, name)
    assert (appears(MARKER, seen), seen.target, seen.body) == (
        [],
        f"/{name}?z=%2f".encode(),
        b"body",
    )


def test_in_a_listener_an_unknown_backend_is_not_forwarded(rig: Rig) -> None:
    assert error(rig.ask(b"/unknown")) == (500, "UnknownBackend")
    assert rig.nothing_came()


def test_in_a_listener_an_unknown_backend_passes_unchanged_if_that_is_allowed(rig: Rig) -> None:
    target = b"/unknown?key=" + M
    assert rig.ask(target, "allow").status == 200
    seen = rig.providers["c"].only()
    assert seen.target == target
    # Envoy itself joins the two of one name.
    both = b"Bearer " + M + b",Basic " + M
    assert credentials(seen) == sorted([(b"authorization", both), *THEIRS[3:]])


def test_in_a_listener_a_retry_carries_the_credential_of_the_first_attempt(rig: Rig) -> None:
    rig.providers["b"].reply_with(503, times=1)
    assert rig.ask(b"/b?key=" + M).status == 200
    for name in "bc":
        seen = rig.providers[name].only()
        assert_own(seen, "b")
        assert (appears(MARKER, seen), seen.target, seen.body) == ([], b"/b", b"body")


def test_in_a_listener_a_mirrored_request_carries_the_credential_of_its_route(rig: Rig) -> None:
    assert rig.ask(b"/mirrored").status == 200
    for name in "ac":
        seen = rig.providers[name].only()
        assert_own(seen, "a")
        assert appears(MARKER, seen) == []


@pytest.mark.parametrize("mode", ["main", "keep"])
def test_in_a_listener_a_redirect_carries_the_key_of_its_new_route_alone(
    rig: Rig, mode: str
) -> None:
    location = {"location": "http://gateway.test/b?z=1"}
    rig.providers["a"].reply_with(302, location, times=1)
    assert rig.ask(b"/redirected?y=1", mode, headers=THEIRS[:1]).status == 200
    first, second = rig.providers["a"].only(), rig.providers["b"].only()
    assert_own(first, "a")
    assert_own(second, "b")
    assert (first.target, second.target) == (b"/redirected?y=1", b"/b?z=1")


def test_in_a_listener_a_redirect_to_an_unknown_backend_is_not_forwarded(rig: Rig) -> None:
    location = {"location": "http://gateway.test/unknown"}
    rig.providers["a"].reply_with(302, location, times=1)
    assert error(rig.ask(b"/redirected")) == (500, "UnknownBackend")
    assert_own(rig.providers["a"].only(), "a")
    assert rig.providers["c"].begun == []


def test_in_a_listener_a_redirect_to_an_unknown_backend_that_is_allowed_loses_the_key(
    rig: Rig,
) -> None:
    location = {"location": "http://gateway.test/unknown"}
    rig.providers["a"].reply_with(302, location, times=1)
    assert rig.ask(b"/redirected", "allow").status == 200
    assert_own(rig.providers["a"].only(), "a")
    assert credentials(rig.providers["c"].only()) == []


def test_in_a_listener_each_of_weighted_clusters_gets_its_own_key(rig: Rig) -> None:
    for _ in range(40):
        assert rig.ask(b"/weighted").status == 200
    seen = {name: rig.providers[name].requests for name in "ab"}
    assert sum(map(len, seen.values())) == 40
    for name, requests in seen.items():
        assert requests, f"none of 40 requests went to {name}"
        for request in requests:
            assert_own(request, name)
            assert appears(MARKER, request) == []


def test_in_a_listener_a_request_without_a_route_is_not_forwarded(rig: Rig) -> None:
    assert error(rig.ask(b"/nowhere")) == (500, "UnknownBackend")
    assert rig.ask(b"/nowhere", "allow").status == 404
    assert rig.nothing_came()


def both_places(position: str, providers: Providers) -> Config:
    """The same plugin in a listener's chain and in clusters': the listener `listener` has it and
    leads to clusters without it, the listener `cluster` is the other way round."""
    settings = plugin(*KINDS, targets=["{}", "{}-filtered"], position=position)
    filters = [wasm_filter(settings, root_id="one")]
    ports = {name: [upstream.port] for name, upstream in providers.items()}
    plain = [cluster(name, port) for name, port in ports.items()]
    filtered = [cluster(f"{name}-filtered", port, filters=filters) for name, port in ports.items()]
    return bootstrap(
        [
            listener([route(f"/{n}", n) for n in ports], name="listener", filters=filters),
            listener([route(f"/{n}", f"{n}-filtered") for n in ports], name="cluster"),
        ],
        [*plain, *filtered],
    )


@pytest.fixture
def providers() -> Iterator[Providers]:
    """Three of them."""
    with three_providers() as three:
        yield three


@pytest.mark.parametrize(
    ("position", "right", "wrong"),
    [("Upstream", "cluster", "listener"), ("Listener", "listener", "cluster")],
)
def test_one_plugin_in_both_places_injects_in_the_configured_one_and_refuses_in_the_other(
    providers: Providers, start_envoy: Start, position: str, right: str, wrong: str
) -> None:
    rig = Rig(start_envoy(both_places(position, providers)), providers)
    expected: list[Request] = []
    for name in [*KINDS] * 4:
        assert error(rig.ask(f"/{name}".encode(), wrong)) == (500, "Misconfigured")
        assert rig.ask(f"/{name}".encode(), right).status == 200
        expected.append(rig.providers[name].requests[-1])
        assert_own(expected[-1], name)
        assert appears(MARKER, expected[-1]) == []
    assert sum(len(upstream.begun) for upstream in providers.values()) == len(expected) == 12
    assert_no_panic(rig.envoy)


@pytest.mark.parametrize(("position", "wrong"), [("Upstream", "listener"), ("Listener", "cluster")])
@pytest.mark.parametrize("unmatched", ["Deny", "Allow"])
def test_the_other_place_than_configured_is_logged_once_with_what_to_do(
    providers: Providers, start_envoy: Start, position: str, wrong: str, unmatched: str
) -> None:
    settings = plugin("a", position=position, unmatchedBackend=unmatched)
    filters = [wasm_filter(settings)]
    inside, outside = (filters, []) if wrong == "listener" else ([], filters)
    config = bootstrap(
        [listener([route("/a", "a"), route("/c", "c")], filters=inside)],
        [cluster(name, [providers[name].port], filters=outside) for name in "ac"],
    )
    rig = Rig(start_envoy(config, concurrency=1), providers)
    for target in (b"/a", b"/c") * 5:
        assert error(rig.ask(target)) == (500, "Misconfigured")
    assert rig.nothing_came()
    rig.envoy.wait_for_log("position")
    lines = [line for line in rig.envoy.log().splitlines() if re.search(r"\bposition\b", line)]
    assert len(lines) == 1
    # Where the filter has to go, or what has to be said of where it is.
    other = {"Upstream": "Listener", "Listener": "Upstream"}[position]
    assert f"position: {other}" in lines[0]
    assert MARKER not in rig.envoy.log()
