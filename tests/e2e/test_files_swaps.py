"""Secrets that are edited, broken or taken away while Envoy runs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aws import OTHER, REGION, STATIC, TEMPORARY, Keys, verify
from bootstrap import Config
from egress import FILES, calls, egress, running_with_egress
from gateway import Gateway, clusters
from launch import poll
from manifests import Manifest, policy
from mounts import Secret, assert_unavailable, complaints, failed, mounted, on_every_worker

SOON = 15
"""Seconds within which an edit has to reach requests."""


def keys_of(gateway: Gateway, backend: str) -> set[str | None]:
    """The keys on requests of a backend, of every worker; each of them has to be answered."""
    gateway.upstream.clear()
    assert {answer.status for answer in on_every_worker(gateway, backend)} == {200}
    return {seen.header("x-api-key") for seen in gateway.upstream.requests}


def aws(name: str, secret: str, profile: str = "default") -> Manifest:
    """A policy with a profile of the credentials file of a Secret."""
    file = {"secretRef": {"name": secret}, "profile": profile}
    credentials = {"region": REGION, "credentialsFile": file}
    return policy(name, "AWSCredentials", awsCredentials=credentials)


def key(name: str, secret: str | None = None) -> Manifest:
    """A policy with the key of a Secret."""
    return policy(name, "AnthropicAPIKey", secret=secret)


def signed(gateway: Gateway, backend: str, keys: Keys) -> bool:
    """Whether a request is signed with these keys; signed it has to be."""
    seen = gateway.send(backend)
    if keys.access.encode() not in (seen.values("authorization") or [b""])[0]:
        return False
    verify(seen, keys)
    return True


class Traffic:
    """Requests without end, three at a time, each on a connection of its own."""

    def __init__(self, gateway: Gateway, backend: str) -> None:
        self.gateway, self.backend = gateway, backend
        self.statuses: list[int] = []
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(3)

    def __enter__(self) -> Traffic:
        for _ in range(3):
            self._pool.submit(self._run)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._done.wait(0.01):
            self.statuses.append(self.gateway.ask(self.backend).status)


def test_an_edit_reaches_every_worker_within_15_seconds_without_an_error(tmp_path: Path) -> None:
    shared, file = Secret(tmp_path, "shared"), Secret(tmp_path, "aws")
    shared.swap({"apiKey": "sk-old"})
    file.swap({"credentials": STATIC.ini() + TEMPORARY.ini("work")})
    policies = [key("one", "shared"), key("two", "shared")]
    policies += [aws("first", "aws", "work"), aws("second", "aws", "work")]
    plugins = dict.fromkeys(("one", "two", "first", "second"), mounted(tmp_path, policies))
    with running_with_egress(plugins, egress([tmp_path]), concurrency=4) as gateway:
        assert keys_of(gateway, "one") == keys_of(gateway, "two") == {"sk-old"}
        assert signed(gateway, "first", TEMPORARY)
        assert signed(gateway, "second", TEMPORARY)
        shared.swap({"apiKey": "sk-new"})
        file.swap({"credentials": OTHER.ini() + STATIC.ini("work")})
        gateway.upstream.clear()
        swapped = time.monotonic()
        with Traffic(gateway, "one") as traffic:
            poll(lambda: seen_at_last(gateway, "sk-new"), SOON, "the new key")
            # The workers that did not read the file look for it once a second.
            poll(lambda: keys_of(gateway, "two") == {"sk-new"}, 3, "the new key on all workers")
            poll(lambda: keys_of(gateway, "one") == {"sk-new"}, 3, "the new key on all workers")
        assert len(traffic.statuses) > 100
        assert set(traffic.statuses) == {200}
        poll(lambda: signed(gateway, "first", STATIC), SOON, "the new keys")
        poll(lambda: signed(gateway, "second", STATIC), SOON, "the new keys")
        assert time.monotonic() - swapped < SOON + 5
        assert_one_read_in_ten_seconds(gateway, shared.path("apiKey"), ["one", "two"])
        assert_one_read_in_ten_seconds(gateway, file.path("credentials"), ["first", "second"])
        assert complaints(gateway.envoy) == []


def seen_at_last(gateway: Gateway, value: str) -> bool:
    """Whether the last request had this key."""
    requests = gateway.upstream.requests
    return bool(requests) and requests[-1].header("x-api-key") == value


def assert_one_read_in_ten_seconds(gateway: Gateway, path: Path, policies: Iterable[str]) -> None:
    """In all, however many workers and policies there are; each policy counts each read."""
    begun = [call.begun for call in calls(gateway.envoy, FILES, str(path))]
    pauses = [after - before for before, after in itertools.pairwise(begun)]
    assert pauses
    assert all(8 < pause < 13 for pause in pauses), pauses
    for name in policies:
        assert gateway.envoy.metric(f"policy.default/{name}.fetched") == len(begun)
        assert failed(gateway.envoy, f"default/{name}") == {}


BREAK = {
    "lf": "sk-broken\nfor-ever",
    "empty": "",
    "shared": "sk-broken\0",
}
MARKER = "marker-in-a-broken-file-31d7"


class Broken:
    """Policies whose files were good once, and are now broken in various ways."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines = {name: Secret(root, name) for name in (*BREAK, "folder", "gone", "deleted")}
        self.aws = Secret(root, "aws")
        self.backends = {name: name for name in self.lines} | {"shared-too": "shared"}
        self.policies = [key(name, secret) for name, secret in self.backends.items()]
        self.policies += [aws("aws", "aws"), aws("aws-too", "aws")]

    @property
    def names(self) -> list[str]:
        """All backends."""
        return [*self.backends, "aws", "aws-too"]

    def plugin(self, *more: Manifest) -> Config:
        """Their configuration."""
        return mounted(self.root, self.policies, *more, credentialWait="1s")

    def mend(self, version: str, keys: Keys) -> None:
        """Gives each file something good."""
        for name, secret in self.lines.items():
            secret.swap({"apiKey": f"sk-{version}-{name}"})
        self.aws.swap({"credentials": keys.ini()})

    def damage(self) -> None:
        """Takes it away again."""
        for name, text in BREAK.items():
            self.lines[name].swap({"apiKey": text})
        self.lines["gone"].remove("apiKey")
        self.lines["deleted"].delete()
        self.lines["folder"].remove("apiKey")
        self.lines["folder"].path("apiKey").mkdir()
        self.aws.swap({"credentials": f"[default\n{MARKER} = {MARKER}\n"})

    def assert_served(self, gateway: Gateway, version: str, keys: Keys) -> None:
        """Every worker answers with the good value of that version."""
        for name, secret in self.backends.items():
            assert keys_of(gateway, name) == {f"sk-{version}-{secret}"}
        assert signed(gateway, "aws", keys)
        assert signed(gateway, "aws-too", keys)

    def all_failed(self, gateway: Gateway) -> bool:
        """Whether each policy has met the damage."""
        return all(failed(gateway.envoy, f"default/{name}") for name in self.names)


def test_a_file_that_breaks_keeps_its_last_good_value_and_is_counted_and_named(
    tmp_path: Path,
) -> None:
    files = Broken(tmp_path)
    files.mend("old", STATIC)
    plugins = dict.fromkeys(files.names, files.plugin())
    parts = egress([tmp_path])
    with running_with_egress(plugins, parts, dynamic=True, concurrency=4) as gateway:
        files.assert_served(gateway, "old", STATIC)
        files.damage()
        with Traffic(gateway, "lf") as first, Traffic(gateway, "gone") as second:
            poll(lambda: files.all_failed(gateway), 12, "a failure of each policy")
        assert set(first.statuses) == set(second.statuses) == {200}
        files.assert_served(gateway, "old", STATIC)
        assert_counted_and_named(gateway, files)

        # Another configuration meets the broken files from its beginning.
        changed = dict.fromkeys(files.names, files.plugin(key("later", "lf")))
        assert gateway.envoy.update_cds(clusters(changed, gateway.upstream.port))
        files.assert_served(gateway, "old", STATIC)

        (files.lines["folder"].path("apiKey")).rmdir()
        files.mend("new", OTHER)
        mended = time.monotonic()
        for name, secret in files.backends.items():
            left = SOON - (time.monotonic() - mended)
            want = {f"sk-new-{secret}"}
            poll(lambda name=name, want=want: keys_of(gateway, name) == want, left, f"{name} again")
        files.assert_served(gateway, "new", OTHER)
        log = gateway.envoy.log()
        secrets = [MARKER, "sk-old", "sk-new", "sk-broken", STATIC.secret, OTHER.secret]
        assert [text for text in secrets if text in log] == []


def assert_counted_and_named(gateway: Gateway, files: Broken) -> None:
    """Every failed read is counted once for each policy that needs the file, and logged."""
    secrets = files.backends | {"aws": "aws", "aws-too": "aws"}
    for name, secret in secrets.items():
        file = "credentials" if secret == "aws" else "apiKey"
        path = str(files.root / "default" / secret / file)

        def agree(name: str = name, path: str = path) -> bool:
            bad = calls(gateway.envoy, FILES, path)[1:]
            return sum(failed(gateway.envoy, f"default/{name}").values()) == len(bad) > 0

        poll(agree, 3, f"the failures of {name}, each counted once")
        if secret in (*BREAK, "aws"):
            assert failed(gateway.envoy, f"default/{name}").keys() == {"malformed"}
        assert complaints(gateway.envoy, f"default/{name}", f"default/{secret}"), name


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_file_that_is_gone_for_a_minute_is_withdrawn(tmp_path: Path) -> None:
    secrets = {name: Secret(tmp_path, name) for name in ("key", "whole", "kept")}
    for name, secret in secrets.items():
        secret.swap({"apiKey": f"sk-{name}"})
    plugin = mounted(tmp_path, [key(name, name) for name in secrets], credentialWait="0s")
    plugins = dict.fromkeys(secrets, plugin)
    with running_with_egress(plugins, egress([tmp_path]), concurrency=4) as gateway:
        for name in secrets:
            gateway.envoy.wait_for_metric(f"policy.default/{name}.fetched")
            assert keys_of(gateway, name) == {f"sk-{name}"}
        secrets["key"].remove("apiKey")
        secrets["whole"].delete()
        gone = time.monotonic()
        for name in ("key", "whole"):
            with Traffic(gateway, name) as traffic:
                poll(
                    lambda traffic=traffic: 503 in traffic.statuses[-1:],
                    85 - (time.monotonic() - gone),
                    f"the end of {name}",
                )
            assert time.monotonic() - gone > 60
            assert set(traffic.statuses) == {200, 503}
        for name in ("key", "whole"):
            poll(
                lambda name=name: {a.status for a in on_every_worker(gateway, name)} == {503},
                3,
                f"the end of {name} on every worker",
            )
            assert_unavailable(gateway.ask(name))
        assert keys_of(gateway, "kept") == {"sk-kept"}
        for name in ("key", "whole"):
            secrets[name].swap({"apiKey": f"sk-{name}-again"})
        for name in ("key", "whole"):
            poll(lambda name=name: gateway.ask(name).status == 200, 12, f"{name} again")
            want = {f"sk-{name}-again"}
            poll(lambda want=want, name=name: keys_of(gateway, name) == want, 3, f"{name} on all")
