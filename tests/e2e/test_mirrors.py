"""Mirrored requests: the shadow gets the key of the cluster that it goes to, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

import raw
from bootstrap import Config, bootstrap, cluster, listener, retry, wasm_filter
from envoy import Envoy
from gateway import appears, assert_no_panic, host
from providers import (
    KINDS,
    MARKER,
    M,
    Providers,
    assert_nothing_of,
    assert_own,
    by_host,
    credentials,
    plugin,
    three_providers,
)
from wire import Header

BODY = b'{"model": "m", "messages": []}'
MODES: dict[str, Config] = {
    "strip": plugin("a", "b", "c", targets=["{}-strip"]),
    "keep": plugin("a", "b", "c", targets=["{}-keep"], clientCredentials="Keep"),
    "deny": plugin("a", targets=["{}-deny"]),
    "allow": plugin("a", targets=["{}-allow"], unmatchedBackend="Allow"),
}
THEIRS: list[Header] = [
    (b"authorization", b"Bearer " + M),
    (b"x-api-key", M),
    (b"api-key", M),
    (b"cookie", b"session=" + M),
]


@dataclass
class Rig:
    """A running Envoy; the host `<mode>.test` leads to a and is mirrored to b, `to-<mode>.test`
    leads to a, which may redirect to `b-<mode>.test`, which is mirrored to c."""

    envoy: Envoy
    providers: Providers

    def ask(self, name: str, target: bytes, headers: Sequence[Header] = THEIRS) -> raw.Response:
        """One request with a body."""
        fields = [(b"host", host(name)), *headers]
        return raw.request(self.envoy.port(), b"POST", target, fields, BODY)


@pytest.fixture(scope="module")
def running() -> Iterator[Rig]:
    """Three providers in four modes."""
    with three_providers() as providers:
        routes, clusters = [], []
        for mode, settings in MODES.items():
            for provider, upstream in providers.items():
                filters = [wasm_filter(settings, name=mode)]
                name = f"{provider}-{mode}"
                clusters.append(cluster(name, [upstream.port], filters=filters))
            routes += [
                by_host(mode, f"a-{mode}", mirror=f"b-{mode}", retry=retry(1)),
                by_host(f"to-{mode}", f"a-{mode}", internal_redirect=True),
                by_host(f"b-{mode}", f"b-{mode}", mirror=f"c-{mode}"),
            ]
        with Envoy(bootstrap([listener(routes)], clusters)) as envoy:
            yield Rig(envoy, providers)
            assert_no_panic(envoy)


@pytest.fixture
def rig(running: Rig) -> Rig:
    """The same with nothing recorded and nothing scripted."""
    for upstream in running.providers.values():
        upstream.reset()
    return running


def test_a_mirrored_request_carries_the_key_of_the_shadow_alone(rig: Rig) -> None:
    assert rig.ask("strip", b"/v1?key=" + M + b"&z=%2f").status == 200
    for name in "ab":
        seen = rig.providers[name].only()
        assert_own(seen, name)
        assert appears(MARKER, seen) == []
        assert (seen.target, seen.body) == (b"/v1?z=%2f", BODY)
    assert rig.providers["b"].only().authority == b"strip.test-shadow"


def test_a_mirrored_request_under_keep_carries_nothing_of_the_other_provider(rig: Rig) -> None:
    assert rig.ask("keep", b"/v1?key=" + M).status == 200
    seen = {name: rig.providers[name].only() for name in "ab"}
    assert_own(seen["a"], "a", beside=THEIRS[1:])
    assert_own(seen["b"], "b", beside=[THEIRS[0], *THEIRS[2:]])
    assert seen["a"].target == seen["b"].target == b"/v1?key=" + M


def test_a_mirrored_request_is_not_forwarded_to_a_cluster_without_a_policy(rig: Rig) -> None:
    before = rig.envoy.metric("unknown_backend")
    assert rig.ask("deny", b"/v1").status == 200
    assert_own(rig.providers["a"].only(), "a")
    rig.envoy.wait_for_metric("unknown_backend", before + 1)
    assert rig.providers["b"].begun == []


def test_a_mirrored_request_passes_unchanged_to_a_cluster_without_a_policy_if_that_is_allowed(
    rig: Rig,
) -> None:
    assert rig.ask("allow", b"/v1?key=" + M).status == 200
    assert_own(rig.providers["a"].only(), "a")
    shadow = rig.providers["b"].only()
    assert credentials(shadow) == sorted(THEIRS)
    assert shadow.target == b"/v1?key=" + M
    assert_nothing_of(shadow, *KINDS)


def test_a_request_that_is_mirrored_and_retried_carries_the_right_key_each_time(rig: Rig) -> None:
    rig.providers["a"].reply_with(503, times=1)
    assert rig.ask("strip", b"/v1?key=" + M).status == 200
    first, second = rig.providers["a"].wait_for(2)
    shadow = rig.providers["b"].only()
    for seen, name in ((first, "a"), (second, "a"), (shadow, "b")):
        assert_own(seen, name)
        assert (appears(MARKER, seen), seen.target, seen.body) == ([], b"/v1", BODY)


@pytest.mark.parametrize("mode", ["strip", "keep", "allow"])
def test_a_request_that_is_redirected_and_then_mirrored_carries_no_key_of_the_first_provider(
    rig: Rig, mode: str
) -> None:
    location = f"http://b-{mode}.test/next?z=1"
    rig.providers["a"].reply_with(302, {"location": location}, times=1)
    assert rig.ask(f"to-{mode}", b"/v1", []).status == 200
    assert_own(rig.providers["a"].only(), "a")
    redirected, shadow = rig.providers["b"].only(), rig.providers["c"].only()
    for seen, name in ((redirected, "b"), (shadow, "c")):
        assert seen.target == b"/next?z=1"
        if mode == "allow":
            assert credentials(seen) == []
            assert_nothing_of(seen, *KINDS)
        else:
            assert_own(seen, name)
