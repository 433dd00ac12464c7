"""How many requests, and how much of their bodies, a worker lets wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from token_load import Answer, Connection, assert_unavailable, crowd
from token_rig import Rig, running
from tokens import TokenServer

MIB = 1 << 20
WAITING = 1024
SURPLUS = 76
BODIES = 64 * MIB
LIMIT = 12 * MIB
"""Of one body: more is Envoy's own 413."""
MANY = 10_000
THRESHOLDS = {"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY}
RECEIVED = "http.main.downstream_cx_rx_bytes_total"


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Rig, dict[str, threading.Event]]]:
    """One worker, which can hold large bodies."""
    with TokenServer() as server:
        gates = {name: server.client(name).hold() for name in ("many", "large", "too-large")}
        buffers = {"per_connection_buffer_limit_bytes": LIMIT}
        with running(
            server,
            timeout="60s",
            credentialWait="60s",
            http2=["many"],
            concurrency=1,
            front={"tcp_backlog_size": 4096, **buffers},
            behind={"circuit_breakers": {"thresholds": [THRESHOLDS]}, **buffers},
        ) as rig:
            yield rig, gates


@pytest.fixture
def rig(shared: tuple[Rig, dict[str, threading.Event]]) -> Rig:
    """The same with nothing recorded."""
    shared[0].upstream.clear()
    return shared[0]


@pytest.fixture
def gates(shared: tuple[Rig, dict[str, threading.Event]]) -> dict[str, threading.Event]:
    """What holds the answers of the token endpoint back."""
    return shared[1]


def test_the_surplus_over_1024_waiting_requests_is_refused_at_once(
    rig: Rig, gates: dict[str, threading.Event]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(crowd, rig.envoy.port(), ["many"] * (WAITING + SURPLUS))
        rig.wait_for_metric("many.refused", SURPLUS)
        rig.wait_for_active(WAITING)
        # Those that are refused make no room: it is full until the others are answered.
        assert_unavailable(rig.ask("many"))
        assert rig.upstream.begun == []
        # Nothing but the time that an answer takes has passed since they came.
        opened = time.time()
        gates["many"].set()
        refused = [answer for answer in answers.result() if answer.status != 200]
    statuses = Counter(answer.status for answer in answers.result())
    assert statuses == {200: WAITING, 503: SURPLUS}
    for answer in refused:
        assert_unavailable(answer)
        assert answer.sent + answer.seconds < opened + 0.5
    assert len(rig.upstream.begun) == WAITING
    assert rig.metric("many.injected") == WAITING
    assert rig.ask("many").status == 200


def send(port: int, backend: str, size: int) -> Answer:
    """A request with a body of that size."""
    return asyncio.run(Connection(port).ask(backend, body=bytes(size)))


def test_bodies_over_64_mib_of_waiting_requests_are_refused_and_the_others_arrive_whole(
    rig: Rig, gates: dict[str, threading.Event]
) -> None:
    sizes = [10 * MIB] * 6
    assert sum(sizes) < BODIES < sum(sizes) + 10 * MIB
    received = rig.envoy.stats(RECEIVED)[RECEIVED]
    port = rig.envoy.port()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(send, port, "large", size) for size in sizes]
        rig.envoy.wait_for_stat(RECEIVED, received + sum(sizes), 30)
        rig.wait_for_active(6)
        for _ in range(2):
            assert_unavailable(send(port, "large", 10 * MIB))
        # What was refused takes no room.
        waiting.append(pool.submit(send, port, "large", 2 * MIB))
        rig.wait_for_active(7)
        assert rig.upstream.begun == []
        gates["large"].set()
        assert [answer.result().status for answer in waiting] == [200] * 7
    arrived = sorted(len(request.body) for request in rig.upstream.requests)
    assert arrived == [2 * MIB, *sizes]
    assert rig.metric("large.refused") == 2
    # None of it is counted any more.
    assert send(port, "large", 10 * MIB).status == 200


def test_a_waiting_body_over_the_buffer_limit_is_refused_by_envoy(
    rig: Rig, gates: dict[str, threading.Event]
) -> None:
    port = rig.envoy.port()
    assert send(port, "too-large", LIMIT + 4 * MIB).status == 413
    assert rig.upstream.begun == []
    gates["too-large"].set()
    rig.server.clients["too-large"].wait_for_tokens()
    assert send(port, "too-large", 2 * MIB).status == 200
    assert len(rig.upstream.only().body) == 2 * MIB
