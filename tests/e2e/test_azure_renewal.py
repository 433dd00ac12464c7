"""Tokens of managed identities that are renewed before they end, while requests go on and while the
service is away."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from azure_identity_rig import Rig, managed, serving
from entra_rig import TARGET
from launch import poll
from managed_identity import AppService, Machine, ManagedIdentities
from managed_rules import SYSTEM, failure
from token_load import CONNECTIONS, Load, assert_unavailable, crowd
from wire import Reply

STALE, JITTER = 0.8, 0.08
"""Of its life a token has lived when it is renewed, and about so much more or less."""
TICK = 1.0
SLACK = 0.6
"""For a machine that has much else to do."""
CLOSE = 0.3
CAP = 5.0
"""The longest back-off while there is no credential."""

KINDS: dict[str, type[ManagedIdentities]] = {"machine": Machine, "app service": AppService}


@pytest.fixture(params=KINDS)
def service(request: pytest.FixtureRequest) -> Iterator[ManagedIdentities]:
    """Either kind."""
    with KINDS[request.param]() as server:
        yield server
        assert server.refused == []


def usable(service: ManagedIdentities, token: str) -> float:
    """The moment from which a token must not be used."""
    one = service.issued[token]
    return one.end - min(10.0, (one.end - one.begin) / 10)


def used(rig: Rig) -> set[str]:
    """The tokens that requests have carried."""
    values = [request.header("authorization") or "" for request in rig.upstream.requests]
    return {value.removeprefix("Bearer ") for value in values}


def test_a_token_is_renewed_under_traffic_and_no_request_fails(
    service: ManagedIdentities,
) -> None:
    # App Service tells the end in whole seconds, so that a life is up to one shorter.
    service.life = 10
    with serving({"azure": managed()}, service, concurrency=4) as rig:
        rig.token("azure")
        rig.upstream.clear()
        with Load(rig.envoy.port(), "azure", rate=200, target=TARGET) as load:
            poll(lambda: len(service.given()) >= 3, 30, "two renewals")
            third = service.given()[2]
            poll(lambda: third in used(rig), 5, "use of the third token")
        assert load.failed == []
        load.assert_kept_up()
        assert used(rig) >= set(service.given()[1:3])
        for before, after in itertools.pairwise(service.times(SYSTEM)):
            least = (STALE - JITTER) * (service.life - 1)
            most = (STALE + JITTER) * service.life + TICK + SLACK
            assert least - SLACK < after - before < most
        assert len(service.times(SYSTEM)) == len(service.given()) == rig.metric("azure", "fetched")
        assert rig.failures("azure") == {}


def test_an_outage_shorter_than_the_life_fails_no_request(service: ManagedIdentities) -> None:
    service.life = 12
    with serving({"azure": managed()}, service, concurrency=4) as rig:
        first = rig.token("azure")
        with Load(rig.envoy.port(), "azure", rate=200, target=TARGET) as load:
            # The window of renewal begins in this outage.
            with service.outage():
                rig.wait_for_failures("azure", 15)
                assert rig.newest() == first
                assert time.time() < service.issued[first].end
            poll(lambda: len(service.given()) > 1, 10, "a renewal")
            second = service.given()[1]
            poll(lambda: rig.newest() == second, 5, "use of the new token")
        assert load.failed == []
        load.assert_kept_up()
        assert set(rig.failures("azure")) == {"connect"}
        assert sum(rig.failures("azure").values()) <= 3
        assert rig.metric("azure", "fetched") == 2
        assert len(rig.complaints("azure")) == 1


def test_what_the_service_says_while_it_is_updated_fails_no_request() -> None:
    # The service of a machine answers 410 for up to 70 seconds.
    with Machine() as service:
        service.life = 12
        with serving({"azure": managed()}, service, concurrency=4) as rig:
            rig.token("azure")
            with Load(rig.envoy.port(), "azure", rate=100, target=TARGET) as load:
                service.script(SYSTEM, failure(410, "gone"), failure(404, "not_found"))
                poll(lambda: len(service.given()) > 1, 20, "a renewal")
                second = service.given()[1]
                poll(lambda: rig.newest() == second, 5, "use of the new token")
            assert load.failed == []
            assert rig.failures("azure") == {"server": 2}
            assert len(service.times(SYSTEM)) == 4


def test_after_the_end_requests_are_refused_and_all_is_well_soon_after_the_return(
    service: ManagedIdentities,
) -> None:
    service.life = 6
    plugin = {"credentialWait": "500ms"}
    with serving({"azure": managed()}, service, plugin=plugin, concurrency=4) as rig:
        first = rig.token("azure")
        end = service.issued[first].end
        with service.outage():
            rig.upstream.clear()
            with Load(rig.envoy.port(), "azure", rate=50, target=TARGET) as load:
                poll(lambda: time.time() > end, 8)
            # Whole seconds are told of the end, so it may be used one less.
            taken = [one.sent for one in load.answers if one.status == 200]
            assert usable(service, first) - 1 - CLOSE - SLACK < max(taken)
            assert max(taken) < usable(service, first) + CLOSE
            assert {answer.status for answer in load.answers} == {200, 503}
            for answer in crowd(rig.envoy.port(), ["azure"] * CONNECTIONS):
                assert_unavailable(answer)
            assert len(service.given()) == 1
        back = time.time()
        poll(lambda: rig.served("azure"), 15, "a request that works")
        assert time.time() - back < CAP + TICK + SLACK
        answers = crowd(rig.envoy.port(), ["azure"] * CONNECTIONS)
        assert [answer.status for answer in answers] == [200] * CONNECTIONS
        assert set(rig.failures("azure")) == {"connect"}


def test_a_token_that_is_given_again_is_used_on_and_asked_for_less_often(
    service: ManagedIdentities,
) -> None:
    # It is stale for two seconds and more before the service has another one.
    service.life, service.keeps = 20, 2.5
    plugin = {"credentialWait": "10s"}
    with serving({"azure": managed()}, service, plugin=plugin, concurrency=4) as rig:
        first = rig.token("azure")
        with Load(rig.envoy.port(), "azure", rate=50, target=TARGET) as load:
            poll(lambda: len(service.times(SYSTEM)) > 1, 30, "a renewal")
            assert service.given() == [first]
            poll(lambda: len(service.given()) > 1, 15, "another token")
            second = service.given()[1]
            poll(lambda: rig.newest() == second, 5, "use of the new token")
        assert load.failed == []
        # A worker that has little time left looks twenty times a second: it asked much less often.
        assert 3 <= len(service.times(SYSTEM)) <= 12
        assert rig.failures("azure") == {}


def test_a_crowd_at_the_start_asks_once(service: ManagedIdentities) -> None:
    service.script(SYSTEM, lambda: slow(service))
    with serving({"azure": managed()}, service, concurrency=4) as rig:
        answers = crowd(rig.envoy.port(), ["azure"] * 4 * CONNECTIONS)
        assert [answer.status for answer in answers] == [200] * 4 * CONNECTIONS
        assert len(service.times(SYSTEM)) == 1
        assert used(rig) == set(service.given())
        assert rig.metric("azure", "waited") >= 1


def slow(service: ManagedIdentities) -> Reply:
    """A token that comes a while later."""
    reply = service.token(SYSTEM, service.resources[0])
    reply.delay = 1.5
    return reply


def test_a_token_that_the_provider_refuses_is_renewed_early(service: ManagedIdentities) -> None:
    # Another worker would use the old token for up to a tick more.
    with serving({"azure": managed()}, service, concurrency=1) as rig:
        first = rig.token("azure")
        rig.upstream.reply_with(401, times=1)
        assert rig.ask("azure").status == 401
        poll(lambda: rig.token("azure") != first, 10, "another token")
        _, second = service.given()
        rig.upstream.reply_with(401, times=1)
        assert rig.ask("azure").status == 401
        assert rig.newest() == second
        # Not more than once in half a minute: several ticks pass, and nobody asks.
        end = time.time() + 3 * TICK
        poll(lambda: time.time() > end, 10)
        assert rig.token("azure") == second
        assert len(service.times(SYSTEM)) == 2
