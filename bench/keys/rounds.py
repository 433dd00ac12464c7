"""The measurement: every case once a round, in an order that changes from round to round."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from keys.cases import Case
from keys.load import Latency, Load
from machine import Sharing, Worker


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    copies: int = 10
    """How long the chains are."""
    requests: int = 4000
    """In one run for the time of the core; the latency takes a quarter."""
    connections: int = 16
    """In a run for the time of the core: Envoy always has work. The latency has one connection, so
    that no request waits for another."""
    warm_up: int = 2
    """Runs of each case before the first round."""
    seed: int = 1

    @property
    def latency_requests(self) -> int:
        """In one run for the latency."""
        return self.requests // 4


@dataclass
class Samples:
    """What the rounds of one case gave; place `i` of each list is round `i`."""

    cpu: list[float] = field(default_factory=list)
    """Microseconds of Envoy's worker per request."""
    latency: list[Latency] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All figures, rounded to what they are worth."""
        found: dict[str, Any] = {"cpu_us": [round(value, 3) for value in self.cpu]}
        runs = [asdict(run) for run in self.latency]
        for name in runs[0] if runs else ():
            found[f"latency_us_{name}"] = [round(run[name], 1) for run in runs]
        return found


class Rounds:
    """Runs them; what was measured is in `samples`."""

    def __init__(
        self, plan: Plan, load: Load, worker: Worker, core: int, ports: Mapping[str, int]
    ) -> None:
        self._plan, self._load, self._worker, self._ports = plan, load, worker, ports
        self._order = random.Random(plan.seed)
        self.samples: dict[str, Samples] = {}
        self.sharing = Sharing(core, worker)

    def warm_up(self, case: Case) -> None:
        """Opens the connections to the provider and lets V8 compile what is hot."""
        # Each of many clusters has connections of its own.
        for _ in range(self._plan.warm_up * (2 if case.many else 1)):
            self._load.run(self._ports[case.name], self._plan.requests, self._plan.connections)

    def run(self, cases: Sequence[Case]) -> None:
        """One round."""
        with self.sharing.one_round():
            for case in self._shuffled(cases):
                samples = self.samples.setdefault(case.name, Samples())
                samples.cpu.append(self._cpu(case))
            for case in self._shuffled([case for case in cases if case.latency]):
                port, requests = self._ports[case.name], self._plan.latency_requests
                self.samples[case.name].latency.append(self._load.run(port, requests, 1))

    def _cpu(self, case: Case) -> float:
        """Microseconds per request; exact, since Envoy sleeps before and after."""
        before = self._worker.seconds()
        self._load.run(self._ports[case.name], self._plan.requests, self._plan.connections)
        return (self._worker.seconds() - before) / self._plan.requests * 1e6

    def _shuffled(self, cases: Sequence[Case]) -> list[Case]:
        return self._order.sample(list(cases), len(cases))
