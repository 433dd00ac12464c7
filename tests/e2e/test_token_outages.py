"""Token endpoints that are away for a while, slow, or overloaded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import formatdate

import pytest

from launch import poll
from token_load import CONNECTIONS, Load, assert_unavailable, crowd
from token_rig import Rig, running, usable
from tokens import Client, Late, Never, TokenServer, failing
from wire import Reply

TIMEOUT = 1.0
"""Of one call."""
WAIT = 3.0
"""So long requests wait."""
TICK = 1.0
SLACK = 0.6
"""For a machine that has much else to do."""
CLOSE = 0.3
CAP = 5.0
"""The longest back-off while there is no credential."""
AWAY = {"connect", "server"}
"""A connection that is refused is to the filter what the egress listener makes of it."""
DOWN = [f"down-{number}" for number in range(6)]


def test_an_outage_shorter_than_the_life_fails_no_request() -> None:
    with TokenServer() as server:
        client = server.client("one", life=12)
        with running(server, timeout="1s") as rig:
            (first,) = client.wait_for_tokens()
            poll(lambda: rig.ask("one").status == 200, 5)
            with Load(rig.envoy.port(), "one", rate=200) as load:
                # The window of renewal begins in this outage.
                with server.outage():
                    rig.wait_for_failure("one", 15)
                    assert first.issued + 0.7 * 12 < time.time() < first.end
                _, second = client.wait_for_tokens(2)
                used = rig.provider.used
                poll(lambda: used[-1][1] == second, 5, "use of the new token")
            assert load.failed == []
            load.assert_kept_up()
            assert rig.provider.refused == []
            assert set(rig.failures("one")) <= AWAY
            assert sum(rig.failures("one").values()) <= 3
            assert rig.metric("one.fetched") == 2


def test_after_the_end_requests_are_refused_and_all_is_well_soon_after_the_return() -> None:
    with TokenServer() as server:
        client = server.client("one", life=6)
        with running(server, timeout="1s", credentialWait="500ms") as rig:
            (first,) = client.wait_for_tokens()
            poll(lambda: rig.ask("one").status == 200, 5)
            with server.outage():
                with Load(rig.envoy.port(), "one", rate=50) as load:
                    poll(lambda: time.time() > first.end, 8)
                # It was used as long as it could be, and no longer.
                assert usable(first) - CLOSE < max(at for at, _ in rig.provider.used)
                assert max(at for at, _ in rig.provider.used) < usable(first) + CLOSE
                assert {answer.status for answer in load.answers} == {200, 503}
                # The back-off grows, as far as it does without a credential.
                poll(lambda: time.time() > first.end + 4, 8)
                for answer in crowd(rig.envoy.port(), ["one"] * CONNECTIONS):
                    assert_unavailable(answer)
                    assert answer.seconds < 0.5 + SLACK
                rig.upstream.clear()
                assert len(client.calls) == 1
            back = time.time()
            poll(lambda: rig.ask("one").status == 200, 15, "a request that works")
            assert time.time() - back < CAP + TICK + SLACK
            answers = crowd(rig.envoy.port(), ["one"] * CONNECTIONS)
            assert [answer.status for answer in answers] == [200] * CONNECTIONS
            assert first not in {rig.token(request) for request in rig.upstream.requests}
            assert rig.provider.refused == []
            assert set(rig.failures("one")) <= AWAY


def in_a_while() -> Reply:
    """A failure that tells a date eight seconds from now."""
    return failing(503, formatdate(time.time() + 8, usegmt=True))


Shared = tuple[Rig, Future[None]]


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    """Many policies, each with a token endpoint of its own kind; requests to the throttled one."""
    with TokenServer() as server, ThreadPoolExecutor(1) as pool:
        server.client("throttled", failing(429, "7"))
        server.client("dated", in_a_while)
        server.client("silent", Never(), Never())
        server.client("late", Late(4 * TIMEOUT))
        server.client("broken", Reply(abort=True))
        server.client("broken-later", Reply(200, body=[b'{"access_token": "'], abort=True))
        for name in DOWN:
            server.client(name, *[failing(503)] * 99)
        with running(server, timeout=f"{TIMEOUT:g}s", credentialWait=f"{WAIT:g}s") as rig:
            yield rig, pool.submit(throttled, rig)


@pytest.fixture
def rig(shared: Shared) -> Rig:
    """The running Envoy."""
    return shared[0]


def client(rig: Rig, name: str) -> Client:
    """A client of the token endpoint."""
    return rig.server.clients[name]


def throttled(rig: Rig) -> None:
    """A request at once is refused, and one that comes shortly before the next call waits."""
    (first,) = client(rig, "throttled").wait_for_calls()
    rig.wait_for_metric("throttled.fetch_failed.throttled")
    (answer,) = crowd(rig.envoy.port(), ["throttled"])
    assert answer.sent - first < 7 - WAIT - TICK
    assert_unavailable(answer)
    assert answer.seconds < SLACK
    assert 7 - WAIT - TICK < int(answer.header("retry-after") or 0) <= 7
    poll(lambda: time.time() > first + 7 - WAIT + TICK, 8)
    (answer,) = crowd(rig.envoy.port(), ["throttled"])
    assert answer.status == 200
    assert answer.seconds > WAIT - TICK - SLACK


def test_retry_after_is_obeyed_and_requests_are_refused_until_it_is_near(shared: Shared) -> None:
    rig, requests = shared
    requests.result(30)
    assert len(client(rig, "throttled").wait_for_calls(2)) == 2
    assert 7 <= client(rig, "throttled").gaps()[0] < 7 + TICK + SLACK
    assert rig.failures("throttled") == {"throttled": 1}


def test_retry_after_as_a_date_is_obeyed(rig: Rig) -> None:
    dated = client(rig, "dated")
    dated.wait_for_calls(2, 15)
    # A date has no fraction of a second.
    assert 7 <= dated.gaps()[0] < 8 + TICK + SLACK
    assert rig.failures("dated") == {"server": 1}
    assert len(dated.calls) == 2
    poll(lambda: rig.ask("dated").status == 200, 5, "a request that works")


def test_a_call_without_an_answer_is_given_up_and_repeated(rig: Rig) -> None:
    silent = client(rig, "silent")
    silent.wait_for_calls(3, 15)
    poll(lambda: rig.ask("silent").status == 200, 10, "a request that works")
    assert rig.failures("silent") == {"timeout": 2}
    assert (len(silent.calls), rig.metric("silent.fetched")) == (3, 1)
    gaps = silent.gaps()
    assert TIMEOUT <= gaps[0] < TIMEOUT + 1 + TICK + SLACK
    assert TIMEOUT <= gaps[1] < TIMEOUT + 2 + TICK + SLACK


def test_an_answer_that_comes_too_late_is_no_credential(rig: Rig) -> None:
    late = client(rig, "late")
    prompt, tardy = late.wait_for_tokens(2, 15)
    assert tardy.issued - late.calls[0] > 3 * TIMEOUT
    for _ in range(3):
        answers = crowd(rig.envoy.port(), ["late"] * CONNECTIONS)
        assert [answer.status for answer in answers] == [200] * CONNECTIONS
    used = {token for _, token in rig.provider.used if token.client == "late"}
    assert used == {prompt}
    assert rig.failures("late") == {"timeout": 1}
    assert (len(late.calls), rig.metric("late.fetched")) == (2, 1)


@pytest.mark.parametrize("name", ["broken", "broken-later"])
def test_a_broken_connection_is_one_failure(rig: Rig, name: str) -> None:
    client(rig, name).wait_for_calls(2, 10)
    poll(lambda: rig.ask(name).status == 200, 10, "a request that works")
    assert sum(rig.failures(name).values()) == 1
    assert set(rig.failures(name)) <= {"connect", "server", "malformed", "timeout"}
    assert (len(client(rig, name).calls), rig.metric(f"{name}.fetched")) == (2, 1)


def test_calls_in_an_outage_become_rare_and_are_spread(rig: Rig) -> None:
    clients = [client(rig, name) for name in DOWN]
    begin = min(one.wait_for_calls()[0] for one in clients)
    poll(lambda: time.time() > begin + 20, 25)
    gaps = [one.gaps() for one in clients]
    assert max(max(each) for each in gaps) < CAP + TICK + SLACK
    counts = [sum(call < begin + 20 for call in one.calls) for one in clients]
    # On average they are half of 1, 2, 4, 5, 5... s apart, and up to a tick more.
    assert 6 * 4 < sum(counts) < 6 * 15, counts
    # And not all at the same time.
    assert len({round(call, 1) for one in clients for call in one.calls}) > sum(counts) / 6
    for one in clients:
        assert one.at_most == 1
        failures = rig.failures(one.name)
        assert set(failures) == {"server"}
        assert len(one.calls) - 1 <= failures["server"] <= len(one.calls)
    assert_unavailable(rig.ask(DOWN[0]))
