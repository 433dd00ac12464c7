"""A folder that behaves as a Kubernetes Secret volume, and what tests of mounted Secrets share."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from egress import SETTINGS
from envoy import Envoy
from gateway import Gateway
from launch import poll
from manifests import Manifest, config
from raw import Response

DATA = "..data"
REASONS = ("timeout", "connect", "denied", "throttled", "server", "malformed")
"""Why fetching may have failed."""

WORKER = re.compile(r"\.worker_\d+\.downstream_cx_total$")


class Secret:
    """The Secret `<root>/<namespace>/<name>`.

    Its keys are symbolic links to `..data/<key>`, and `..data` is one to a folder with the time in
    its name, as the kubelet makes them. The folder itself is there from the first `swap` on.
    """

    def __init__(self, root: Path, name: str, namespace: str = "default") -> None:
        self.folder = root / namespace / name
        self._versions = itertools.count(1)

    def path(self, key: str) -> Path:
        """Where a key is found."""
        return self.folder / key

    def swap(self, keys: Mapping[str, str | bytes]) -> None:
        """Puts these keys, and no others, in place of all there are, in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._current()
        version = self.folder / f"..2026_01_31_12_00_00.{next(self._versions):09d}"
        version.mkdir()
        for key, value in keys.items():
            (version / key).write_bytes(value.encode() if isinstance(value, str) else value)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        os.replace(fresh, self.folder / DATA)
        for key in keys:
            if not self.path(key).is_symlink():
                self.path(key).symlink_to(f"{DATA}/{key}")
        if before:
            for old in before.iterdir():
                if old.name not in keys:
                    self.path(old.name).unlink(missing_ok=True)
            shutil.rmtree(before)

    def remove(self, key: str) -> None:
        """Takes one key away, as an edit of the Secret does."""
        now = self._current()
        assert now, "there is no Secret"
        kept = {one.name: one.read_bytes() for one in now.iterdir() if one.name != key}
        self.swap(kept)

    def delete(self) -> None:
        """Takes the whole Secret away."""
        shutil.rmtree(self.folder)

    def _current(self) -> Path | None:
        """The folder that `..data` leads to."""
        link = self.folder / DATA
        return self.folder / os.readlink(link) if link.is_symlink() else None


def mounted(root: Path, *resources: Manifest | Sequence[Manifest], **settings: Any) -> Manifest:
    """A plugin configuration whose Secrets are below a folder."""
    where = {"secrets": {"mountPath": str(root)}}
    return config(*resources, **(where | SETTINGS | settings))


def failed(envoy: Envoy, policy: str) -> dict[str, int]:
    """How often fetching has failed for a policy, by reason."""
    values = {one: envoy.metric(f"policy.{policy}.fetch_failed.{one}") for one in REASONS}
    return {reason: value for reason, value in values.items() if value}


def complaints(envoy: Envoy, *named: str) -> list[str]:
    """What the filter has logged as a warning or an error; of that, what names all of these."""
    lines = re.findall(r"\[(?:warning|error|critical)\]\[wasm\].*wasm log[^:]*: (.*)", envoy.log())
    names = [re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])") for name in named]
    return [line for line in lines if all(name.search(line) for name in names)]


def assert_unavailable(answer: Response) -> None:
    """The refusal of a request for which there is no credential."""
    assert answer.status == 503, answer
    error = json.loads(answer.body)["error"]
    assert (error["type"], error["code"]) == ("CredentialUnavailable", "503")
    (seconds,) = answer.values("retry-after")
    assert 1 <= int(seconds) <= 60


def on_every_worker(gateway: Gateway, backend: str) -> list[Response]:
    """Asks, each time on a new connection, until every worker has answered."""

    def taken() -> dict[str, int]:
        found = gateway.envoy.stats("listener.127.0.0.1_")
        return {name: value for name, value in found.items() if WORKER.search(name)}

    before = taken()
    assert before
    answers: list[Response] = []

    def all_of_them() -> bool:
        answers.append(gateway.ask(backend))
        return all(value > before[name] for name, value in taken().items())

    poll(all_of_them, 20, "an answer of every worker")
    return answers
