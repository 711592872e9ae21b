"""Benchmark results as JSON values, Markdown and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hil.bench.measure import Row, StageReport
from hil.bench.table import BenchStage

Results = Mapping[BenchStage, StageReport]
_HEAD, _RULE = "| case | who | figure | ratio | bar | |", "|---|---|---|---|---|---|"


def as_dict(results: Results) -> dict[str, Any]:
    """Stage name -> title, rows, missing peers and notes."""
    return {
        stage.name: {
            "title": stage.title,
            "rows": [asdict(row) for row in report.rows],
            "missing": dict(report.missing),
            "notes": list(report.notes),
        }
        for stage, report in results.items()
    }


def markdown(results: Results, machine: Mapping[str, Any]) -> str:
    """One table per stage."""
    lines = [
        "# Speed on this machine",
        "",
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, numpy {machine['numpy']}; "
        f"one thread: {machine['gflops_float32_one_thread']:.0f} Gflop/s (float32), "
        f"{machine['copy_gbytes_per_s']:.1f} GB/s.",
        "",
        "Medians of interleaved rounds, CPU time. Ratio: time of the other over ours; above 1 ours is faster.",
    ]
    for stage, report in results.items():
        lines += ["", f"## {stage.title}", "", _HEAD, _RULE]
        lines += [
            f"| {row.case} | {row.who} | {_figure(row)} | {_ratio(row)} | {_bar(row)} | {row.note} |"
            for row in report.rows
        ]
        lines += [""] if report.missing or report.notes else []
        lines += [f"- {note}" for note in report.notes]
        lines += [f"- missing: {name} ({how})" for name, how in report.missing.items()]
    return "\n".join(lines) + "\n"


def save_plot(results: Results, path: Path) -> None:
    """Bars of all ratios, one panel a stage. Raises ConfigError for a name that cannot be written."""
    from hil.reporting.plots import ACCENT, CALIBRATED, new_figure, save

    panels = {s: [r for r in report.rows if r.ratio] for s, report in results.items()}
    panels = {s: rows for s, rows in panels.items() if rows}
    heights = [len(rows) for rows in panels.values()] or [1]
    ratios = [row.ratio or 1.0 for rows in panels.values() for row in rows]
    figure = new_figure(9.0, 1.2 + 0.24 * sum(heights) + 0.7 * len(heights))
    axes = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for ax, (stage, rows) in zip(axes, panels.items(), strict=False):
        names = [f"{row.case}: {row.who}" for row in rows]
        colours = [ACCENT if "limit" in row.who else CALIBRATED for row in rows]
        ax.barh(names, [(row.ratio or 1.0) - 1.0 for row in rows], left=1.0, color=colours, height=0.7)
        for i, row in enumerate(rows):
            ratio = row.ratio or 1.0
            side = "left" if ratio >= 1.0 else "right"
            ax.annotate(f" {_ratio(row)} ", (ratio, i), ha=side, va="center", fontsize=7)
        ax.axvline(1.0, color="black", linewidth=0.8)
        ax.set_xscale("log")
        ax.set_xlim(min(ratios, default=1.0) / 3, max(ratios, default=1.0) * 3)
        ax.invert_yaxis()
        ax.tick_params(labelsize=7, which="both")
        ax.set_title(stage.title, fontsize=9, loc="left")
    axes[-1].set_xlabel(
        "CPU time over ours (right of the line: ours is faster; orange: the machine's limit)", fontsize=8
    )
    save(figure, path)


def missed(results: Results) -> list[str]:
    """Every bar that is not reached, in words."""
    return [
        f"{stage.name}: {row.case}: {_figure(row)}, {row.bar}"
        for stage, report in results.items()
        for row in report.rows
        if row.reached is False
    ]


def _bar(row: Row) -> str:
    judged = "not judged" if row.reached is None else "reached" if row.reached else "MISSED"
    return f"{row.bar}: {judged}" if row.bar else ""


def _figure(row: Row) -> str:
    return f"{row.value:.3g} {row.unit}" if row.value < 100 else f"{row.value:.0f} {row.unit}"


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 10 else f"{row.ratio:.0f}"
