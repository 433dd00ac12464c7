"""Counters, their labels in Prometheus, and what the access log is told."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

import raw
from bootstrap import (
    ROOT,
    Config,
    Endpoint,
    aggregate,
    bootstrap,
    cluster,
    listener,
    retry,
    wasm_filter,
)
from envoy import Envoy
from gateway import PLAIN, Gateway, host
from launch import poll
from manifests import config, keyed
from providers import by_host
from upstream import Upstream

Start = Callable[..., Envoy]

OLD_NAME = "envoy_cluster_wasmcustom_"
OLD_LABEL = ',envoy_cluster_name="[^"]+"'

OUTCOME = "%REQ(X-ASKED)% %RESPONSE_CODE% %FILTER_STATE(wasm.aigw_auth:PLAIN)%"

POLICIES = [
    *keyed("openai", "APIKey", targets=["openai", "openai-2", "misplaced"]),
    *keyed("claude", "AnthropicAPIKey", targets=["claude"], namespace="team-a"),
    *keyed("idle", "AzureAPIKey"),
]
# A backend in another namespace than `default` needs a name for its cluster.
NAMES = {"backend": {"names": {"claude": "team-a/claude", "both": "team-a/claude"}}}
UPSTREAM = config(POLICIES, **NAMES)
MISPLACED = config(POLICIES, position="Listener", **NAMES)

COUNTERS = {
    f"policy.{policy}.{what}"
    for policy in ("default/openai", "team-a/claude", "default/idle")
    for what in ("injected", "refused")
} | {"unknown_backend"}


def behind(port: int) -> list[Config]:
    """One cluster for each case. Plugins differ in name, root and VM, so that many VMs count."""
    chains = {
        "openai": wasm_filter(UPSTREAM),
        "openai-2": wasm_filter(UPSTREAM, name="second", root_id="second", vm_id="second"),
        "claude": wasm_filter(UPSTREAM),
        "unknown": wasm_filter(UPSTREAM),
        "misplaced": wasm_filter(MISPLACED, name="misplaced"),
        "misplaced-unknown": wasm_filter(MISPLACED, name="misplaced"),
    }
    clusters = [cluster(name, [port], filters=[one]) for name, one in chains.items()]
    return [*clusters, cluster(PLAIN, [port])]


def front(names: list[str]) -> Config:
    """A listener whose log tells what the filter said of each request."""
    return listener([by_host(name, name) for name in names], access_log_format=OUTCOME)


def ask(envoy: Envoy, name: str, label: str = "-") -> int:
    """The status of one request on a connection of its own."""
    headers = [(b"host", host(name)), (b"x-asked", label.encode())]
    return raw.request(envoy.port(), headers=headers).status


def counters(envoy: Envoy) -> dict[str, int]:
    """All counters that are not zero."""
    values = {name: envoy.metric(name) for name in COUNTERS}
    return {name: value for name, value in values.items() if value}


def names(envoy: Envoy) -> set[str]:
    """What the filter has defined."""
    prefix = "wasmcustom.aigw_auth."
    return {name.partition(prefix)[2] for name in envoy.stats() if prefix in name}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """An Envoy with two workers and the tag rules of the demonstration."""
    rules = yaml.safe_load((ROOT / "envoy.yaml").read_text())["stats_config"]
    with Upstream() as upstream:
        clusters = behind(upstream.port)
        listeners = [front([one["name"] for one in clusters])]
        with Envoy(bootstrap(listeners, clusters, stats_config=rules)) as envoy:
            yield Gateway(envoy, upstream)


ASKED = {
    "openai": (41, 200),
    "openai-2": (23, 200),
    "claude": (17, 200),
    "unknown": (19, 500),
    "misplaced": (7, 500),
    PLAIN: (5, 200),
}


def test_every_request_is_counted_once_whatever_worker_and_vm_it_meets(gateway: Gateway) -> None:
    before = counters(gateway.envoy)
    gateway.upstream.clear()
    each = [[name] * count for name, (count, _) in ASKED.items()]
    turns = [name for turn in itertools.zip_longest(*each) for name in turn if name]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda name: ask(gateway.envoy, name), turns))
    assert statuses == [ASKED[name][1] for name in turns]
    assert len(gateway.upstream.requests) == 41 + 23 + 17 + 5
    expected = {
        "policy.default/openai.injected": 41 + 23,
        "policy.default/openai.refused": 7,
        "policy.team-a/claude.injected": 17,
        "unknown_backend": 19,
    }
    after = counters(gateway.envoy)
    assert {name: value - before.get(name, 0) for name, value in after.items()} == expected


def test_counters_are_there_before_the_first_request_and_begin_at_zero(
    upstream: Upstream, start_envoy: Start
) -> None:
    envoy = start_envoy(bootstrap([front(["openai"])], behind(upstream.port)))
    assert names(envoy) == COUNTERS
    assert counters(envoy) == {}


def test_the_tag_rules_turn_the_policy_into_a_label(gateway: Gateway) -> None:
    assert [ask(gateway.envoy, name) for name in ("openai", "claude", "misplaced")] == [
        200,
        200,
        500,
    ]
    # Before 1.39 Envoy puts the name of a cluster in front, and makes it another label.
    old = "wasmcustom.aigw_auth.unknown_backend" not in gateway.envoy.stats()
    name, more = (OLD_NAME, OLD_LABEL) if old else ("", "")
    pattern = re.compile(
        name + r'aigw_auth_policy_(\w+)\{aigw_policy="([^"]+)"' + more + r"\} (\d+)"
    )
    lines = [line for line in gateway.envoy.prometheus().splitlines() if "aigw_auth_policy" in line]
    values: Counter[str] = Counter()
    for line in lines:
        if not line.startswith("#"):
            found = pattern.fullmatch(line)
            assert found, line
            values[f"policy.{found[2]}.{found[1]}"] += int(found[3])
    assert values.keys() == COUNTERS - {"unknown_backend"}
    for counter, value in values.items():
        assert value == gateway.envoy.metric(counter), counter
    assert values["policy.default/openai.injected"] > 0
    assert values["policy.default/openai.refused"] > 0


def test_nothing_but_the_promised_counters_is_kept(gateway: Gateway) -> None:
    for backend in ("openai", "unknown", "misplaced", "misplaced-unknown"):
        ask(gateway.envoy, backend)
    assert names(gateway.envoy) == COUNTERS


OUTCOMES = {
    "openai": "200 default/openai injected",
    "claude": "200 team-a/claude injected",
    "unknown": "500 - refused",
    "misplaced": "500 default/openai refused",
    "misplaced-unknown": "500 - refused",
    PLAIN: "200 -",
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_access_log_tells_policy_and_outcome(gateway: Gateway, name: str) -> None:
    label = f"outcome-of-{name}"
    ask(gateway.envoy, name, label)
    assert logged(gateway.envoy, label) == OUTCOMES[name]


def logged(envoy: Envoy, label: str) -> str:
    """What the access log says of one request."""

    def lines() -> list[str]:
        return [line for line in envoy.access_log_lines() if line.startswith(label + " ")]

    (line,) = poll(lines, 10, f"{label} in the access log")
    return line.removeprefix(label + " ")


@pytest.mark.parametrize(
    ("last", "outcome"),
    [("claude", "200 team-a/claude injected"), ("unknown", "500 - refused")],
)
def test_the_access_log_tells_of_the_last_attempt(
    upstream: Upstream, second: Upstream, start_envoy: Start, last: str, outcome: str
) -> None:
    by_endpoint = {"property": ["xds", "upstream_host_metadata", "filter_metadata", "aigw", "name"]}
    settings = config(POLICIES, backend=by_endpoint | NAMES["backend"])
    upstream.reply_with(503)
    clusters = [
        aggregate("all", ["one", "two"], filters=[wasm_filter(settings)]),
        cluster("one", [Endpoint(upstream.port, metadata={"aigw": {"name": "openai"}})]),
        cluster("two", [Endpoint(second.port, metadata={"aigw": {"name": last}})]),
    ]
    route = by_host("all", "all", retry=retry(1, next_priority=True))
    envoy = start_envoy(bootstrap([listener([route], access_log_format=OUTCOME)], clusters))
    ask(envoy, "all", "retried")
    assert logged(envoy, "retried") == outcome
    counted = {"policy.default/openai.injected": 1}
    counted |= {"policy.team-a/claude.injected": 1} if last == "claude" else {"unknown_backend": 1}
    assert counters(envoy) == counted


def test_counters_survive_another_configuration(upstream: Upstream, start_envoy: Start) -> None:
    def clusters(key: str, *more: list[Config]) -> list[Config]:
        settings = config(keyed("openai", "APIKey", key), *more)
        return [cluster("openai", [upstream.port], filters=[wasm_filter(settings)])]

    envoy = start_envoy(bootstrap([front(["openai"])]), cds=clusters("sk-first"))
    assert [ask(envoy, "openai") for _ in range(3)] == [200] * 3
    assert envoy.update_cds(clusters("sk-second", keyed("other")))
    assert [ask(envoy, "openai") for _ in range(4)] == [200] * 4
    # A configuration that is refused changes nothing.
    assert not envoy.update_cds(clusters("sk\nthird"))
    assert [ask(envoy, "openai") for _ in range(2)] == [200] * 2
    keys = [request.header("authorization") for request in upstream.requests]
    assert keys == ["Bearer sk-first"] * 3 + ["Bearer sk-second"] * 6
    assert counters(envoy) == {"policy.default/openai.injected": 9}
