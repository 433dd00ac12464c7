"""Hedged requests: two attempts are alive at once and share one header map, which Envoy reads again
when an attempt gets its connection. Each provider gets its own key alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import raw
from bootstrap import Config, aggregate, bootstrap, cluster, listener, retry, wasm_filter
from bootstrap import upstream_tls as trusting
from envoy import Envoy
from gate import Gate
from gateway import appears, assert_no_panic, host
from launch import poll
from providers import (
    BY_ENDPOINT,
    MARKER,
    M,
    Providers,
    assert_own,
    by_host,
    endpoint,
    plugin,
    three_providers,
)
from upstream import Authority
from wire import Header, Request

TARGET = b"/v1?key=" + M + b"&z=%2f"
LIMIT = "0.25s"
"""After so long an attempt is joined by another one, or given up."""
KEPT: Mapping[str, list[Header]] = {"Strip": [], "Keep": [(b"cookie", M)]}
"""Credentials of the caller that arrive, by `clientCredentials`."""


@contextlib.contextmanager
def running(
    ports: Mapping[str, int],
    routes: Mapping[str, str],
    *,
    hedge: bool = True,
    client: str = "Strip",
    tls: Config | None = None,
    **extra: object,
) -> Iterator[Envoy]:
    """An Envoy with one cluster for each port, and for each of `routes` a host that leads through
    providers in order (`{"ab": "ab"}`: first a, then b; one alone is never repeated). One worker:
    all requests share connections."""
    settings = plugin("a", "b", "c", backend=BY_ENDPOINT, clientCredentials=client)
    filters = [wasm_filter(settings)]
    clusters = [
        cluster(name, [endpoint(port, name)], tls=tls, **{"connect_timeout": "20s", **extra})
        for name, port in ports.items()
    ]
    clusters += [
        aggregate(f"to-{name}", list(order), filters=filters) for name, order in routes.items()
    ]
    policy = retry(3, "5xx,reset", next_priority=True, per_try_timeout=LIMIT)
    several: Config = {"retry": policy, "hedge": hedge}
    front = listener(
        [
            by_host(name, f"to-{name}", timeout="30s", **(several if len(order) > 1 else {}))
            for name, order in routes.items()
        ]
    )
    with Envoy(bootstrap([front], clusters), concurrency=1) as envoy:
        yield envoy
        assert_no_panic(envoy)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """For requests whose answers come later."""
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def plain() -> Iterator[Providers]:
    """Providers without TLS."""
    with three_providers() as providers:
        yield providers


@pytest.fixture
def secure(authority: Authority) -> Iterator[Providers]:
    """Providers with TLS."""
    with three_providers(tls=authority.server_context(["api.test"], http2=False)) as providers:
        yield providers


def ports(providers: Providers, **instead: int) -> dict[str, int]:
    """Where the providers are."""
    return {name: upstream.port for name, upstream in providers.items()} | instead


def ask(envoy: Envoy, name: str, target: bytes = TARGET) -> raw.Response:
    """One request with credentials of the caller."""
    headers = [(b"host", host(name)), (b"authorization", b"Bearer " + M), (b"cookie", M)]
    return raw.request(envoy.port(), b"POST", target, headers, b"body", timeout=30)


def hold(
    providers: Providers, name: str, status: int = 200, target: str = "/v1"
) -> threading.Event:
    """Lets a provider hold its next answer back until the event."""
    gate = threading.Event()
    providers[name].reply_with(status, wait=gate, path=target, times=1)
    return gate


def check(request: Request, name: str, client: str = "Strip") -> None:
    """It is the provider's own request, whole."""
    assert_own(request, name, beside=KEPT[client])
    assert request.target == (TARGET if client == "Keep" else b"/v1?z=%2f")
    assert request.body == b"body"
    if client == "Strip":
        assert appears(MARKER, request) == []


@pytest.mark.parametrize("client", KEPT)
def test_each_attempt_of_a_hedged_request_carries_the_key_of_its_provider(
    plain: Providers, client: str
) -> None:
    held = [hold(plain, "a"), hold(plain, "b")]
    with running(ports(plain), {"abc": "abc"}, client=client) as envoy:
        assert ask(envoy, "abc").status == 200
        for name in "abc":
            check(plain[name].only(), name, client)
    for gate in held:
        gate.set()


def test_the_slower_attempt_of_a_hedged_request_may_answer_too(
    plain: Providers, background: ThreadPoolExecutor
) -> None:
    first, second = hold(plain, "a"), hold(plain, "b", 503)
    with running(ports(plain), {"ab": "ab"}) as envoy:
        answer = background.submit(ask, envoy, "ab")
        plain["b"].wait_for(1)
        first.set()
        assert answer.result().status == 200
        second.set()
        check(plain["a"].only(), "a")
        check(plain["b"].only(), "b")


@pytest.mark.parametrize("client", KEPT)
def test_an_attempt_that_is_given_up_and_repeated_elsewhere_carries_the_key_of_its_provider(
    plain: Providers, client: str
) -> None:
    hold(plain, "a")
    with running(ports(plain), {"ab": "ab"}, client=client, hedge=False) as envoy:
        assert ask(envoy, "ab").status == 200
        check(plain["a"].only(), "a", client)
        check(plain["b"].only(), "b", client)


def test_an_attempt_that_waits_for_its_handshake_sends_the_key_of_its_own_provider(
    secure: Providers, authority: Authority, background: ThreadPoolExecutor
) -> None:
    """Its headers are written before the handshake and sent after it."""
    held = hold(secure, "a")
    tls = trusting(authority.pem, "api.test")
    with Gate(secure["a"].port) as gate:
        at = ports(secure, a=gate.port)
        with running(at, {"ab": "ab", "reference": "bc"}, tls=tls) as envoy:
            answer = background.submit(ask, envoy, "ab")
            gate.wait_for_connection()
            envoy.wait_for_metric("policy.default/a.injected")
            pass_the_limit(envoy, secure)
            assert secure["a"].begun == []
            gate.open()
            # Only now its time begins to count, and it is joined by another attempt.
            poll(lambda: [r for r in secure["b"].requests if r.target.startswith(b"/v1")], 10)
            check(secure["a"].only(), "a")
            (joined,) = [r for r in secure["b"].requests if r.target.startswith(b"/v1")]
            check(joined, "b")
            assert answer.result().status == 200
    held.set()


def pass_the_limit(envoy: Envoy, providers: Providers) -> None:
    """A request after all others so far, whose own limit passes: theirs would have passed too."""
    held = hold(providers, "b", target="/reference")
    assert ask(envoy, "reference", b"/reference").status == 200
    assert [request.target for request in providers["c"].requests] == [b"/reference"]
    held.set()


def test_a_second_attempt_that_waits_for_its_handshake_sends_its_own_key_after_the_first_failed(
    secure: Providers, authority: Authority, background: ThreadPoolExecutor
) -> None:
    failing = hold(secure, "a", 503)
    tls = trusting(authority.pem, "api.test")
    with Gate(secure["b"].port) as gate:
        at = ports(secure, b=gate.port)
        with running(at, {"abc": "abc"}, tls=tls) as envoy:
            answer = background.submit(ask, envoy, "abc")
            gate.wait_for_connection()
            failing.set()
            poll(lambda: envoy.stats("cluster.a.")["cluster.a.upstream_rq_active"] == 0, 10)
            gate.open()
            assert answer.result().status == 200
        check(secure["a"].only(), "a")
        check(secure["b"].only(), "b")
        assert secure["c"].begun == []


def test_an_attempt_whose_handshake_never_ends_is_repeated_and_sends_nothing_later(
    secure: Providers, authority: Authority
) -> None:
    tls = trusting(authority.pem, "api.test")
    with Gate(secure["a"].port) as gate:
        at = ports(secure, a=gate.port)
        with running(at, {"ab": "ab"}, tls=tls, connect_timeout="0.3s") as envoy:
            assert ask(envoy, "ab").status == 200
            gate.wait_for_connection()
            gate.open()
            check(secure["b"].only(), "b")
            assert ask(envoy, "ab", b"/later").status == 200
        # What came through the open gate at last is the later request.
        assert [request.target for request in secure["a"].begun] == [b"/later"]
        assert_own(secure["a"].only(), "a")


@pytest.mark.parametrize("waiting", ["a", "b"])
def test_an_attempt_that_waits_for_a_free_connection_sends_the_key_of_its_own_provider(
    plain: Providers, background: ThreadPoolExecutor, waiting: str
) -> None:
    """The first or the second attempt waits, until a request before it is answered."""
    busy = hold(plain, waiting, target="/busy")
    failing = hold(plain, "a", 503) if waiting == "b" else None
    one = {"priority": "DEFAULT", "max_connections": 1, "max_pending_requests": 9}
    limits = {"circuit_breakers": {"thresholds": [one]}}
    routes = {"ab": "ab", "busy": waiting, "reference": "bc"}
    with running(ports(plain), routes, **limits) as envoy:
        before = background.submit(ask, envoy, "busy", b"/busy")
        plain[waiting].wait_for(1)
        answer: Future[raw.Response] = background.submit(ask, envoy, "ab")
        envoy.wait_for_stat(f"cluster.{waiting}.upstream_rq_pending_active")
        if failing:
            failing.set()
            poll(lambda: envoy.stats("cluster.a.")["cluster.a.upstream_rq_active"] == 0, 10)
        else:
            pass_the_limit(envoy, plain)
        busy.set()
        assert (before.result().status, answer.result().status) == (200, 200)
        check(plain[waiting].wait_for(2)[1], waiting)
        check(plain["a"].requests[-1], "a")
        sent = [request for request in plain["b"].requests if request.path == "/v1"]
        assert len(sent) == (1 if waiting == "b" else 0)
