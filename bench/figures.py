"""Medians, their spread and how far they can be trusted."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

RESAMPLES = 1000
CONFIDENCE = 0.95

Round = tuple[float, ...]
"""What one round gave for each of the cases that are compared."""


@dataclass(frozen=True)
class Figure:
    """A median over the rounds."""

    median: float
    low: float
    high: float
    """The interval in which the true median lies, at 95 % confidence."""
    iqr: float
    """Between the quartiles: how much single rounds differ."""

    @property
    def error(self) -> float:
        """Half the interval."""
        return (self.high - self.low) / 2

    def as_json(self) -> dict[str, Any]:
        """The fields, rounded to what they are worth; JSON has no infinity."""
        fields = asdict(self).items()
        return {name: round(value, 4) if math.isfinite(value) else None for name, value in fields}


def figure(values: Sequence[float]) -> Figure:
    """The median of the rounds of one case."""
    rounds = [(value,) for value in values]
    return _figure(rounds, lambda sample: statistics.median(value for (value,) in sample), values)


def per_copy(base: Sequence[float], with_copies: Sequence[float], copies: int) -> Figure:
    """What one copy adds: the median of the differences within the rounds."""
    pairs = zip(base, with_copies, strict=True)
    return figure([(more - less) / copies for less, more in pairs])


def ratio(one: tuple[list[float], list[float]], other: tuple[list[float], list[float]]) -> Figure:
    """How much more one filter costs than another; each is given by its base and itself."""
    rounds = list(zip(*one, *other, strict=True))

    def quotient(sample: Sequence[Round]) -> float:
        above = statistics.median(more - less for less, more, _, _ in sample)
        below = statistics.median(more - less for _, _, less, more in sample)
        return above / below if below > 0 else float("inf")

    singles = [quotient([one_round]) for one_round in rounds]
    return _figure(rounds, quotient, singles)


def _figure(
    rounds: Sequence[Round], of: Callable[[Sequence[Round]], float], singles: Sequence[float]
) -> Figure:
    """By the bootstrap: the figure of many samples of rounds, drawn with replacement."""
    draw = random.Random(len(rounds))
    found = sorted(of(draw.choices(rounds, k=len(rounds))) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    iqr = 0.0
    if len(singles) > 1:
        first, _, third = statistics.quantiles(singles, n=4, method="inclusive")
        iqr = third - first
    return Figure(of(rounds), found[tail], found[-1 - tail], iqr)


def interval(value: Figure | None, digits: int) -> str:
    """A median and the interval of 95 %."""
    if not value:
        return ""
    return f"{value.median:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"
