"""Many requests and renewals: the memory of Envoy does not grow."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from bootstrap import Config, bootstrap, listener
from envoy import Envoy
from gateway import routes
from launch import poll
from token_load import Load
from token_rig import Rig, backends, plugin, running
from tokens import TokenServer

REQUESTS = 200_000
RENEWALS = 200
POLICIES = 12
LIFE = 6
RATE = 1500
"""Requests a second, as far as the machine goes."""
WARM = 0.2
"""The part of the run after which memory is to stay what it is."""


def provider() -> Config:
    """A listener that answers 200 to who has a token, and 401 to anybody else: no server of a test
    could keep up."""
    header = {"name": "authorization", "string_match": {"prefix": "Bearer eyJ0."}}
    answers = [
        {"match": {"prefix": "/", "headers": [header]}, "direct_response": {"status": 200}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 401}},
    ]
    return listener(answers)


def memory(rig: Rig) -> int:
    """What Envoy has in memory, in KB."""
    status = Path(f"/proc/{rig.envoy.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_thousand_requests_and_two_hundred_renewals_leave_the_memory_as_it_is() -> None:
    with TokenServer() as server, contextlib.ExitStack() as stack:
        clients = [server.client(f"client-{number}", life=LIFE) for number in range(POLICIES)]
        names = [client.name for client in clients]
        behind = stack.enter_context(Envoy(bootstrap([provider()]), concurrency=1))
        ours = backends(dict.fromkeys(names, plugin(clients)), behind.port())
        rig = stack.enter_context(running(server, plugins={}, first=routes(names), more=ours))
        for client in clients:
            client.wait_for_tokens()
        loads = [
            stack.enter_context(Load(rig.envoy.port(), name, RATE / POLICIES, connections=8))
            for name in names
        ]

        def part() -> float:
            """How much of the run is over."""
            requests = sum(len(load.answers) for load in loads)
            renewals = sum(len(client.tokens) - 1 for client in clients)
            return min(requests / REQUESTS, renewals / RENEWALS)

        sizes = []
        for step in range(1, 11):
            poll(lambda step=step: part() >= step / 10, 120, f"{part():.2f} of the run")
            sizes.append(memory(rig))
        for load in loads:
            load.stop()
        assert [load.failed for load in loads] == [[]] * POLICIES
        settled = sizes[round(10 * WARM) - 1]
        assert max(sizes) <= settled * 1.05, sizes
