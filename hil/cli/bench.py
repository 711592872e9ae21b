"""`hil bench`: speed of every stage on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hil.cli.output import JsonOption, console, emit, print_table


def bench(
    stages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="Some of the stages (see --list); all without."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer cases and rounds, seconds in place of minutes.")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="Show the stages, measure nothing.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write speed.json, speed.md, speed.png and scaling.png there."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Picture of all ratios.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables to a file as well.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Earlier report (--json): exit code 1 if a ratio has become worse."
        ),
    ] = None,
    worse: Annotated[
        float, typer.Option(metavar="FACTOR", min=1.0, help="With --against: what a ratio may lose.")
    ] = 1.25,
    hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS", min=0.001, help="Length of the recording of the stage `long`; default 300 s."
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Measure the speed of every stage against the best peer installed and the machine's own limit.

    One native thread, candidates in turn: compare ratios, not figures of different machines. Peers that are not installed
    are listed as missing. Where a figure has a bar, the table says whether it is reached. The stages disk, live and long
    start other processes and write to the folder of temporary files.

    \b
    Examples:
      hil bench --quick
      hil bench music iio --json bench.json --plot bench.png
      hil bench --out docs/reproduced/speed
      hil bench music map gradient --against docs/reproduced/speed/speed.json
    """
    from threadpoolctl import threadpool_limits

    from hil.bench.against import compare, read_report
    from hil.bench.machine import describe_machine
    from hil.bench.table import STAGES, chosen, run_stage
    from hil.bench.tables import as_dict, missed, save_plot
    from hil.bench.tables import markdown as as_markdown

    if show:
        print_table(("stage", "measures"), [(s.name, s.title) for s in STAGES])
        emit(json, {"stages": {s.name: s.title for s in STAGES}})
        return
    picked = chosen(stages or [])
    before = None if against is None else read_report(against)
    if out is not None:
        _folder(out)
    with threadpool_limits(limits=1):
        machine = describe_machine()
        results = {}
        for stage in picked:
            console.print(f"measuring: {stage.title} ...")
            results[stage] = run_stage(stage, quick, hours)
    text = as_markdown(results, machine)
    found: dict[str, Any] = {
        "machine": machine, "quick": quick, "stages": as_dict(results), "missed": missed(results),
    }  # fmt: skip
    if markdown is not None:
        _write(markdown, text, "--markdown")
    if plot is not None:
        save_plot(results, plot)
    if out is not None:
        _write(out / "speed.md", text, "--out")
        emit(str(out / "speed.json"), found)
        save_plot(results, out / "speed.png")
        _scaling_picture(found["stages"], out / "scaling.png")
    console.print(text, markup=False, highlight=False)
    for words in found["missed"]:
        console.print(f"missed: {words}", style="yellow", markup=False, highlight=False)
    if before is None:
        emit(json, found)
        return
    comparison = compare(found["stages"], before, worse)
    found["worse"] = [str(w) for w in comparison.worse]
    console.print(
        f"{comparison.compared} ratios compared, {len(comparison.worse)} worse by more than {worse:g} x"
    )
    for words in found["worse"]:
        console.print(words, markup=False, highlight=False)
    if not comparison.worse:
        emit(json, found)
        return
    reason = f"{len(comparison.worse)} ratios are worse than in {against}"
    hint = "run it again alone on the machine; then look at the stages named"
    emit(json, {"status": "failed", "reason": reason, "hint": hint, "exit_code": 1} | found)
    raise typer.Exit(1)


def _folder(folder: Path) -> None:
    from hil.core.errors import ConfigError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"cannot make {folder}: {err.strerror}", where="--out") from err


def _write(path: Path, text: str, option: str) -> None:
    from hil.core.errors import ConfigError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", where=option) from err


def _scaling_picture(stages: dict[str, Any], path: Path) -> None:
    """Time against size, if that stage was measured."""
    if "scaling" in stages:
        from hil.bench.scaling_plot import save_scaling

        save_scaling(stages["scaling"]["rows"], path)
