"""The measurement: every case once a round, in an order that changes from round to round."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from machine import Sharing, Worker
from section import no_collection
from signing import alone
from signing.cases import BODIES, SIGNERS, Body, Signer
from signing.client import Client, cut
from signing.proxies import ALONE

T = TypeVar("T")

IDLE = 0.001
"""Seconds after which Envoy has done what it leaves for after an answer."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    at_once: Mapping[int, int] = field(
        default_factory=lambda: {1 << 10: 100, 100 << 10: 60, 1 << 20: 20}
    )
    """Requests in one run for the time, by the size of the body."""
    over_time: int = 6
    """The same for a body in pieces, whatever its size: most of the time is waiting."""
    connections: int = 16
    """In a run for the CPU time of a body that comes at once: Envoy always has work."""
    bursts: Mapping[int, int] = field(
        default_factory=lambda: {1 << 10: 50, 100 << 10: 10, 1 << 20: 3}
    )
    """Requests on each of these connections, by the size of the body."""
    warm_up: int = 3
    """Runs of each case before the first round, and ten times as many of the signature alone, so
    that V8 has compiled what is hot."""
    seed: int = 1


@dataclass
class Samples:
    """What the rounds of one case gave; place `i` of each list is round `i`."""

    time: list[float] = field(default_factory=list)
    """Microseconds, the median of the run."""
    cpu: list[float] = field(default_factory=list)
    """Microseconds of Envoy's worker per request."""

    def as_json(self) -> dict[str, Any]:
        """All figures, rounded to what they are worth."""
        return {
            "time_us": [round(value, 1) for value in self.time],
            "cpu_us": [round(value, 1) for value in self.cpu],
        }


class Rounds:
    """Runs them; what was measured is in `samples` and `alone`."""

    def __init__(self, plan: Plan, worker: Worker, core: int, ports: Mapping[str, int]) -> None:
        self._plan, self._worker, self._ports = plan, worker, ports
        self._order = random.Random(plan.seed)
        self._requests = {body: cut(body) for body in BODIES}
        self._stack = ExitStack()
        self._clients: dict[str, Client] = {}
        self._loop: httpx.Client
        self.samples = {(body, signer): Samples() for body in BODIES for signer in SIGNERS}
        self.alone: dict[str, list[float]] = {work.name: [] for work in alone.ALL}
        """Microseconds a piece of work inside Envoy."""
        self.sharing = Sharing(core, worker)

    def __enter__(self) -> Rounds:
        for signer in SIGNERS:
            client = Client(self._ports[signer.name], self._plan.connections)
            self._stack.callback(client.close)
            self._clients[signer.name] = client
        base = f"http://127.0.0.1:{self._ports[ALONE]}"
        self._loop = httpx.Client(base_url=base, trust_env=False, timeout=20)
        self._stack.enter_context(self._loop)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def warm_up(self) -> None:
        """Opens the connections to the provider and lets V8 compile what is hot."""
        for _ in range(self._plan.warm_up):
            for _ in range(10):
                for work in alone.ALL:
                    self._alone(work)
            for body in BODIES:
                for signer in SIGNERS:
                    self._run(body, signer)

    def run(self) -> None:
        """One round."""
        with self.sharing.one_round():
            for work in self._shuffled(alone.ALL):
                self.alone[work.name].append(self._alone(work))
            for body in self._shuffled(BODIES):
                for signer in self._shuffled(SIGNERS):
                    time_us, cpu_us = self._run(body, signer)
                    samples = self.samples[body, signer]
                    samples.time.append(time_us)
                    samples.cpu.append(cpu_us)

    def _run(self, body: Body, signer: Signer) -> tuple[float, float]:
        """The time of a request and what Envoy's worker does for it, both in microseconds."""
        client, pieces = self._clients[signer.name], self._requests[body]
        with no_collection():
            if body.over_time:
                count = self._plan.over_time
                before = self._worker.seconds()
                times = [client.over_time(pieces) for _ in range(count)]
            else:
                count = self._plan.bursts[body.size] * self._plan.connections
                times = [client.at_once(pieces[0]) for _ in range(self._plan.at_once[body.size])]
                time.sleep(IDLE)
                before = self._worker.seconds()
                for _ in range(self._plan.bursts[body.size]):
                    client.on_all(pieces[0])
            time.sleep(IDLE)
            cpu = (self._worker.seconds() - before) / count
        return statistics.median(times), cpu * 1e6

    def _alone(self, work: alone.Work) -> float:
        """Microseconds of Envoy's worker for one piece of work."""
        before = self._worker.seconds()
        self._loop.get(f"/{work.name}/{work.count}").raise_for_status()
        time.sleep(IDLE)
        return (self._worker.seconds() - before) / work.count * 1e6

    def _shuffled(self, of: Sequence[T]) -> list[T]:
        return self._order.sample(list(of), len(of))
