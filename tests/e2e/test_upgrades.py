"""Websockets and tunnels get the key too, and the keys that callers put into their protocols go."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from bootstrap import PROTOCOL_OPTIONS, Config, bootstrap, listener
from envoy import Envoy
from gateway import PLAIN, Gateway, appears, clusters, host, routes, running
from manifests import HEADERS, TYPES, config, header_value, keyed
from upstream import Upstream
from wire import Header, Reply, Request

MARKER = "of-the-caller-77ab"
KEY = "of-the-gateway-2c30"
M = MARKER.encode()
IN_PROTOCOL = b"openai-insecure-api-key." + M
UNKNOWN = "unknown"

UPGRADE: list[Header] = [
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
]
UPGRADES: Config = {
    "upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}],
}

PROTOCOLS = {
    "among others": (
        [b"realtime, " + IN_PROTOCOL + b", openai-beta.realtime-v1"],
        [b"realtime", b"openai-beta.realtime-v1"],
    ),
    "first": ([IN_PROTOCOL + b",realtime"], [b"realtime"]),
    "twice": ([IN_PROTOCOL + b"-1 , realtime,\t" + IN_PROTOCOL + b"-2"], [b"realtime"]),
    "a header of its own": ([b"realtime", IN_PROTOCOL, b"other"], [b"realtime", b"other"]),
    "alone": ([IN_PROTOCOL], []),
    "another case": ([b"realtime, " + IN_PROTOCOL.title()], [b"realtime"]),
}


class Conversation(NamedTuple):
    """The answer's head, and what came after it."""

    head: bytes
    echo: bytes

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self.head.split(b" ", 2)[1])


def converse(port: int, line: bytes, headers: Sequence[Header], say: bytes) -> Conversation:
    """Sends the head of a request, then, once it is answered, bytes that are to come back."""
    head = line + b"\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head + b"\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = connection.recv(65536)
            assert data, f"the connection ended after {answer!r}"
            answer += data
        if not answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")):
            return Conversation(answer, b"")
        connection.sendall(say)
        head, _, echo = answer.partition(b"\r\n\r\n")
        while len(echo) < len(say) and (data := connection.recv(65536)):
            echo += data
    return Conversation(head, echo)


def tunnels() -> list[Config]:
    """A CONNECT to `<backend>.test:443` goes to that backend."""
    return [
        {
            "match": {
                "connect_matcher": {},
                "headers": [{"name": ":authority", "string_match": {"prefix": f"{name}.test:"}}],
            },
            "route": {"cluster": name},
        }
        for name in [*TYPES, UNKNOWN]
    ]


def plugin() -> Config:
    """Three policies, one of each type."""
    return config(*(keyed(kind.lower(), kind, KEY, [kind]) for kind in TYPES))


@pytest.fixture(scope="module")
def shared() -> Iterator[Gateway]:
    """An Envoy that lets upgrades pass, with a backend of each type and one without a policy."""
    plugins = {**dict.fromkeys([*TYPES, UNKNOWN], plugin()), PLAIN: None}
    with running(plugins, hcm=UPGRADES, first=tunnels()) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The same with nothing recorded; its upstream takes every upgrade."""
    shared.upstream.reset()
    shared.upstream.on(None, upgraded)
    return shared


def upgraded(request: Request) -> Reply:
    """The answer to an upgrade or a tunnel."""
    if request.protocol:
        return Reply(101, [(b"upgrade", b"websocket"), (b"connection", b"upgrade")])
    return Reply(200)


@pytest.mark.parametrize("kind", TYPES)
def test_a_websocket_gets_the_key_and_works(gateway: Gateway, kind: str) -> None:
    headers = [(b"Host", host(kind)), *UPGRADE, (b"Authorization", M), (b"Cookie", M)]
    line = b"GET /v1/realtime?model=m&api-key=" + M + b" HTTP/1.1"
    talk = converse(gateway.envoy.port(), line, headers, b"\x81\x05hello\x00\xff")
    assert (talk.status, talk.echo) == (101, b"\x81\x05hello\x00\xff")
    seen = gateway.upstream.only()
    assert (seen.protocol, seen.target) == ("websocket", b"/v1/realtime?model=m")
    assert seen.values(HEADERS[kind]) == [header_value(kind, KEY)]
    assert seen.header("sec-websocket-key") == "AAAAAAAAAAAAAAAAAAAAAA=="
    assert appears(MARKER, seen) == []


@pytest.mark.parametrize(("sent", "left"), PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("kind", TYPES)
def test_a_key_among_the_protocols_of_a_websocket_is_removed(
    gateway: Gateway, kind: str, sent: list[bytes], left: list[bytes]
) -> None:
    headers = [*UPGRADE, *((b"Sec-WebSocket-Protocol", value) for value in sent)]
    assert appears(MARKER, gateway.send(PLAIN, headers))
    seen = gateway.send(kind, headers)
    assert appears("openai-insecure-api-key", seen) == appears(MARKER, seen) == []
    values = seen.values("sec-websocket-protocol")
    assert [part.strip() for part in b",".join(values).split(b",") if part] == left
    # An empty list of protocols is no list.
    assert all(values)
    assert seen.values(HEADERS[kind]) == [header_value(kind, KEY)]


def test_protocols_without_a_key_stay_byte_for_byte(gateway: Gateway) -> None:
    values = [b"realtime,openai-beta.realtime-v1 ,  x", b"openai-insecure-api-keys", b"y"]
    headers = [*UPGRADE, *((b"Sec-WebSocket-Protocol", value) for value in values)]
    assert gateway.send("APIKey", headers).values("sec-websocket-protocol") == values


@pytest.mark.parametrize("kind", TYPES)
def test_a_tunnel_gets_the_key_and_works(gateway: Gateway, kind: str) -> None:
    name = host(kind) + b":443"
    headers = [(b"Host", name), (b"Proxy-Authorization", M), (b"X-Api-Key", M)]
    line = b"CONNECT " + name + b" HTTP/1.1"
    talk = converse(gateway.envoy.port(), line, headers, b"\x16\x03\x01 any bytes")
    assert (talk.status, talk.echo) == (200, b"\x16\x03\x01 any bytes")
    (seen,) = gateway.upstream.wait_for_begun()
    assert (seen.method, seen.authority) == ("CONNECT", name)
    assert seen.values(HEADERS[kind]) == [header_value(kind, KEY)]
    assert appears(MARKER, seen) == []


def test_upgrades_and_tunnels_for_an_unknown_backend_are_refused(gateway: Gateway) -> None:
    port, name = gateway.envoy.port(), host(UNKNOWN)
    websocket = converse(port, b"GET / HTTP/1.1", [(b"Host", name), *UPGRADE], b"")
    tunnel = converse(port, b"CONNECT " + name + b":443 HTTP/1.1", [(b"Host", name)], b"")
    for answer in (websocket, tunnel):
        assert answer.status == 500
        assert b"application/json" in answer.head
    assert gateway.upstream.begun == []
    # The gateway does work.
    gateway.send("APIKey", UPGRADE)


@pytest.mark.parametrize("kind", TYPES)
def test_a_websocket_over_http2_gets_the_key(
    kind: str, upstream: Upstream, start_envoy: Callable[..., Envoy]
) -> None:
    upstream.on(None, lambda _request: Reply(200, body=[b"\x81\x02hi"]))
    (backend,) = clusters({kind: plugin()}, upstream.port, http2=True)
    options = backend["typed_extension_protocol_options"][PROTOCOL_OPTIONS]
    options["explicit_http_config"]["http2_protocol_options"]["allow_connect"] = True
    envoy = start_envoy(bootstrap([listener(routes([kind]), hcm=UPGRADES)], [backend]))
    headers = [
        (b"Host", host(kind)),
        *UPGRADE,
        (b"Authorization", M),
        (b"Sec-WebSocket-Protocol", b"realtime, " + IN_PROTOCOL),
    ]
    talk = converse(envoy.port(), b"GET /v1?key=" + M + b" HTTP/1.1", headers, b"\x81\x02hi")
    assert (talk.status, talk.echo) == (101, b"\x81\x02hi")
    (seen,) = upstream.wait_for_begun()
    assert (seen.method, seen.protocol, seen.target) == ("CONNECT", "websocket", b"/v1")
    assert seen.values(HEADERS[kind]) == [header_value(kind, KEY)]
    assert seen.values("sec-websocket-protocol") == [b"realtime"]
    assert appears(MARKER, seen) == []
