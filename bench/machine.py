"""What the kernel knows: the time of threads, the cores, and how busy they are otherwise."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TICK = 1 / os.sysconf("SC_CLK_TCK")
WORKER = "wrk:worker_"
"""How Envoy names the threads that serve requests."""


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Processes that are started inside run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def split_cores() -> tuple[int, set[int]]:
    """The core of the Envoy that is measured, and those for everything else."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("error: the benchmark needs two cores, one of them for Envoy alone")
    # Interrupts tend to arrive at the first ones.
    return cores[-1], set(cores[:-1])


class Worker:
    """The only worker thread of an Envoy."""

    def __init__(self, pid: int) -> None:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        workers = [task for task in tasks if (task / "comm").read_text().startswith(WORKER)]
        if len(workers) != 1:
            raise SystemExit(f"error: Envoy has {len(workers)} workers and not one")
        self._schedstat = workers[0] / "schedstat"

    def seconds(self) -> float:
        """The time that it has spent on a core, which the kernel counts in nanoseconds."""
        return int(self._schedstat.read_text().split()[0]) / 1e9


def busy_seconds(core: int) -> float:
    """The time that a core has been at work or was taken away by the hypervisor."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            # user nice system idle iowait irq softirq steal
            numbers = [int(field) for field in fields[:8]]
            return (sum(numbers) - numbers[3] - numbers[4]) * TICK
    raise SystemExit(f"error: /proc/stat does not know core {core}")


class Sharing:
    """How much of the core of an Envoy others had while it was measured."""

    BUSY = 0.05
    """Above this the machine was too busy."""

    def __init__(self, core: int, worker: Worker) -> None:
        self._core, self._worker = core, worker
        self._parts: list[float] = []

    @contextmanager
    def one_round(self) -> Iterator[None]:
        """What is done inside is one round."""
        begun, busy, mine = time.monotonic(), busy_seconds(self._core), self._worker.seconds()
        yield
        mine = self._worker.seconds() - mine
        busy = busy_seconds(self._core) - busy
        self._parts.append(max(0.0, busy - mine) / (time.monotonic() - begun))

    @property
    def part(self) -> float:
        """The median of the rounds."""
        return statistics.median(self._parts)

    def lines(self) -> Iterator[str]:
        """What is told of it under a table."""
        yield f"Others had {self.part:.1%} of the time of Envoy's core."
        if self.part > self.BUSY:
            yield "NOT QUIET: the CPU times are too high, and the latencies are not to be trusted."


def description() -> dict[str, Any]:
    """The machine, as far as it matters to the figures."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
    }
