"""Options of commands that share their work among processes, and the progress that they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hil.cli.output import console

if TYPE_CHECKING:
    from hil.processing.where import Where

SchedulerOption = Annotated[str | None, typer.Option("--scheduler", metavar="ADDR", help="Dask scheduler, e.g. tcp://127.0.0.1:8786; its workers must see the same folders.")]  # fmt: skip
WorkersOption = Annotated[int | None, typer.Option("--workers", metavar="N", help="Processes here, 0: no further ones [default: one a core].")]  # fmt: skip
MemoryOption = Annotated[str | None, typer.Option("--memory", metavar="BYTES", help="Memory of each of these processes, e.g. 500M [default: its share].")]  # fmt: skip


def where_of(scheduler: str | None, workers: int | None, memory: str | None) -> Where:
    """What the options say. Raises ConfigError."""
    from hil.core.units import parse_quantity
    from hil.processing.where import Where

    most = None if memory is None else round(parse_quantity(memory, where="--memory", unit="B"))
    return Where(workers, most, scheduler)


@contextmanager
def told_of(unit: str) -> Iterator[Callable[[int, int, int], None]]:
    """Progress: a bar on a terminal, a line for every tenth elsewhere."""
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.description}"),
        TimeRemainingColumn(),
    )
    last = -1
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(unit, total=None)

        def told(done: int, total: int, bad: int) -> None:
            nonlocal last
            words = unit + (f", {bad} bad" if bad else "")
            bar.update(task, total=total, completed=done, description=words)
            tenth = 10 * done // max(total, 1)
            if not console.is_terminal and tenth > last:
                last = tenth
                console.print(f"{done}/{total} {words}", markup=False, highlight=False)

        try:
            yield told
        except KeyboardInterrupt:
            console.print("what is finished is kept: the same command goes on")
            raise
