"""Measures what a request with a key costs."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from envoy import Envoy
from keys.cases import MANY, Case, all_cases
from keys.load import BODY_BYTES, HEADERS, PATH, Load, body
from keys.proxies import ECHO, measured, provider
from keys.report import Report
from keys.rounds import Plan, Rounds
from launch import poll
from machine import Worker, pinned, split_cores
from output import say
from section import Settings, repeat


def measure(settings: Settings) -> Report:
    """All cases, in one Envoy."""
    plan = Plan(settings.rounds or 80)
    if settings.quick:
        plan = Plan(settings.rounds or 5, requests=1000)
    cases = all_cases(plan.copies)
    core, others = split_cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aigw-bench-")))
        say(f"keys: starting Envoy: {len(cases)} cases, {MANY} clusters in those with many")
        with pinned(others):
            upstream = stack.enter_context(Envoy(provider(), concurrency=1, log_level="warning"))
        config = measured(cases, upstream.port(), settings.minimal)
        with pinned({core}):
            envoy = stack.enter_context(
                Envoy(config, concurrency=1, log_level="warning", start_timeout=120)
            )
        for case in cases:
            prove(case, envoy.url(PATH, case.name))
        stack.enter_context(pinned(others))
        load = Load(settings.oha, folder)
        rounds = Rounds(plan, load, Worker(envoy.pid), core, envoy.ports)
        say("warming up")
        for case in cases:
            rounds.warm_up(case)
        repeat(plan.rounds, lambda: rounds.run(cases))
    return Report(cases, rounds.samples, rounds.sharing, parameters(plan, settings))


def prove(case: Case, url: str) -> None:
    """What does not do its work has no cost worth knowing."""
    headers = {**HEADERS, ECHO: "1"}
    with httpx.Client(trust_env=False, headers=headers, timeout=10) as client:
        # A token may not have been obtained yet.
        poll(lambda: client.post(url, content=body()).status_code == 200, 10, case.name)
        seen = [client.post(url, content=body()).raise_for_status().json() for _ in range(8)]
    found = {one["authorization"] for one in seen}
    expected = set(case.keys() or [HEADERS["authorization"]])
    if not found <= expected or (case.many and case.keys() and len(found) == 1):
        raise SystemExit(f"error: {case.name}: the provider saw {sorted(found)}")


def parameters(plan: Plan, settings: Settings) -> dict[str, Any]:
    """What was asked of the machine, and of what."""
    return {
        **asdict(plan),
        "latency_requests": plan.latency_requests,
        "latency_connections": 1,
        "clusters": MANY,
        "request_headers": len(HEADERS) + 2,
        "body_bytes": BODY_BYTES,
        "load_generator": oha_version(settings.oha),
        "minimal_module_bytes": Path(settings.minimal).stat().st_size,
    }


def oha_version(oha: str) -> str:
    """Name and version."""
    text = subprocess.run([oha, "--version"], check=True, capture_output=True, text=True)
    return text.stdout.strip()
