"""`hil reproduce`: published experiments run again, held to their bars."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hil.cli.output import JsonOption, console, emit, print_table
from hil.core.errors import ConfigError


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="diffmusic, gain-phase-isac, e2e-isac, mod-dnn, dual-path-vae or cold-start."
        ),
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer arrays and blocks: minutes.")] = False,
    with_baselines: Annotated[
        bool, typer.Option("--with-baselines", help="Also train the slow published baselines.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", metavar="N", min=1, help="Random arrays, default the experiment's."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", metavar="ADDR", help="Dask scheduler, e.g. tcp://127.0.0.1:8786; default: here."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Processes, default one per core.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder of page, tables and pictures; default reproduced/NAME."
        ),
    ] = None,
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Use finished cases of an earlier version of the program too.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 if a bar is not reached.")] = False,
    json: JsonOption = None,
) -> int:
    """Run a published experiment again and compare: published, ours, seconds.

    Finished cases are kept in the folder; the same command goes on where it was interrupted.

    \b
    Examples:
      hil reproduce diffmusic --quick
      hil reproduce gain-phase-isac --out results/gpi
      hil reproduce cold-start --seeds 20 --scheduler tcp://127.0.0.1:8786
    """
    from hil.reproduce.experiment import Plan
    from hil.reproduce.job import reproduce_experiment
    from hil.reproduce.registry import get_experiment

    if scheduler is not None and workers is not None:
        raise ConfigError("--workers is for this machine, --scheduler for a cluster", hint="give one of them")
    experiment = get_experiment(name)
    plan = Plan(quick, seeds, with_baselines)
    folder = out or Path("reproduced") / name
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    begin = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def progress(total: float, weight: float, text: str) -> None:
            bar.update(task, total=total, advance=weight, description=f"{name}: {text}")

        done = reproduce_experiment(
            experiment, plan, folder, workers=workers, scheduler=scheduler, redraw=redraw, progress=progress
        )
    found = done.as_dict() | {"seconds": round(time.monotonic() - begin, 3)}
    missed = [c.what for c in done.report.checks if c.met is False]
    code = 3 if done.effort.failed else 4 if strict and missed else 0
    if code:
        reason = (
            f"{len(done.effort.failed)} cases failed"
            if done.effort.failed
            else f"not reached: {'; '.join(missed)}"
        )
        found |= {
            "status": "failed",
            "reason": reason,
            "hint": f"see {done.files['page']}",
            "exit_code": code,
        }
    emit(json, found)
    _show(name, done.report.checks, done.effort.failed, done.files["page"])
    return code


def _show(name: str, checks: Any, failed: dict[str, str], page: str) -> None:
    if checks:
        words = {True: "yes", False: "NO", None: "not judged"}
        rows = [(check.what, check.published, check.ours, check.bar, words[check.met]) for check in checks]
        print_table(("what", "published", "ours", "to reach", "reached"), rows, title=name)
    for key, error in failed.items():
        console.print(f"[bold red]failed[/] {key}: {error}", highlight=False)
    console.print(f"page: {page}", highlight=False)
