"""Sessions that are renewed before they end while requests go on, and outages of STS meanwhile.

Their lives are of seconds, which only the stand-in gives.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from aws import parsed
from launch import poll
from mounts import on_every_worker
from oidc import Issuer
from replies import json_reply
from sts import Sts, Writer, arn, exchanging
from sts_answers import failure, json_answer
from sts_rig import TARGET, Rig, for_tokens, identity, over_tls, serving
from sts_rules import Session
from token_load import CONNECTIONS, Load, assert_unavailable, crowd
from upstream import Authority
from wire import Reply, Request

STALE, JITTER = 0.8, 0.08
"""Of its life a session has lived when it is renewed, and about so much more or less."""
TICK = 1.0
SLACK = 1.0
"""For a machine that has much else to do."""
LIVES = {"short": 6.0, "longer": 16.0}
RATES = {"short": 150, "longer": 50}


@dataclass
class Story:
    """What came of a steady load on each backend."""

    rig: Rig
    issuer: Issuer
    loads: dict[str, Load]
    uses: list[tuple[float, Session]]
    """When each session was used, in unix seconds."""


def watched(sts: Sts, uses: list[tuple[float, Session]]) -> Any:
    """The provider, which notes the sessions that it sees."""

    def provider(request: Request) -> Reply:
        session = sts.issued.get(parsed(request).access)
        if session:
            uses.append((time.time(), session))
        return sts.provider(request)

    return provider


def lasting(sts: Sts, life: float) -> Writer:
    """A writer of sessions of that life."""
    return lambda asked, session: json_answer(asked, sts.relive(session, life))


@pytest.fixture(scope="module", params=[20, pytest.param(60, marks=pytest.mark.long)])
def story(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Story]:
    """So many seconds of load on four workers."""
    issuer = identity(authority)
    uses: list[tuple[float, Session]] = []
    with (
        over_tls(authority, {name: for_tokens(issuer) for name in LIVES}) as sts,
        issuer,
        contextlib.ExitStack() as stack,
    ):
        for name, life in LIVES.items():
            sts.writers[arn(name)] = lasting(sts, life)
        policies = {name: exchanging(name) for name in LIVES}
        rig = stack.enter_context(serving(policies, sts, authority, issuer, concurrency=4))
        rig.upstream.on(None, watched(sts, uses))
        for name in LIVES:
            rig.session(name)
        port = rig.envoy.port()
        loads = {
            name: stack.enter_context(Load(port, name, rate, target=TARGET))
            for name, rate in RATES.items()
        }
        poll(lambda: loads["short"].lasted() > request.param, request.param + 20)
        for load in loads.values():
            load.stop()
        yield Story(rig, issuer, loads, uses)
        assert sts.refused == []


def usable(session: Session) -> float:
    """The moment from which it must not be used."""
    return session.end - min(10.0, (session.end - session.issued) / 10)


def test_no_request_fails_while_sessions_are_renewed(story: Story) -> None:
    for name, load in story.loads.items():
        load.assert_kept_up()
        assert load.failed == []
        assert load.slowest < 2
        assert story.rig.metric(name, "refused") == 0
        assert story.rig.failures(name) == {}
    assert story.rig.sts.misused == []


@pytest.mark.parametrize("name", LIVES)
def test_there_is_one_exchange_for_each_renewal_and_it_comes_when_the_rules_say(
    story: Story, name: str
) -> None:
    sessions = story.rig.sts.sessions(name)
    assert len(story.rig.sts.of(name)) == len(sessions)
    assert story.rig.metric(name, "fetched") == len(sessions)
    # Ends are told in whole seconds.
    earliest = (STALE - JITTER) * (LIVES[name] - 1)
    latest = (STALE + JITTER) * LIVES[name] + TICK + SLACK
    moments = story.rig.sts.times(name)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert len(gaps) >= story.loads[name].lasted() // latest >= 1
    assert all(earliest < gap < latest for gap in gaps), gaps


def test_each_session_is_of_a_token_of_its_own(story: Story) -> None:
    assert len(story.issuer.given) == sum(len(story.rig.sts.of(name)) for name in LIVES)


def test_no_session_is_used_near_its_end_and_every_one_is_used(story: Story) -> None:
    late = [moment - usable(one) for moment, one in story.uses if moment > usable(one) + SLACK / 2]
    assert late == []
    for name in LIVES:
        seen = {one.keys.access for _, one in story.uses if one.role == arn(name)}
        assert seen >= {one.keys.access for one in story.rig.sts.sessions(name)[:-1]}


def test_an_outage_shorter_than_the_life_fails_no_request(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        sts.life = 12
        with serving({"aws": exchanging("aws")}, sts, authority, issuer, concurrency=4) as rig:
            first = rig.session("aws")
            outage = [True]
            sts.on(lambda _: outage[0], lambda _: failure(503, "ServiceUnavailable"))
            with Load(rig.envoy.port(), "aws", rate=150, target=TARGET) as load:
                # The window of renewal begins in this outage.
                rig.wait_for_metric("aws", "fetch_failed.server", timeout=15)
                assert first.issued + 0.7 * 12 < time.time() < first.end
                outage[0] = False
                rig.wait_for_metric("aws", "fetched", 2)
                second = sts.sessions("aws")[-1].keys.access
                newest = rig.upstream
                poll(lambda: parsed(newest.requests[-1]).access == second, 5, "the new session")
            assert load.failed == []
            load.assert_kept_up()
            assert set(rig.failures("aws")) == {"server"}
            assert sts.misused == []


def test_after_the_end_requests_are_refused_and_all_is_well_soon_after(
    authority: Authority,
) -> None:
    issuer = identity(authority)
    plugin = {"credentialWait": "300ms"}
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        sts.life = 6
        policies = {"aws": exchanging("aws")}
        with serving(policies, sts, authority, issuer, plugin=plugin, concurrency=4) as rig:
            first = rig.session("aws")
            outage = [True]
            sts.on(lambda _: outage[0], lambda _: Reply(abort=True))
            with Load(rig.envoy.port(), "aws", rate=50, target=TARGET) as load:
                poll(lambda: time.time() > first.end, 10)
            assert {answer.status for answer in load.answers} == {200, 503}
            for answer in crowd(rig.envoy.port(), ["aws"] * CONNECTIONS):
                assert_unavailable(answer)
            assert {answer.status for answer in on_every_worker(rig, "aws")} == {503}
            back = time.time()
            outage[0] = False
            poll(lambda: rig.served("aws"), 15, "a request that works")
            assert time.time() - back < 5 + TICK + SLACK
            rig.upstream.on("/v1/models", in_another_form(sts))
            poll(lambda: {one.status for one in on_every_worker(rig, "aws")} == {200}, 3)
            assert rig.session("aws") != first
            assert sts.misused == []


def test_a_session_that_bedrock_calls_expired_is_renewed_early(authority: Authority) -> None:
    issuer = identity(authority)
    with (
        over_tls(authority, {"aws": for_tokens(issuer)}) as sts,
        issuer,
        serving({"aws": exchanging("aws")}, sts, authority, issuer, concurrency=4) as rig,
    ):
        first = rig.session("aws")
        # Its end comes before it was told to.
        sts.relive(first, 0)
        assert not rig.served("aws")
        poll(lambda: rig.served("aws"), 10, "a session that counts")
        # The workers that did not obtain it look for it once a second.
        rig.upstream.on("/v1/models", in_another_form(sts))
        poll(lambda: {one.status for one in on_every_worker(rig, "aws")} == {200}, 5)
        second = rig.session("aws")
        assert second.keys != first.keys
        rig.wait_for_metric("aws", "fetched", 2)
        assert len(sts.of("aws")) == 2
        assert {line.partition(":")[0] for line in sts.misused} == {"ExpiredTokenException"}


def test_one_exchange_serves_all_workers_and_a_crowd(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        sts.script("aws", lambda: failure(503, "ServiceUnavailable"), times=2)
        with serving({"aws": exchanging("aws")}, sts, authority, issuer, concurrency=4) as rig:
            rig.upstream.on("/v1/models", in_another_form(sts))
            answers = crowd(rig.envoy.port(), ["aws"] * CONNECTIONS)
            assert {answer.status for answer in answers} == {200}
            assert len(sts.of("aws")) == 3
            assert rig.metric("aws", "fetched") == 1
            assert len(sts.sessions("aws")) == 1


def in_another_form(sts: Sts) -> Any:
    """The provider, whose answer to a request that it takes is no error of Bedrock's either."""

    def provider(request: Request) -> Reply:
        reply = sts.provider(request)
        return reply if reply.status == 403 else json_reply({"ok": True})

    return provider
