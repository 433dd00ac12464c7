"""VMs that fail, by a module with a hook that panics when a test asks: no credential is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bootstrap import ROOT
from launch import poll
from token_load import CONNECTIONS, Answer, Connection, crowd
from token_rig import Rig, running
from tokens import Never, TokenServer
from wire import Header

HOOKED = ROOT / "target/test-hooks/wasm32-wasip1/release/aigw_auth.wasm"
HOOKS = {"module": str(HOOKED), "fail_policy": "FAIL_RELOAD"}
PANIC: list[Header] = [(b"x-test-panic", b"now")]
TIMEOUT = 2.0
"""Of one call; a lease lasts a second longer."""
TICK = 1.0
SLACK = 1.0
"""For a machine that has much else to do."""


async def ask_each(
    connections: Sequence[Connection], headers: Sequence[Header] = ()
) -> list[Answer]:
    """One request on each connection, all at once."""
    return await asyncio.gather(*(one.ask("one", headers) for one in connections))


def busiest(rig: Rig) -> int:
    """The connections of the worker that has the most."""
    stats = rig.envoy.stats("listener.")
    counts = [
        value
        for name, value in stats.items()
        if ".worker_" in name and name.endswith("downstream_cx_active") and "admin" not in name
    ]
    assert len(counts) >= 4, stats
    return max(counts)


def works(rig: Rig) -> bool:
    """All workers serve."""
    answers = crowd(rig.envoy.port(), ["one"] * CONNECTIONS)
    assert {answer.status for answer in answers} <= {200, 503}
    return all(answer.status == 200 for answer in answers)


def reloads(rig: Rig) -> int:
    """How many VMs were loaded anew."""
    stats = rig.envoy.stats()
    return sum(value for name, value in stats.items() if name.endswith("vm_reload_success"))


def test_a_vm_that_fails_loses_no_token_and_the_other_workers_go_on() -> None:
    with TokenServer() as server:
        client = server.client("one")
        with running(server, timeout="2s", options=HOOKS, may_panic=True) as rig:
            (token,) = client.wait_for_tokens()
            poll(lambda: works(rig), 5)

            async def story() -> list[list[Answer]]:
                connections = [Connection(rig.envoy.port()) for _ in range(CONNECTIONS)]
                answers = [await ask_each(connections)]
                most = busiest(rig)
                answers.append([await connections[0].ask("one", PANIC)])
                answers.append(await ask_each(connections[1:]))
                assert most < CONNECTIONS * 3 / 4
                assert sum(answer.status != 200 for answer in answers[-1]) < most
                return answers

            before, panicked, after = asyncio.run(story())
            assert {answer.status for answer in before} == {200}
            assert [answer.status for answer in panicked] == [503]
            assert {answer.status for answer in after} <= {200, 503}
            poll(lambda: works(rig), 10)
            assert reloads(rig) >= 1
            assert {rig.token(request) for request in rig.provider.requests} == {token}
            # All of them fail.
            answers = asyncio.run(panics(rig))
            assert {answer.status for answer in answers} == {503}
            poll(lambda: works(rig), 10)
            assert reloads(rig) >= 4
            assert {rig.token(request) for request in rig.provider.requests} == {token}
            assert rig.provider.refused == []
            assert (len(client.calls), rig.failures("one")) == (1, {})


async def panics(rig: Rig) -> list[Answer]:
    """Lets the VM of every worker fail."""
    return await ask_each([Connection(rig.envoy.port()) for _ in range(CONNECTIONS)], PANIC)


def test_a_call_that_is_lost_with_its_vm_is_repeated_when_its_lease_has_ended() -> None:
    with TokenServer() as server:
        client = server.client("one", Never())
        with running(server, timeout="2s", options=HOOKS, may_panic=True) as rig:
            client.wait_for_calls()
            answers = asyncio.run(panics(rig))
            assert {answer.status for answer in answers} == {503}
            poll(lambda: works(rig), 12)
            # A call that ran out of time would have been counted.
            assert rig.failures("one") == {}
            (gap,) = client.gaps()
            assert TIMEOUT < gap < TIMEOUT + 1 + TICK + SLACK
            assert rig.metric("one.fetched") == 1
