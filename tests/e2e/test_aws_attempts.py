"""Requests to Bedrock that fail and are tried again, there or at a provider with a key: every
attempt is signed anew, for its own host and time, and has nothing of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

import raw
from aws import parsed
from bootstrap import Config, aggregate, bootstrap, cluster, listener, retry, wasm_filter
from envoy import Envoy
from gateway import appears, assert_no_panic, host
from mixed import (
    LATE,
    LEFT,
    NAMES,
    QUERY,
    THEIRS,
    all_providers,
    assert_each_in_its_time,
    assert_own,
    plugin,
)
from providers import BY_ENDPOINT, MARKER, M, Providers, by_host, endpoint
from wire import Header, Request

BODY = bytes(range(256)) * 200
TARGET = b"/model/m%3A0/invoke"
ORDERS = ["east-west", "west-east", "east-bearer", "east-plain", "west-plain", "bearer-west"]
ORDERS += ["plain-east", "plain-west"]
PLACES = ["priorities", "aggregate"]
MODES: dict[str, Config] = {
    "strip": plugin(*NAMES, backend=BY_ENDPOINT),
    "keep": plugin(*NAMES, backend=BY_ENDPOINT, clientCredentials="Keep"),
    "hosts": plugin(
        *NAMES, backend={**BY_ENDPOINT, "hosts": {"default/west": "bedrock.proxy.example:8443"}}
    ),
    "allow": plugin("east", "west", backend=BY_ENDPOINT, unmatchedBackend="Allow"),
}


@dataclass
class Rig:
    """A running Envoy in front of the providers."""

    envoy: Envoy
    providers: Providers

    def post(
        self,
        name: str,
        headers: Sequence[Header] = THEIRS,
        query: bytes = QUERY,
        authority: bytes | None = None,
    ) -> raw.Response:
        """One request with a body to a cluster, which is named by its place, mode and order."""
        fields = [(b"host", authority or host(name)), (b"x-to", name.encode()), *headers]
        fields.append((b"content-type", b"application/json"))
        return raw.request(self.envoy.port(), b"POST", TARGET + query, fields, BODY)

    def fail(self, order: str, delay: float = 0.0, abort: bool = False) -> None:
        """Lets each provider of an order fail once, and forgets what came before."""
        for name, upstream in self.providers.items():
            upstream.reset()
            if name in order:
                upstream.reply_with(503, times=1, delay=delay, abort=abort)

    def seen(self, order: str) -> list[tuple[str, Request]]:
        """The three attempts: at the first, at the second and again at the first provider."""
        first, second = order.split("-")
        one, three = self.providers[first].wait_for(2)
        (two,) = self.providers[second].wait_for(1)
        for request in (one, two, three):
            assert request.body == BODY
            assert request.header("content-type") == "application/json"
        others = [self.providers[name] for name in NAMES if name not in (first, second)]
        assert not any(upstream.begun for upstream in others)
        assert (len(self.providers[first].begun), len(self.providers[second].begun)) == (2, 1)
        return [(first, one), (second, two), (first, three)]


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """For each mode and order a cluster with two priorities, and one that is an aggregate; and
    `single`, which has no provider but west."""
    http2 = request.param
    policy = retry(2, "5xx,reset", next_priority=True)
    with all_providers() as providers:
        clusters = [
            cluster(name, [endpoint(upstream, name)], http2=http2)
            for name, upstream in providers.items()
        ]
        names = ["single"]
        filters = [wasm_filter(MODES["strip"])]
        west = [endpoint(providers["west"], "west")]
        clusters.append(cluster("single", west, filters=filters, http2=http2))
        for mode, settings in MODES.items():
            filters = [wasm_filter(settings, name=mode)]
            for order in ORDERS:
                first, second = order.split("-")
                ends = [endpoint(providers[first], first), endpoint(providers[second], second, 1)]
                names += [f"priorities-{mode}-{order}", f"aggregate-{mode}-{order}"]
                clusters.append(cluster(names[-2], ends, filters=filters, http2=http2))
                clusters.append(aggregate(names[-1], [first, second], filters=filters))
        front = listener([to(name, retry=policy) for name in names])
        with Envoy(bootstrap([front], clusters)) as envoy:
            yield Rig(envoy, providers)
            assert_no_panic(envoy)


def to(name: str, **action: object) -> Config:
    """A route by the header `x-to`, which leaves host and path alone."""
    made = by_host(name, name, **action)
    made["match"]["headers"] = [{"name": "x-to", "string_match": {"exact": name}}]
    return made


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", ORDERS)
def test_every_attempt_carries_the_credential_of_its_provider_alone(
    rig: Rig, order: str, place: str
) -> None:
    name = f"{place}-strip-{order}"
    rig.fail(order)
    assert rig.post(name).status == 200
    for provider, seen in rig.seen(order):
        assert_own(seen, provider, host(name))
        assert (appears(MARKER, seen), seen.target) == ([], TARGET + LEFT)


@pytest.mark.parametrize("order", ["east-west", "east-plain"])
def test_every_attempt_is_signed_with_its_own_time(rig: Rig, order: str) -> None:
    name = f"aggregate-strip-{order}"
    rig.fail(order, delay=LATE)
    assert rig.post(name).status == 200
    attempts = rig.seen(order)
    for provider, seen in attempts:
        assert_own(seen, provider, host(name))
    assert_each_in_its_time(*(seen for _, seen in attempts if seen.values("x-amz-date")))


def test_attempts_at_one_provider_are_signed_each_with_its_own_time(rig: Rig) -> None:
    rig.fail("")
    rig.providers["west"].reply_with(503, times=2, delay=LATE)
    assert rig.post("single").status == 200
    attempts = rig.providers["west"].wait_for(3)
    for seen in attempts:
        assert_own(seen, "west", host("single"))
        assert seen.body == BODY
    assert_each_in_its_time(*attempts)
    assert len({parsed(seen).signature for seen in attempts}) == 3


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", ["east-west", "east-plain", "bearer-west"])
def test_an_attempt_after_a_broken_connection_is_signed_anew(
    rig: Rig, order: str, place: str
) -> None:
    name = f"{place}-strip-{order}"
    rig.fail(order, abort=True)
    assert rig.post(name).status == 200
    for provider, seen in rig.seen(order):
        assert_own(seen, provider, host(name))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", ["east-west", "east-plain", "bearer-west", "plain-east"])
def test_a_host_of_bedrock_that_the_caller_chose_stays_in_every_attempt(
    rig: Rig, order: str, place: str
) -> None:
    chosen = b"bedrock-runtime-fips.us-east-2.amazonaws.com"
    rig.fail(order)
    assert rig.post(f"{place}-strip-{order}", authority=chosen).status == 200
    for provider, seen in rig.seen(order):
        assert_own(seen, provider, chosen, region="us-east-2")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", ["east-west", "west-east", "west-plain", "plain-west"])
def test_a_host_of_the_configuration_is_that_of_its_own_attempt(
    rig: Rig, order: str, place: str
) -> None:
    name = f"{place}-hosts-{order}"
    rig.fail(order)
    assert rig.post(name).status == 200
    for provider, seen in rig.seen(order):
        if provider == "west":
            assert_own(seen, provider, b"bedrock.proxy.example:8443", region="eu-west-1")
        else:
            assert_own(seen, provider, host(name))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", ORDERS)
def test_keep_leaves_what_the_caller_sent_besides(rig: Rig, order: str, place: str) -> None:
    name = f"{place}-keep-{order}"
    kept: list[Header] = [(b"api-key", M), (b"cookie", b"session=" + M), (b"x-aigw-key", M)]
    replaced: list[Header] = [(b"authorization", b"Bearer " + M), (b"x-amz-date", M)]
    rig.fail(order)
    query = b"?key=" + M + b"&b=2&a=1"
    sent = kept + replaced if order.startswith(("east", "west")) else kept
    assert rig.post(name, sent, query).status == 200
    for provider, seen in rig.seen(order):
        assert_own(seen, provider, host(name), beside=kept)
        assert seen.target == TARGET + query


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", ["east-plain", "west-plain", "plain-east", "bearer-west"])
def test_a_provider_without_a_policy_gets_the_request_of_the_caller(
    rig: Rig, order: str, place: str
) -> None:
    name = f"{place}-allow-{order}"
    rig.fail(order)
    assert rig.post(name, []).status == 200
    for provider, seen in rig.seen(order):
        if provider in ("plain", "bearer"):
            names = {header for header, _ in seen.headers}
            assert not names & {b"authorization", b"x-amz-date", b"x-amz-security-token"}
            assert (seen.authority, seen.target) == (host(name), TARGET + QUERY)
        else:
            assert_own(seen, provider, host(name))
            assert seen.target == TARGET + LEFT


def test_every_attempt_is_counted(rig: Rig) -> None:
    names = ("east", "west")
    before = [rig.envoy.metric(f"policy.default/{name}.injected") for name in names]
    rig.fail("east-west")
    assert rig.post("aggregate-strip-east-west").status == 200
    after = [rig.envoy.metric(f"policy.default/{name}.injected") for name in names]
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
