"""Requests that no library sends: they work or are refused, and never leave without the key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import raw
from bootstrap import Config, route
from gateway import Gateway, appears, running
from manifests import HEADERS, config, header_value, keyed
from wire import Header, Request

MARKER = "of-the-caller-0d9e"
KEY = "of-the-gateway-b144"
M = MARKER.encode()
KIND = "AnthropicAPIKey"

MINE: list[Header] = [(b"x-api-key", M), (b"authorization", b"Bearer " + M), (b"cookie", M)]
LONG = b"/" + b"a" * 50_000
TOO_LONG = b"/" + b"a" * 200_000
REWRITTEN = ["", "*", "v1", "/", "//", "http://other.test/v1", "/v1?a=b", "?", "/\t"]
MANY = [(b"x-number-%d" % number, b"%d" % number) for number in range(200)]


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """An Envoy that lets pass whatever it can, all of it to one backend, over either version."""
    everything: list[Config] = [
        {"match": match, "route": {"cluster": KIND}}
        for match in ({"connect_matcher": {}}, {"safe_regex": {"regex": ".*"}})
    ]
    everything[:0] = [
        {
            "match": {"prefix": f"/rewritten/{number}/"},
            "route": {
                "cluster": KIND,
                "regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": path},
            },
        }
        for number, path in enumerate(REWRITTEN)
    ]
    hcm: Config = {
        # Envoy waits this long after a protocol error before it closes.
        "delayed_close_timeout": "0.01s",
        "common_http_protocol_options": {"max_headers_count": 1000},
        "http_protocol_options": {"accept_http_10": True, "allow_absolute_url": True},
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
    }
    plugin = config(keyed("odd", KIND, KEY, [KIND]))
    with running({KIND: plugin}, http2=request.param, hcm=hcm, first=everything) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Iterator[Gateway]:
    """The same with nothing recorded; it still serves when the test is over."""
    shared.upstream.reset()
    yield shared
    for seen in shared.upstream.begun:
        holds(seen)
    shared.upstream.reset()
    holds(shared.send(KIND, MINE))


def holds(seen: Request) -> None:
    """The request left with the key, once, and with nothing of the caller's."""
    assert seen.values(HEADERS[KIND]) == [header_value(KIND, KEY)]
    assert appears(MARKER, seen) == []


def works(gateway: Gateway, answer: raw.Response) -> Request:
    """The request was forwarded, with the key."""
    assert answer.status == 200, answer
    seen = gateway.upstream.only()
    holds(seen)
    return seen


def works_or_is_refused(gateway: Gateway, answer: raw.Response) -> None:
    """The request was forwarded with the key, or answered with 4xx, or its stream was reset."""
    begun = gateway.upstream.begun
    if answer.status in (101, 200):
        assert len(begun) == 1
        holds(begun[0])
    else:
        assert answer.status == 0 or 400 <= answer.status < 500, answer
        assert begun == []


def ask(gateway: Gateway, method: bytes, target: bytes, *headers: Header) -> raw.Response:
    """Over HTTP/1.1, with credentials of the caller's own."""
    fields = [(b"host", b"api.test"), *MINE, *headers]
    return raw.request(gateway.envoy.port(), method, target, fields)


def test_header_values_that_are_no_text_pass_as_they_are(gateway: Gateway) -> None:
    odd = [(b"x-latin", b"caf\xe9"), (b"x-bytes", b"\x80\xff\xfe\xc0\xaf"), (b"x-tab", b"a\tb")]
    seen = works(gateway, ask(gateway, b"GET", b"/v1", *odd))
    assert [header for header in seen.headers if header in odd] == odd


def test_two_hundred_headers_pass_and_keep_their_order(gateway: Gateway) -> None:
    seen = works(gateway, ask(gateway, b"GET", b"/v1", *MANY))
    assert [header for header in seen.headers if header[0].startswith(b"x-number")] == MANY


def test_a_hundred_credentials_are_removed(gateway: Gateway) -> None:
    sent = [(b"X-Aigw-%d" % number, M) for number in range(100)]
    sent += [(b"x-goog-api-key", M + b"%d" % number) for number in range(100)]
    query = b"&".join([b"key=" + M] * 500)
    seen = works(gateway, ask(gateway, b"GET", b"/v1?" + query + b"&a=b", *sent))
    assert seen.target == b"/v1?a=b"


def test_a_very_long_header_and_a_very_long_path_pass(gateway: Gateway) -> None:
    seen = works(gateway, ask(gateway, b"GET", LONG + b"?key=" + M))
    assert seen.target == LONG
    gateway.upstream.clear()
    seen = works(gateway, ask(gateway, b"GET", b"/", (b"x-long", LONG)))
    assert seen.header("x-long") == LONG.decode()


@pytest.mark.parametrize(
    "target",
    [b"//", b"///v1//x", b"/%00%ff", b"/.", b"/a/../..", b"/;x=1", b"/%2F%2f", b"/?", b"/??"],
    ids=repr,
)
def test_odd_paths_pass_as_they_are(gateway: Gateway, target: bytes) -> None:
    assert works(gateway, ask(gateway, b"GET", target)).target == target


@pytest.mark.parametrize(
    "target",
    [
        b"http://api.test/v1?key=" + M,
        b"http://caller:" + M + b"@api.test/v1",
        b"HTTP://api.test/v1",
    ],
    ids=["query", "user", "scheme"],
)
def test_an_absolute_address_works_like_its_path(gateway: Gateway, target: bytes) -> None:
    seen = works(gateway, ask(gateway, b"GET", target))
    assert (seen.target, seen.authority) == (b"/v1", b"api.test")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b""),
        (b"GET", b"*"),
        (b"OPTIONS", b"*"),
        (b"GET", b"v1"),
        (b"GET", b"?key=" + M),
        (b"GET", b"/v1#key=" + M),
        (b"GET", b"/\xff\xfe"),
        (b"GET", b"/v1?key=\xff" + M),
        (b"GET", b"/a b"),
        (b"GET", b"/\x00"),
        (b"GET", b"http://"),
        (b"GET", b"http:///v1"),
        (b"GET", TOO_LONG),
        (b"BREW", b"/v1"),
        (b"get", b"/v1"),
        (b"CONNECT", b"/v1"),
        (b"CONNECT", b"api.test:443"),
        (b"TRACE", b"/v1"),
        (b"PRI", b"*"),
    ],
    ids=lambda text: text[:24].decode("latin-1"),
)
def test_a_strange_request_line_works_or_is_refused(
    gateway: Gateway, method: bytes, target: bytes
) -> None:
    works_or_is_refused(gateway, ask(gateway, method, target))


@pytest.mark.parametrize(
    "number", range(len(REWRITTEN)), ids=lambda number: repr(REWRITTEN[number])
)
def test_a_path_that_a_route_makes_strange_leaves_with_the_key_or_not_at_all(
    gateway: Gateway, number: int
) -> None:
    answer = ask(gateway, b"GET", b"/rewritten/%d/?a=b&key=" % number + M)
    seen = gateway.upstream.begun
    # Envoy answers 503 to a path that its own codec does not write.
    assert (answer.status, len(seen)) in [(200, 1), (400, 0), (503, 0)], answer
    for request in seen:
        holds(request)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"connection", b"close, x-api-key, authorization")],
        [(b"connection", b"x-api-key")],
        [(b"x-api-key", b"\x00")],
        [(b"x-api-key ", M)],
        [(b" x-api-key", M)],
        [(b"x-api-key", b"a\r\n b")],
        [(b"x_api_key", b"not ours")],
        [(b"", b"no name")],
        [(b":path", b"/other")],
        [(b":authority", b"other")],
        [(b"host", b"other")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
        [(b"content-length", b"0"), (b"content-length", b"0")],
        [(b"expect", b"100-continue")],
        [(b"upgrade", b"websocket"), (b"connection", b"upgrade")],
        [(b"upgrade", b"h2c"), (b"connection", b"upgrade, http2-settings")],
        [(b"x-envoy-original-path", b"/?a=b")],
        [(b"x-envoy-max-retries", b"5"), (b"x-envoy-retry-on", b"5xx")],
    ],
    ids=lambda headers: " ".join(name.decode() or "empty" for name, _ in headers),
)
def test_strange_headers_work_or_are_refused(gateway: Gateway, headers: list[Header]) -> None:
    works_or_is_refused(gateway, ask(gateway, b"GET", b"/v1", *headers))


def test_http_1_0_gets_the_key_too(gateway: Gateway) -> None:
    fields = b"\r\nhost: api.test\r\nx-api-key: " + M
    head = b"GET /v1?key=" + M + b" HTTP/1.0" + fields + b"\r\n\r\n"
    assert works(gateway, raw.exchange(gateway.envoy.port(), head)).target == b"/v1"


USUAL: dict[bytes, bytes] = {
    b":method": b"GET",
    b":scheme": b"http",
    b":authority": b"api.test",
    b":path": b"/v1",
}


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        *[({name: None}, []) for name in USUAL],
        *[({name: b""}, []) for name in USUAL],
        *[({b":path": path}, []) for path in (b"*", b"v1", b"//", b"?", b"/\x00", LONG)],
        ({b":path": b"http://api.test/v1?key=" + M}, []),
        ({b":path": b"/v1#" + M}, []),
        ({b":authority": b"caller:" + M + b"@api.test"}, []),
        ({b":authority": b"api.test:0,x"}, []),
        ({b":scheme": b"ftp"}, []),
        ({b":method": b"CONNECT"}, []),
        ({b":method": b"CONNECT", b":path": None, b":scheme": None}, []),
        ({b":method": b"CONNECT", b":protocol": b"websocket"}, []),
        ({b":protocol": b"websocket"}, []),
        ({b":unknown": b"1"}, []),
        ({b":status": b"200"}, []),
        ({}, [(b":path", b"/other?key=" + M)]),
        ({}, [(b":method", b"POST")]),
        ({}, [(b"host", b"other.test")]),
        ({}, [(b"X-Api-Key", M)]),
        ({}, [(b"connection", b"x-api-key")]),
        ({}, [(b"x-api-key", b"\x00" + M)]),
        ({}, [(b"", b"no name")]),
        ({}, [(b"x-\xff", b"1")]),
        ({}, MANY),
    ],
    ids=lambda value: str(value)[:50],
)
def test_strange_pseudo_headers_of_http2_work_or_are_refused(
    gateway: Gateway, changed: dict[bytes, bytes | None], more: list[Header]
) -> None:
    pseudo = [(name, value) for name, value in (USUAL | changed).items() if value is not None]
    tunnel = changed.get(b":method") == b"CONNECT"
    port, pieces = gateway.envoy.port(), [b"ping"] if tunnel else []
    answer = raw.request_h2(port, [*pseudo, *MINE, *more], pieces, end=not tunnel)
    works_or_is_refused(gateway, answer)


def test_trailers_and_a_body_in_pieces_pass(gateway: Gateway) -> None:
    gateway.upstream.clear()
    pieces = [b"key=", b"", b"\x00" * 5000]
    headers = [*(USUAL | {b":method": b"POST"}).items(), *MINE]
    answer = raw.request_h2(gateway.envoy.port(), headers, pieces, [(b"x-sum", b"1")])
    seen = works(gateway, answer)
    assert seen.body == b"".join(pieces)


def test_a_path_of_http2_that_is_no_text_passes_as_it_is() -> None:
    plugin = config(keyed("odd", KIND, KEY, [KIND]))
    headers = [*(USUAL | {b":path": b"/\xff?key=\xfe" + M + b"&a=\x80"}).items(), *MINE]
    with running({KIND: plugin}, http2=True, first=[route("/", KIND)]) as gateway:
        seen = works(gateway, raw.request_h2(gateway.envoy.port(), headers))
    assert seen.target == b"/\xff?a=\x80"


def test_a_request_with_too_many_headers_is_refused_by_envoy() -> None:
    # The usual limit of Envoy is 100.
    with running({KIND: config(keyed("odd", KIND, KEY, [KIND]))}) as gateway:
        assert gateway.ask(KIND, MANY).status == 431
        assert gateway.upstream.begun == []
        holds(gateway.send(KIND, MANY[:50]))
