"""Requests that cannot be signed are answered, and say why; slow ones are waited for."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse

import pytest

import raw
from aws import STATIC, TEMPORARY, bedrock, verify
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from gateway import Gateway, appears, assert_no_panic, clusters, host, routes, running
from launch import poll
from manifests import config
from upstream import Upstream
from wire import Header

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
TARGET = b"/model/m%3A0/invoke"
OUTCOME = "%REQ(X-ASKED)% %RESPONSE_CODE% %FILTER_STATE(wasm.aigw_auth:PLAIN)%"
OPTION = "allow_on_headers_stop_iteration"
HCM: Config = {
    "http2_protocol_options": {"allow_connect": True},
    "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
}
UPGRADE: list[Header] = [
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
]
WEBSOCKET_H2: list[Header] = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", TARGET),
    (b":authority", host("bedrock")),
    (b"sec-websocket-version", b"13"),
]
PATIENCE = 10
"""So many seconds a request is held back before its body is missed."""


def error(answer: raw.Response) -> tuple[int, str]:
    """The status and the type of a reply of the filter, which is in the form of the contract."""
    assert answer.values("content-type") == [b"application/json"]
    reply = json.loads(answer.body)
    assert reply.keys() == {"type", "error"}
    assert reply["error"].keys() == {"type", "code", "message"}
    assert (reply["type"], reply["error"]["code"]) == ("error", str(answer.status))
    assert reply["error"]["message"]
    return answer.status, reply["error"]["type"]


def tunnel() -> Config:
    """A CONNECT goes to Bedrock too."""
    return {"match": {"connect_matcher": {}}, "route": {"cluster": "bedrock"}}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """An Envoy that lets upgrades and tunnels pass."""
    with Upstream() as upstream:
        front = listener([tunnel(), *routes(["bedrock"])], hcm=HCM, access_log_format=OUTCOME)
        behind = clusters({"bedrock": config(bedrock())}, upstream.port)
        with Envoy(bootstrap([front], behind)) as envoy:
            yield Gateway(envoy, upstream)
            assert_no_panic(envoy)


def outcome(envoy: Envoy, label: str) -> str:
    """What the access log says of one request."""

    def lines() -> list[str]:
        return [line for line in envoy.access_log_lines() if line.startswith(label + " ")]

    (line,) = poll(lines, 10, f"{label} in the access log")
    return line.removeprefix(label + " ")


def asked(label: str) -> Header:
    """The header by which the access log tells a request."""
    return b"x-asked", label.encode()


UNSIGNABLE = {
    "websocket": lambda port: raw.request(
        port, b"GET", TARGET, [(b"host", host("bedrock")), *UPGRADE, asked("websocket")]
    ),
    "tunnel": lambda port: raw.request(
        port,
        b"CONNECT",
        b"bedrock.test:443",
        [(b"host", b"bedrock.test:443"), asked("tunnel")],
    ),
    "websocket over HTTP/2": lambda port: raw.request_h2(
        port, [*WEBSOCKET_H2, asked("websocket over HTTP/2")], end=False
    ),
    "tunnel over HTTP/2": lambda port: raw.request_h2(
        port,
        [(b":method", b"CONNECT"), (b":authority", b"x:443"), asked("tunnel over HTTP/2")],
        end=False,
    ),
}


@pytest.mark.parametrize("name", UNSIGNABLE)
def test_a_request_that_never_ends_its_body_is_refused_at_once(gateway: Gateway, name: str) -> None:
    gateway.upstream.clear()
    before = gateway.envoy.metric("policy.default/bedrock.refused")
    started = time.monotonic()
    assert error(UNSIGNABLE[name](gateway.envoy.port())) == (400, "UnsignableRequest")
    assert time.monotonic() - started < PATIENCE / 2
    assert gateway.upstream.begun == []
    assert gateway.envoy.metric("policy.default/bedrock.refused") == before + 1
    assert outcome(gateway.envoy, name) == "400 default/bedrock refused"
    verify(gateway.send("bedrock"))


def test_an_offer_of_http2_is_no_upgrade(gateway: Gateway) -> None:
    offer = [(b"connection", b"Upgrade, HTTP2-Settings"), (b"upgrade", b"h2c")]
    offer.append((b"http2-settings", b"AAMAAABkAARAAAAAAAIAAAAA"))
    seen = gateway.send("bedrock", offer, TARGET, b"POST", b"{}")
    verify(seen, host=HOST)
    assert seen.body == b"{}"


def test_the_access_log_and_a_counter_tell_of_a_signature(gateway: Gateway) -> None:
    before = gateway.envoy.metric("policy.default/bedrock.injected")
    gateway.send("bedrock", [asked("without")], TARGET)
    gateway.send("bedrock", [asked("with")], TARGET, b"POST", b"{}")
    for label in ("without", "with"):
        assert outcome(gateway.envoy, label) == "200 default/bedrock injected"
    assert gateway.envoy.metric("policy.default/bedrock.injected") == before + 2


def test_a_body_that_never_comes_because_of_a_missing_option_is_told_of() -> None:
    options = {OPTION: False}
    plugins = {"bedrock": config(bedrock())}
    with running(plugins, options=options, concurrency=1) as gateway:
        # Without a body there is nothing to wait for, and nothing to be learnt from.
        for method in (b"GET", b"POST"):
            verify(gateway.send("bedrock", (), TARGET, method), host=HOST)
        gateway.upstream.clear()
        started = time.monotonic()
        answer = gateway.ask("bedrock", (), TARGET, b"POST", b"{}")
        assert error(answer) == (500, "Misconfigured")
        assert PATIENCE - 2 < time.monotonic() - started < PATIENCE + 5
        assert gateway.upstream.begun == []
        gateway.envoy.wait_for_log(rf"\[(warning|error)\]\[wasm\].*{OPTION}")
        assert gateway.envoy.metric("policy.default/bedrock.refused") == 1
        assert gateway.envoy.metric("policy.default/bedrock.injected") == 2
        verify(gateway.send("bedrock", (), TARGET), host=HOST)


def late(port: int, head: bytes, body: bytes) -> int:
    """The status of a request whose body begins later than any patience."""
    with socket.create_connection(("127.0.0.1", port), 40) as connection:
        connection.sendall(head)
        time.sleep(PATIENCE + 2)
        connection.sendall(body)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status


def test_a_body_that_begins_late_is_waited_for_and_signed() -> None:
    head = b"POST " + TARGET + b" HTTP/1.1\r\nhost: " + host("bedrock") + b"\r\n"
    sent = {
        head + b"content-length: 5\r\n\r\n": b"first",
        head + b"transfer-encoding: chunked\r\n\r\n": b"6\r\nsecond\r\n0\r\n\r\n",
        head + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n": b"third",
    }
    # One worker, which has not seen any body yet.
    with running({"bedrock": config(bedrock())}, concurrency=1) as gateway:
        with ThreadPoolExecutor(len(sent)) as pool:
            port = gateway.envoy.port()
            answers = [pool.submit(late, port, *one) for one in sent.items()]
            assert [answer.result() for answer in answers] == [200, 200, 200]
        requests = gateway.upstream.wait_for(3)
        for seen in requests:
            verify(seen, host=HOST)
        assert {seen.body for seen in requests} == {b"first", b"second", b"third"}
        assert OPTION not in "\n".join(re.findall(r".*wasm log.*", gateway.envoy.log()))


def listening(plugin: Config, behind: Sequence[Config]) -> Config:
    """The filter in a listener that leads everything to one cluster."""
    return bootstrap([listener([route("/", "bedrock")], filters=[wasm_filter(plugin)])], behind)


@pytest.mark.parametrize("authority", [b"gateway.test", HOST.encode(), b"x.test:443"])
def test_in_a_listener_a_request_is_signed_too(authority: bytes, upstream: Upstream) -> None:
    plugin = config(bedrock(keys=TEMPORARY), position="Listener")
    with Envoy(listening(plugin, [cluster("bedrock", [upstream.port])])) as envoy:
        theirs = [(b"authorization", b"theirs"), (b"x-amz-date", b"theirs"), (b"cookie", b"theirs")]
        for body in (b"", b"{}", b"x" * 500_000):
            upstream.clear()
            fields = [(b"host", authority), *theirs, (b"content-type", b"text/plain")]
            target = TARGET + b"?X-Amz-Date=theirs"
            answer = raw.request(envoy.port(), b"POST", target, fields, body)
            assert answer.status == 200
            seen = upstream.only()
            verify(seen, TEMPORARY, host=HOST)
            assert (seen.target, seen.body) == (TARGET, body)
            assert appears("theirs", seen) == []
        assert_no_panic(envoy)


@pytest.mark.parametrize("place", ["listener", "upstream"])
def test_in_the_other_place_nothing_is_signed(place: str, upstream: Upstream) -> None:
    filters = [wasm_filter(config(bedrock(), position="Listener"))]
    setup = (
        listening(config(bedrock()), [cluster("bedrock", [upstream.port])])
        if place == "listener"
        else bootstrap(
            [listener(routes(["bedrock"]))],
            [cluster("bedrock", [upstream.port], filters=filters)],
        )
    )
    with Envoy(setup) as envoy:
        for body in (b"", b"{}"):
            fields = [(b"host", host("bedrock"))]
            answer = raw.request(envoy.port(), b"POST", TARGET, fields, body)
            assert error(answer) == (500, "Misconfigured")
    assert upstream.begun == []


def test_keep_replaces_what_is_written_and_leaves_the_rest() -> None:
    kept = [(b"cookie", b"theirs"), (b"x-api-key", b"theirs"), (b"x-aigw-key", b"theirs")]
    replaced = [
        (b"authorization", b"Bearer theirs"),
        (b"authorization", b"Basic theirs"),
        (b"x-amz-date", b"20150830T123600Z"),
        (b"x-amz-date", b"20150830T123601Z"),
        (b"x-amz-security-token", b"theirs"),
        # It would say another hash than the one that is signed.
        (b"x-amz-content-sha256", b"theirs"),
    ]
    plugin = config(bedrock(keys=TEMPORARY), bedrock("static"), clientCredentials="Keep")
    with running({"bedrock": plugin, "static": plugin}) as gateway:
        headers = [*kept, *replaced]
        seen = gateway.send("bedrock", headers, TARGET + b"?key=theirs", b"POST", b"{}")
        verify(seen, TEMPORARY, host=HOST)
        assert [header for header in seen.headers if header in kept] == kept
        assert len(appears("theirs", seen)) == len(kept) + 1
        assert seen.target == TARGET + b"?key=theirs"
        # Keys without a token are good for nothing beside a token of somebody else's.
        verify(gateway.send("static", replaced, TARGET, b"POST", b"{}"), STATIC, host=HOST)
