"""The tables for people, the figures for the file, and whether the aims are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aims import Aim, as_json
from figures import Figure, figure, interval, per_copy
from machine import Sharing
from tokens.renewals import CALLS, OTHERS, RENEWALS, Samples
from tokens.starts import CREDENTIALS, Starts

TITLES = {
    OTHERS: "no call",
    CALLS: "a call that Envoy has no part in",
    RENEWALS: "a renewal",
}

RESOLVED = 0.1
"""What the error of the difference of two p99 may be, of the p99 itself."""


@dataclass(frozen=True)
class Renewals:
    """What was measured under load."""

    samples: Mapping[str, Samples]
    count: int
    """How many tokens were renewed."""
    waited: int
    """How many requests waited for one."""


@dataclass(frozen=True)
class Row:
    """What is told of requests of one kind, in microseconds."""

    requests: int
    p50: Figure
    p99: Figure
    largest: float
    p50_adds: Figure | None
    """Against the requests at no call."""
    p99_adds: Figure | None

    def as_json(self) -> dict[str, Any]:
        """The figures with their names."""
        named = {
            "p50_us": self.p50,
            "p50_adds_us": self.p50_adds,
            "p99_us": self.p99,
            "p99_adds_us": self.p99_adds,
        }
        figures = {name: value.as_json() for name, value in named.items() if value}
        return {"requests": self.requests, **figures, "largest_us": round(self.largest, 1)}


class Report:
    """Works out all figures."""

    def __init__(
        self,
        renewals: Renewals,
        starts: Mapping[str, Starts],
        sharing: Sharing,
        parameters: Mapping[str, Any],
    ) -> None:
        self._renewals, self._samples = renewals, renewals.samples
        self._starts, self._sharing, self._parameters = starts, sharing, parameters
        self._rows = {kind: self._row(kind) for kind in TITLES}
        self._phases = dict(self._all_phases())
        self._aims = list(self._all_aims())

    def _row(self, kind: str) -> Row:
        mine, others = self._samples[kind], self._samples[OTHERS]
        p50 = p99 = None
        if kind != OTHERS:
            p50 = per_copy(others.p50, mine.p50, 1)
            p99 = per_copy(others.p99, mine.p99, 1)
        largest = max(mine.largest)
        return Row(sum(mine.count), figure(mine.p50), figure(mine.p99), largest, p50, p99)

    def _all_phases(self) -> Iterator[tuple[str, dict[str, Figure]]]:
        """Of the starts with each credential, in milliseconds."""
        for name, starts in self._starts.items():
            yield (
                name,
                {
                    "listening": figure(starts.listening),
                    **({"asked": figure(starts.asked)} if starts.asked else {}),
                    "answered": figure(starts.answered),
                    "after_listening": per_copy(starts.listening, starts.answered, 1),
                },
            )

    def _error(self) -> float:
        """Of the difference of two p99: half its own interval, and what is found where Envoy has no
        part in it."""
        renewal, control = self._rows[RENEWALS].p99_adds, self._rows[CALLS].p99_adds
        assert renewal
        assert control
        return max(renewal.error, control.error, abs(control.median))

    def _resolved(self) -> bool:
        return self._error() <= RESOLVED * self._rows[OTHERS].p99.median

    def _all_aims(self) -> Iterator[Aim]:
        adds = self._rows[RENEWALS].p99_adds
        assert adds
        error = self._error()
        found = f"differs by {interval(adds, 1)} us, the error is {error:.1f} us"
        # Within an error of any size would say nothing.
        met = adds.median <= error and self._resolved()
        yield Aim("p99 at a renewal is p99 elsewhere", found, met)
        waited = self._renewals.waited
        yield Aim("no request waits for a renewal", f"{waited} waited", waited == 0)

    # What is told.

    def table(self) -> str:
        """What is printed."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield (
            f"{'latency, us [95 %], at':33}| requests | {'p50':>20} | {'adds':>18} |"
            f" {'p99':>24} | {'adds':>24} | largest"
        )
        yield "-" * 147
        for kind, row in self._rows.items():
            yield (
                f"{TITLES[kind]:33}| {row.requests:8} | {interval(row.p50, 1):>20} |"
                f" {interval(row.p50_adds, 1):>18} | {interval(row.p99, 1):>24} |"
                f" {interval(row.p99_adds, 1):>24} | {row.largest:7.0f}"
            )
        yield f"{self._renewals.count} renewals."
        yield ""
        yield (
            f"{'start, ms [95 %], until':33}| {'it listens':>22} | {'a token is asked for':>22} |"
            f" {'the first answer':>22} | from listening to that"
        )
        yield "-" * 132
        for name, phases in self._phases.items():
            yield (
                f"{CREDENTIALS[name]:33}| {interval(phases['listening'], 1):>22} |"
                f" {interval(phases.get('asked'), 1):>22} | {interval(phases['answered'], 1):>22} |"
                f" {interval(phases['after_listening'], 1)}"
            )
        yield ""
        for aim in self._aims:
            yield aim.line()
        yield ""
        if not self._resolved():
            part = self._error() / self._rows[OTHERS].p99.median
            yield f"NOT RESOLVED: the error is {part:.0%} of p99, more than {RESOLVED:.0%}."
        yield from self._sharing.lines()

    def as_json(self) -> dict[str, Any]:
        """Everything, with what each round gave."""
        return {
            "parameters": dict(self._parameters),
            "latency": {kind: row.as_json() for kind, row in self._rows.items()},
            "renewals": self._renewals.count,
            "waited": self._renewals.waited,
            "starts_ms": {
                name: {phase: found.as_json() for phase, found in phases.items()}
                for name, phases in self._phases.items()
            },
            "aims": as_json(self._aims),
            "core_used_by_others": round(self._sharing.part, 4),
            "rounds": {kind: one.as_json() for kind, one in self._samples.items()},
            "starts": {name: one.as_json() for name, one in self._starts.items()},
        }
