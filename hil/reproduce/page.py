"""Writes what an experiment found: CSV per table, PNG per picture, and one Markdown page."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.core.errors import ConfigError
from hil.reproduce.experiment import Check, Experiment, Picture, Plan, Report, Table

_MARK = {True: "yes", False: "**no**", None: "not judged"}


@dataclass(frozen=True, slots=True)
class Effort:
    """n_cases : finished; n_cached : of them from an earlier run; failed : key -> one line;
    seconds : of one thread, all cases together; wall_s : of this run."""

    n_cases: int
    n_cached: int
    failed: dict[str, str]
    seconds: float
    wall_s: float


def write_page(
    experiment: Experiment, plan: Plan, report: Report, effort: Effort, folder: Path
) -> dict[str, str]:
    """Write everything into `folder`; returns what was written: name -> path. Raises ConfigError."""
    files: dict[str, str] = {}
    try:
        for table in report.tables:
            files[f"{table.name}.csv"] = str(_write_csv(table, folder))
        for picture in report.pictures:
            files[f"{picture.name}.png"] = str(_write_png(picture, folder))
        page = folder / f"{experiment.name}.md"
        page.write_text(_markdown(experiment, plan, report, effort), encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"cannot write to {folder}: {err.strerror}", where="--out") from err
    return files | {"page": str(page)}


def _write_csv(table: Table, folder: Path) -> Path:
    path = folder / f"{table.name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(table.rows)
    return path


def _write_png(picture: Picture, folder: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=picture.size, layout="constrained")
    FigureCanvasAgg(figure)
    picture.draw(figure)
    path = folder / f"{picture.name}.png"
    figure.savefig(path, dpi=110)
    return path


def _markdown(experiment: Experiment, plan: Plan, report: Report, effort: Effort) -> str:
    lines = [f"# {experiment.title}", "", f"Source: {experiment.source}", "", experiment.intro.strip(), ""]
    command = f"hil reproduce {experiment.name}" + " --quick" * plan.quick
    command += f" --seeds {plan.seeds}" * (plan.seeds is not None)
    command += " --with-baselines" * plan.with_baselines
    lines += [
        f"Made by `{command}`: {effort.n_cases} cases, {effort.seconds / 60:.1f} minutes of one thread together."
    ]
    if plan.quick:
        lines += ["", "A quick run: fewer arrays and blocks than the bars ask for."]
    if report.checks:
        lines += ["", "## Against the bar", "", *check_rows(report.checks)]
    for table in report.tables:
        lines += ["", f"## {table.title}", "", *table_rows(table)]
        lines += ["", table.note] * bool(table.note)
    for picture in report.pictures:
        lines += ["", f"## {picture.title}", "", f"![{picture.title}]({picture.name}.png)"]
        lines += ["", picture.note] * bool(picture.note)
    if report.notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in report.notes)]
    if effort.failed:
        lines += ["", "## Cases that failed", ""]
        lines += [f"- `{key}`: {error}" for key, error in effort.failed.items()]
    return "\n".join(lines) + "\n"


def check_rows(checks: tuple[Check, ...]) -> list[str]:
    """The bar as Markdown rows."""
    rows = ["| what | published | ours | to reach | reached |", "|---|---|---|---|---|"]
    return rows + [_row((c.what, c.published, c.ours, c.bar, _MARK[c.met])) for c in checks]


def table_rows(table: Table) -> list[str]:
    """A table as Markdown rows."""
    return [_row(table.columns), "|" + "---|" * len(table.columns), *(_row(row) for row in table.rows)]


def _row(values: Sequence[Any]) -> str:
    """One row of Markdown; a bar inside a cell would end it."""
    return "| " + " | ".join(shown(value).replace("|", "\\|") for value in values) + " |"


def shown(value: Any) -> str:
    """A value as it appears in a table: four digits, a dash for what was not run."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
