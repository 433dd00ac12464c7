"""Entry point of scripts/bench, which gets the programs ready and explains the arguments."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx

from bootstrap import ROOT, wasm_path
from cases import MANY, Case, all_cases
from envoy import Envoy
from launch import envoy_path
from load import BODY_BYTES, HEADERS, PATH, Load, body
from machine import Worker, description, pinned, split_cores
from proxies import ECHO, measured, provider
from report import Report, write
from rounds import Plan, Rounds

SETTLED = 0.5
"""Seconds that V8's compiler in the background gets after the warm-up."""


def main() -> None:
    """Measures, prints the table and writes the file."""
    arguments = parse()
    quick: bool = arguments.quick
    plan = Plan(arguments.rounds or (5 if quick else 80), **({"requests": 1000} if quick else {}))
    cases = all_cases(plan.copies)
    core, others = split_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aigw-bench-")))
        say(f"starting Envoy: {len(cases)} cases, {MANY} clusters in those with many")
        with pinned(others):
            upstream = stack.enter_context(Envoy(provider(), concurrency=1, log_level="warning"))
        config = measured(cases, upstream.port(), arguments.minimal)
        with pinned({core}):
            envoy = stack.enter_context(
                Envoy(config, concurrency=1, log_level="warning", start_timeout=120)
            )
        for case in cases:
            prove(case, envoy.url(PATH, case.name))
        stack.enter_context(pinned(others))
        load = Load(arguments.oha, folder)
        rounds = Rounds(plan, load, Worker(envoy.pid), core, envoy.ports)
        measure(rounds, cases, plan)
    report = Report(cases, rounds.samples, rounds.foreign)
    print(report.table())
    now = datetime.now(timezone.utc)
    file = ROOT / f"bench/results/{now:%Y-%m-%d}-{git('rev-parse', '--short', 'HEAD')}.json"
    if quick:
        file = ROOT / "target/bench/quick.json"
    heading = {
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "commit": git("rev-parse", "HEAD"),
        "modified": git("status", "--porcelain", "--", "src", "bench", "Cargo.lock") != "",
        "machine": description(),
        "envoy": envoy_version(),
        "load_generator": oha_version(arguments.oha),
        "module_bytes": Path(wasm_path()).stat().st_size,
        "minimal_module_bytes": Path(arguments.minimal).stat().st_size,
        "parameters": parameters(plan),
    }
    write(file, heading | report.as_json())
    say(f"all figures are in {file.relative_to(ROOT)}")


def parse() -> argparse.Namespace:
    """The arguments, checked by scripts/bench already."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--oha", required=True)
    parser.add_argument("--minimal", required=True)
    return parser.parse_args()


def measure(rounds: Rounds, cases: Sequence[Case], plan: Plan) -> None:
    """The warm-up and all rounds."""
    say("warming up")
    for case in cases:
        rounds.warm_up(case)
    time.sleep(SETTLED)
    started = time.monotonic()
    for number in range(1, plan.rounds + 1):
        rounds.run(cases)
        if number == 1 or number % 10 == 0 or number == plan.rounds:
            left = (time.monotonic() - started) / number * (plan.rounds - number)
            say(f"round {number} of {plan.rounds}, {left:.0f} s left")


def prove(case: Case, url: str) -> None:
    """What does not do its work has no cost worth knowing."""
    headers = {**HEADERS, ECHO: "1"}
    with httpx.Client(trust_env=False, headers=headers, timeout=10) as client:
        seen = [client.post(url, content=body()).raise_for_status().json() for _ in range(8)]
    found = {one["authorization"] for one in seen}
    expected = set(case.keys() or [HEADERS["authorization"]])
    if not found <= expected or (case.many and case.keys() and len(found) == 1):
        raise SystemExit(f"error: {case.name}: the provider saw {sorted(found)}")


def parameters(plan: Plan) -> dict[str, Any]:
    """What was asked of the machine."""
    return {
        **asdict(plan),
        "latency_requests": plan.latency_requests,
        "latency_connections": 1,
        "clusters": MANY,
        "request_headers": len(HEADERS) + 2,
        "body_bytes": BODY_BYTES,
    }


def envoy_version() -> str:
    """Its version alone: no commit, no flags of the build."""
    text = subprocess.run([envoy_path(), "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"/(\d+\.\d+\.\d+)", text.stdout)
    return found[1] if found else "unknown"


def oha_version(oha: str) -> str:
    """Name and version."""
    text = subprocess.run([oha, "--version"], check=True, capture_output=True, text=True)
    return text.stdout.strip()


def git(*arguments: str) -> str:
    """What git says."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def say(text: str) -> None:
    """One line of progress."""
    print(f"==> {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
