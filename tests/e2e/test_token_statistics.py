"""What a policy with a token tells: counters, the end of its token, the access log; and that all is
quiet at the start."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
import yaml

from bootstrap import ROOT
from gateway import host
from launch import poll
from token_load import CONNECTIONS, assert_unavailable, crowd
from token_rig import Rig, running
from tokens import Client, Never, TokenServer, denied, failing
from wire import Reply

REASONS = ("timeout", "connect", "denied", "throttled", "server", "malformed")
COUNTERS = {"injected", "refused", "waited", "fetched", *(f"fetch_failed.{r}" for r in REASONS)}
OUTCOME = "%REQ(:AUTHORITY)% %RESPONSE_CODE% %FILTER_STATE(wasm.aigw_auth:PLAIN)%"
HTML = Reply(200, [(b"content-type", b"text/html")], b"<html>at the front desk</html>")
FAILURES = {
    "timeout": Never(),
    "denied": denied(),
    "throttled": failing(429),
    "server": failing(500),
    "malformed": HTML,
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One policy whose token endpoint works, one whose token ends soon, and one for each failure,
    which comes once."""
    rules = yaml.safe_load((ROOT / "envoy.yaml").read_text())["stats_config"]
    with TokenServer() as server:
        server.client("works")
        server.client("short", life=6)
        for reason, step in FAILURES.items():
            server.client(reason, step)
        with running(
            server,
            timeout="1s",
            credentialWait="0s",
            front={"access_log_format": OUTCOME},
            extras={"stats_config": rules},
        ) as rig:
            server.clients["works"].wait_for_tokens()
            poll(lambda: rig.ask("works").status == 200, 5)
            yield rig


def test_the_gauge_tells_when_the_token_ends_and_follows_each_renewal(rig: Rig) -> None:
    (token,) = rig.server.clients["works"].tokens
    assert rig.metric("works.expires_at") == pytest.approx(token.end, abs=1.5)
    short = rig.server.clients["short"]
    for count in (1, 2):
        end = short.wait_for_tokens(count)[count - 1].end
        poll(lambda end=end: abs(rig.metric("short.expires_at") - end) <= 1.5, 2, "the gauge")


def test_requests_and_fetches_are_counted_once_whatever_worker_they_meet(rig: Rig) -> None:
    before = rig.metric("works.injected")
    answers = crowd(rig.envoy.port(), ["works"] * CONNECTIONS)
    assert [answer.status for answer in answers] == [200] * CONNECTIONS
    assert rig.metric("works.injected") == before + CONNECTIONS
    assert [rig.metric(f"works.{name}") for name in ("fetched", "waited", "refused")] == [1, 0, 0]
    assert rig.failures("works") == {}


@pytest.mark.parametrize("reason", FAILURES)
def test_a_failure_is_counted_once_by_its_reason_and_told_once(rig: Rig, reason: str) -> None:
    rig.wait_for_failure(reason)
    assert rig.failures(reason) == {reason: 1}
    # The reason is a label too.
    labels = [
        line
        for line in rig.envoy.prometheus().splitlines()
        if "fetch_failed" in line and f'aigw_policy="default/{reason}"' in line
    ]
    risen = [line for line in labels if line.endswith(" 1")]
    assert len(risen) == 1
    assert f'aigw_reason="{reason}"' in risen[0]
    told = [line for line in complaints(rig) if f"default/{reason}" in line]
    assert len(told) == 1, "\n".join(told)
    step = FAILURES[reason]
    assert not isinstance(step, Reply) or str(step.status) in told[0]
    assert "front desk" not in told[0]


def test_nothing_but_the_promised_statistics_is_kept(rig: Rig) -> None:
    for name in ("works", "timeout", "denied"):
        rig.ask(name)
    prefix = "wasmcustom.aigw_auth."
    names = {name.partition(prefix)[2] for name in rig.envoy.stats() if prefix in name}
    policies = [f"policy.default/{name}." for name in rig.server.clients]
    allowed = {policy + one for policy in policies for one in (*COUNTERS, "expires_at", "wait_ms")}
    assert names <= allowed | {"unknown_backend"}
    always = {policy + one for policy in policies for one in ("injected", "refused", "fetched")}
    assert names >= always


def test_the_access_log_tells_of_the_policy_and_what_became_of_the_request(rig: Rig) -> None:
    assert rig.ask("works").status == 200
    lines = rig.envoy.access_log_lines
    expected = f"{host('works').decode()} 200 default/works injected"
    poll(lambda: expected in lines(), 5, expected)


def test_the_access_log_tells_of_a_refusal() -> None:
    with TokenServer() as server:
        server.client("one", Never())
        front = {"access_log_format": OUTCOME}
        with running(server, timeout="20s", credentialWait="0s", front=front) as rig:
            assert_unavailable(rig.ask("one"))
            expected = f"{host('one').decode()} 503 default/one refused"
            poll(lambda: expected in rig.envoy.access_log_lines(), 5, expected)
            assert rig.metric("one.refused") == 1


# The start.


@pytest.mark.parametrize("direct", [False, True], ids=["by the egress listener", "directly"])
def test_the_first_token_is_there_soon_after_the_start_and_nothing_goes_wrong(direct: bool) -> None:
    for _ in range(2):
        with TokenServer() as server:
            clients = [server.client(f"client-{number}") for number in range(3)]
            with running(server, direct=direct) as rig:
                check_start(rig, clients)


def check_start(rig: Rig, clients: list[Client]) -> None:
    """An Envoy that is ready just now."""
    ready = time.time()
    for client in clients:
        (token,) = client.wait_for_tokens()
        assert token.issued - ready < 2.5
        poll(lambda name=client.name: rig.ask(name).status == 200, 2)
    # Every VM has had two ticks, that of the main thread too.
    poll(lambda: time.time() > ready + 2.5, 5)
    for client in clients:
        assert rig.failures(client.name) == {}
        assert (len(client.calls), rig.metric(f"{client.name}.fetched")) == (1, 1)
    assert complaints(rig) == []


def complaints(rig: Rig) -> list[str]:
    """What the filter has logged that is more than information."""
    return re.findall(r"\[(?:warning|error|critical)\]\[wasm\].*", rig.envoy.log())


def test_a_refused_connection_is_told_as_one() -> None:
    with TokenServer() as server:
        client = server.client("one")
        with server.outage(), running(server, direct=True, credentialWait="0s") as rig:
            rig.wait_for_metric("one.fetch_failed.connect")
            assert_unavailable(rig.ask("one"))
            assert set(rig.failures("one")) == {"connect"}
            assert client.calls == []
