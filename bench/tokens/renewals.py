"""Requests at the time of a renewal, and the others."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from machine import Sharing
from section import no_collection
from tokens.client import MINE, Client

BEFORE, AFTER = 2_000_000, 60_000_000
"""What belongs to a renewal beside the time from the call's arrival to its answer, in nanoseconds:
what the worker does to make the call, and what it does with the answer."""

OTHERS, CALLS, RENEWALS = KINDS = ("others", "calls", "renewals")
"""Of requests: those at no call; those at a call of the benchmark's own, which Envoy knows nothing
of; and those at a renewal."""

PERCENTILES = {"p50": 0.5, "p99": 0.99}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    policies: int = 12
    """Each with a token of its own, so that there is often one to be renewed."""
    shortest_life: int = 12
    longest_life: int = 24
    """Seconds that a token lives, by chance. Of less than 12 s it may end before its renewal: the
    tick comes once a second, and between stale and unusable there is a tenth of the life."""
    delay: float = 0.02
    """Seconds until the token endpoint answers."""
    renewals: int = 2
    """A round has so many at least."""
    stretch: float = 1.25
    """Seconds of sending, in which there is one call of the benchmark's own."""
    seed: int = 1


@dataclass
class Samples:
    """What the rounds gave for requests of one kind; place `i` of each list is round `i`."""

    count: list[int] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    """Microseconds."""
    largest: list[float] = field(default_factory=list)

    def add(self, latencies: list[float]) -> None:
        """One round."""
        latencies.sort()
        self.count.append(len(latencies))
        self.p50.append(percentile(latencies, PERCENTILES["p50"]))
        self.p99.append(percentile(latencies, PERCENTILES["p99"]))
        self.largest.append(latencies[-1])

    def as_json(self) -> dict[str, Any]:
        """All figures, rounded to what they are worth."""
        named = {"p50_us": self.p50, "p99_us": self.p99, "largest_us": self.largest}
        return {"requests": self.count} | {
            name: [round(value, 1) for value in values] for name, values in named.items()
        }


class Rounds:
    """Runs them."""

    def __init__(self, plan: Plan, client: Client, sharing: Sharing) -> None:
        self._plan, self._client, self._sharing = plan, client, sharing
        self._draw = random.Random(plan.seed)
        self._calls: list[tuple[str, int, int]] = []
        self._ends: list[int] = []
        """How many requests had been sent at the end of the warm-up and of each round."""

    def warm_up(self) -> None:
        """Until about every token has been renewed."""
        self._run(self._plan.policies)
        self._ends.append(len(self._client))
        self._begun = len(self._calls)

    def run(self) -> None:
        """One round."""
        with self._sharing.one_round():
            self._run(self._plan.renewals)
        self._ends.append(len(self._client))

    @property
    def renewals(self) -> int:
        """How many there were in all rounds."""
        return sum(tenant != MINE for tenant, _, _ in self._calls[self._begun :])

    def samples(self) -> dict[str, Samples]:
        """What came of it."""
        client = self._client
        kinds = kinds_of(client.begun, client.ended, self._calls)
        found = {kind: Samples() for kind in KINDS}
        for first, end in zip(self._ends, self._ends[1:], strict=False):
            latencies: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for place in range(first, end):
                taken = (client.ended[place] - client.begun[place]) / 1e3
                latencies[KINDS[kinds[place]]].append(taken)
            for kind, values in latencies.items():
                found[kind].add(values)
        return found

    def _run(self, renewals: int) -> None:
        """Sends until there were so many, and some calls of the benchmark's own apart from them."""
        begun, longest = len(self._calls), self._plan.stretch - 0.2
        with no_collection():
            while not self._enough(begun, renewals):
                self._calls += self._client.run(self._plan.stretch, self._draw.uniform(0, longest))

    def _enough(self, begun: int, renewals: int) -> bool:
        theirs = [call for call in self._calls if call[0] != MINE]
        mine = [call for call in self._calls[begun:] if call[0] == MINE]
        apart = [
            call
            for call in mine
            if all(call[1] > last + AFTER or call[2] + AFTER < first for _, first, last in theirs)
        ]
        found = sum(tenant != MINE for tenant, _, _ in self._calls[begun:])
        return found >= renewals and len(apart) >= self._plan.renewals


def kinds_of(
    begun: Sequence[int], ended: Sequence[int], calls: Sequence[tuple[str, int, int]]
) -> bytearray:
    """The kind of each request; one at the time of two calls belongs to the renewal."""
    found = bytearray(len(begun))
    for tenant, asked, answered in sorted(calls, key=lambda call: call[0] != MINE):
        first = bisect_left(ended, asked - BEFORE)
        last = bisect_right(begun, answered + AFTER)
        kind = KINDS.index(CALLS if tenant == MINE else RENEWALS)
        found[first:last] = bytes([kind]) * (last - first)
    return found


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that such a part does not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
