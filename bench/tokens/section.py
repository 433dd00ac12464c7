"""Measures what tokens that have to be obtained do to requests."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from envoy import Envoy
from keys.load import BODY_BYTES
from machine import Sharing, Worker, pinned, split_cores
from output import say
from section import Settings, repeat
from tokens.client import Client, request
from tokens.proxies import server, with_tokens
from tokens.renewals import AFTER, BEFORE, Plan, Rounds
from tokens.report import Renewals, Report
from tokens.starts import WORKERS, Starter

STARTS, QUICK_STARTS = 10, 3
LONG = 3600
"""Seconds that a token of a start lives."""


def measure(settings: Settings) -> Report:
    """Renewals under load, then starts."""
    plan = Plan(settings.rounds or (5 if settings.quick else 30))
    renewals, sharing = measure_renewals(plan)
    starts = QUICK_STARTS if settings.quick else STARTS
    say(f"tokens: {starts} starts with a key and with a token")
    with ExitStack() as stack:
        starter = Starter(stack.enter_context(server(0, LONG, LONG)))
        stack.callback(starter.close)
        starter.run()
        # What was read from the disk for the first time has been read.
        starter.forget()
        repeat(starts, starter.run)
    return Report(renewals, starter.samples, sharing, parameters(plan, starts))


def measure_renewals(plan: Plan) -> tuple[Renewals, Sharing]:
    """All policies in one Envoy with one worker."""
    core, others = split_cores()
    names = [f"tenant-{number:02}" for number in range(plan.policies)]
    with ExitStack() as stack:
        say(f"tokens: starting Envoy: {plan.policies} policies")
        with pinned({core}):
            # The server's port has to be known first, but it belongs on the other cores.
            with pinned(others):
                lives = (plan.shortest_life, plan.longest_life)
                port = stack.enter_context(server(plan.delay, *lives))
            config = with_tokens(names, port)
            envoy = stack.enter_context(Envoy(config, concurrency=1, log_level="warning"))
        stack.enter_context(pinned(others))
        client = Client(envoy.port(), port, names)
        stack.callback(client.close)
        sharing = Sharing(core, Worker(envoy.pid))
        rounds = Rounds(plan, client, sharing)
        say("warming up, until every token has been renewed")
        rounds.warm_up()
        before = counted(envoy)
        repeat(plan.rounds, rounds.run)
        waited = counted(envoy) - before
        return Renewals(rounds.samples(), rounds.renewals, waited), sharing


def counted(envoy: Envoy) -> int:
    """How many requests have waited for a token."""
    found = envoy.stats("wasmcustom.aigw_auth.policy.").items()
    return sum(value for name, value in found if re.search(r"\.waited$", name))


def parameters(plan: Plan, starts: int) -> dict[str, Any]:
    """What was asked of the machine."""
    return {
        **asdict(plan),
        "before_ms": BEFORE / 1e6,
        "after_ms": AFTER / 1e6,
        "request_bytes": len(request("tenant-00")),
        "body_bytes": BODY_BYTES,
        "starts": starts,
        "workers_of_starts": WORKERS,
    }
