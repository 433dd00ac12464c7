"""The load generator, oha (<https://github.com/hatoo/oha>), and the request that it repeats."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADERS: Mapping[str, str] = {
    "user-agent": "OpenAI/Python 2.13.0",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    "authorization": "Bearer sk-of-the-client-0123456789abcdefghijklmnopqrs",
    "openai-organization": "org-0123456789",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.13.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.13.1",
    "x-stainless-async": "false",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
"""What a well-known client sends, besides `host` and `content-length`."""

PATH = "/v1/chat/completions"
BODY_BYTES = 1024
PERCENTILES = ("p50", "p90", "p99")


def body() -> str:
    """A short conversation of `BODY_BYTES` bytes."""
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": ""}]}
    missing = BODY_BYTES - len(json.dumps(request))
    request["messages"] = [{"role": "user", "content": "x" * missing}]
    return json.dumps(request)


@dataclass(frozen=True)
class Latency:
    """Percentiles of one run, in microseconds."""

    p50: float
    p90: float
    p99: float


class Load:
    """Runs oha; processes and files are of the caller's choice."""

    def __init__(self, oha: str, folder: Path) -> None:
        self._command = [oha, "--no-tui", "--output-format", "json", "--worker-threads", "1"]
        file = folder / "body.json"
        file.write_text(body())
        self._command += ["-m", "POST", "-D", str(file)]
        for name, value in HEADERS.items():
            self._command += ["-H", f"{name}: {value}"]

    def run(self, port: int, requests: int, connections: int) -> Latency:
        """Sends so many requests, each as soon as its connection is free."""
        how = ["-n", str(requests), "-c", str(connections)]
        done = subprocess.run(
            [*self._command, *how, f"http://127.0.0.1:{port}{PATH}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"error: oha failed: {done.stderr.decode(errors='replace')}")
        result = json.loads(done.stdout)
        answers: dict[str, int] = result["statusCodeDistribution"]
        if answers != {"200": requests}:
            errors: Any = result.get("errorDistribution")
            raise SystemExit(f"error: of {requests} requests: statuses {answers}, errors {errors}")
        latency: dict[str, float] = result["latencyPercentiles"]
        return Latency(*(latency[name] * 1e6 for name in PERCENTILES))
