"""`hil capture`: record samples of a device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hil.cli.options import ArrayOption, FcOption, FsOption, GainOption, rx_config
from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError
from hil.core.units import format_si, parse_quantity


def capture(
    device: Annotated[str, typer.Argument(help="Device URI, e.g. iio:ip:192.168.2.1 or sim:")],
    out: Annotated[
        Path,
        typer.Argument(
            help="Recording: .sigmf-collection (one file a channel) or .sigmf-meta (interleaved)."
        ),
    ],
    samples: Annotated[
        str | None, typer.Option("--samples", metavar="N", help="Samples per channel, e.g. 1M.")
    ] = None,
    seconds: Annotated[str | None, typer.Option("--seconds", metavar="S", help="Length in seconds.")] = None,
    fc: FcOption = None,
    fs: FsOption = None,
    gain: GainOption = None,
    array: ArrayOption = None,
    gaps: Annotated[
        bool, typer.Option("--gaps", help="Record on after a loss and note the gap, instead of stopping.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing recording.")] = False,
    json: JsonOption = None,
) -> int:
    """Record samples of a device. Ctrl-C ends it early; the recording is then complete up to there.

    \b
    Examples:
      hil capture sim: rec.sigmf-meta --seconds 2 --array ula:8:0.5
      hil capture iio:ip:192.168.2.1 rec.sigmf-collection --samples 1M --fc 2.45G --gain 30
    """
    from hil.jobs.capture import capture_to_file

    if (samples is None) == (seconds is None):
        raise ConfigError("give either --samples or --seconds", where="hil capture", hint="--seconds 2")
    n = None if samples is None else _count(parse_quantity(samples, where="--samples"), "--samples")
    length_s = None if seconds is None else parse_quantity(seconds, where="--seconds", unit="s")
    if length_s is not None and not length_s > 0:
        raise ConfigError("must be positive", where="--seconds")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeRemainingColumn(),
        console=console, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("recording", total=None, detail="")

        def show(done: int, total: int, detail: str) -> None:
            progress.update(task, completed=done, total=total, detail=detail)

        result = capture_to_file(
            device, out, n_samples=n, length_s=length_s, array=array, overwrite=overwrite, keep_gaps=gaps,
            want=lambda n_elements: rx_config(fc, fs, gain, n_elements), progress=show,
        )  # fmt: skip
    summary = result.summary
    emit(json, result.as_dict())
    lost = f"{summary.lost} samples lost in {summary.gaps} gaps" if summary.gaps else "no sample lost"
    lost += "" if summary.lost_exact else " (the device does not tell how many)"
    console.print(
        f"{summary.samples} samples per channel ({format_si(summary.samples / result.stream.fs_hz, 's', 4)}) of "
        f"{result.stream.n_channels} channels in {out}: {lost}"
    )
    if summary.overloads:
        console.print(f"[yellow]{summary.overloads} samples at full scale: lower the gain[/]")
    return 130 if result.interrupted else 0


def _count(value: float, where: str) -> int:
    if not value >= 1 or value != int(value) or value > 1e15:
        raise ConfigError("must be a whole number of samples, at least 1", where=where)
    return int(value)
