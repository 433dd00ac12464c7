"""What happens when the filter itself fails: a module with a hook that panics when a test asks."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from bootstrap import ROOT, bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from launch import poll
from manifests import config, keyed
from upstream import Upstream

Start = Callable[..., Envoy]

HOOKED = ROOT / "target/test-hooks/wasm32-wasip1/release/aigw_auth.wasm"
PANIC = {"x-test-panic": "now"}


def gateway(upstream: Upstream, policy: str, module: str | None = str(HOOKED)) -> dict:
    """One cluster with the filter; `policy` says what Envoy does when the VM fails."""
    plugin = config(keyed("up", key="ours"))
    wasm = wasm_filter(plugin, fail_policy=policy, module=module)
    return bootstrap(
        [listener([route("/", "up")])],
        [cluster("up", [upstream.port], filters=[wasm])],
    )


def recovered(envoy: Envoy, client: httpx.Client) -> list[int]:
    """Asks until a request works; the statuses of those that did not. Envoy loads a VM anew no
    sooner than a second after it loaded it before."""
    statuses: list[int] = []

    def works() -> bool:
        statuses.append(client.get(envoy.url("/after")).status_code)
        return statuses[-1] == 200

    poll(works, 20, "a request that works again")
    return statuses[:-1]


def test_a_panic_refuses_its_request_and_the_next_vm_works(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    envoy = start_envoy(gateway(upstream, "FAIL_RELOAD"), concurrency=1)
    assert client.get(envoy.url("/before")).status_code == 200
    assert client.get(envoy.url("/panics"), headers=PANIC).status_code == 503
    assert "a test asked for it" in envoy.log()
    assert set(recovered(envoy, client)) <= {503}
    assert [seen.path for seen in upstream.requests] == ["/before", "/after"]
    assert upstream.requests[1].values("authorization") == [b"Bearer ours"]
    assert len(upstream.begun) == 2
    # Envoy 1.38 puts the cluster before the name.
    reloads = {n: v for n, v in envoy.stats().items() if n.endswith("vm_reload_success")}
    assert sum(reloads.values()) >= 1


def test_a_request_before_the_reload_is_refused_and_not_forwarded(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    envoy = start_envoy(gateway(upstream, "FAIL_RELOAD"), concurrency=1)
    assert client.get(envoy.url("/panics"), headers=PANIC).status_code == 503
    recovered(envoy, client)
    upstream.clear()
    # The VM is new: when it fails again, it is not loaded anew at once.
    assert client.get(envoy.url("/panics"), headers=PANIC).status_code == 503
    refused = recovered(envoy, client)
    assert len(refused) >= 1
    assert set(refused) == {503}
    assert [seen.path for seen in upstream.begun] == ["/after"]


def test_without_reload_everything_is_refused_after_a_panic_and_nothing_forwarded(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    envoy = start_envoy(gateway(upstream, "FAIL_CLOSED"), concurrency=1)
    assert client.get(envoy.url("/panics"), headers=PANIC).status_code == 503
    for _ in range(3):
        assert client.get(envoy.url("/after")).status_code >= 500
    assert upstream.begun == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_requests_in_flight_beside_a_panic_arrive_with_their_key_or_not_at_all(
    upstream: Upstream, start_envoy: Start, client: httpx.Client, concurrency: int
) -> None:
    envoy = start_envoy(gateway(upstream, "FAIL_RELOAD"), concurrency=concurrency)
    statuses = []
    for number in range(60):
        headers = PANIC if number % 20 == 7 else {"authorization": "Bearer theirs"}
        statuses.append(client.get(envoy.url(f"/{number}"), headers=headers).status_code)
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 1
    arrived = upstream.wait_for(statuses.count(200))
    assert len(upstream.begun) == statuses.count(200)
    assert {value for seen in arrived for value in seen.values("authorization")} == {b"Bearer ours"}
    assert all(len(seen.values("authorization")) == 1 for seen in arrived)


def test_the_module_that_people_get_has_no_such_hook(
    upstream: Upstream, start_envoy: Start, client: httpx.Client
) -> None:
    envoy = start_envoy(gateway(upstream, "FAIL_RELOAD", module=None))
    assert client.get(envoy.url("/"), headers=PANIC).status_code == 200
    assert upstream.only().values("authorization") == [b"Bearer ours"]
