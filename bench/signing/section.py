"""Measures what a signature costs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from envoy import Envoy
from machine import Worker, pinned, split_cores
from output import say
from section import Settings, repeat
from signing import alone
from signing.cases import BODIES, BUFFER, HEADERS, PIECES, SIGNERS
from signing.client import GAP, Client
from signing.proxies import measured, provider
from signing.report import Report
from signing.rounds import Plan, Rounds
from signing.verify import check


def measure(settings: Settings) -> Report:
    """The signature alone, then all bodies in one Envoy."""
    plan = Plan(settings.rounds or (5 if settings.quick else 60))
    core, others = split_cores()
    with pinned({core}):
        native = alone.natively(quick=settings.quick)
    with ExitStack() as stack:
        say(f"signing: starting Envoy: {len(SIGNERS)} signers, {len(BODIES)} bodies")
        with pinned({core}):
            # The provider's port has to be known first, but it belongs on the other cores.
            with pinned(others):
                port = stack.enter_context(provider())
            config = measured(port, settings.signature)
            envoy = stack.enter_context(Envoy(config, concurrency=1, log_level="warning"))
        stack.enter_context(pinned(others))
        prove(envoy)
        rounds = Rounds(plan, Worker(envoy.pid), core, envoy.ports)
        stack.enter_context(rounds)
        say("warming up")
        rounds.warm_up()
        repeat(plan.rounds, rounds.run)
    return Report(rounds.samples, native, rounds.alone, rounds.sharing, parameters(plan))


def prove(envoy: Envoy) -> None:
    """What does not do its work has no cost worth knowing."""
    for signer in SIGNERS:
        client = Client(envoy.port(signer.name))
        for body in BODIES:
            check(signer, body, client.asked(body))
        client.close()


def parameters(plan: Plan) -> dict[str, Any]:
    """What was asked of the machine."""
    return {
        **asdict(plan),
        "pieces": PIECES,
        "gap_seconds": GAP,
        "buffer_bytes": BUFFER,
        "request_headers": len(HEADERS) + 1,
    }
