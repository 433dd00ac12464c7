"""Requests that come before the first token: they wait for it, and each gets it once."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import raw
from bootstrap import Config
from gateway import appears, host
from launch import envoy_minor, poll
from replies import default_reply
from token_load import CONNECTIONS, assert_unavailable, crowd
from token_rig import Provider, Rig, running
from tokens import Client, TokenServer
from wire import Header, Reply, Request

CROWD = 300
MARKER = "of-the-caller-5b20"
THEIRS: list[Header] = [(b"authorization", b"Bearer " + MARKER.encode())]
UPGRADE: list[Header] = [
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
]
UPGRADES = {"upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]}
HELD = ["crowd", "left", "streams", "parts-length", "parts-chunked", "websocket", "tunnel"]
"""Each has a token endpoint that does not answer until its test lets it."""


def upgraded(request: Request) -> Reply:
    """Upgrades and tunnels are taken."""
    if request.protocol:
        return Reply(101, [(b"upgrade", b"websocket"), (b"connection", b"upgrade")])
    return Reply(200) if request.method == "CONNECT" else default_reply(request)


def tunnel(name: str) -> Config:
    """A CONNECT to `<name>.test:443` goes to that backend."""
    header = {"name": ":authority", "string_match": {"prefix": f"{name}.test:"}}
    return {"match": {"connect_matcher": {}, "headers": [header]}, "route": {"cluster": name}}


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Rig, dict[str, threading.Event]]]:
    """Four workers; requests wait longer than any test lasts."""
    with TokenServer() as server, Provider(server, answer=upgraded) as provider:
        gates = {name: server.client(name).hold() for name in HELD}
        server.client("at-once")
        with running(
            server,
            provider=provider,
            timeout="60s",
            credentialWait="30s",
            http2=["streams"],
            front={"hcm": UPGRADES},
            first=[tunnel("tunnel")],
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


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """For requests whose answers come later."""
    with ThreadPoolExecutor(8) as pool:
        yield pool


def client(rig: Rig, name: str) -> Client:
    """A client of the token endpoint."""
    return rig.server.clients[name]


def one_token(rig: Rig, name: str) -> str:
    """The only token that was asked for and given."""
    (token,) = client(rig, name).tokens
    assert len(client(rig, name).calls) == 1
    return token.text


def test_three_hundred_requests_at_once_wait_for_one_token(
    rig: Rig, gates: dict[str, threading.Event], background: ThreadPoolExecutor
) -> None:
    answers = background.submit(crowd, rig.envoy.port(), ["crowd"] * CROWD, b"body of each")
    rig.wait_for_active(CROWD)
    assert rig.upstream.begun == []
    gates["crowd"].set()
    assert [answer.status for answer in answers.result()] == [200] * CROWD
    token = one_token(rig, "crowd")
    # The workers that did not make the call look more often than once a second.
    given = client(rig, "crowd").tokens[0].issued
    assert max(answer.sent + answer.seconds for answer in answers.result()) < given + 0.8
    requests = rig.upstream.requests
    assert len(requests) == len(rig.upstream.begun) == CROWD
    assert {rig.token(request).text for request in requests} == {token}
    assert {request.body for request in requests} == {b"body of each"}
    assert rig.wait_for_metric("crowd.waited", CROWD) == CROWD
    assert rig.wait_for_metric("crowd.injected", CROWD) == CROWD
    assert (rig.metric("crowd.fetched"), rig.metric("crowd.refused")) == (1, 0)
    count = r"aigw_auth_policy_default_crowd_wait_ms_count(?:{[^}]*})? " + str(CROWD)
    poll(lambda: re.search(count, rig.envoy.prometheus()), 10, count)
    # Nobody waits any more.
    again = crowd(rig.envoy.port(), ["crowd"] * CONNECTIONS)
    assert [answer.status for answer in again] == [200] * CONNECTIONS
    assert rig.metric("crowd.waited") == CROWD
    assert one_token(rig, "crowd") == token


def test_a_request_that_leaves_while_it_waits_is_never_forwarded(
    rig: Rig, gates: dict[str, threading.Event]
) -> None:
    head = b"GET /%d HTTP/1.1\r\nhost: " + host("left") + b"\r\n\r\n"
    address = ("127.0.0.1", rig.envoy.port())
    callers = [socket.create_connection(address, 15) for _ in range(20)]
    for number, caller in enumerate(callers):
        caller.sendall(head % number)
    rig.wait_for_active(20)
    for caller in callers[:12]:
        caller.close()
    poll(lambda: rig.active() == 8, 10, "8 requests that are left")
    gates["left"].set()
    for caller in callers[12:]:
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
        caller.close()
    requests = rig.upstream.begun
    assert {request.path for request in requests} == {f"/{number}" for number in range(12, 20)}
    assert {rig.token(request).text for request in requests} == {one_token(rig, "left")}
    assert rig.metric("left.injected") == 8


def test_body_and_trailers_that_came_while_a_request_waited_arrive_whole(
    rig: Rig, gates: dict[str, threading.Event], background: ThreadPoolExecutor
) -> None:
    pieces = [bytes([number]) * 1000 for number in range(60)]
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/v1/x?a=1")]
    headers += [(b":authority", host("streams")), *THEIRS]
    trailers = [(b"x-sum", b"1")]
    received = "http.main.downstream_cx_rx_bytes_total"
    before = rig.envoy.stats(received)[received]
    port = rig.envoy.port()
    asked = [
        background.submit(raw.request_h2, port, headers, pieces, trailers),
        background.submit(raw.request_h2, port, headers, [], trailers),
        background.submit(raw.request_h2, port, headers, pieces),
    ]
    rig.wait_for_active(3)
    rig.envoy.wait_for_stat(received, before + 2 * 60 * 1000)
    assert rig.upstream.begun == []
    gates["streams"].set()
    assert [answer.result().status for answer in asked] == [200] * 3
    token = one_token(rig, "streams")
    body = b"".join(pieces)
    seen = sorted((len(request.body), len(request.trailers)) for request in rig.upstream.requests)
    assert seen == [(0, 1), (len(body), 0), (len(body), 1)]
    for request in rig.upstream.requests:
        assert request.body in (b"", body)
        assert request.trailers in ([], trailers)
        assert rig.token(request).text == token
        assert appears(MARKER, request) == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_comes_before_and_after_the_token_arrives_whole(
    rig: Rig, gates: dict[str, threading.Event], framing: str
) -> None:
    name, parts = f"parts-{framing}", [b"a" * 70_000, b"b" * 70_000]
    length = b"content-length: 140000"
    if framing == "chunked":
        length = b"transfer-encoding: chunked"
        parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        parts[1] += b"0\r\n\r\n"
    head = b"POST /v1 HTTP/1.1\r\nhost: " + host(name) + b"\r\n" + length + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", rig.envoy.port()), 15) as caller:
        caller.sendall(head + parts[0])
        rig.wait_for_active(1)
        assert rig.upstream.begun == []
        gates[name].set()
        rig.wait_for_metric(f"{name}.fetched")
        caller.sendall(parts[1])
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")
    seen = rig.upstream.only()
    assert seen.body == b"a" * 70_000 + b"b" * 70_000
    assert rig.token(seen).text == one_token(rig, name)


def talk(port: int, line: bytes, headers: list[Header], say: bytes) -> tuple[bytes, bytes]:
    """The status line, and what came back of the bytes that were sent after it."""
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", port), 15) as connection:
        connection.sendall(line + b"\r\n" + head + b"\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer and (data := connection.recv(65536)):
            answer += data
        connection.sendall(say)
        status, _, echo = answer.partition(b"\r\n")[0], b"", answer.partition(b"\r\n\r\n")[2]
        while len(echo) < len(say) and (data := connection.recv(65536)):
            echo += data
    return status, echo


@pytest.mark.parametrize("kind", ["websocket", "tunnel"])
def test_a_websocket_and_a_tunnel_wait_for_the_token_and_work(
    rig: Rig, gates: dict[str, threading.Event], background: ThreadPoolExecutor, kind: str
) -> None:
    name = host(kind) + (b":443" if kind == "tunnel" else b"")
    line = b"CONNECT " + name if kind == "tunnel" else b"GET /v1/realtime"
    headers = [(b"host", name), *(UPGRADE if kind == "websocket" else []), *THEIRS]
    said = b"\x81\x05hello\x00\xff"
    port = rig.envoy.port()
    for waits in (True, False):
        rig.upstream.clear()
        answer = background.submit(talk, port, line + b" HTTP/1.1", headers, said)
        if waits:
            rig.wait_for_active(1)
            assert rig.upstream.begun == []
            gates[kind].set()
        status, echo = answer.result()
        if waits and envoy_minor() < 39:
            # What it sends after a pause would be lost there: it is refused, to come again.
            assert status.split(b" ")[1] == b"503"
            continue
        assert status.split(b" ")[1] == (b"101" if kind == "websocket" else b"200")
        assert echo == said
        (seen,) = rig.upstream.wait_for_begun()
        assert rig.token(seen).text == one_token(rig, kind)
        assert appears(MARKER, seen) == []


def test_a_token_endpoint_that_does_not_answer_delays_nobody_else(rig: Rig) -> None:
    (token,) = client(rig, "at-once").wait_for_tokens()
    answers = crowd(rig.envoy.port(), ["at-once"] * CONNECTIONS)
    assert [answer.status for answer in answers] == [200] * CONNECTIONS
    assert {rig.token(request) for request in rig.upstream.requests} == {token}


# Those that wait in vain.


@pytest.fixture(scope="module", params=["1s", "0s"])
def impatient(request: pytest.FixtureRequest) -> Iterator[tuple[Rig, float]]:
    """Four workers; requests wait so long; the token endpoint does not answer."""
    with TokenServer() as server:
        server.client("held").hold()
        with running(server, timeout="60s", credentialWait=request.param) as rig:
            server.clients["held"].wait_for_calls()
            yield rig, float(request.param.removesuffix("s"))


def test_a_request_waits_as_long_as_it_may_and_is_refused(impatient: tuple[Rig, float]) -> None:
    rig, wait = impatient
    held = rig.server.clients["held"]
    refused = rig.metric("held.refused")
    answers = crowd(rig.envoy.port(), ["held"] * CONNECTIONS, b"body")
    for answer in answers:
        assert_unavailable(answer)
        assert wait <= answer.seconds < wait + 0.8
    assert rig.upstream.begun == []
    assert rig.metric("held.refused") == refused + CONNECTIONS
    assert rig.metric("held.injected") == 0
    # Now there is one, and they are served.
    assert held.gate
    held.gate.set()
    held.wait_for_tokens()
    poll(lambda: rig.ask("held").status == 200, 5, "a request that works")
    answers = crowd(rig.envoy.port(), ["held"] * CONNECTIONS)
    assert [answer.status for answer in answers] == [200] * CONNECTIONS
    assert len(held.calls) == 1
