"""`hil evaluate`: a method on recordings of known angles, beside the others."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.options import ArrayOption, CalibrationOption, StaleOption
from hil.cli.output import JsonOption, console, emit, print_table
from hil.cli.train import DatasetArgument, SeedOption
from hil.core.errors import ConfigError


def evaluate(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="mod-dnn, dual-path-vae or music.")],
    datasets: DatasetArgument,
    network: Annotated[Path | None, typer.Option("--network", metavar="F", help="Of hil train; dual-path-vae without: likelihood of each recording.")] = None,
    part: Annotated[str, typer.Option("--part", metavar="WORD", help="train, val, test or all.")] = "test",
    calibration: CalibrationOption = None,
    stale_ok: StaleOption = None,
    array: ArrayOption = None,
    seed: SeedOption = 0,
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Errors angle by angle.")] = None,
    json: JsonOption = None,
) -> int:  # fmt: skip
    """Judge a method angle by angle; angles that a network was not trained on stand apart.

    \b
    Examples:
      hil evaluate mod-dnn csi.h5 --network array-dnn.safetensors --calibration array.h5
      hil evaluate dual-path-vae set.h5 --part all --csv errors.csv
      hil evaluate music set.h5 --json -
    """
    from hil.jobs.evaluate import evaluate as judge
    from hil.jobs.train_data import DataSettings

    found = judge(
        method, datasets, DataSettings(calibration, stale_ok, array), network=network, part=part, seed=seed
    )
    if not found.scores:
        raise ConfigError(f"no row of the {part} part lies in the sector", where="--part", hint="--part all")
    if table is not None:
        _write(table, found.by_angle())
    emit(json, found.as_dict())
    names = {"rms_deg": "rms deg", "p80_deg": "80 % below deg", "trained_rms_deg": "trained angles", "held_out_rms_deg": "held-out angles"}  # fmt: skip
    rows = found.table()
    shown = [key for key in names if key in rows[0]]
    print_table(
        (f"{len(found.angle_deg)} rows, {part}", *(names[key] for key in shown), "not found"),
        [
            (row["name"], *(f"{row[key]:.3f}" for key in shown), f"{100 * row['missed']:.1f} %")
            for row in rows
        ],
    )
    if found.left_out:
        console.print(f"{found.left_out} rows outside the sector were left out")
    for line in (found.words, *found.notes):
        console.print(line, markup=False, highlight=False)
    return 0


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror or err}", where="--csv") from err
