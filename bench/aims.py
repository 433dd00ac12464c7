"""What the filter is meant to reach, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Aim:
    """Something that the filter is meant to reach."""

    text: str
    found: str
    met: bool

    def line(self) -> str:
        """For people."""
        return f"{'met   ' if self.met else 'MISSED'} {self.text}: {self.found}"


def as_json(aims: Iterable[Aim]) -> dict[str, Any]:
    """For the file of results."""
    return {aim.text: {"found": aim.found, "met": aim.met} for aim in aims}
