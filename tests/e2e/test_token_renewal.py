"""Tokens that are renewed before they end, while requests go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from launch import poll
from token_load import Load
from token_rig import Rig, running, usable
from tokens import Client, Token, TokenServer

STALE, JITTER = 0.8, 0.08
"""Of its life a token has lived when it is renewed, and about so much more or less."""
TICK = 1.0
SLACK = 0.5
"""For a machine that has much else to do."""

LIVES = {"short": 6, "longer": 16, "slow": 16}
"""Of 6 s the renewal may come after the last moment of use if the tick is late, of 16 s it may not.
The renewal of the slow one is not answered for a while."""
RATES = {"short": 200, "longer": 50, "slow": 50}
COUNTERS = ("fetched", "injected", "refused", "waited")


@dataclass
class Story:
    """What came of a steady load on each backend."""

    rig: Rig
    loads: dict[str, Load]
    counters: dict[str, dict[str, int]]
    """How far they rose."""
    meanwhile: list[Token]
    """With what requests came while the renewal of the slow one was under way."""

    def client(self, name: str) -> Client:
        """A client of the token endpoint."""
        return self.rig.server.clients[name]


def counted(rig: Rig) -> dict[str, dict[str, int]]:
    """All counters."""
    return {name: {one: rig.metric(f"{name}.{one}") for one in COUNTERS} for name in LIVES}


def told(seconds: float) -> Iterator[Story]:
    """Loads four workers for so long."""
    with TokenServer() as server, contextlib.ExitStack() as stack:
        for name, life in LIVES.items():
            server.client(name, life=life)
        rig = stack.enter_context(running(server, timeout="20s"))
        for name, client in server.clients.items():
            client.wait_for_tokens()
            poll(lambda name=name: rig.ask(name).status == 200, 5)
        slow, before = server.clients["slow"], counted(rig)
        gate = slow.hold()
        loads = {
            name: stack.enter_context(Load(rig.envoy.port(), name, rate))
            for name, rate in RATES.items()
        }
        slow.wait_for_calls(2, 20)
        meanwhile = during(rig)
        gate.set()
        poll(lambda: loads["short"].lasted() > seconds, seconds + 20)
        for load in loads.values():
            load.stop()
        after = counted(rig)
        counters = {
            name: {one: after[name][one] - before[name][one] for one in COUNTERS} for name in after
        }
        yield Story(rig, loads, counters, meanwhile)


def during(rig: Rig) -> list[Token]:
    """The tokens of the next requests for the slow one."""
    begin = len(rig.provider.used)

    def tokens() -> list[Token]:
        return [token for _, token in rig.provider.used[begin:] if token.client == "slow"]

    poll(lambda: len(tokens()) >= 15, 5, "requests while a renewal is under way")
    return tokens()


@pytest.fixture(scope="module", params=[20, pytest.param(60, marks=pytest.mark.long)])
def story(request: pytest.FixtureRequest) -> Iterator[Story]:
    """So many seconds of load."""
    yield from told(request.param)


def test_no_request_fails_while_tokens_of_six_seconds_are_renewed(story: Story) -> None:
    for name, load in story.loads.items():
        load.assert_kept_up()
        assert load.failed == []
        assert load.slowest < 2
        assert story.counters[name]["refused"] == 0
        assert story.counters[name]["injected"] == len(load.answers)
    assert story.rig.provider.refused == []


@pytest.mark.parametrize("name", ["short", "longer"])
def test_there_is_one_call_for_each_renewal_and_it_comes_when_the_rules_say(
    story: Story, name: str
) -> None:
    client = story.client(name)
    assert client.at_most == 1
    assert len(client.calls) == len(client.tokens)
    assert story.rig.failures(name) == {}
    assert story.rig.metric(f"{name}.fetched") == len(client.tokens)
    earliest = (STALE - JITTER) * client.life
    latest = (STALE + JITTER) * client.life + TICK + SLACK
    gaps = client.gaps()
    assert len(gaps) >= story.loads[name].lasted() // latest >= 1
    for gap in gaps:
        assert earliest < gap < latest, gaps


def test_a_renewal_lets_no_request_wait(story: Story) -> None:
    assert len(story.client("longer").tokens) >= 2
    assert story.counters["longer"]["waited"] == 0


def test_a_stale_token_is_served_until_its_renewal_is_answered(story: Story) -> None:
    slow = story.client("slow")
    assert len(story.meanwhile) >= 15
    assert set(story.meanwhile) == {slow.tokens[0]}
    assert len(slow.calls) == len(slow.tokens) >= 2
    assert story.counters["slow"]["waited"] == 0
    assert story.rig.failures("slow") == {}


def test_no_token_is_used_near_its_end_and_every_token_is_used(story: Story) -> None:
    used = story.rig.provider.used
    late = [moment - usable(token) for moment, token in used if moment > usable(token) + SLACK]
    assert late == []
    for name in LIVES:
        given = story.client(name).tokens
        assert {token for _, token in used if token.client == name} >= set(given[:-1])
