"""When the cluster that serves files is not what it should be, and when a VM crashes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aws import STATIC, bedrock, verify
from bootstrap import ROOT, bootstrap, cluster, listener
from egress import egress, running_with_egress
from envoy import Envoy
from gateway import Gateway, clusters, routes
from launch import poll
from manifests import policy
from mounts import Secret, assert_unavailable, complaints, failed, mounted, on_every_worker
from upstream import Upstream
from wire import Reply, Request

MARKER = "marker-of-an-odd-answer-26be"
SERVER = (b"server", b"files")
"""An answer has this header, by which it is told from one that Envoy makes up."""

TEXT = (b"content-type", b"text/plain")
HTML = (b"content-type", b"text/html")
PAGE = f"<!doctype html>\n<html>\n<body>{MARKER}</body>\n</html>\n".encode()

ANSWERS = {
    "unavailable": (Reply(503, [SERVER, HTML], PAGE), "server"),
    "broken": (Reply(500, [SERVER, TEXT], MARKER.encode()), "server"),
    "page": (Reply(200, [SERVER, HTML], PAGE), "malformed"),
    "huge": (Reply(200, [SERVER, TEXT], MARKER.encode() + b"k" * 2_000_000), "malformed"),
    "nothing": (Reply(200, [SERVER, TEXT], b""), "malformed"),
    "bytes": (Reply(200, [SERVER, TEXT], MARKER.encode() + b"\xff\xfe"), "malformed"),
    "busy": (Reply(429, [SERVER, TEXT], b"", delay=0), "throttled"),
    "forbidden": (Reply(403, [SERVER, TEXT], PAGE), "denied"),
}
"""What is answered to a read, and the reason that is counted."""

LATE = {"silent": "timeout"}
"""A read that is not answered, and the reason that is counted."""

CUT = "cut"
"""A read whose answer breaks off. Envoy does not tell that from one that comes too late."""


class Reads:
    """A cluster of files that answers by the name of the Secret."""

    def __init__(self) -> None:
        self.never = threading.Event()

    def __call__(self, request: Request) -> Reply:
        for name, (reply, _) in ANSWERS.items():
            if f"/default/{name}-key/" in request.path:
                return reply
        if "/silent-key/" in request.path:
            return Reply(200, [SERVER, TEXT], MARKER.encode(), wait=self.never)
        if "/cut-key/" in request.path:
            return Reply(200, [SERVER, TEXT], [MARKER.encode()], abort=True)
        return Reply(404, [SERVER])


@contextmanager
def odd_files() -> Iterator[Upstream]:
    """That cluster's server."""
    reads = Reads()
    with Upstream(default=reads) as server:
        try:
            yield server
        finally:
            reads.never.set()


@contextmanager
def refusing() -> Iterator[int]:
    """A port that is taken and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_every_odd_answer_is_a_failure_of_its_kind_and_nothing_is_forwarded(
    tmp_path: Path,
) -> None:
    reasons = {name: {reason} for name, (_, reason) in ANSWERS.items()}
    reasons |= {name: {reason} for name, reason in LATE.items()} | {CUT: {"connect", "timeout"}}
    settings = {"egress": {"cluster": "files", "timeout": "500ms"}, "credentialWait": "100ms"}
    plugin = mounted(
        tmp_path, [policy(name) for name in reasons], files={"cluster": "files"}, **settings
    )
    plugins = dict.fromkeys(reasons, plugin)
    with odd_files() as server:
        more = [cluster("files", [server.port])]
        with running_with_egress(plugins, egress(), more=more, concurrency=4) as gateway:
            for name, allowed in reasons.items():
                found = poll(lambda name=name: failed(gateway.envoy, f"default/{name}"), 10, name)
                assert found.keys() <= allowed, name
                assert gateway.envoy.metric(f"policy.default/{name}.fetched") == 0
                assert_unavailable(gateway.ask(name))
                assert complaints(gateway.envoy, f"default/{name}"), name
            assert gateway.upstream.begun == []
            assert MARKER not in gateway.envoy.log()
        paths = {request.path for request in server.begun if "-key/" in request.path}
        assert paths == {f"{tmp_path}/default/{name}-key/apiKey" for name in reasons}
        assert {seen.authority for seen in server.begun} == {b"files.local"}
        assert {seen.method for seen in server.begun} == {"GET"}


def test_a_cluster_of_files_that_cannot_be_reached_refuses_requests_and_says_so(
    tmp_path: Path,
) -> None:
    """To a VM it looks like the one of the main thread, so it takes a while to be sure."""
    plugins = {
        name: mounted(tmp_path, policy(name), files={"cluster": at}, credentialWait="100ms")
        for name, at in {"unknown": "nowhere", "refused": "refusing"}.items()
    }
    with refusing() as port:
        more = [cluster("refusing", [port])]
        with running_with_egress(plugins, egress(), more=more, concurrency=4) as gateway:
            started = time.monotonic()
            for name in plugins:
                assert_unavailable(gateway.ask(name))
            for name in plugins:
                gateway.envoy.wait_for_metric(
                    f"policy.default/{name}.fetch_failed.connect", timeout=15
                )
                assert failed(gateway.envoy, f"default/{name}").keys() == {"connect"}
                assert complaints(gateway.envoy, f"default/{name}", f"default/{name}-key")
                assert_unavailable(gateway.ask(name))
                # Tries back off, and they are of the process, not of each worker.
                tries = sum(failed(gateway.envoy, f"default/{name}").values())
                assert tries <= 3 + (time.monotonic() - started)
            assert gateway.upstream.begun == []


def test_a_value_from_files_stays_while_their_cluster_fails(tmp_path: Path) -> None:
    with Upstream() as server:
        server.reply_with(200, [SERVER, TEXT], "sk-while-it-worked")
        plugin = mounted(tmp_path, policy("provider"), files={"cluster": "files"})
        more = [cluster("files", [server.port])]
        with running_with_egress(plugin, egress(), more=more, concurrency=4) as gateway:
            assert gateway.send("provider").header("authorization") == "Bearer sk-while-it-worked"
            for status, reason in ((503, "server"), (200, "malformed")):
                server.reply_with(status, [SERVER, HTML], PAGE)
                name = f"policy.default/provider.fetch_failed.{reason}"
                gateway.envoy.wait_for_metric(name, timeout=15)
                seen = gateway.send("provider").header("authorization")
                assert seen == "Bearer sk-while-it-worked"
            assert failed(gateway.envoy, "default/provider").keys() == {"server", "malformed"}


HOOKED = ROOT / "target/test-hooks/wasm32-wasip1/release/aigw_auth.wasm"
"""A module that panics when a test asks."""


def working(gateway: Gateway, backend: str) -> bool:
    """Whether every worker answers; as long as its VM is not loaded anew it refuses."""
    statuses = {answer.status for answer in on_every_worker(gateway, backend)}
    assert statuses <= {200, 503}
    return statuses == {200}


def test_a_vm_that_was_loaded_anew_has_the_last_good_values_of_broken_files(
    tmp_path: Path,
) -> None:
    key, file = Secret(tmp_path, "key-key"), Secret(tmp_path, "aws-file")
    key.swap({"apiKey": "sk-before-the-crash"})
    file.swap({"credentials": STATIC.ini()})
    parts = egress([tmp_path])
    plugin = mounted(tmp_path, policy("key", "AzureAPIKey"), bedrock("aws")[0])
    plugins = dict.fromkeys(("key", "aws"), plugin)
    with Upstream() as upstream:
        options = {"fail_policy": "FAIL_RELOAD", "module": str(HOOKED)}
        behind = clusters(plugins, upstream.port, **options)
        listeners = [listener(routes(list(plugins))), *parts.listeners]
        whole = bootstrap(listeners, [*parts.clusters, *behind], **parts.bootstrap_extras)
        with Envoy(whole, concurrency=2) as envoy:
            gateway = Gateway(envoy, upstream)
            assert gateway.send("key").values("api-key") == [b"sk-before-the-crash"]
            verify(gateway.send("aws"), STATIC)
            key.swap({"apiKey": "\0"})
            file.swap({"credentials": "[default"})
            for name in plugins:
                envoy.wait_for_metric(f"policy.default/{name}.fetch_failed.malformed", timeout=12)
            # Each of them as likely as not on another worker.
            for _ in range(3):
                assert gateway.ask("key", [(b"x-test-panic", b"now")]).status == 503
                for name in plugins:
                    poll(lambda name=name: working(gateway, name), 20, f"{name} on every worker")
            assert "a test asked for it" in envoy.log()
            upstream.clear()
            for name in plugins:
                on_every_worker(gateway, name)
            # Those to Bedrock are addressed to it.
            bedrock_host = [seen for seen in upstream.requests if b"bedrock-" in seen.authority]
            for seen in bedrock_host:
                verify(seen, STATIC)
            others = [seen for seen in upstream.requests if seen not in bedrock_host]
            assert {seen.header("api-key") for seen in others} == {"sk-before-the-crash"}
            assert bedrock_host
