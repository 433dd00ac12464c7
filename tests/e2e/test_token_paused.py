"""Requests that wait where other limits hold too, and in the chain of the listener."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import raw
from bootstrap import retry, wasm_filter
from gateway import appears, host
from launch import poll
from providers import by_host
from token_load import CONNECTIONS, assert_unavailable, crowd
from token_rig import ENVIRONMENT, Rig, plugin, running
from tokens import TokenServer

MARKER = b"of-the-caller-41e7"
LIMIT = 0.5


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Backends whose requests wait longer than their routes allow."""
    with TokenServer() as server:
        routes = [by_host("route", "route", timeout=f"{LIMIT}s")]
        each = retry(1, "5xx", per_try_timeout=f"{LIMIT}s")
        routes.append(by_host("attempt", "attempt", retry=each, timeout="30s"))
        for name in ("route", "attempt"):
            server.client(name).hold()
        with running(server, timeout="60s", credentialWait="30s", first=routes) as rig:
            yield rig


@pytest.mark.parametrize("name", ["route", "attempt"])
def test_a_limit_of_the_route_ends_a_request_that_waits_and_nothing_is_sent_later(
    rig: Rig, name: str
) -> None:
    rig.provider.clear()
    client = rig.server.clients[name]
    client.wait_for_calls()
    attempts = 2 if name == "attempt" else 1
    # Envoy repeats no more than three at once.
    count = 3 if name == "attempt" else CONNECTIONS
    answers = crowd(rig.envoy.port(), [name] * count, b"body")
    for answer in answers:
        assert answer.status == 504
        assert 0.9 * attempts * LIMIT < answer.seconds < attempts * LIMIT + 1
    assert rig.active() == 0
    assert client.gate
    client.gate.set()
    rig.wait_for_metric(f"{name}.fetched")
    # What comes later is all there is.
    poll(lambda: rig.ask(name, (), b"/later").status == 200, 5)
    assert {request.path for request in rig.provider.begun} == {"/later"}


@pytest.mark.parametrize("given", [True, False], ids=["given", "never given"])
def test_requests_wait_in_the_chain_of_the_listener_too(given: bool) -> None:
    with TokenServer() as server:
        client = server.client("one")
        gate = client.hold()
        wait = "30s" if given else "500ms"
        settings = plugin([client], "60s", position="Listener", credentialWait=wait)
        front = {"filters": [wasm_filter(settings, vm_env=ENVIRONMENT)]}
        with (
            running(server, plugins={"one": None}, front=front) as rig,
            ThreadPoolExecutor(2) as pool,
        ):
            client.wait_for_calls()
            theirs = [(b"authorization", MARKER)]
            body = bytes(range(256)) * 400
            port = rig.envoy.port()
            answers = pool.submit(crowd, port, ["one"] * CONNECTIONS, body, theirs)
            pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/v1")]
            headers = [*pseudo, (b":authority", host("one")), *theirs]
            parts = [body[:10_000], body[10_000:20_000]]
            streamed = pool.submit(raw.request_h2, port, headers, parts, [(b"x-sum", b"1")])
            if not given:
                for answer in [*answers.result(), streamed.result()]:
                    assert_unavailable(answer)
                assert rig.provider.begun == []
                return
            rig.wait_for_active(CONNECTIONS + 1)
            assert rig.provider.begun == []
            gate.set()
            assert {answer.status for answer in answers.result()} == {200}
            assert streamed.result().status == 200
            (token,) = client.tokens
            sizes = sorted(len(request.body) for request in rig.provider.requests)
            assert sizes == [20_000, *[len(body)] * CONNECTIONS]
            for request in rig.provider.requests:
                assert body.startswith(request.body)
                assert rig.token(request) == token
                assert appears(MARKER.decode(), request) == []
