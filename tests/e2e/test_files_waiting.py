"""A mounted Secret that is not there yet."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aws import TEMPORARY, bedrock, verify
from bootstrap import Config
from egress import FILES, calls, egress, running_with_egress
from gateway import Gateway, clusters
from launch import poll
from manifests import policy
from mounts import Secret, assert_unavailable, complaints, failed, mounted, on_every_worker

KEY = "sk-that-comes-later-0a61"
METRIC = "policy.default/provider"


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    """The one that the policy `provider` needs."""
    return Secret(tmp_path, "provider-key")


def plugin(tmp_path: Path, wait: str) -> Config:
    """A policy whose requests wait so long."""
    return mounted(tmp_path, policy("provider"), credentialWait=wait)


def reads(gateway: Gateway, secret: Secret) -> list[int]:
    """The statuses of all reads of the key so far."""
    return [call.status for call in calls(gateway.envoy, FILES, str(secret.path("apiKey")))]


def assert_each_read_counted_once(gateway: Gateway, secret: Secret) -> None:
    """The process counts each read once, whatever worker made it."""

    def agree() -> bool:
        statuses = reads(gateway, secret)
        bad = sum(failed(gateway.envoy, "default/provider").values())
        good = gateway.envoy.metric(f"{METRIC}.fetched")
        return (good, bad) == (statuses.count(200), len(statuses) - statuses.count(200))

    poll(agree, 3, "as many counted as read")


def test_requests_that_wait_are_answered_as_soon_as_the_file_is_there(
    tmp_path: Path, secret: Secret
) -> None:
    parts = egress([tmp_path])
    with (
        ThreadPoolExecutor(24) as pool,
        running_with_egress(plugin(tmp_path, "20s"), parts, concurrency=4) as gateway,
    ):
        waiting = [pool.submit(gateway.ask, "provider") for _ in range(24)]
        gateway.envoy.wait_for_stat("cluster.provider.upstream_rq_active", 24)
        poll(lambda: reads(gateway, secret), 5, "a read of the file that is not there")
        assert [one for one in waiting if one.done()] == []
        assert gateway.upstream.begun == []
        secret.swap({"apiKey": KEY})
        created = time.monotonic()
        assert {one.result().status for one in waiting} == {200}
        assert time.monotonic() - created < 12
        keys = [seen.header("authorization") for seen in gateway.upstream.wait_for(24)]
        assert keys == [f"Bearer {KEY}"] * 24
        assert gateway.envoy.metric(f"{METRIC}.waited") == 24
        assert gateway.envoy.metric(f"{METRIC}.injected") == 24
        assert gateway.envoy.metric(f"{METRIC}.refused") == 0
        counted = "aigw_auth_policy_default_provider_wait_ms_count"

        def timed() -> bool:
            lines = gateway.envoy.prometheus().splitlines()
            found = [line for line in lines if counted in line]
            return sum(int(line.rpartition(" ")[2]) for line in found) == 24

        poll(timed, 5, "24 waits in the histogram")
        assert_each_read_counted_once(gateway, secret)


def test_requests_are_refused_until_the_file_is_there_and_work_soon_after(
    tmp_path: Path, secret: Secret
) -> None:
    parts = egress([tmp_path])
    with running_with_egress(plugin(tmp_path, "0s"), parts, concurrency=4) as gateway:
        poll(lambda: len(reads(gateway, secret)) >= 2, 5, "two reads")
        for answer in on_every_worker(gateway, "provider"):
            assert_unavailable(answer)
        refused = gateway.envoy.metric(f"{METRIC}.refused")
        assert refused >= 4
        assert_each_read_counted_once(gateway, secret)
        assert gateway.upstream.begun == []
        # One line for each try at most that names the file, and no line without the policy.
        named = complaints(gateway.envoy, "default/provider", "default/provider-key")
        assert 1 <= len(named) <= len(reads(gateway, secret))
        lines = complaints(gateway.envoy)
        assert lines == complaints(gateway.envoy, "default/provider")
        # And at most one for each worker of what the requests get.
        assert len(lines) <= len(named) + 4

        secret.swap({"apiKey": KEY})
        poll(lambda: gateway.ask("provider").status == 200, 12, "a request that works")
        poll(
            lambda: {one.status for one in on_every_worker(gateway, "provider")} == {200},
            2,
            "all workers",
        )
        keys = {seen.header("authorization") for seen in gateway.upstream.requests}
        assert keys == {f"Bearer {KEY}"}
        assert_each_read_counted_once(gateway, secret)
        assert gateway.envoy.metric(f"{METRIC}.fetched") == 1


def test_a_body_that_waits_for_the_keys_that_sign_it_arrives_whole(tmp_path: Path) -> None:
    late = Secret(tmp_path, "bedrock-file")
    config = mounted(tmp_path, bedrock()[0], credentialWait="20s")
    parts, body = egress([tmp_path]), bytes(range(256)) * 400
    with (
        ThreadPoolExecutor(1) as pool,
        running_with_egress({"bedrock": config}, parts, concurrency=4) as gateway,
    ):
        waiting = pool.submit(gateway.ask, "bedrock", method=b"POST", body=body)
        gateway.envoy.wait_for_stat("cluster.bedrock.upstream_rq_active", 1)
        poll(lambda: calls(gateway.envoy, path=str(late.path("credentials"))), 5, "a read")
        late.swap({"credentials": TEMPORARY.ini()})
        assert waiting.result().status == 200
        seen = gateway.upstream.only()
        assert seen.body == body
        verify(seen, TEMPORARY)


def test_requests_that_wait_while_the_configuration_changes_are_answered(
    tmp_path: Path, secret: Secret
) -> None:
    """Those of before wait on the old configuration, those of after on the new one."""
    parts = egress([tmp_path])
    with (
        ThreadPoolExecutor(8) as pool,
        running_with_egress(plugin(tmp_path, "20s"), parts, dynamic=True, concurrency=2) as gateway,
    ):
        waiting = [pool.submit(gateway.ask, "provider") for _ in range(4)]
        gateway.envoy.wait_for_stat("cluster.provider.upstream_rq_active", 4)
        changed = mounted(
            tmp_path, policy("provider"), policy("other", secret="x"), credentialWait="20s"
        )
        behind = clusters({"provider": changed}, gateway.upstream.port)
        assert gateway.envoy.update_cds(behind)
        waiting += [pool.submit(gateway.ask, "provider") for _ in range(4)]
        gateway.envoy.wait_for_stat("http.main.downstream_rq_active", 8)
        secret.swap({"apiKey": KEY})
        assert [one.result().status for one in waiting] == [200] * 8
        keys = [seen.header("authorization") for seen in gateway.upstream.requests]
        assert keys == [f"Bearer {KEY}"] * 8


def test_a_folder_that_is_not_there_yet_is_waited_for_too(tmp_path: Path) -> None:
    """As on a host where the volume is mounted after Envoy has started."""
    root = tmp_path / "not" / "yet"
    late = Secret(root, "provider-key")
    with running_with_egress(plugin(root, "20s"), egress([root])) as gateway:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(gateway.ask, "provider")
            poll(lambda: reads(gateway, late), 5, "a read")
            late.swap({"apiKey": KEY})
            assert waiting.result().status == 200
        assert gateway.upstream.only().header("authorization") == f"Bearer {KEY}"
