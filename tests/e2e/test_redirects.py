"""Internal redirects, which carry the headers of the first hop into a new request; and requests on
one connection, which carry nothing from one to the next."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
import pytest

import raw
from bootstrap import Config, bootstrap, cluster, listener, wasm_filter
from envoy import Envoy
from gateway import appears, assert_no_panic, host
from launch import poll
from providers import (
    KINDS,
    MARKER,
    M,
    Providers,
    assert_nothing_of,
    assert_own,
    by_host,
    credentials,
    ours,
    plugin,
    three_providers,
)
from wire import Header, Request

REDIRECTS = {
    "max_internal_redirects": 3,
    "redirect_response_codes": [301, 302, 303, 307, 308],
}
MODES: dict[str, Config] = {
    "strip": plugin("a", "b", "c", targets=["{}-strip"]),
    "keep": plugin("a", "b", "c", targets=["{}-keep"], clientCredentials="Keep"),
    "allow": plugin("a", "c", targets=["{}-allow"], unmatchedBackend="Allow"),
}
THEIRS: list[Header] = [
    (b"Authorization", b"Bearer " + M),
    (b"authorization", b"Basic " + M),
    (b"x-api-key", M),
    (b"api-key", M),
    (b"cookie", b"session=" + M),
]
IN_LOCATION = "of-the-location-91ba"


@dataclass
class Rig:
    """A running Envoy; the host `<provider>-<mode>.test` leads to the cluster of that name."""

    envoy: Envoy
    providers: Providers

    def ask(
        self,
        cluster: str,
        target: bytes,
        headers: Sequence[Header] = THEIRS,
        method: bytes = b"GET",
        body: bytes = b"",
    ) -> raw.Response:
        """One request on a connection of its own."""
        fields = [(b"host", host(cluster)), *headers]
        return raw.request(self.envoy.port(), method, target, fields, body)

    def redirect(self, provider: str, cluster: str, target: str, status: int = 302) -> None:
        """Lets a provider send its next caller to a cluster."""
        location = f"http://{host(cluster).decode()}{target}"
        self.providers[provider].reply_with(status, {"location": location}, times=1)

    def seen(self, provider: str, count: int = 1) -> list[Request]:
        """The requests of a provider."""
        requests = self.providers[provider].begun
        assert len(requests) == count, requests
        return requests


@pytest.fixture(scope="module")
def running() -> Iterator[Rig]:
    """Three providers in three modes."""
    with three_providers() as providers:
        routes, clusters = [], []
        for mode, settings in MODES.items():
            for provider, upstream in providers.items():
                name = f"{provider}-{mode}"
                routes.append(by_host(name, name, internal_redirect_policy=REDIRECTS))
                filters = [wasm_filter(settings, name=mode)]
                clusters.append(cluster(name, [upstream.port], filters=filters))
        front = listener(routes, access_log_format="%REQ(X-SEQUENCE)% %CONNECTION_ID%")
        with Envoy(bootstrap([front], clusters)) as envoy:
            yield Rig(envoy, providers)
            assert_no_panic(envoy)


@pytest.fixture
def rig(running: Rig) -> Rig:
    """The same with nothing recorded and nothing scripted."""
    for upstream in running.providers.values():
        upstream.reset()
    return running


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_provider_carries_its_key_alone(rig: Rig, status: int) -> None:
    rig.redirect("a", "b-strip", f"/next?key={IN_LOCATION}&z=%2f&api%5fkey={IN_LOCATION}", status)
    body = b'{"model": "m"}'
    headers = [*THEIRS, (b"content-type", b"application/json")]
    answer = rig.ask("a-strip", b"/v1?key=" + M + b"&y=%2F", headers, b"POST", body)
    assert answer.status == 200
    (first,), (second,) = rig.seen("a"), rig.seen("b")
    assert_own(first, "a")
    assert_own(second, "b")
    assert (first.target, second.target) == (b"/v1?y=%2F", b"/next?z=%2f")
    assert second.body == (b"" if status == 303 else body)
    for seen in (first, second):
        assert appears(MARKER, seen) == appears(IN_LOCATION, seen) == []


def test_a_chain_of_redirects_carries_the_key_of_each_provider_alone(rig: Rig) -> None:
    rig.redirect("a", "b-strip", f"/2?key={IN_LOCATION}&n=2")
    rig.redirect("b", "c-strip", f"/3?n=3&key={IN_LOCATION}")
    rig.redirect("c", "a-strip", "/4?n=4")
    assert rig.ask("a-strip", b"/1?n=1&key=" + M).status == 200
    (first, fourth), (second,), (third,) = rig.seen("a", 2), rig.seen("b"), rig.seen("c")
    for seen, name in ((first, "a"), (second, "b"), (third, "c"), (fourth, "a")):
        assert_own(seen, name)
        assert appears(MARKER, seen) == appears(IN_LOCATION, seen) == []
    targets = [seen.target for seen in (first, second, third, fourth)]
    assert targets == [b"/1?n=1", b"/2?n=2", b"/3?n=3", b"/4?n=4"]


def test_a_redirect_under_keep_loses_the_key_of_the_first_provider(rig: Rig) -> None:
    rig.redirect("a", "b-keep", f"/next?key={IN_LOCATION}")
    kept: list[Header] = [(b"api-key", M), (b"cookie", b"session=" + M), (b"x-aigw-x", M)]
    sent = [*kept, (b"authorization", b"Bearer " + M), (b"x-api-key", M)]
    assert rig.ask("a-keep", b"/v1?key=" + M, sent).status == 200
    (first,), (second,) = rig.seen("a"), rig.seen("b")
    assert_own(first, "a", beside=[*kept, (b"x-api-key", M)])
    assert_own(second, "b", beside=kept)
    assert first.target == b"/v1?key=" + M
    assert second.target == f"/next?key={IN_LOCATION}".encode()


def test_a_redirect_to_a_provider_without_a_policy_loses_the_key_and_keeps_its_own_path(
    rig: Rig,
) -> None:
    # The path is the one that the first attempt left: it must not be taken for it.
    rig.redirect("a", "b-allow", "/v1?y=1")
    assert rig.ask("a-allow", b"/v1?key=" + M + b"&y=1").status == 200
    (first,), (second,) = rig.seen("a"), rig.seen("b")
    assert_own(first, "a")
    assert first.target == b"/v1?y=1"
    assert credentials(second) == []
    assert_nothing_of(second, *KINDS)
    assert second.target == b"/v1?y=1"


def test_a_redirect_to_a_provider_without_a_policy_carries_the_query_of_the_location(
    rig: Rig,
) -> None:
    rig.redirect("a", "b-allow", f"/next?key={IN_LOCATION}")
    assert rig.ask("a-allow", b"/v1?key=" + M).status == 200
    (second,) = rig.seen("b")
    assert second.target == f"/next?key={IN_LOCATION}".encode()
    assert credentials(second) == []
    assert_nothing_of(second, *KINDS)


def test_a_redirect_from_a_provider_without_a_policy_leaves_the_credentials_of_the_caller_behind(
    rig: Rig,
) -> None:
    rig.redirect("b", "a-allow", "/next?z=1")
    assert rig.ask("b-allow", b"/v1?key=" + M).status == 200
    (first,), (second,) = rig.seen("b"), rig.seen("a")
    assert first.target == b"/v1?key=" + M
    assert_own(second, "a")
    assert second.target == b"/next?z=1"
    # Envoy tells the address of the first hop in x-envoy-original-url.
    assert appears(MARKER, second) == []


def test_a_redirect_that_is_not_followed_reaches_the_caller_without_the_key(rig: Rig) -> None:
    rig.redirect("a", "nowhere", "/next")
    answer = rig.ask("a-strip", b"/v1")
    assert answer.status == 302
    (first,) = rig.seen("a")
    assert_own(first, "a")
    assert ours("a")[1] not in b"".join(value for _, value in answer.headers) + answer.body


# On one connection each of these follows the one before.
SEQUENCE: list[tuple[str, bytes, list[Header]]] = [
    ("a-strip", b"/p?key=" + M + b"&z=1", THEIRS),
    ("b-allow", b"/p?z=1", [(b"authorization", b"Bearer " + M)]),
    ("a-allow", b"/p?key=" + M + b"&z=1", []),
    ("b-allow", b"/p?z=1", [(b"authorization", b"Bearer " + M), (b"x-api-key", M)]),
    ("b-keep", b"/p?z=1", [(b"authorization", b"Bearer " + M)]),
    ("a-keep", b"/p?z=1", [(b"x-api-key", M)]),
    ("b-strip", b"/p?z=1", []),
]


def check_sequence(rig: Rig, sequence: str) -> None:
    """What the providers saw of one sequence, and that it went over one connection."""
    a, b = rig.providers["a"].requests, rig.providers["b"].requests
    assert len(a) + len(b) == len(SEQUENCE)
    assert_own(a[0], "a")
    assert_own(a[1], "a")
    assert_own(a[2], "a", beside=[(b"x-api-key", M)])
    assert credentials(b[0]) == [(b"authorization", b"Bearer " + M)]
    assert credentials(b[1]) == [(b"authorization", b"Bearer " + M), (b"x-api-key", M)]
    assert_own(b[2], "b", beside=[(b"authorization", b"Bearer " + M)])
    assert_own(b[3], "b")
    assert {request.target for request in [*a, *b]} == {b"/p?z=1"}

    def connections() -> list[str]:
        lines = [line.split() for line in rig.envoy.access_log_lines()]
        return [connection for label, connection in lines if label == sequence]

    poll(lambda: len(connections()) == len(SEQUENCE), 10)
    assert len(set(connections())) == 1


def test_a_request_leaves_nothing_for_the_next_one_on_its_http1_connection(rig: Rig) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", rig.envoy.port(), timeout=15)
    for name, target, headers in SEQUENCE:
        connection.putrequest("GET", target.decode(), skip_host=True)
        connection.putheader("host", host(name))
        connection.putheader("x-sequence", "one")
        for header in headers:
            connection.putheader(*header)
        connection.endheaders()
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
    connection.close()
    check_sequence(rig, "one")


def test_a_request_leaves_nothing_for_the_next_one_on_its_http2_connection(rig: Rig) -> None:
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=15) as client:
        for name, target, headers in SEQUENCE:
            fields = [(b"host", host(name)), (b"x-sequence", b"two"), *headers]
            response = client.get(rig.envoy.url(target.decode()), headers=fields)
            assert (response.status_code, response.http_version) == (200, "HTTP/2")
    check_sequence(rig, "two")


def test_a_redirect_leaves_nothing_for_the_next_request_on_its_connection(rig: Rig) -> None:
    rig.redirect("a", "b-keep", "/next?z=1")
    with httpx.Client(trust_env=False, timeout=15) as client:
        for name in ("a-keep", "b-allow"):
            fields = [(b"host", host(name)), (b"authorization", b"Bearer " + M), (b"x-api-key", M)]
            assert client.get(rig.envoy.url("/next?z=1"), headers=fields).status_code == 200
    redirected, unmatched = rig.seen("b", 2)
    assert_own(redirected, "b")
    assert credentials(unmatched) == [(b"authorization", b"Bearer " + M), (b"x-api-key", M)]
