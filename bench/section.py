"""What the sections of the benchmark have in common."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from bootstrap import Config, extension
from output import say

QUIET = {"stats_flush_interval": "299s"}
"""The main thread of an Envoy shall not work during a round."""

SETTLED = 0.5
"""Seconds that V8's compiler in the background gets after the warm-up."""


@dataclass(frozen=True)
class Settings:
    """What scripts/bench has got ready and was asked for."""

    quick: bool
    rounds: int | None
    """How many, if not as many as each section wants."""
    oha: str
    minimal: str
    """The filter that one policy is compared with."""
    signature: str
    """The module that signs in a loop."""


class Outcome(Protocol):
    """What a section found."""

    def table(self) -> str:
        """What is printed."""
        ...

    def as_json(self) -> dict[str, Any]:
        """What goes into the file."""
        ...


def repeat(rounds: int, one_round: Callable[[], None]) -> None:
    """Runs all rounds and tells how long it will take."""
    time.sleep(SETTLED)
    started = time.monotonic()
    for number in range(1, rounds + 1):
        one_round()
        if number == 1 or number % 10 == 0 or number == rounds:
            left = (time.monotonic() - started) / number * (rounds - number)
            say(f"round {number} of {rounds}, {left:.0f} s left")


@contextmanager
def no_collection() -> Iterator[None]:
    """Python's collector of garbage waits."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def named_by_dns(config: Config) -> Config:
    """The cluster with a host that DNS found, as those of real providers are: a filter may have to
    ask more about such a host."""
    # Nobody shall look it up again during a round.
    dns = {"dns_refresh_rate": "3600s", "dns_lookup_family": "V4_ONLY"}
    kind = extension("envoy.clusters.dns", "clusters.dns.v3.DnsCluster", **dns)
    return {key: value for key, value in config.items() if key != "type"} | {"cluster_type": kind}
