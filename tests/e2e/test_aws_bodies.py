"""The signature covers the body that leaves, however it came and however large it is."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

import raw
from aws import STATIC, TEMPORARY, bedrock, verify
from bootstrap import Config, bootstrap, listener
from envoy import Envoy
from gateway import Gateway, assert_no_panic, clusters, host, routes
from manifests import config, keyed
from upstream import Upstream
from wire import Header, Request

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
TARGET = b"/model/anthropic.claude-v2%3A0/invoke"
ROOM = 32 << 20
LIMIT = 64 << 10
"""How much the listener `small` may hold back."""
SIZES = {"0 B": 0, "1 KB": 1 << 10, "1 MB": 1 << 20, "20 MB": 20 << 20}
KINDS = {"static": STATIC, "temporary": TEMPORARY}
JSON = (b"content-type", b"application/json")


def body(size: int) -> bytes:
    """So many bytes, no two parts of which are alike."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


def limited(size: int) -> Config:
    """What makes a listener hold back so much of a request, over either version of HTTP."""
    window = {"http2_protocol_options": {"initial_stream_window_size": size}}
    return {"per_connection_buffer_limit_bytes": size, "hcm": window}


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """Three backends, reached by listeners with much and with little room."""
    plugin = config(*(bedrock(name, keys) for name, keys in KINDS.items()), keyed("key"))
    names = [*KINDS, "key"]
    with Upstream() as upstream:
        behind = clusters(dict.fromkeys(names, plugin), upstream.port, http2=request.param)
        rooms = {"main": ROOM, "small": LIMIT}
        fronts = [listener(routes(names), name=one, **limited(rooms[one])) for one in rooms]
        with Envoy(bootstrap(fronts, behind)) as envoy:
            yield Gateway(envoy, upstream)
            assert_no_panic(envoy)


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The same with nothing recorded and nothing scripted."""
    shared.upstream.reset()
    return shared


def port(gateway: Gateway, room: str = "main") -> int:
    """The listener with or without room for large bodies."""
    return gateway.envoy.port(room)


def seen(gateway: Gateway, sent: bytes, backend: str = "static") -> Request:
    """The one request, which has the whole body and is signed with it."""
    request = gateway.upstream.only()
    assert len(request.body) == len(sent)
    assert request.body == sent
    verify(request, KINDS[backend], host=HOST)
    assert not gateway.upstream.errors
    return request


def pieces(data: bytes, size: int = 65536) -> Iterator[bytes]:
    """The parts of a body, of which its length does not tell."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def post(
    gateway: Gateway, backend: str, *, content: Any, http2: bool = False, room: str = "main"
) -> httpx.Response:
    """One request of an ordinary client."""
    headers = {"host": host(backend).decode(), "content-type": "application/json"}
    url = f"http://127.0.0.1:{port(gateway, room)}{TARGET.decode()}"
    with httpx.Client(trust_env=False, timeout=60, http1=not http2, http2=http2) as client:
        return client.post(url, content=content, headers=headers)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("http2", [False, True], ids=["client-1", "client-2"])
@pytest.mark.parametrize("backend", KINDS)
def test_a_body_is_signed_whole_whatever_its_size_and_framing(
    gateway: Gateway, backend: str, http2: bool, length: bool, size: int
) -> None:
    sent = body(size)
    answer = post(gateway, backend, http2=http2, content=sent if length else pieces(sent))
    assert answer.status_code == 200
    seen(gateway, sent, backend)


METHODS = [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"POST", b"PUT", b"PATCH"]


@pytest.mark.parametrize("method", METHODS)
def test_a_request_without_a_body_is_signed(gateway: Gateway, method: bytes) -> None:
    headers = [(b"host", host("temporary"))]
    answer = raw.request(port(gateway), method, b"/guardrails?b=2&a=1&A=0", headers)
    assert answer.status == 200
    request = seen(gateway, b"", "temporary")
    assert (request.method, request.target) == (method.decode(), b"/guardrails?b=2&a=1&A=0")


EMPTY: dict[str, Header] = {
    "length 0": (b"content-length", b"0"),
    "no chunk": (b"transfer-encoding", b"chunked"),
}


@pytest.mark.parametrize("framing", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_an_empty_body_is_signed(gateway: Gateway, method: bytes, framing: Header) -> None:
    head = method + b" " + TARGET + b" HTTP/1.1\r\nhost: " + host("static") + b"\r\n"
    end = b"0\r\n\r\n" if framing[1] == b"chunked" else b""
    answer = raw.exchange(port(gateway), head + b": ".join(framing) + b"\r\n\r\n" + end)
    assert answer.status == 200
    seen(gateway, b"")


def test_a_body_that_ends_with_trailers_is_signed(gateway: Gateway) -> None:
    trailers = [(b"x-sum", b"1"), (b"authorization", b"theirs"), (b"x-amz-date", b"theirs")]
    for parts in ([b"a" * 1000, b"b", b"c" * 5000], [b"d"], []):
        gateway.upstream.clear()
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":authority", host("static")),
            (b":path", TARGET),
            JSON,
        ]
        assert raw.request_h2(port(gateway), fields, parts, trailers).status == 200
        request = seen(gateway, b"".join(parts))
        assert not {b"authorization", b"x-amz-date"} & dict(request.trailers).keys()


def slowly(at: int, first: bytes, parts: Sequence[bytes], wait: Callable[[], None]) -> int:
    """The status of a request that is sent part by part, each on its own."""
    with socket.create_connection(("127.0.0.1", at), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(first)
        for part in parts:
            wait()
            connection.sendall(part)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
def test_a_body_that_comes_in_small_pieces_over_time_is_signed_whole(
    gateway: Gateway, chunked: bool
) -> None:
    parts = [bytes([number]) * (1 + number * 7 % 300) for number in range(100)]
    sent = b"".join(parts)
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(sent)
    head = b"POST " + TARGET + b" HTTP/1.1\r\nhost: " + host("static") + b"\r\n" + framing
    if chunked:
        parts = [*(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]
    # Long enough for each to be read alone.
    status = slowly(port(gateway), head + b"\r\n\r\n", parts, lambda: time.sleep(0.01))
    assert status == 200
    seen(gateway, sent)


def test_nothing_leaves_before_the_end_of_the_body(gateway: Gateway) -> None:
    head = b"POST " + TARGET + b" HTTP/1.1\r\nhost: " + host("static") + b"\r\n"
    begun: list[int] = []

    def look() -> None:
        # From now on Envoy could send what it has.
        gateway.envoy.wait_for_stat("cluster.static.upstream_rq_active")
        begun.append(len(gateway.upstream.begun))

    assert slowly(port(gateway), head + b"content-length: 4\r\n\r\nab", [b"c", b"d"], look) == 200
    assert begun == [0, 0]
    seen(gateway, b"abcd")


def test_a_caller_who_waits_for_leave_gets_it(gateway: Gateway) -> None:
    head = b"POST " + TARGET + b" HTTP/1.1\r\nhost: " + host("static") + b"\r\n"
    with socket.create_connection(("127.0.0.1", port(gateway)), 20) as connection:
        connection.sendall(head + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(b"hello")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
    seen(gateway, b"hello")


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_a_body_above_the_limit_is_refused_and_nothing_is_sent(
    gateway: Gateway, length: bool
) -> None:
    # Over HTTP/2 Envoy may stop reading instead, whatever filter it is that waits for the body.
    large = body(LIMIT * 4)
    content = large if length else pieces(large)
    assert post(gateway, "static", content=content, room="small").status_code == 413
    assert gateway.upstream.begun == []
    # A key does not wait for the body, and less than the limit is signed.
    assert post(gateway, "key", content=large, room="small").status_code == 200
    gateway.upstream.clear()
    less = large[: LIMIT // 2]
    assert post(gateway, "static", content=less, room="small").status_code == 200
    seen(gateway, less)
