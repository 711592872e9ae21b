"""`hil bench`: speed of every stage on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hil.cli.output import JsonOption, console, emit


def bench(
    stages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="music, samples, simulator, iio, learning."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer cases and rounds: under a minute.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Picture of all ratios.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables to a file as well.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Measure the speed of every stage against the best peer installed and the machine's own limit.

    Everything runs in this one process, one thread, candidates in turn: compare ratios, not figures of
    different machines. Peers that are not installed are listed as missing.

    \b
    Examples:
      hil bench --quick
      hil bench music iio --json bench.json --plot bench.png
    """
    from threadpoolctl import threadpool_limits

    from hil.bench.machine import describe_machine
    from hil.bench.table import chosen, run_stage
    from hil.bench.tables import as_dict, save_plot
    from hil.bench.tables import markdown as as_markdown
    from hil.core.errors import ConfigError

    picked = chosen(stages or [])
    with threadpool_limits(limits=1):
        machine = describe_machine()
        results = {}
        for stage in picked:
            console.print(f"measuring: {stage.title} ...")
            results[stage] = run_stage(stage, quick)
    text = as_markdown(results, machine)
    if markdown is not None:
        try:
            markdown.write_text(text, encoding="utf-8")
        except OSError as err:
            raise ConfigError(f"cannot write {markdown}: {err.strerror}", where="--markdown") from err
    if plot is not None:
        save_plot(results, plot)
    console.print(text, markup=False, highlight=False)
    emit(json, {"machine": machine, "quick": quick, "stages": as_dict(results)})
