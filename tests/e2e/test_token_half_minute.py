"""What happens once in thirty seconds: the next try after an error that only a person can repair,
and the renewal of a token that its provider does not take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event

import pytest

from launch import poll
from token_load import CONNECTIONS, Answer, Load, assert_unavailable, crowd
from token_rig import Rig, running
from tokens import Client, Token, TokenServer, denied
from wire import Request

LIMIT = 30.0
TICK = 1.0
SLACK = 1.0
"""For a machine that has much else to do."""


Stories = dict[str, Future[None]]


@pytest.fixture(scope="module")
def stories() -> Iterator[Stories]:
    """What happens to policies whose tokens are refused somewhere, all at the same time."""
    with TokenServer() as server, contextlib.ExitStack() as stack:
        server.client("lasting", *[denied()] * 2)
        for name in ("refused", "forbidden"):
            server.client(name)
        server.client("old", life=8)
        pool = stack.enter_context(ThreadPoolExecutor(4))
        rig = stack.enter_context(running(server, timeout="2s", credentialWait="2s"))
        told = {one.__name__: pool.submit(one, rig) for one in (lasting, refused, forbidden, old)}
        yield told
        wait(told.values())


def ready(rig: Rig, name: str) -> Client:
    """A client of the token endpoint whose token all workers have."""
    answers = crowd(rig.envoy.port(), [name] * CONNECTIONS)
    assert statuses(answers) == {200}
    return rig.server.clients[name]


def statuses(answers: list[Answer]) -> set[int]:
    """All there are."""
    return {answer.status for answer in answers}


def lasting(rig: Rig) -> None:
    """A client that the token endpoint does not know."""
    client = rig.server.clients["lasting"]
    client.wait_for_calls()
    rig.wait_for_metric("lasting.fetch_failed.denied")
    for answer in crowd(rig.envoy.port(), ["lasting"] * CONNECTIONS):
        assert_unavailable(answer)
        # The next try is later than anybody would wait.
        assert answer.seconds < SLACK
        assert 1 < int(answer.header("retry-after") or 0) <= LIMIT
    client.wait_for_calls(2, LIMIT + 10)
    assert LIMIT - 0.1 <= client.gaps()[0] < LIMIT + TICK + SLACK
    rig.wait_for_metric("lasting.fetch_failed.denied", 2)
    assert rig.failures("lasting") == {"denied": 2}
    lines = [line for line in rig.envoy.log().splitlines() if "default/lasting" in line]
    named = [line for line in lines if "401" in line and "AADSTS7000215" in line]
    assert 1 <= len(named) <= 2, lines
    assert "of the identity provider" not in rig.envoy.log()


def refused(rig: Rig) -> None:
    """A provider that does not take the token, and then not the next one either."""
    client = ready(rig, "refused")
    (first,) = client.tokens
    rig.provider.revoked.add(first.text)
    begin = time.time()
    # The answer of the provider is the caller's, who may try again.
    answers = crowd(rig.envoy.port(), ["refused"] * CONNECTIONS)
    assert 401 in statuses(answers) <= {200, 401}
    assert all(b"Unauthorized" in answer.body for answer in answers if answer.status == 401)
    _, second = client.wait_for_tokens(2, 4)
    assert client.calls[1] - begin < TICK + SLACK
    poll(lambda: statuses(crowd(rig.envoy.port(), ["refused"] * CONNECTIONS)) == {200}, 5)
    # It is not the token's fault.
    rig.provider.revoked.add(second.text)
    with Load(rig.envoy.port(), "refused", rate=20) as load:
        client.wait_for_tokens(3, LIMIT + 10)
        poll(lambda: load.answers[-1].status == 200, 5)
    assert statuses(load.answers) == {200, 401}
    assert LIMIT - 0.1 <= client.gaps()[1] < LIMIT + TICK + SLACK
    assert rig.failures("refused") == {}
    assert client.at_most == 1


def forbidden(rig: Rig) -> None:
    """A provider that answers 403, with what the one of AWS says of a token that has ended."""
    client = ready(rig, "forbidden")
    text = b'{"message": "The security token included in the request is expired"}'
    fields = {"x-amzn-errortype": "ExpiredTokenException", "content-type": "application/json"}
    rig.provider.reply_with(403, fields, text, path="/forbidden")
    with Load(rig.envoy.port(), "forbidden", 50, target=b"/forbidden") as load:
        poll(lambda: load.lasted() > 4, 8)
    assert statuses(load.answers) == {403}
    assert (len(client.calls), rig.failures("forbidden")) == (1, {})


def old(rig: Rig) -> None:
    """A provider that refuses a token after it has been replaced."""
    client = ready(rig, "old")
    gate = Event()
    rig.provider.reply_with(401, wait=gate, path="/held", times=3)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(rig.ask, "old", (), b"/held") for _ in range(3)]
        poll(lambda: len(at_held(rig)) == 3, 5)
        tokens = client.wait_for_tokens(len(client.tokens) + 1, 10)
        assert {rig.token(request) for request in at_held(rig)} <= set(tokens[:-1])
        poll(lambda: using(rig, tokens[-1]), 3, "the new token on all workers")
        number = len(client.calls)
        gate.set()
        assert [one.result().status for one in asked] == [401] * 3
    client.wait_for_calls(number + 1, 12)
    assert client.gaps()[number - 1] > 0.7 * client.life
    assert rig.failures("old") == {}


def at_held(rig: Rig) -> list[Request]:
    """The requests whose answers are held back."""
    return [request for request in rig.provider.begun if request.path == "/held"]


def using(rig: Rig, token: Token) -> bool:
    """Whether all workers use this token."""
    begin = time.time()
    crowd(rig.envoy.port(), [token.client] * CONNECTIONS)
    used = {one for at, one in rig.provider.used if at >= begin and one.client == token.client}
    return used == {token}


def test_a_refused_client_is_tried_again_after_thirty_seconds(stories: Stories) -> None:
    stories["lasting"].result()


def test_a_token_that_the_provider_refuses_is_renewed_once_in_thirty_seconds(
    stories: Stories,
) -> None:
    stories["refused"].result()


def test_a_403_renews_no_bearer_token(stories: Stories) -> None:
    stories["forbidden"].result()


def test_a_401_of_a_token_that_has_been_replaced_renews_nothing(stories: Stories) -> None:
    stories["old"].result()
