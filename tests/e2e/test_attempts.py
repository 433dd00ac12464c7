"""A request that fails at one provider and is tried again at another, whose key is of another type:
every attempt carries the key of its own provider, and nothing of the attempt before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import raw
from bootstrap import (
    Config,
    aggregate,
    bootstrap,
    cluster,
    listener,
    retry,
    wasm_filter,
)
from envoy import Envoy
from gateway import appears, assert_no_panic, host
from providers import (
    BY_ENDPOINT,
    MARKER,
    M,
    Providers,
    assert_nothing_of,
    assert_own,
    by_host,
    credentials,
    endpoint,
    plugin,
    three_providers,
)
from wire import Header, Request

PLACES = ["priorities", "aggregate"]
MODES: dict[str, Config] = {
    "strip": plugin("a", "b", backend=BY_ENDPOINT),
    "keep": plugin("a", "b", backend=BY_ENDPOINT, clientCredentials="Keep"),
    "allow": plugin("a", backend=BY_ENDPOINT, unmatchedBackend="Allow"),
    "allow-keep": plugin(
        "a", backend=BY_ENDPOINT, unmatchedBackend="Allow", clientCredentials="Keep"
    ),
    "deny": plugin("a", backend=BY_ENDPOINT),
}

QUERY = b"?key=" + M + b"&a=%2f+&api%2Dkey=" + M + b"&&q=%zz&X-Amz-Signature=" + M
STRIPPED = b"?a=%2f+&&q=%zz"
BODY = bytes(range(256)) * 200
THEIRS: list[Header] = [
    (b"Authorization", b"Bearer " + M),
    (b"authorization", b"Basic " + M),
    (b"X-Api-Key", M),
    (b"api-key", M),
    (b"cookie", b"session=" + M),
    (b"x-goog-api-key", M),
    (b"x-aigw-key", M),
]


@dataclass
class Rig:
    """A running Envoy in front of the providers."""

    envoy: Envoy
    providers: Providers

    def post(self, place: str, target: bytes, headers: list[Header] = THEIRS) -> raw.Response:
        """One request with a body to a cluster, which is named by its place and its mode."""
        fields = [(b"host", host(place)), *headers, (b"x-own", b"1")]
        return raw.request(self.envoy.port(), b"POST", target, fields, BODY)

    def fail(self, **times: int) -> None:
        """Lets providers fail so many times, and forgets what came before."""
        for name, upstream in self.providers.items():
            upstream.reset()
            if count := times.get(name):
                upstream.reply_with(503, times=count)

    def seen(self, name: str, count: int) -> list[Request]:
        """The requests of a provider, which are so many; all of them have the whole body."""
        requests = self.providers[name].wait_for(count) if count else self.providers[name].begun
        assert len(requests) == count
        assert all(request.body == BODY for request in requests)
        assert all(request.values("x-own") == [b"1"] for request in requests)
        return requests


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """For each mode one cluster with a and b as two priorities, one in the other order, and one
    that is an aggregate of a and b."""
    http2 = request.param
    policy = retry(2, "5xx,reset", next_priority=True)
    with three_providers() as providers:
        a, b = providers["a"], providers["b"]
        clusters = [
            cluster(name, [endpoint(providers[name], name)], http2=http2) for name in ("a", "b")
        ]
        for mode, settings in MODES.items():
            filters = [wasm_filter(settings, name=mode)]
            orders = {
                f"priorities-{mode}": [endpoint(a, "a"), endpoint(b, "b", 1)],
                f"reverse-{mode}": [endpoint(b, "b"), endpoint(a, "a", 1)],
                f"single-{mode}": [endpoint(a, "a")],
            }
            clusters += [
                cluster(name, ends, filters=filters, http2=http2) for name, ends in orders.items()
            ]
            clusters.append(aggregate(f"aggregate-{mode}", ["a", "b"], filters=filters))
        named = [one["name"] for one in clusters if "-" in one["name"]]
        front = listener(
            [by_host(name, name, retry=policy, internal_redirect=True) for name in named]
        )
        with Envoy(bootstrap([front], clusters)) as envoy:
            yield Rig(envoy, providers)
            assert_no_panic(envoy)


@pytest.mark.parametrize("place", PLACES)
def test_a_retry_at_another_provider_carries_its_key_alone(rig: Rig, place: str) -> None:
    rig.fail(a=1)
    assert rig.post(f"{place}-strip", b"/v1/x" + QUERY).status == 200
    for name in "ab":
        (seen,) = rig.seen(name, 1)
        assert_own(seen, name)
        assert appears(MARKER, seen) == []
        assert seen.target == b"/v1/x" + STRIPPED


@pytest.mark.parametrize("place", PLACES)
def test_a_retry_after_a_broken_connection_carries_the_key_of_its_provider_alone(
    rig: Rig, place: str
) -> None:
    rig.fail()
    rig.providers["a"].reply_with(abort=True, times=1)
    assert rig.post(f"{place}-strip", b"/v1/x" + QUERY).status == 200
    for name in "ab":
        (seen,) = rig.seen(name, 1)
        assert_own(seen, name)
        assert (appears(MARKER, seen), seen.target) == ([], b"/v1/x" + STRIPPED)


@pytest.mark.parametrize("place", PLACES)
def test_a_retry_back_at_the_first_provider_carries_its_key_again(rig: Rig, place: str) -> None:
    rig.fail(a=1, b=1)
    assert rig.post(f"{place}-strip", b"/v1/x" + QUERY).status == 200
    for seen, name in zip([*rig.seen("a", 2), *rig.seen("b", 1)], "aab", strict=True):
        assert_own(seen, name)
        assert (appears(MARKER, seen), seen.target) == ([], b"/v1/x" + STRIPPED)


@pytest.mark.parametrize("place", PLACES)
def test_keep_leaves_the_other_headers_of_the_caller_and_nothing_of_another_provider(
    rig: Rig, place: str
) -> None:
    rig.fail(a=1, b=1)
    kept: list[Header] = [
        (b"api-key", M),
        (b"cookie", b"session=" + M),
        (b"proxy-authorization", b"Basic " + M),
        (b"x-aigw-key", M),
    ]
    replaced: list[Header] = [(b"authorization", b"Bearer " + M), (b"authorization", M)]
    target = b"/v1/x" + QUERY
    assert rig.post(f"{place}-keep", target, [*kept, *replaced]).status == 200
    for seen, name in zip([*rig.seen("a", 2), *rig.seen("b", 1)], "aab", strict=True):
        assert_own(seen, name, beside=kept)
        assert seen.target == target


@pytest.mark.parametrize("place", PLACES)
def test_keep_replaces_the_header_of_each_type_that_the_caller_sent(rig: Rig, place: str) -> None:
    rig.fail(a=1, b=1)
    both: list[Header] = [(b"authorization", b"Bearer " + M), (b"x-api-key", M)]
    assert rig.post(f"{place}-keep", b"/", both).status == 200
    first, third = rig.seen("a", 2)
    (second,) = rig.seen("b", 1)
    assert_own(first, "a", beside=[(b"x-api-key", M)])
    assert_own(second, "b")
    assert_own(third, "a")


@pytest.mark.parametrize("mode", ["allow", "allow-keep"])
@pytest.mark.parametrize("place", PLACES)
def test_a_retry_at_a_provider_without_a_policy_loses_the_key_and_gets_the_path_of_the_caller(
    rig: Rig, place: str, mode: str
) -> None:
    rig.fail(a=1, b=1)
    target = b"/v1/x" + QUERY
    headers: list[Header] = [(b"authorization", b"Bearer " + M)]
    assert rig.post(f"{place}-{mode}", target, headers).status == 200
    for seen in rig.seen("a", 2):
        assert_own(seen, "a")
        assert seen.target == (target if mode == "allow-keep" else b"/v1/x" + STRIPPED)
    (unmatched,) = rig.seen("b", 1)
    assert credentials(unmatched) == []
    assert_nothing_of(unmatched, "a", "b", "c")
    assert unmatched.target == target


def test_a_provider_without_a_policy_sees_the_request_unchanged_and_the_next_one_strips_it(
    rig: Rig,
) -> None:
    rig.fail(a=1, b=1)
    target = b"/v1/x" + QUERY
    assert rig.post("reverse-allow", target).status == 200
    first, third = rig.seen("b", 2)
    assert first.target == target
    assert len(credentials(first)) == len(appears(MARKER, first)) - 1 >= 6
    (second,) = rig.seen("a", 1)
    assert_own(second, "a")
    assert (appears(MARKER, second), second.target) == ([], b"/v1/x" + STRIPPED)
    assert_nothing_of(third, "a", "b", "c")
    assert third.target == target


@pytest.mark.parametrize("place", PLACES)
def test_a_retry_at_a_provider_without_a_policy_is_not_forwarded(rig: Rig, place: str) -> None:
    rig.fail(a=1)
    answer = rig.post(f"{place}-deny", b"/v1/x" + QUERY)
    assert answer.status == 500
    error = json.loads(answer.body)
    assert (error["type"], error["error"]["type"]) == ("error", "UnknownBackend")
    (seen,) = rig.seen("a", 1)
    assert_own(seen, "a")
    rig.seen("b", 0)


@pytest.mark.parametrize("mode", ["strip", "keep"])
def test_retries_at_the_same_provider_are_all_alike(rig: Rig, mode: str) -> None:
    rig.fail(a=2)
    target = b"//x" + QUERY
    headers: list[Header] = [(b"authorization", b"Bearer " + M)]
    assert rig.post(f"single-{mode}", target, headers).status == 200
    for seen in rig.seen("a", 3):
        assert_own(seen, "a")
        assert seen.target == (target if mode == "keep" else b"//x" + STRIPPED)


@pytest.mark.parametrize("mode", ["strip", "keep"])
def test_attempts_before_and_after_a_redirect_carry_the_key_of_their_provider_alone(
    rig: Rig, mode: str
) -> None:
    rig.fail(b=1)
    # a fails, then redirects to where b comes first, which fails, and then a.
    location = {"location": f"http://reverse-{mode}.test/next?z=1"}
    rig.providers["a"].reply_with(302, location, times=1)
    rig.providers["a"].reply_with(503, times=1)
    assert rig.post(f"single-{mode}", b"/v1?y=1", [(b"cookie", M)]).status == 200
    kept = [(b"cookie", M)] if mode == "keep" else []
    for seen, name in zip([*rig.seen("a", 3), *rig.seen("b", 1)], "aaab", strict=True):
        assert_own(seen, name, beside=kept)
    targets = [seen.target for seen in [*rig.seen("a", 3), *rig.seen("b", 1)]]
    assert targets == [b"/v1?y=1", b"/v1?y=1", b"/next?z=1", b"/next?z=1"]


def test_the_answer_of_the_last_attempt_reaches_the_caller(rig: Rig) -> None:
    rig.fail(a=9)
    rig.providers["b"].reply_with(503, body=b"from b")
    answer = rig.post("priorities-strip", b"/v1/x")
    assert (answer.status, len(rig.seen("a", 2)), len(rig.seen("b", 1))) == (503, 2, 1)
    rig.fail(a=1)
    rig.providers["b"].reply_with(400, body=b"from b")
    answer = rig.post("priorities-strip", b"/v1/x")
    assert (answer.status, answer.body) == (400, b"from b")
    assert_own(rig.seen("b", 1)[0], "b")
