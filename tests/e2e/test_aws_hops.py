"""Redirects, mirrors and hedged requests: whatever leaves for Bedrock is signed for where it goes,
and nothing of a signature goes anywhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

import raw
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
from providers import BY_ENDPOINT, MARKER, Providers, by_host, endpoint
from wire import Header, Request

BODY = bytes(range(256)) * 200
PATH = b"/model/m%3A0/invoke"
PAIRS = ["east-west", "west-east", "east-plain", "west-bearer", "plain-east", "bearer-west"]
HEDGES = ["east-west", "west-east", "east-plain", "plain-west"]
REDIRECTS: Config = {"max_internal_redirects": 5, "redirect_response_codes": [302, 303, 307]}
AT_BEDROCK = "bedrock-runtime.us-west-2.amazonaws.com"


@dataclass
class Rig:
    """A running Envoy. The host `<provider>.test` leads to a provider, which may redirect,
    `<one>-<other>.test` to one with the other as mirror, `hedge-<one>-<other>.test` to both."""

    envoy: Envoy
    providers: Providers

    def post(self, name: str, headers: Sequence[Header] = THEIRS) -> raw.Response:
        """One request with a body, and with credentials of the caller."""
        fields = [(b"host", host(name)), *headers, (b"content-type", b"application/json")]
        return raw.request(self.envoy.port(), b"POST", PATH + QUERY, fields, BODY)

    def redirect(self, at: str, to: str, status: int = 307, path: str = "/next?b=2") -> None:
        """Lets a provider send its next caller to a host."""
        location = {"location": f"http://{to}{path}"}
        self.providers[at].reply_with(status, location, times=1)

    def only(self, name: str) -> Request:
        """The one request of a provider."""
        return self.providers[name].only()


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def running(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The filter in every cluster, with the same configuration."""
    http2 = request.param
    with all_providers() as providers:
        filters = [wasm_filter(plugin(*NAMES, backend=BY_ENDPOINT))]
        clusters = [
            cluster(name, [endpoint(upstream, name)], filters=filters, http2=http2)
            for name, upstream in providers.items()
        ]
        policy = retry(1, "5xx,reset", next_priority=True, per_try_timeout=f"{LATE}s")
        routes = [by_host(name, name, internal_redirect_policy=REDIRECTS) for name in NAMES]
        routes[0]["match"]["headers"][0]["string_match"] = {
            "safe_regex": {"regex": f"east\\.test|{AT_BEDROCK}"}
        }
        for pair in PAIRS:
            first, second = pair.split("-")
            routes.append(by_host(pair, first, mirror=second))
        for pair in HEDGES:
            name = f"hedge-{pair}"
            clusters.append(aggregate(name, pair.split("-"), filters=filters))
            routes.append(by_host(name, name, retry=policy, hedge=True, timeout="30s"))
        with Envoy(bootstrap([listener(routes)], clusters)) as envoy:
            yield Rig(envoy, providers)
            assert_no_panic(envoy)


@pytest.fixture
def rig(running: Rig) -> Rig:
    """The same with nothing recorded and nothing scripted."""
    for upstream in running.providers.values():
        upstream.reset()
    return running


@pytest.mark.parametrize("status", [302, 303, 307])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_redirected_request_carries_the_credential_of_where_it_goes(
    rig: Rig, pair: str, status: int
) -> None:
    first, second = pair.split("-")
    rig.redirect(first, f"{second}.test", status)
    assert rig.post(first).status == 200
    before, after = rig.only(first), rig.only(second)
    assert_own(before, first, host(first))
    assert_own(after, second, host(second))
    assert (before.target, after.target) == (PATH + LEFT, b"/next?b=2")
    assert before.body == BODY
    # Envoy makes a GET of a 303 alone.
    assert after.body == (b"" if status == 303 else BODY)
    assert appears(MARKER, before) == appears(MARKER, after) == []


def test_a_chain_of_redirects_is_signed_at_every_step(rig: Rig) -> None:
    rig.redirect("east", "plain.test", path="/2")
    rig.redirect("plain", "west.test", path="/3")
    rig.redirect("west", "bearer.test", path="/4")
    rig.redirect("bearer", "east.test", path="/5")
    assert rig.post("east").status == 200
    first, fifth = rig.providers["east"].wait_for(2)
    steps = {"plain": b"/2", "west": b"/3", "bearer": b"/4"}
    for name, target in steps.items():
        seen = rig.only(name)
        assert_own(seen, name, host(name))
        assert seen.target == target
    for seen, target in ((first, PATH + LEFT), (fifth, b"/5")):
        assert_own(seen, "east", host("east"))
        assert (seen.target, seen.body) == (target, BODY)


def test_a_redirect_to_the_same_provider_is_signed_anew(rig: Rig) -> None:
    rig.providers["west"].reply_with(
        307, {"location": "http://west.test/next"}, times=1, delay=LATE
    )
    assert rig.post("west").status == 200
    before, after = rig.providers["west"].wait_for(2)
    for seen in (before, after):
        assert_own(seen, "west", host("west"))
    assert after.target == b"/next"
    assert_each_in_its_time(before, after)


def test_a_redirect_to_a_host_of_bedrock_is_signed_for_it(rig: Rig) -> None:
    rig.redirect("west", AT_BEDROCK)
    assert rig.post("west").status == 200
    assert_own(rig.only("west"), "west", host("west"))
    assert_own(rig.only("east"), "east", AT_BEDROCK.encode(), region="us-west-2")


@pytest.mark.parametrize("pair", PAIRS)
def test_a_mirrored_request_carries_the_credential_of_the_shadow_alone(rig: Rig, pair: str) -> None:
    first, second = pair.split("-")
    assert rig.post(pair).status == 200
    seen, shadow = rig.only(first), rig.only(second)
    assert_own(seen, first, host(pair))
    assert_own(shadow, second, host(pair) + b"-shadow")
    for one in (seen, shadow):
        assert (one.target, one.body) == (PATH + LEFT, BODY)
        assert appears(MARKER, one) == []


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """For requests whose answers come later."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


def hold(rig: Rig, name: str) -> threading.Event:
    """Lets a provider answer when the test says so."""
    gate = threading.Event()
    rig.providers[name].reply_with(wait=gate, times=1)
    return gate


@pytest.mark.parametrize("pair", HEDGES)
def test_hedged_requests_carry_each_the_credential_of_its_provider(
    rig: Rig, pair: str, background: ThreadPoolExecutor
) -> None:
    name = f"hedge-{pair}"
    first, second = pair.split("-")
    gate, late = hold(rig, first), hold(rig, second)
    try:
        answer = background.submit(rig.post, name)
        seen = [rig.providers[first].wait_for(1)[0], rig.providers[second].wait_for(1)[0]]
        late.set()
        assert answer.result().status == 200
    finally:
        gate.set()
        late.set()
    for provider, request in zip((first, second), seen, strict=True):
        assert_own(request, provider, host(name))
        assert (request.target, request.body) == (PATH + LEFT, BODY)
    assert_each_in_its_time(*(request for request in seen if request.values("x-amz-date")))


def test_the_slower_of_two_hedged_requests_may_answer_too(
    rig: Rig, background: ThreadPoolExecutor
) -> None:
    gate, late = hold(rig, "east"), hold(rig, "west")
    try:
        answer = background.submit(rig.post, "hedge-east-west")
        rig.providers["west"].wait_for(1)
        gate.set()
        assert answer.result().status == 200
    finally:
        gate.set()
        late.set()
    for name in ("east", "west"):
        assert_own(rig.only(name), name, host("hedge-east-west"))
