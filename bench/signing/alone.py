"""The signature alone: natively, by criterion, and inside Envoy's V8."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap import ROOT
from output import say


@dataclass(frozen=True)
class Work:
    """What `bench/signature` can do."""

    name: str
    title: str
    count: int
    """How often in one run inside Envoy: for some 15 ms, beside which the request is nothing."""


CACHED = Work("cached", "a signature, the derived key at hand", 4000)
DERIVED = Work("derived", "a signature, the key derived for it", 2000)
HASH = Work("hash", "the hash of a body of 1 MB", 8)
ALL = (CACHED, DERIVED, HASH)


def natively(*, quick: bool) -> dict[str, list[float]]:
    """Microseconds a piece of work, as each sample of criterion gave them. On the cores that the
    caller has."""
    say("signing: the signature alone, natively")
    seconds = ["--warm-up-time", "0.3", "--measurement-time", "0.5", "--sample-size", "10"]
    if not quick:
        seconds = ["--warm-up-time", "1", "--measurement-time", "4"]
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "aigw-auth-bench-signature", "--"]
    with tempfile.TemporaryDirectory(prefix="aigw-bench-") as home:
        done = subprocess.run(
            [*command, *seconds],
            cwd=ROOT,
            env={**os.environ, "CRITERION_HOME": home},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"error: cargo bench failed: {done.stderr}")
        return {work.name: samples(Path(home) / work.name / "new/sample.json") for work in ALL}


def samples(file: Path) -> list[float]:
    """What criterion noted, in microseconds."""
    noted: Mapping[str, list[float]] = json.loads(file.read_text())
    pairs = zip(noted["times"], noted["iters"], strict=True)
    return [nanoseconds / iterations / 1e3 for nanoseconds, iterations in pairs]
