"""Credentials of callers are removed, whatever the policy's type, and the rest is untouched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import raw
from gateway import PLAIN, Gateway, appears, host, others, running
from manifests import HEADERS, TYPES, config, header_value, keyed
from wire import Header

MARKER = "of-the-caller-e5c1"
KEY = "of-the-gateway-92fa"
M = MARKER.encode()

CREDENTIALS = [
    b"Authorization",
    b"Proxy-Authorization",
    b"Cookie",
    b"X-Api-Key",
    b"Api-Key",
    b"X-Goog-Api-Key",
    b"Ocp-Apim-Subscription-Key",
    b"X-Amz-Date",
    b"X-Amz-Security-Token",
    b"X-Amz-Content-Sha256",
    b"X-Aigw-Anything",
    b"X-Aigw-",
]
CASES = {"lower": bytes.lower, "upper": bytes.upper, "title": bytes, "mixed": bytes.swapcase}

UNTOUCHED: list[Header] = [
    (b"user-agent", b"  test/1.0 (a; b)"),
    (b"accept", b"text/event-stream,*/*"),
    (b"openai-organization", b"org-1"),
    (b"openai-project", b"proj-1"),
    (b"x-goog-user-project", b"billing"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"one"),
    (b"x-api-keys", b"1"),
    (b"x-api_key", b"2"),
    (b"my-api-key", b"3"),
    (b"authorization-info", b"4"),
    (b"x-authorization", b"5"),
    (b"set-cookie", b"6"),
    (b"x-amz-target", b"7"),
    (b"x-amz-dates", b"8"),
    (b"x-aig-w", b"9"),
    (b"anthropic-beta", b"two,  three"),
    (b"x-bytes", b"caf\xe9 \xff\xfe"),
    (b"x-empty", b""),
    (b"accept-language", b"de;q=0.5, en"),
]

REMOVED = [
    *[name + b"=" + M for name in (b"key", b"api_key", b"api-key", b"access_token")],
    b"subscription-key=" + M,
    b"X-Amz-Signature=" + M,
    b"X-Amz-Credential=" + M + b"%2F20260101%2Fus-east-1",
    b"x-amz-security-token=" + M,
    b"X-AMZ-=" + M,
    b"KEY=" + M,
    b"Api_Key=" + M,
    b"ACCESS_TOKEN=" + M,
    b"%6bey=" + M,
    b"%4B%65%59=" + M,
    b"api%5Fkey=" + M,
    b"api%2dkey=" + M,
    b"access%5ftoke%6E=" + M,
    b"subscription%2Dkey=" + M,
    b"x%2Damz%2dDate=" + M,
    b"key=" + M + b"=" + M,
]
KEPT = [
    b"a=1",
    b"",
    b"keys=2&monkey=3&key2=4&xkey=5&apikey=6",
    b"api_keys=7&access_tokens=8&x-amz=9&xx-amz-date=10&x_amz_date=11",
    b"q=%6bey%3D1&q=key=1&q=a%26key%3Db",
    b"%256bey=12&%2zkey=13&%=14&%6=15",
    b"a%2f%2F+b=c%20d+e&&=&",
    b'u=%e4%f6&a?key=16&"<>^`{|}\\;key=17',
]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A backend of each type, `keep-<type>` with `clientCredentials: Keep`, and a plain one."""
    policies = [keyed(kind.lower(), kind, KEY, [kind, f"keep-{kind}"]) for kind in TYPES]
    keep = config(*policies, clientCredentials="Keep")
    plugins = {f"keep-{kind}": keep for kind in TYPES}
    with running({**dict.fromkeys(TYPES, config(*policies)), **plugins, PLAIN: None}) as gateway:
        yield gateway


def ours(kind: str) -> Header:
    """The header that a provider must see."""
    return HEADERS[kind].encode(), header_value(kind, KEY)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", TYPES)
def test_every_credential_header_of_the_caller_is_removed(
    gateway: Gateway, kind: str, case: str
) -> None:
    sent = [(CASES[case](name), M) for name in CREDENTIALS]
    names = {name.lower().decode() for name in CREDENTIALS}
    assert set(appears(MARKER, gateway.send(PLAIN, sent))) == names
    seen = gateway.send(kind, sent)
    assert appears(MARKER, seen) == []
    assert [header for header in seen.headers if header[0].decode() in names] == [ours(kind)]


@pytest.mark.parametrize("name", CREDENTIALS, ids=bytes.decode)
def test_a_credential_header_that_occurs_often_is_removed_as_often(
    gateway: Gateway, name: bytes
) -> None:
    often = [(name, M + b"-1"), (b"x-between", b"1"), (name.upper(), b""), (name, M + b"-2")]
    assert b",".join(gateway.send(PLAIN, often).values(name.decode())).count(M) == 2
    for kind in TYPES:
        seen = gateway.send(kind, often)
        assert appears(MARKER, seen) == []
        assert seen.values("x-between") == [b"1"]
        expected = [ours(kind)[1]] if name.lower() == ours(kind)[0] else []
        assert seen.values(name.decode()) == expected, kind
        assert seen.values(HEADERS[kind]) == [ours(kind)[1]]


@pytest.mark.parametrize("kind", TYPES)
def test_credentials_that_are_no_text_are_removed_too(gateway: Gateway, kind: str) -> None:
    sent = [(name, b"\xff\xfe" + M + b"\x80") for name in CREDENTIALS]
    seen = gateway.send(kind, sent, b"/%e9?key=%ff" + M + b"&a=%ff")
    assert appears(MARKER, seen) == []
    assert seen.target == b"/%e9?a=%ff"
    assert seen.values(HEADERS[kind]) == [ours(kind)[1]]


@pytest.mark.parametrize("kind", TYPES)
def test_credential_headers_of_an_http2_caller_are_removed(gateway: Gateway, kind: str) -> None:
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", host(kind)),
        (b":path", b"/v1?key=" + M),
        # Over HTTP/2 a cookie may come in crumbs.
        (b"cookie", b"a=" + M),
        (b"cookie", b"b=" + M),
        *[(name.lower(), M) for name in CREDENTIALS],
    ]
    gateway.upstream.clear()
    assert raw.request_h2(gateway.envoy.port(), fields, [b"body"]).status == 200
    seen = gateway.upstream.only()
    assert appears(MARKER, seen) == []
    assert (seen.target, seen.body) == (b"/v1", b"body")
    assert seen.values(HEADERS[kind]) == [ours(kind)[1]]


@pytest.mark.parametrize("kind", TYPES)
def test_all_other_headers_stay_byte_for_byte_and_in_their_order(
    gateway: Gateway, kind: str
) -> None:
    sent = [*UNTOUCHED[:7], (b"X-API-KEY", M), *UNTOUCHED[7:], (b"cookie", M)]
    plain = gateway.send(PLAIN, UNTOUCHED)
    seen = gateway.send(kind, sent, b"/v1/models", b"POST", b"\x00 key=1 \xff")
    # Envoy does nothing to them either, but for white space around a value.
    assert [header for header in plain.headers if header in tidy()] == tidy()
    body_and_key = (HEADERS[kind], "content-length")
    assert others(seen, *body_and_key) == others(plain)
    assert seen.body == b"\x00 key=1 \xff"


def tidy() -> list[Header]:
    """What a caller sends, without the white space around values."""
    return [(name, value.strip()) for name, value in UNTOUCHED]


@pytest.mark.parametrize("kind", TYPES)
def test_credentials_in_the_query_are_removed_and_the_rest_stays_byte_for_byte(
    gateway: Gateway, kind: str
) -> None:
    for number, removed in enumerate(REMOVED):
        kept = KEPT[number % len(KEPT)]
        cases = {
            b"/v1?" + removed + b"&" + kept: b"/v1?" + kept,
            b"/v1?" + kept + b"&" + removed: b"/v1?" + kept,
            b"//?a=b&" + removed + b"&" + removed + b"&c=%2f": b"//?a=b&c=%2f",
        }
        for target, expected in cases.items():
            seen = gateway.send(kind, [], target)
            assert seen.target == expected, target
            assert appears(MARKER, seen) == [], target
    assert seen.values(HEADERS[kind]) == [ours(kind)[1]]


@pytest.mark.parametrize("kind", TYPES)
def test_a_query_of_nothing_but_credentials_is_gone(gateway: Gateway, kind: str) -> None:
    bare = [b"key", b"key=", b"KEY&api_key="]
    for query in [b"&".join(REMOVED), *bare]:
        seen = gateway.send(kind, [], b"/v1/models?" + query)
        assert (seen.path, seen.query) == ("/v1/models", b""), query


@pytest.mark.parametrize("kind", TYPES)
def test_other_query_parameters_and_paths_are_left_alone(gateway: Gateway, kind: str) -> None:
    targets = [b"/v1?" + kept for kept in KEPT]
    targets += [b"/key=1/api_key=2;key=3", b"/v1/", b"/%6bey?", b"/a//b/./c/../d?x=%00", b"/?/?"]
    for target in targets:
        seen = gateway.send(kind, [], target)
        assert seen.target == target
        assert seen.values(HEADERS[kind]) == [ours(kind)[1]]


def test_a_key_in_the_query_does_not_arrive_in_the_path_before_the_rewriting(
    gateway: Gateway,
) -> None:
    # A route that rewrites the path has Envoy add x-envoy-original-path, with the query.
    gateway.upstream.clear()
    answer = raw.request(gateway.envoy.port(), target=b"/APIKey/v1?a=1&key=" + M)
    assert answer.status == 200
    seen = gateway.upstream.only()
    assert (seen.target, seen.header("authorization")) == (b"/v1?a=1", f"Bearer {KEY}")
    assert appears(MARKER, seen) == []


@pytest.mark.parametrize("kind", TYPES)
def test_keep_replaces_the_written_header_alone(gateway: Gateway, kind: str) -> None:
    protocols = [(b"sec-websocket-protocol", b"a, openai-insecure-api-key." + M)]
    sent = [(name, M) for name in CREDENTIALS]
    sent = [*sent, *UNTOUCHED, *protocols, *sent]
    target = b"/v1?" + b"&".join([*KEPT, *REMOVED])
    plain = gateway.send(PLAIN, sent, target)
    seen = gateway.send(f"keep-{kind}", sent, target)
    assert b",".join(plain.values(HEADERS[kind])).count(M) == 2
    assert seen.values(HEADERS[kind]) == [ours(kind)[1]]
    assert others(seen, HEADERS[kind]) == others(plain, HEADERS[kind])
    assert seen.target == plain.target == target


@pytest.mark.parametrize("kind", TYPES)
def test_a_key_comes_without_the_white_space_around_it(kind: str) -> None:
    plugin = config(keyed("padded", kind, f" \t\r\n {KEY} inner\n\n", ["padded"]))
    with running({"padded": plugin}) as gateway:
        seen = gateway.send("padded")
    assert seen.values(HEADERS[kind]) == [header_value(kind, f"{KEY} inner")]
