"""Attempts that wait for a token of their own: retries, hedged requests, mirrors and redirects.
Each provider gets exactly the token of its own policy, whoever waits and however long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

import raw
from bootstrap import Config, aggregate, cluster, retry, wasm_filter
from gateway import appears, host
from launch import poll
from providers import BY_ENDPOINT, MARKER, M, by_host, credentials, endpoint
from token_rig import ENVIRONMENT, Rig, plugin, running
from tokens import TokenServer
from upstream import Upstream
from wire import Header, Request

LIMIT = "0.3s"
"""After so long a hedged attempt is joined by another one."""
BODY = bytes(range(256)) * 300
THEIRS: list[Header] = [(b"authorization", b"Bearer " + M), (b"cookie", M), (b"x-api-key", M)]

RETRIES = [f"retry-{place}-{held}" for place in ("prio", "all") for held in ("a", "b", "ab")]
HEDGES = ["hedge-a", "hedge-b", "hedge-ba", "hedge-ab"]
MIRRORS = ["mirror-a", "mirror-b"]
REDIRECTS = ["redirect-a", "redirect-b"]
CASES = [*RETRIES, *HEDGES, *MIRRORS, *REDIRECTS]
"""Each ends with the providers that wait for their token at first, in the order of its coming."""


@dataclass
class Case:
    """Two providers, whose policies wait for their tokens or have them."""

    name: str
    rig: Rig
    providers: dict[str, Upstream]
    pool: ThreadPoolExecutor
    gates: dict[str, threading.Event] = field(default_factory=dict)

    def ask(self) -> Future[raw.Response]:
        """One request with a body and credentials of the caller."""
        headers = [(b"host", host(self.name)), *THEIRS]
        target = b"/v1?key=" + M + b"&a=1"
        port = self.rig.envoy.port()
        return self.pool.submit(raw.request, port, b"POST", target, headers, BODY, 30)

    def at(self, provider: str) -> list[Request]:
        """What a provider has received in full."""
        return self.providers[provider].requests

    def wait_for(self, provider: str, count: int = 1) -> Request:
        """The last request of a provider, as soon as there are so many."""
        return self.providers[provider].wait_for(count)[-1]

    def wait_for_attempt(self, provider: str) -> None:
        """Until an attempt at this provider has begun, which waits for its token."""
        assert not self.gates[provider].is_set()
        rising = f"cluster.{provider}-{self.name}.upstream_rq_active"
        self.rig.envoy.wait_for_stat(rising)

    def give(self, provider: str) -> None:
        """Lets the token of this provider come."""
        self.gates[provider].set()

    def check(self, **counts: int) -> None:
        """So many requests have reached the providers, all of them whole and with its own token."""
        for provider, count in counts.items():
            begun = self.providers[provider].begun
            assert len(begun) == count, f"{provider} got {len(begun)}"
            for request in begun:
                self.check_one(request, f"{provider}-{self.name}")

    def check_one(self, request: Request, client: str) -> None:
        """It carries the token of this client and no other credential."""
        (given,) = self.rig.server.clients[client].tokens
        assert credentials(request) == [(b"authorization", f"Bearer {given.text}".encode())]
        for token in self.rig.server.tokens.values():
            assert token is given or appears(token.text, request) == []
        assert appears(MARKER, request) == []
        assert request.body == BODY


def clusters(name: str, a: Upstream, b: Upstream, filters: list[Config]) -> list[Config]:
    """The clusters of a case: each provider by itself, and what leads to both."""
    ends = [endpoint(a, f"a-{name}"), endpoint(b, f"b-{name}", 1)]
    alone = [
        cluster(f"{one}-{name}", [end], filters=filters)
        for one, end in zip("ab", ends, strict=True)
    ]
    if name.startswith("retry-prio"):
        return [*alone, cluster(name, ends, filters=filters)]
    return [*alone, aggregate(name, [f"a-{name}", f"b-{name}"], filters=filters)]


def route(name: str) -> list[Config]:
    """The routes of a case."""
    if name in MIRRORS:
        return [by_host(name, f"a-{name}", mirror=f"b-{name}", timeout="30s")]
    if name in REDIRECTS:
        here = by_host(name, f"a-{name}", internal_redirect_policy={}, timeout="30s")
        return [here, by_host(f"b-{name}", f"b-{name}", timeout="30s")]
    hedged = name in HEDGES
    limits = {"per_try_timeout": LIMIT} if hedged else {}
    policy = retry(3, "5xx", next_priority=True, **limits)
    return [by_host(name, name, retry=policy, hedge=hedged, timeout="30s")]


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Rig, dict[str, Upstream], dict[str, threading.Event]]]:
    """An Envoy with all cases; the tokens for which a case waits are held back."""
    with TokenServer() as server, Upstream() as a, Upstream() as b:
        gates = {}
        for name in CASES:
            for one in "ab":
                client = server.client(f"{one}-{name}")
                if one in name.rpartition("-")[2]:
                    gates[client.name] = client.hold()
        settings = plugin(server.clients.values(), "60s", backend=BY_ENDPOINT, credentialWait="30s")
        filters = [wasm_filter(settings, vm_env=ENVIRONMENT)]
        with running(
            server,
            plugins={},
            first=[one for name in CASES for one in route(name)],
            more=[one for name in CASES for one in clusters(name, a, b, filters)],
        ) as rig:
            for client in server.clients.values():
                client.wait_for_calls()
                assert client.name in gates or client.wait_for_tokens()
            yield rig, {"a": a, "b": b}, gates


@pytest.fixture
def case(
    request: pytest.FixtureRequest,
    shared: tuple[Rig, dict[str, Upstream], dict[str, threading.Event]],
) -> Iterator[Case]:
    """The one that the test names, with nothing recorded and nothing scripted."""
    rig, providers, gates = shared
    for upstream in providers.values():
        upstream.reset()
    own = {one: gates[f"{one}-{request.param}"] for one in request.param.rpartition("-")[2]}
    with ThreadPoolExecutor(2) as pool:
        yield Case(request.param, rig, providers, pool, own)
    for gate in own.values():
        gate.set()


def named(*names: str) -> pytest.MarkDecorator:
    """The cases of a test."""
    return pytest.mark.parametrize("case", names, indirect=True)


@named(*RETRIES)
def test_a_retry_at_another_provider_waits_for_its_own_token(case: Case) -> None:
    case.providers["a"].reply_with(503, times=1)
    answer = case.ask()
    case.rig.wait_for_active(1)
    for provider in case.gates:
        if provider == "b":
            case.wait_for("a")
        case.check(a=int(provider == "b"), b=0)
        case.give(provider)
    assert answer.result().status == 200
    case.check(a=1, b=1)


@named("hedge-a")
def test_an_attempt_that_was_overtaken_while_it_waited_sends_its_own_token(case: Case) -> None:
    held = threading.Event()
    case.providers["b"].reply_with(200, wait=held)
    answer = case.ask()
    case.wait_for("b")
    case.check(a=0, b=1)
    case.give("a")
    case.wait_for("a")
    assert answer.result().status == 200
    held.set()
    case.check(a=1, b=1)


@named("hedge-b")
def test_a_second_attempt_that_waits_sends_its_own_token(case: Case) -> None:
    held = threading.Event()
    case.providers["a"].reply_with(200, wait=held)
    answer = case.ask()
    case.wait_for("a")
    case.wait_for_attempt("b")
    case.check(a=1, b=0)
    case.give("b")
    assert answer.result().status == 200
    held.set()
    case.check(a=1, b=1)


@named("hedge-ba")
def test_two_attempts_that_wait_at_once_send_their_own_tokens(case: Case) -> None:
    held = threading.Event()
    case.providers["b"].reply_with(200, wait=held)
    answer = case.ask()
    case.wait_for_attempt("a")
    case.wait_for_attempt("b")
    case.give("b")
    case.wait_for("b")
    case.check(a=0, b=1)
    case.give("a")
    assert answer.result().status == 200
    held.set()
    case.check(a=1, b=1)


@named("hedge-ab")
def test_an_attempt_that_is_no_longer_wanted_sends_nothing(case: Case) -> None:
    answer = case.ask()
    case.wait_for_attempt("a")
    case.wait_for_attempt("b")
    case.give("a")
    assert answer.result().status == 200
    attempts = f"cluster.b-{case.name}.upstream_rq_active"
    poll(lambda: case.rig.envoy.stats(attempts)[attempts] == 0, 5, "the end of the attempt")
    case.give("b")
    second = case.rig.server.clients[f"b-{case.name}"]
    second.wait_for_tokens()
    case.rig.wait_for_metric(f"{second.name}.fetched")
    # A request that comes later, whose own token is there, is the only one that arrives.
    headers = [(b"host", host(f"b-{REDIRECTS[0]}"))]
    assert raw.request(case.rig.envoy.port(), headers=headers).status == 200
    assert [request.target for request in case.at("b")] == [b"/"]
    case.check(a=1)


@named(*MIRRORS)
def test_a_request_and_its_shadow_wait_each_for_its_own_token(case: Case) -> None:
    (late,) = case.gates
    prompt = "b" if late == "a" else "a"
    answer = case.ask()
    case.wait_for(prompt)
    case.check(**{late: 0, prompt: 1})
    # Nobody waits for the shadow.
    assert late == "b" or not answer.done()
    case.give(late)
    case.wait_for(late)
    assert answer.result().status == 200
    case.check(a=1, b=1)


@named(*REDIRECTS)
def test_both_hops_of_a_redirect_wait_each_for_its_own_token(case: Case) -> None:
    location = f"http://b-{case.name}.test/next"
    case.providers["a"].reply_with(302, {"location": location}, times=1)
    answer = case.ask()
    if "b" in case.gates:
        case.wait_for("a")
    case.rig.wait_for_active(1)
    case.check(b=0)
    assert not answer.done()
    for provider in case.gates:
        case.give(provider)
    assert answer.result().status == 200
    assert case.at("b")[0].target == b"/next"
    case.check(a=1, b=1)
