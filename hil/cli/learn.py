"""`hil learn`: gain, phase and position errors without labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hil.cli.options import (
    ArrayOption,
    FcOption,
    FsOption,
    GainOption,
    SourcesOption,
    is_device,
    refuse_tuning,
    rx_config,
)
from hil.cli.output import JsonOption, console, emit, print_problem
from hil.core.errors import CalibrationError, ConfigError
from hil.core.units import parse_quantity


def learn(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Device URI or recording.")],
    out: Annotated[Path, typer.Option("--out", metavar="F.h5", help="Calibration file to write.")],
    method: Annotated[str, typer.Option("--method", metavar="NAME", help="Learning method.")] = "cold-start",
    sources: SourcesOption = "1",
    support: Annotated[
        str | None,
        typer.Option("--support", metavar="A:B", help="The emitters' directions fill A to B degrees evenly."),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor", metavar="DEG[@T0:T1]", help="A known direction (from T0 to T1 seconds); repeatable."
        ),
    ] = None,
    positions: Annotated[
        float,
        typer.Option(
            "--position-std",
            metavar="WAVELENGTHS",
            help="Expected spread of position errors; 0: positions are exact.",
        ),
    ] = 0.1,
    seconds: Annotated[
        str | None, typer.Option("--seconds", metavar="S", help="How much to learn from (device: default 6).")
    ] = None,
    array: ArrayOption = None,
    fc: FcOption = None,
    fs: FsOption = None,
    gain: GainOption = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the randomised restarts.")] = 0,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="Truth file of the simulator: adds errors before and after."
        ),
    ] = None,
    json: JsonOption = None,
) -> int:
    """Learn gain, phase and position of every element from unlabelled signals.

    Emitters must show many directions. On a line their offset and scale stay open without --support or --anchor;
    the file is then still written, but the command exits 4 and says how much is open.

    \b
    Examples:
      hil learn rec.sigmf-meta --support -60:60 --out array.h5
      hil learn iio:ip:192.168.2.1 --array ula:4:0.5 --support -60:60 --out array.h5
      hil learn rec.sigmf-meta --anchor 20@0:1 --anchor -35@2:3 --out array.h5
    """
    from calib.registry import method_names
    from hil.jobs.learn import keep, learn_device, learn_recording
    from hil.learning.settings import LearnSettings, parse_anchors, parse_sources, parse_support

    if method not in method_names():
        raise ConfigError(
            f"unknown method {method!r}", where="--method", hint=f"one of {', '.join(method_names())}"
        )
    if not 0 <= positions < 10:
        raise ConfigError("must be between 0 and 10 wavelengths", where="--position-std")
    _check_out(out)
    settings = LearnSettings(
        method=method, n_sources=parse_sources(sources), support_deg=parse_support(support),
        anchors_deg=parse_anchors(anchor), position_std_wavelengths=positions, seed=seed,
    )  # fmt: skip
    length_s = None if seconds is None else parse_quantity(seconds, where="--seconds", unit="s")
    if length_s is not None and not length_s > 0:
        raise ConfigError("must be positive", where="--seconds")
    if is_device(source) and not source.startswith("replay:"):
        learned = learn_device(
            source, settings, array=array, truth=truth, seconds=length_s,
            want=lambda n: rx_config(fc, fs, gain, n), say=lambda text: console.print(text, highlight=False),
        )  # fmt: skip
    else:
        refuse_tuning(fc, fs, gain)
        with console.status("learning") as status:
            learned = learn_recording(
                Path(source.removeprefix("replay:")), settings, array=array, truth=truth, seconds=length_s,
                progress=lambda p: status.update(f"learning: {p.stage}, excess {p.excess:+.2f}, {p.seconds:.1f} s"),
            )  # fmt: skip
    keep(learned, out)
    emit(json, learned.as_dict())
    _show(learned)
    return 4 if learned.problem is not None else 0


def _check_out(out: Path) -> None:
    if not out.parent.is_dir():
        raise ConfigError(f"no folder {out.parent}", where="--out", hint="make it first")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder", where="--out", hint="name a file, e.g. array.h5")
    if out.exists() and out.stat().st_size:
        from hil import store

        try:
            store.load(out)
        except CalibrationError as err:
            raise ConfigError(
                f"{out} exists and is not a calibration", where="--out", hint="choose another name"
            ) from err


def _show(learned: object) -> None:
    from hil.jobs.learn import LearnedArray

    assert isinstance(learned, LearnedArray)
    result = learned.result
    if result is not None and math.isfinite(result.score):
        console.print(
            f"score {result.score:.2f}, predicted from noise alone {result.predicted_score:.2f} "
            f"(excess {result.excess:+.2f}); {result.n_angles} independent directions; {learned.seconds:.2f} s",
            highlight=False,
        )
    if result is not None:
        for words in result.not_identifiable:
            console.print(f"cannot be known from these data: {words}", highlight=False)
    if learned.outcome is not None:
        table = Table("", "nominal", "learned", "true array")
        rows = (learned.outcome.before, learned.outcome.after, learned.outcome.known)
        table.add_row("direction error / degrees rms", *(f"{r['doa_rmspe_deg']:.4g}" for r in rows))
        console.print(table)
    if learned.file:
        console.print(f"wrote {learned.file}")
    if learned.problem is not None:
        print_problem(learned.problem)
