"""Many requests at once: each waits for a body of its own, and each is signed with it."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse

import pytest

from aws import OTHER, STATIC, TEMPORARY, bedrock, verify
from gateway import Gateway, host, running
from manifests import config

CROWD = 200
KINDS = {
    "one": (STATIC, "us-east-1"),
    "two": (TEMPORARY, "eu-central-1"),
    "three": (OTHER, "ap-northeast-1"),
}


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """Two workers, three policies."""
    policies = [bedrock(name, keys, region) for name, (keys, region) in KINDS.items()]
    with running(dict.fromkeys(KINDS, config(*policies)), http2=request.param) as gateway:
        yield gateway


class Caller:
    """One of the crowd: sends half of its body, waits for the others, and sends the rest."""

    def __init__(self, number: int) -> None:
        chance = random.Random(number)
        self.backend = chance.choice(list(KINDS))
        self.body = b"%d " % number + chance.randbytes(chance.randrange(1, 40_000))
        self.target = b"/model/m%%3A%d/invoke?z=%d&a=1" % (number, number)
        self.chunked = chance.random() < 0.5
        self.typed = chance.random() < 0.5

    def ask(self, port: int, together: threading.Barrier) -> int:
        """The status of the answer."""
        lines = [b"POST " + self.target + b" HTTP/1.1", b"host: " + host(self.backend)]
        lines += [b"authorization: Bearer theirs", b"x-amz-date: theirs"]
        lines += [b"content-type: application/json"] if self.typed else []
        half = len(self.body) // 2
        first, last = self.body[:half], self.body[half:]
        if self.chunked:
            lines.append(b"transfer-encoding: chunked")
            first = b"%x\r\n%b\r\n" % (len(first), first) if first else b""
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last)
        else:
            lines.append(b"content-length: %d" % len(self.body))
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + first)
            together.wait(60)
            connection.sendall(last)
            answer = HTTPResponse(connection)
            answer.begin()
            return answer.status


def test_two_hundred_requests_at_once_are_signed_each_with_its_own_body(gateway: Gateway) -> None:
    callers = {number: Caller(number) for number in range(CROWD)}
    together = threading.Barrier(CROWD)
    gate = threading.Event()
    gateway.upstream.reset()
    gateway.upstream.reply_with(200, wait=gate)
    with ThreadPoolExecutor(CROWD) as pool:
        port = gateway.envoy.port()
        statuses = pool.map(lambda caller: caller.ask(port, together), callers.values())
        requests = gateway.upstream.wait_for(CROWD, 60)
        gate.set()
        assert list(statuses) == [200] * CROWD
    assert len(requests) == CROWD
    assert not gateway.upstream.errors
    for seen in requests:
        caller = callers.pop(int(seen.body.partition(b" ")[0]))
        keys, region = KINDS[caller.backend]
        assert (seen.body, seen.target) == (caller.body, caller.target)
        verify(seen, keys, region=region, host=f"bedrock-runtime.{region}.amazonaws.com")
        assert bool(seen.values("content-type")) == caller.typed
    counts = [gateway.envoy.metric(f"policy.default/{name}.injected") for name in KINDS]
    assert sum(counts) >= CROWD
    assert all(counts)
