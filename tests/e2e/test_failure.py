"""Whatever callers send and operators change: no request leaves with another credential than its
own, and the filter never fails."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import pytest

import raw
from bootstrap import Config, bootstrap, cluster, listener, retry, route, wasm_filter
from envoy import Envoy
from gateway import appears, assert_no_panic, host
from manifests import config, keyed
from providers import (
    BY_ENDPOINT,
    CREDENTIALS,
    MARKER,
    M,
    Providers,
    assert_own,
    by_host,
    credentials,
    endpoint,
    plugin,
    three_providers,
)
from upstream import Upstream
from wire import Header, Request

Start = Callable[..., Envoy]

SEED = int(os.environ.get("AIGW_TEST_SEED", "20260131"))
"""The same requests every time; another seed makes others."""
COUNT = 300

SECRET_NAMES = [*sorted(CREDENTIALS), b"x-aigw-a", b"x-aigw-", b"x-aigw-api-key"]
SECRET_PARAMETERS = (
    b"key api_key api-key access_token subscription-key x-amz-signature X-Amz-Credential X-AMZ-"
).split()
HONEST_NAMES = (
    b"accept user-agent x-other anthropic-version x-api-keys my-api-key x-amz-target".split()
)
HONEST_PARAMETERS = b"a keys monkey key2 api_keys x-amz %256bey %zz %".split()
HONEST_VALUES = [
    b"",
    b"1",
    b"%6bey=1",
    b"a=b=c",
    b"%",
    b"%2",
    b"\xc3\xa9",
    b"\xff\xfe",
    b"key",
    b"?key=1",
]
SEGMENTS = [
    b"v1",
    b"",
    b".",
    b"..",
    b"a%2fb",
    b"%00",
    b"key=1",
    b"caf\xc3\xa9",
    b"\xff",
    b"a;b",
    b"x:y",
]


@dataclass
class Sent:
    """One random request."""

    number: int
    provider: str
    target: bytes
    headers: list[Header]
    body: bytes
    http2: bool

    @property
    def label(self) -> bytes:
        """By which the upstream's record of it is found."""
        return str(self.number).encode()

    def send(self, port: int) -> int:
        """The status of the answer."""
        own = (b"x-number", self.label)
        if not self.http2:
            fields = [(b"host", host(self.provider)), own, *self.headers]
            return raw.request(port, b"POST", self.target, fields, self.body).status
        pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", self.target)]
        pseudo.append((b":authority", host(self.provider)))
        fields = [(name.lower(), value.strip()) for name, value in self.headers]
        return raw.request_h2(port, [*pseudo, own, *fields], [self.body]).status


def random_request(number: int, chance: random.Random) -> Sent:
    """A request with some credentials of the caller, each with the marker, among other things."""
    headers: list[Header] = []
    for _ in range(chance.randrange(12)):
        if chance.random() < 0.6:
            name = bytes(
                chance.choice((byte, *bytes([byte]).upper()))
                for byte in chance.choice(SECRET_NAMES)
            )
            value = chance.choice(
                [M, b"Bearer " + M, b"", b"\xff" + M + b"\x80", M * 200, b'"' + M]
            )
        else:
            name, value = chance.choice(HONEST_NAMES), chance.choice(HONEST_VALUES)
        headers.append((name, value))
    if chance.random() < 0.2:
        offers = b"realtime, openai-insecure-api-key." + M
        headers.append((b"sec-websocket-protocol", offers))
    parameters = []
    for _ in range(chance.randrange(8)):
        if chance.random() < 0.5:
            name = chance.choice(SECRET_PARAMETERS)
            parameters.append(encoded(name, chance) + chance.choice([b"=", b"=="]) + M)
        else:
            parameters.append(
                chance.choice(HONEST_PARAMETERS) + b"=" + chance.choice(HONEST_VALUES)
            )
    target = b"/" + b"/".join(chance.choices(SEGMENTS, k=chance.randrange(4)))
    if parameters:
        target += b"?" + b"&".join(parameters)
    body = chance.randbytes(chance.choice([0, 1, 5000]))
    provider = chance.choice(["a", "b", "c", "ab", "ca", "unknown"])
    return Sent(number, provider, target, headers, body, chance.random() < 0.5)


def encoded(name: bytes, chance: random.Random) -> bytes:
    """The name with some letters in the other case and some percent-encoded."""
    ways = [bytes, bytes.swapcase, lambda letter: f"%{letter[0]:02x}".encode()]
    return b"".join(chance.choice(ways)(name[n : n + 1]) for n in range(len(name)))


def parameters(target: bytes) -> tuple[bytes, list[bytes]]:
    """The path, and the parameters that are not credentials, as the contract says."""

    def secret(parameter: bytes) -> bool:
        name = unquote_to_bytes(parameter.partition(b"=")[0]).lower()
        return name.startswith(b"x-amz-") or name in SECRET_PARAMETERS

    path, _, query = target.partition(b"?")
    return path, [one for one in query.split(b"&") if one and not secret(one)]


@pytest.fixture(scope="module")
def providers() -> Iterator[Providers]:
    """Three of them."""
    with three_providers() as three:
        yield three


def check(sent: Sent, status: int, arrived: dict[str, list[Request]]) -> None:
    """What arrived of a request is right in all things."""
    count = sum(map(len, arrived.values()))
    if sent.provider == "unknown":
        assert (status in (400, 500), count) == (True, 0)
        return
    # Envoy itself may refuse what is not HTTP.
    assert status in (200, 400), status
    assert count == (len(sent.provider) if status == 200 else 0)
    for name, requests in arrived.items():
        for request in requests:
            assert_own(request, name)
            assert appears(MARKER, request) == []
            assert request.body == sent.body
            path, kept = parameters(sent.target)
            assert request.target.partition(b"?")[0] == path
            assert [one for one in request.query.split(b"&") if one] == kept
            for honest in HONEST_NAMES:
                # Envoy itself joins some that occur twice.
                values = [value for header, value in sent.headers if header == honest and value]
                seen = b",".join(request.values(honest.decode())).split(b",")
                assert [value for value in seen if value] == values, honest


def test_random_requests_arrive_with_the_right_credential_alone(
    providers: Providers, start_envoy: Start
) -> None:
    """Each goes to one provider, or to one that fails and then to another. The providers speak
    HTTP/2, which takes any byte."""
    filters = [wasm_filter(plugin("a", "b", "c", backend=BY_ENDPOINT))]
    clusters, routes = [], []
    # Three at once are the default, and more than that happen here.
    retries = {"thresholds": [{"priority": "DEFAULT", "max_retries": 100}]}
    for name in ("a", "b", "c", "ab", "ca"):
        ends = [endpoint(providers[one], one, rank) for rank, one in enumerate(name)]
        clusters.append(cluster(name, ends, filters=filters, http2=True, circuit_breakers=retries))
        routes.append(by_host(name, name, retry=retry(1, next_priority=True)))
    clusters.append(cluster("unknown", [endpoint(providers["a"], "nobody")], filters=filters))
    routes.append(by_host("unknown", "unknown"))
    for name, upstream in providers.items():
        upstream.reset()
        first = [host(one) for one in ("ab", "ca") if one.startswith(name)]
        upstream.reply_with(503, path=lambda request, first=first: request.authority in first)
    envoy = start_envoy(bootstrap([listener(routes)], clusters))

    chance = random.Random(SEED)
    requests = [random_request(number, chance) for number in range(COUNT)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda sent: sent.send(envoy.port()), requests))

    arrived: dict[bytes, dict[str, list[Request]]] = {}
    for name, upstream in providers.items():
        for request in upstream.begun:
            (label,) = request.values("x-number")
            arrived.setdefault(label, {}).setdefault(name, []).append(request)
    for sent, status in zip(requests, statuses, strict=True):
        try:
            check(sent, status, arrived.get(sent.label, {}))
        except AssertionError as error:
            raise AssertionError(f"seed {SEED}: {sent}, status {status}: {error}") from error
    # The odd ones among them did not make all the others fail.
    assert statuses.count(200) > COUNT / 2
    assert_no_panic(envoy)
    assert MARKER not in envoy.log()
    assert (
        raw.request(envoy.port(), headers=[(b"host", host("b")), (b"x-number", b"-")]).status == 200
    )


def test_a_rewritten_path_does_not_leave_the_credentials_in_what_envoy_keeps_of_it(
    providers: Providers, start_envoy: Start
) -> None:
    """Envoy tells the provider the path from before a rewrite, in x-envoy-original-path."""
    upstream = providers["a"]
    upstream.reset()
    filters = [wasm_filter(plugin("a"))]
    routes = [route("/prefix/", "a", rewrite="/")]
    clusters = [cluster("a", [upstream.port], filters=filters)]
    envoy = start_envoy(bootstrap([listener(routes)], clusters))
    target = b"/prefix/v1?key=" + M + b"&z=%2f&x%2damz-signature=" + M
    assert raw.request(envoy.port(), target=target).status == 200
    seen = upstream.only()
    assert seen.target == b"/v1?z=%2f"
    assert_own(seen, "a")
    assert appears(MARKER, seen) == []


def test_no_request_leaves_without_a_credential_while_the_configuration_changes(
    upstream: Upstream, start_envoy: Start
) -> None:
    def clusters(key: str) -> list[Config]:
        settings = config(keyed("openai", "APIKey", key))
        return [cluster("openai", [upstream.port], filters=[wasm_filter(settings)])]

    keys = [f"sk-{number}" for number in range(6)]
    envoy = start_envoy(bootstrap([listener([route("/", "openai")])]), cds=clusters(keys[0]))
    done = threading.Event()

    def ask() -> list[int]:
        statuses = []
        while not done.is_set():
            headers = [(b"host", b"test"), (b"authorization", M), (b"x-api-key", M)]
            statuses.append(raw.request(envoy.port(), headers=headers).status)
        return statuses

    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(ask) for _ in range(3)]
        for number, key in enumerate(keys[1:], 1):
            assert envoy.update_cds(clusters(key))
            assert not envoy.update_cds(clusters("\n"))
            upstream.wait_for(len(upstream.requests) + 10)
            assert upstream.requests[-1].header("authorization") == f"Bearer {keys[number]}"
        done.set()
        statuses = [status for loop in loops for status in loop.result()]
    assert statuses.count(200) == len(upstream.requests) >= 50
    assert set(statuses) <= {200, 503}
    allowed = {(b"authorization", f"Bearer {key}".encode()) for key in keys}
    for request in upstream.requests:
        (header,) = credentials(request)
        assert header in allowed
    assert_no_panic(envoy)
