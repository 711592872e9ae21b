"""Who does the work: this process, processes of this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hil.core.errors import ConfigError
from hil.processing.cluster import available_cores, local_cluster, remote_cluster, run_here, run_on
from hil.processing.task import Task, TaskOutcome

_LEAST_MEMORY = 128 << 20
_MOST_MEMORY = 4 << 30


@dataclass(frozen=True, slots=True)
class Where:
    """Who does the work. workers : processes here, 0: this one alone, None: one a core. memory_bytes : of each, None: its
    share of this machine. scheduler : address of a Dask cluster instead."""

    workers: int | None = None
    memory_bytes: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.scheduler is not None and (self.workers is not None or self.memory_bytes is not None):
            raise ConfigError(
                "--workers and --memory are for this machine, --scheduler for a cluster",
                hint="give one of them",
            )
        if self.workers is not None and not 0 <= self.workers <= 1024:
            raise ConfigError(f"{self.workers} processes; 0 to 1024 are possible", where="--workers")
        if self.memory_bytes is not None and self.memory_bytes < _LEAST_MEMORY:
            raise ConfigError(f"a worker needs at least {_LEAST_MEMORY >> 20} MB", where="--memory")


HERE = Where(0)


def outcomes_of(
    tasks: Sequence[Task], where: Where, folders: Sequence[Path], out: Path
) -> Generator[TaskOutcome]:
    """Outcomes as they come, by whoever does the work. folders : that workers must see. out : where they must write.

    Raises HilError: no cluster, or it was lost.
    """
    if not tasks:
        return
    if where.scheduler is not None:
        with remote_cluster(
            where.scheduler, [folder.resolve() for folder in folders], out.resolve()
        ) as client:
            yield from run_on(client, tasks, max(1, sum(client.nthreads().values())))
        return
    workers = available_cores() if where.workers is None else where.workers
    workers = min(workers, len(tasks))
    if workers == 0:
        yield from run_here(tasks)
        return
    share = int(psutil.virtual_memory().total * 0.7) // workers
    memory = where.memory_bytes or max(_LEAST_MEMORY, min(share, _MOST_MEMORY))
    with local_cluster(workers, memory) as client:
        yield from run_on(client, tasks, workers)
