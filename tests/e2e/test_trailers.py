"""Trailers of HTTP/2, which a provider may merge into the headers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import raw
from bootstrap import bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from manifests import config, keyed
from upstream import Upstream

Start = Callable[..., Envoy]

HEADERS = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"api.test"),
    (b":path", b"/v1/chat/completions"),
]
TRAILERS = [
    (b"authorization", b"Bearer theirs"),
    (b"x-sum", b"1"),
    (b"x-api-key", b"theirs"),
    (b"cookie", b"theirs"),
    (b"x-aigw-api-key", b"theirs"),
]


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ("Strip", [(b"x-sum", b"1")]),
        ("Keep", [pair for pair in TRAILERS if pair[0] != b"authorization"]),
    ],
)
def test_a_credential_in_a_trailer_goes_the_way_of_the_one_in_a_header(
    setting: str, left: list[tuple[bytes, bytes]], upstream: Upstream, start_envoy: Start
) -> None:
    wasm = wasm_filter(config(keyed("up", key="ours"), clientCredentials=setting))
    envoy = start_envoy(
        bootstrap(
            [listener([route("/", "up")])],
            [cluster("up", [upstream.port], filters=[wasm], http2=True)],
        )
    )
    answer = raw.request_h2(envoy.port(), HEADERS, [b"{}"], TRAILERS)
    assert answer.status == 200
    seen = upstream.only()
    assert (seen.body, seen.values("authorization")) == (b"{}", [b"Bearer ours"])
    assert sorted(seen.trailers) == sorted(left)
