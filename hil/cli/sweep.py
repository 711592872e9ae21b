"""`hil sweep`: a turntable campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from hil.cli.options import FcOption, FsOption, GainOption, decibels, rx_config
from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from hil.campaign.folder import Campaign
    from hil.sweep.progress import SweepProgress


def sweep(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="Device URI; default: as --plan says.")] = None,
    positioner: Annotated[str | None, typer.Option("--positioner", metavar="URI", help="The turntable: rotctld:HOST:PORT, maturo:HOST:PORT, scpi:HOST:PORT, ets:HOST:PORT, sim:.")] = None,
    angles: Annotated[str | None, typer.Option("--angles", metavar="A:B:STEP", help="Table angles in degrees, or a list: -30,0,30.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the campaign, a new one.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", metavar="F.toml", help="Campaign file; options given beside it win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the campaign in --out; no finished point is made again.")] = False,
    retry_bad: Annotated[bool, typer.Option("--retry-bad", help="With --resume: also the points that were given up.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Say what would be done and how long it would take; move nothing.")] = False,
    array: Annotated[str | None, typer.Option("--array", metavar="SPEC", help="The array: ula:8:0.5, uca:8:0.6, or a TOML file.")] = None,
    samples: Annotated[str | None, typer.Option("--samples", metavar="N", help="Samples per channel and point, e.g. 100k [default: 81920].")] = None,
    blocks: Annotated[int | None, typer.Option("--blocks", metavar="N", help="Instead of --samples: blocks of 4096 samples a point.")] = None,
    emitter: Annotated[str | None, typer.Option("--emitter", metavar="DEG[,DEG]", help="Azimuth of the emitters in the room, clockwise; written as truth. Without it no truth is written.")] = None,
    reference: Annotated[float | None, typer.Option("--reference", metavar="DEG", help="What the table reads when the array looks at azimuth 0 of the room [default: 0].")] = None,
    order: Annotated[str | None, typer.Option("--order", metavar="WORD", help="up, down, or random: then drift does not look like an angle [default: up].")] = None,
    approach: Annotated[str | None, typer.Option("--approach", metavar="WORD", help="Reach each angle turning cw or ccw, because of backlash, or any [default: any].")] = None,
    settle: Annotated[float | None, typer.Option("--settle", metavar="S", help="Wait between arrival and the first sample [default: 0.3].")] = None,
    tolerance: Annotated[float | None, typer.Option("--tolerance", metavar="DEG", help="How far the read-back may be off [default: 0.1].")] = None,
    retries: Annotated[int | None, typer.Option("--retries", metavar="N", help="Of a point whose checks fail [default: 2].")] = None,
    min_snr: Annotated[float | None, typer.Option("--min-snr", metavar="DB", help="A point below is bad [default: not checked].")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the random order [default: 0].")] = None,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Of the operator; kept in the folder and in the recordings.")] = None,
    fc: FcOption = None,
    fs: FsOption = None,
    gain: GainOption = None,
    json: JsonOption = None,
) -> int:  # fmt: skip
    """Turn the table through a plan and record every angle; what is finished stays finished, whatever happens.

    Every point is checked (loss, overload, dead channel, epoch, table read-back, SNR where asked) and made again if a check
    fails. Ctrl-C, a kill, a power failure or a lost device end nothing for good: the same command with --resume goes on.

    \b
    Examples:
      hil sweep iio:ip:127.0.0.2 --positioner rotctld:127.0.0.1:4533 --angles -60:60:1 --emitter 0 --array ula:4:0.5 --out night
      hil sweep --out night --resume
      hil sweep --plan campaign.toml --out night --preview
    """
    from hil.core.units import parse_quantity
    from hil.jobs.sweep import SweepRequest, preview_sweep, run_sweep

    if samples is not None and blocks is not None:
        raise ConfigError("samples are said twice", where="--blocks", hint="give --samples or --blocks")
    if retry_bad and not resume:
        raise ConfigError("is for a campaign that is there", where="--retry-bad", hint="add --resume")
    if out is None and not preview:
        raise ConfigError("no folder", where="--out", hint="--out night, a new folder")
    n = None if samples is None else round(parse_quantity(samples, where="--samples"))
    tuned = rx_config(fc, fs, gain)
    request = SweepRequest(
        out=out, plan_file=plan, resume=resume, bad_again=retry_bad, angles=angles,
        connect={
            "device": device, "positioner": positioner, "array": array, "fc_hz": tuned.fc_hz, "fs_hz": tuned.fs_hz,
            "gain_db": decibels(gain, "--gain"),
        },
        change={
            "samples": n if blocks is None else blocks * 4096, "emitters_deg": degrees_list(emitter), "reference_deg": reference,
            "order": order, "approach": approach, "settle_s": settle, "tolerance_deg": tolerance, "retries": retries,
            "min_snr_db": min_snr, "seed": seed, "note": note,
        },
    )  # fmt: skip
    if preview:
        found = preview_sweep(request)
        emit(json, found)
        console.print(_preview_words(found))
        return 0
    told = _Told()
    try:
        result = run_sweep(request, told)
    finally:
        told.end()
    emit(json, result.as_dict())
    _summary(result.campaign)
    return result.exit_code


def degrees_list(text: str | None) -> tuple[float, ...] | None:
    """`DEG[,DEG]`. Raises ConfigError."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"cannot read {text!r} as degrees", where="--emitter", hint="for example 0 or -20,15"
        ) from None


def duration_words(seconds: float) -> str:
    """Hours, minutes, seconds: the two that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )


def _preview_words(found: dict[str, Any]) -> str:
    return (
        f"{found['points']} points from {found['first_deg']:g} to {found['last_deg']:g} degrees, "
        f"{found['samples']} samples each: about {duration_words(found['seconds'])} (table {duration_words(found['moving_s'])} at "
        f"{found['speed_deg_per_s']:g} degrees a second, waiting {duration_words(found['waiting_s'])}, "
        f"recording {duration_words(found['recording_s'])}), {found['bytes'] / 1e6:.0f} MB"
    )


def _summary(campaign: Campaign) -> None:
    total = len(campaign.file.plan.angles_deg)
    console.print(f"{len(campaign.points)} of {total} points in {campaign.folder}, {len(campaign.bad)} bad")
    for point in campaign.bad[:10]:
        console.print(f"  bad: {point.set_deg:g} degrees: {point.why}")
    if len(campaign.bad) > 10:
        console.print(f"  and {len(campaign.bad) - 10} more")
    if not campaign.complete:
        console.print(f"go on with: hil sweep --out {campaign.folder} --resume")


class _Told:
    """Progress: a bar on a terminal, a line for every twentieth elsewhere."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[detail]}"), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("sweep", total=None, detail="")
        self._last_done = 0
        self._bar.start()

    def __call__(self, progress: SweepProgress) -> None:
        """Show it."""
        if progress.words:
            console.print(progress.words, markup=False, highlight=False)
        at = "" if progress.table_deg is None else f" at {progress.table_deg:.2f} degrees"
        rest = "" if not progress.remaining_s else f", {duration_words(progress.remaining_s)} left"
        bad = f", {progress.bad} bad" if progress.bad else ""
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            detail=f"{progress.stage}{at}{bad}{rest}",
        )
        twentieth = max(1, progress.total // 20)
        if not console.is_terminal and progress.done >= self._last_done + twentieth:
            self._last_done = progress.done
            console.print(
                f"{progress.done}/{progress.total} points{bad}{rest}", markup=False, highlight=False
            )

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()
