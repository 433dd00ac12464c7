"""Requests to Bedrock of every shape, and what befalls them on the way: each is signed as it goes
on the wire, or does not go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from aws import OTHER, STATIC, TEMPORARY, bedrock, verify
from bootstrap import Endpoint, bootstrap, cluster, listener, retry, wasm_filter
from envoy import Envoy
from gateway import Gateway, appears, assert_no_panic, clusters, host, routes, running
from launch import poll
from manifests import config
from mixed import LEFT, QUERY, THEIRS
from providers import MARKER, by_host
from upstream import Upstream

Start = Callable[..., Envoy]

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
TARGET = b"/model/m%3A0/invoke"
KINDS = {"static": STATIC, "temporary": TEMPORARY}


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """Two backends, whose keys are permanent and temporary."""
    plugin = config(*(bedrock(name, keys) for name, keys in KINDS.items()))
    with running(dict.fromkeys(KINDS, plugin), http2=request.param) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The same with nothing recorded and nothing scripted."""
    shared.upstream.reset()
    return shared


PATHS = [
    b"/",
    b"/model/m%3A0/invoke",
    b"/model/m:0/invoke",
    b"/model/m%3a0/invoke",
    b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx-v1%3A0/invoke",
    b"/model/arn:aws:bedrock:us-east-1:1:inference-profile/x-v1:0/invoke",
    b"/model/m/",
    b"//model//m/invoke",
    b"/model/./m/invoke",
    b"/model/a/../m/invoke",
    b"/model/%2e%2e/m/invoke",
    b"/model/a%20b/invoke",
    b"/model/%E1%88%B4/invoke",
    b"/model/a+b=c$d@e*f!g'h(i),j;k/invoke",
    b"/model/~m_-./invoke",
    b"/model/%25/invoke",
    b"/model/100%/invoke",
    b"/x?",
    b"/x?flag",
    b"/x?b=2&a=1&A=0",
    b"/x?a=2&a=1&a=10",
    b"/x?q=a%20b&q-%2F=%2F",
    b"/x?b&a=",
    b"/x?q=a%2Bb&r=a%2B",
    b"/x?q=a%2fb&r=a/b",
    b"/x?q=a=b&r=c:d",
    b"/x?q=%E1%88%B4&%7E=~",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_signed_as_it_goes_on_the_wire(gateway: Gateway, path: bytes) -> None:
    seen = gateway.send("static", (), path, b"POST", b"{}")
    assert seen.target == path
    verify(seen, host=HOST)


TYPES = {
    "usual": b"application/json",
    "with blanks": b'text/plain;   charset="a   b"',
    "empty": b"",
    "very long": b"a/" + b"b" * 5000,
}


@pytest.mark.parametrize("value", TYPES.values(), ids=TYPES)
def test_the_type_of_a_body_is_signed(gateway: Gateway, value: bytes) -> None:
    seen = gateway.send("static", [(b"Content-Type", value)], TARGET, b"POST", b"{}")
    assert seen.values("content-type") == [value]
    verify(seen, host=HOST)


@pytest.mark.parametrize("body", [b"", b"{}"], ids=["without a body", "with a body"])
@pytest.mark.parametrize("backend", KINDS)
def test_credentials_of_the_caller_are_removed_and_no_value_stands_beside_ours(
    gateway: Gateway, backend: str, body: bytes
) -> None:
    seen = gateway.send(backend, THEIRS, TARGET + QUERY, b"POST", body)
    verify(seen, KINDS[backend], host=HOST)
    assert (appears(MARKER, seen), seen.target, seen.body) == ([], TARGET + LEFT, body)
    ours = {name for name, _ in seen.headers if name.startswith((b"x-amz", b"auth", b"cookie"))}
    expected = {b"authorization", b"x-amz-date"}
    assert ours == expected | ({b"x-amz-security-token"} if backend == "temporary" else set())


@pytest.mark.parametrize("http2", [False, True], ids=["client-1", "client-2"])
def test_requests_on_one_connection_have_nothing_of_each_other(
    gateway: Gateway, http2: bool
) -> None:
    with httpx.Client(trust_env=False, http1=not http2, http2=http2) as client:
        for number in range(12):
            backend = ("static", "temporary")[number % 2]
            body = b"%d" % number * (number % 4 * 5000)
            headers = {"host": host(backend).decode()}
            url = gateway.envoy.url(f"/model/{number}")
            assert client.post(url, content=body, headers=headers).status_code == 200
            seen = gateway.upstream.only()
            gateway.upstream.clear()
            assert seen.body == body
            verify(seen, KINDS[backend], host=HOST)


def begin(port: int, backend: str, body: bytes) -> socket.socket:
    """A connection on which a request stands with half of its body."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    lines = [b"POST " + TARGET + b" HTTP/1.1", b"host: " + host(backend)]
    lines += [b"content-length: %d" % len(body), b"", b""]
    connection.sendall(b"\r\n".join(lines) + body[: len(body) // 2])
    return connection


def end(connection: socket.socket, body: bytes) -> bytes:
    """Sends the rest; the head of the answer."""
    with connection:
        connection.sendall(body[len(body) // 2 :])
        return connection.recv(65536)


def test_a_caller_who_leaves_before_the_end_of_the_body_leaves_nothing_behind(
    gateway: Gateway,
) -> None:
    active = "cluster.static.upstream_rq_active"
    for _ in range(20):
        begin(gateway.envoy.port(), "static", b"x" * 10_000).close()
    poll(lambda: gateway.envoy.stats(active)[active] == 0, 10)
    assert gateway.upstream.requests == []
    seen = gateway.send("static", (), TARGET, b"POST", b"{}")
    verify(seen, host=HOST)
    assert seen.body == b"{}"


def test_a_connection_that_breaks_while_the_body_comes_does_not_spoil_the_next_attempt(
    upstream: Upstream, start_envoy: Start
) -> None:
    """The first provider hangs up before anything was sent to it."""
    plugin = config(bedrock("bedrock", TEMPORARY))
    accepted = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def hang_up() -> None:
            connection, _ = server.accept()
            accepted.wait(10)
            connection.close()

        hung = pool.submit(hang_up)
        policy = retry(3, "reset,connect-failure", next_priority=True)
        ends = [Endpoint(server.getsockname()[1]), Endpoint(upstream.port, priority=1)]
        backend = cluster("bedrock", ends, filters=[wasm_filter(plugin)])
        front = listener([by_host("bedrock", "bedrock", retry=policy)])
        envoy = start_envoy(bootstrap([front], [backend]))
        body = bytes(range(256)) * 40
        connection = begin(envoy.port(), "bedrock", body)
        envoy.wait_for_stat("cluster.bedrock.upstream_rq_active")
        accepted.set()
        hung.result()
        envoy.wait_for_stat("cluster.bedrock.upstream_rq_retry")
        assert end(connection, body).startswith(b"HTTP/1.1 200")
        seen = upstream.only()
        assert seen.body == body
        verify(seen, TEMPORARY, host=HOST)
        assert_no_panic(envoy)


def test_new_keys_are_used_as_soon_as_they_are_configured(
    upstream: Upstream, start_envoy: Start
) -> None:
    """And a request that waits for its body meanwhile is signed with the keys it began with."""

    def behind(policy: list[dict[str, object]]) -> list[dict[str, object]]:
        return clusters({"bedrock": config(policy)}, upstream.port)

    envoy = start_envoy(
        bootstrap([listener(routes(["bedrock"]))]), cds=behind(bedrock(keys=STATIC))
    )
    gateway = Gateway(envoy, upstream)
    verify(gateway.send("bedrock", (), TARGET, b"POST", b"{}"), STATIC)
    body = b"waits" * 100
    waiting = begin(envoy.port(), "bedrock", body)
    envoy.wait_for_stat("cluster.bedrock.upstream_rq_active")
    assert envoy.update_cds(behind(bedrock(keys=OTHER)))
    verify(gateway.send("bedrock", (), TARGET, b"POST", b"{}"), OTHER)
    upstream.clear()
    assert end(waiting, body).startswith(b"HTTP/1.1 200")
    seen = upstream.only()
    assert seen.body == body
    verify(seen, STATIC)
    # What is refused changes nothing.
    assert not envoy.update_cds(behind(bedrock(keys="[default]\n")))
    verify(gateway.send("bedrock"), OTHER)
    assert_no_panic(envoy)


def test_two_filters_do_not_sign_twice(upstream: Upstream, start_envoy: Start) -> None:
    """The second one in a chain replaces what the first one wrote."""
    filters = [
        wasm_filter(config(bedrock("bedrock", keys)), name=name, root_id=name)
        for name, keys in (("first", TEMPORARY), ("second", STATIC))
    ]
    backend = cluster("bedrock", [upstream.port], filters=filters)
    envoy = start_envoy(bootstrap([listener(routes(["bedrock"]))], [backend]))
    seen = Gateway(envoy, upstream).send("bedrock", (), TARGET, b"POST", b"{}")
    verify(seen, STATIC, host=HOST)
    assert_no_panic(envoy)
