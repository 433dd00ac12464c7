"""What the kernel knows: the time of threads, the cores, and how busy they are otherwise."""

from __future__ import annotations

import os
import platform
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
