"""The table for people, the file with all figures, and whether the aims are met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aims import Aim, as_json
from figures import Figure, figure, interval, per_copy, ratio
from machine import Sharing
from signing import alone
from signing.cases import AGAIN, BODIES, HELD, NATIVE, NONE, OURS, SIGNERS, Body, Signer
from signing.rounds import Samples

SIGNATURE = 5.0
"""Microseconds that a signature in Envoy may take, the derived key at hand."""

TIMES_NATIVE = 5.0
"""How many times as much as the native filter ours may add to a body that arrives at once."""

LEFT = 0.1
"""How much of hashing the whole body may be left for the end, beside hashing the last piece."""


@dataclass(frozen=True)
class Row:
    """What is told of one signer and one body, in microseconds."""

    time: Figure
    adds: Figure | None
    """To the time, against no filter."""
    beyond_held: Figure | None
    """The same against holding the body back, which no signer can do without."""
    cpu: Figure
    cpu_adds: Figure | None

    def as_json(self) -> dict[str, Any]:
        """The figures with their names."""
        named = {
            "time_us": self.time,
            "adds_us": self.adds,
            "beyond_held_us": self.beyond_held,
            "cpu_us": self.cpu,
            "cpu_adds_us": self.cpu_adds,
        }
        return {name: value.as_json() for name, value in named.items() if value}


class Report:
    """Works out all figures."""

    def __init__(
        self,
        samples: Mapping[tuple[Body, Signer], Samples],
        native: Mapping[str, Sequence[float]],
        in_envoy: Mapping[str, Sequence[float]],
        sharing: Sharing,
        parameters: Mapping[str, Any],
    ) -> None:
        self._samples, self._in_envoy = samples, in_envoy
        self._sharing, self._parameters = sharing, parameters
        self._native = {name: figure(values) for name, values in native.items()}
        self._alone = {name: figure(values) for name, values in in_envoy.items()}
        self._rows = {key: self._row(*key) for key in samples}
        self._aims = list(self._all_aims())

    def _times(self, body: Body, signer: Signer) -> list[float]:
        return self._samples[body, signer].time

    def _row(self, body: Body, signer: Signer) -> Row:
        mine, none = self._samples[body, signer], self._samples[body, NONE]
        adds = beyond = cpu_adds = None
        if signer is not NONE:
            adds = per_copy(none.time, mine.time, 1)
            cpu_adds = per_copy(none.cpu, mine.cpu, 1)
        if signer.signs:
            beyond = per_copy(self._times(body, HELD), mine.time, 1)
        return Row(figure(mine.time), adds, beyond, figure(mine.cpu), cpu_adds)

    # The aims.

    def _all_aims(self) -> Iterator[Aim]:
        found = self._alone[alone.CACHED.name]
        text = f"a signature in Envoy, the derived key at hand, takes {SIGNATURE:.0f} us at most"
        yield Aim(text, interval(found, 2), found.median <= SIGNATURE)
        for body in BODIES:
            if not body.over_time:
                yield self._at_once(body)
        largest = max((body for body in BODIES if body.over_time), key=lambda body: body.size)
        ahead = per_copy(self._times(largest, OURS), self._times(largest, NATIVE), 1)
        text = f"{largest.title}: done before the native filter"
        yield Aim(text, f"by {interval(ahead, 0)} us", ahead.low > 0)
        yield self._growth(largest)

    def _at_once(self, body: Body) -> Aim:
        none = self._times(body, NONE)
        quotient = ratio((none, self._times(body, OURS)), (none, self._times(body, NATIVE)))
        text = f"{body.title}: adds at most {TIMES_NATIVE:.0f} times what the native filter adds"
        return Aim(text, interval(quotient, 1), quotient.median <= TIMES_NATIVE)

    def _growth(self, largest: Body) -> Aim:
        """What is left for after the last byte: the hash of the last piece, not of the body."""
        smallest = min((body for body in BODIES if body.over_time), key=lambda body: body.size)
        grown = figure(
            [
                (ours - held) - (little - less)
                for ours, held, little, less in zip(
                    self._times(largest, OURS),
                    self._times(largest, HELD),
                    self._times(smallest, OURS),
                    self._times(smallest, HELD),
                    strict=True,
                )
            ]
        )
        whole = self._alone[alone.HASH.name].median
        piece = whole / largest.pieces
        text = (
            "after the last byte signing does not grow with the body, only with the last piece"
            f" ({piece:.0f} us to hash, the body {whole:.0f} us)"
        )
        return Aim(text, f"{interval(grown, 0)} us", grown.median <= piece + LEFT * whole)

    # What is told.

    def table(self) -> str:
        """What is printed."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{'the signature alone, us [95 %]':38}| {'natively':>24} | {'in Envoy (V8)':>24}"
        yield "-" * 92
        for work in alone.ALL:
            native, vm = self._native[work.name], self._alone[work.name]
            yield f"{work.title:38}| {interval(native, 2):>24} | {interval(vm, 2):>24}"
        yield ""
        yield (
            f"{'':32}|  time, us | adds, us [95 %]          | beyond held back [95 %]  |"
            f" Envoy CPU, us | adds, us [95 %]"
        )
        for body in BODIES:
            until = "last" if body.over_time else "first"
            title = f"{body.title}, from the {until} byte to the answer"
            yield f"-- {title} ".ljust(130, "-")
            for signer in SIGNERS:
                row = self._rows[body, signer]
                yield (
                    f"{signer.title:32}| {row.time.median:9.1f} | {interval(row.adds, 1):24} |"
                    f" {interval(row.beyond_held, 1):24} | {row.cpu.median:13.1f} |"
                    f" {interval(row.cpu_adds, 1)}"
                ).rstrip()
        yield ""
        for aim in self._aims:
            yield aim.line()
        yield ""
        yield "Two equal cases differ by " + ", ".join(self._errors()) + "."
        yield from self._sharing.lines()

    def _errors(self) -> Iterator[str]:
        for body in BODIES:
            found = self._rows[body, AGAIN].adds
            yield f"{interval(found, 1)} us ({body.title})"

    def as_json(self) -> dict[str, Any]:
        """Everything, with what each round gave."""
        bodies: dict[str, Any] = {}
        rounds: dict[str, Any] = {
            "alone_in_envoy_us": {
                name: [round(value, 3) for value in values]
                for name, values in self._in_envoy.items()
            }
        }
        for (body, signer), row in self._rows.items():
            bodies.setdefault(body.name, {})[signer.name] = row.as_json()
            rounds.setdefault(body.name, {})[signer.name] = self._samples[body, signer].as_json()
        return {
            "parameters": dict(self._parameters),
            "alone_us": {
                work.name: {
                    "native": self._native[work.name].as_json(),
                    "in_envoy": self._alone[work.name].as_json(),
                }
                for work in alone.ALL
            },
            "bodies": bodies,
            "aims": as_json(self._aims),
            "core_used_by_others": round(self._sharing.part, 4),
            "rounds": rounds,
        }
