"""What it takes to run an Envoy: its binary, its environment, its configuration file."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bootstrap import DIR, ROOT

POLL = 0.015
T = TypeVar("T")


class EnvoyFailed(Exception):
    """Envoy did not start, or ended by itself; holds the end of its log."""


@functools.cache
def envoy_path() -> str:
    """The binary: `$AIGW_TEST_ENVOY`, or what the scripts of the project would take."""
    if path := os.environ.get("AIGW_TEST_ENVOY"):
        return path
    found = subprocess.run(
        ["bash", "-c", '. "$0"; find_envoy ""', str(ROOT / "scripts/lib.sh")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return found.stdout.strip()


@functools.cache
def envoy_minor() -> int:
    """The minor version of the binary: 40 for 1.40.0."""
    text = subprocess.run([envoy_path(), "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"/1\.(\d+)\.\d+", text.stdout)
    assert found, text.stdout
    return int(found[1])


def poll(
    check: Callable[[], T | None], timeout: float, what: str | Callable[[], str] = "condition"
) -> T:
    """Calls `check` until it answers something true, and returns that."""
    end = time.monotonic() + timeout
    while not (value := check()):
        if time.monotonic() > end:
            raise AssertionError(f"timed out: {what if isinstance(what, str) else what()}")
        time.sleep(POLL)
    return value


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """What Envoy sees: nothing of the developer's own credentials."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | dict(extra or {})


def placed(config: dict[str, Any], folder: Path) -> str:
    """The configuration as JSON, with the folder of this Envoy put in."""
    return json.dumps(config, indent=1).replace(DIR, str(folder))


def validate(bootstrap: dict[str, Any], env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Runs `envoy --mode validate`: its exit status and all that it printed."""
    with tempfile.TemporaryDirectory(prefix="aigw-validate-") as name:
        file = Path(name) / "envoy.json"
        file.write_text(placed(bootstrap, Path(name)))
        done = subprocess.run(
            [envoy_path(), "--mode", "validate", "-c", str(file)],
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    return done.returncode, done.stdout


def tail(log: str, lines: int = 60) -> str:
    """The end of a log, without the inventory that Envoy prints at its start."""
    return "\n".join([line for line in log.splitlines() if "][info][main]" not in line][-lines:])
