"""The table for people and the file with all figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aims import Aim, as_json
from figures import Figure, figure, interval, per_copy, ratio
from keys.cases import Case
from keys.load import PERCENTILES
from keys.rounds import Samples
from machine import Sharing

COMPARED = (
    ("aigw", "minimal", "aigw-auth / minimal filter"),
    ("aigw-chain", "minimal-chain", "aigw-auth / minimal filter, chains"),
    ("aigw-token", "aigw", "token / API key"),
    ("aigw-token-chain", "aigw-chain", "token / API key, chains"),
    ("aigw-many", "aigw", "200 policies / 1 policy"),
    ("aigw-many-chain", "aigw-chain", "200 policies / 1 policy, chains"),
)
"""Two cases each, and what their quotient is called."""

AIMS = {
    "token / API key": "a token costs at most {} times what an API key costs",
    "token / API key, chains": "in a chain a token costs at most {} times what an API key costs",
}
AT_MOST = 1.1
"""What is aimed at in those quotients."""

RESOLVED = 1.0
"""What the error of a run may be, in microseconds."""


@dataclass(frozen=True)
class Row:
    """What is told of one case."""

    case: Case
    cpu: Figure
    added: Figure | None
    """What one copy of its filter adds, against the same without the filter."""
    latency: dict[str, Figure]

    def as_json(self) -> dict[str, Any]:
        """The figures with their names."""
        return {
            "title": self.case.title,
            "copies": self.case.copies,
            "clusters": len(self.case.clusters),
            "compared_with": self.case.base if self.added else None,
            "cpu_us": self.cpu.as_json(),
            "filter_us": self.added.as_json() if self.added else None,
            "latency_us": {name: value.as_json() for name, value in self.latency.items()},
        }


class Report:
    """Works out the figures of all cases."""

    def __init__(
        self,
        cases: Sequence[Case],
        samples: Mapping[str, Samples],
        sharing: Sharing,
        parameters: Mapping[str, Any],
    ) -> None:
        self._samples, self._sharing, self._parameters = samples, sharing, parameters
        self._cases = {case.name: case for case in cases if case.name in samples}
        self.rows = [self._row(case) for case in self._cases.values()]
        self.ratios = {
            title: ratio(self._pair(one), self._pair(other))
            for one, other, title in COMPARED
            if one in self._cases and other in self._cases
        }
        self._aims = [
            Aim(text.format(AT_MOST), interval(found, 2), found.median <= AT_MOST)
            for title, text in AIMS.items()
            if (found := self.ratios.get(title))
        ]

    def _pair(self, name: str) -> tuple[list[float], list[float]]:
        return self._samples[self._cases[name].base].cpu, self._samples[name].cpu

    def _row(self, case: Case) -> Row:
        mine = self._samples[case.name]
        added = None
        if case.name != case.base:
            added = per_copy(self._samples[case.base].cpu, mine.cpu, max(1, case.copies))
        latency = {}
        if mine.latency:
            for name in PERCENTILES:
                latency[name] = figure([getattr(run, name) for run in mine.latency])
        return Row(case, figure(mine.cpu), added, latency)

    def table(self) -> str:
        """What is printed."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield (
            f"{'':35}| Envoy CPU, us/request | one copy adds, us             |"
            " latency, us, median (IQR)"
        )
        yield (
            f"{'case':35}| {'median':>9} {'IQR':>8}    | {'median':>7} {'95 % interval':>15}"
            f" {'IQR':>5} | {'p50':>11} {'p90':>11} {'p99':>12}"
        )
        yield "-" * 128
        for row in self.rows:
            cpu = f"{row.cpu.median:9.2f} {row.cpu.iqr:8.2f}   "
            added = " " * 29
            if row.added:
                between = f"[{row.added.low:.2f}, {row.added.high:.2f}]"
                added = f"{row.added.median:7.2f} {between:>15} {row.added.iqr:5.2f}"
            shown = [f"{one.median:.0f} ({one.iqr:.0f})" for one in row.latency.values()]
            latency = " ".join(f"{text:>11}" for text in shown)
            yield f"{row.case.title:35}| {cpu} | {added} | {latency}".rstrip()
        yield ""
        for title, value in self.ratios.items():
            yield f"{title:35}| {interval(value, 2)}"
        yield ""
        for aim in self._aims:
            yield aim.line()
        yield from self._trust()

    def _trust(self) -> Iterator[str]:
        control = next(row.added for row in self.rows if row.case.name == "control")
        assert control
        yield ""
        error = max(control.error, abs(control.median))
        yield (
            f"Two equal cases differ by {control.median:.2f} us"
            f" [{control.low:.2f}, {control.high:.2f}]: a single copy is known to about"
            f" {error:.2f} us, one of a chain to a part of that."
        )
        if error > RESOLVED:
            yield f"NOT RESOLVED: differences of {RESOLVED:.0f} us between single copies are noise."
        yield from self._sharing.lines()

    def as_json(self) -> dict[str, Any]:
        """Everything, with what each round gave."""
        return {
            "parameters": dict(self._parameters),
            "cases": {row.case.name: row.as_json() for row in self.rows},
            "ratios": {title: value.as_json() for title, value in self.ratios.items()},
            "aims": as_json(self._aims),
            "core_used_by_others": round(self._sharing.part, 4),
            "rounds": {name: one.as_json() for name, one in self._samples.items()},
        }
