"""`hil campaign`: what a turntable campaign holds, and work over all of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.options import ArrayOption, CalibrationOption, RelearnOption, StaleOption
from hil.cli.output import JsonOption, console, emit, print_table, print_values
from hil.cli.workers import MemoryOption, SchedulerOption, WorkersOption, told_of, where_of

if TYPE_CHECKING:
    from hil.processing.calibrations import CalibrationWanted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Show and process turntable campaigns (hil sweep makes them); make training sets.",
)

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that hil sweep made.")]
WaveformOption = Annotated[Path | None, typer.Option("--waveform", metavar="F", help="The OFDM or SRS waveform that was sent; for csi.")]  # fmt: skip
SnapshotsOption = Annotated[int, typer.Option("--snapshots", metavar="N", help="Samples of a block.")]


@app.command("show")
def show(folder: FolderArgument, json: JsonOption = None) -> int:
    """Say what a campaign holds.

    Points done, bad and left, starts, epochs, time and size.

    \b
    Examples:
      hil campaign show night
      hil campaign show night --json -
    """
    from hil.campaign.folder import open_campaign
    from hil.cli.sweep import duration_words
    from hil.processing.overview import overview

    found = overview(open_campaign(folder))
    emit(json, found)
    lasted_s = ((found["ended_utc_ns"] or 0) - (found["began_utc_ns"] or 0)) / 1e9
    emitters = ", ".join(f"{a:g}" for a in found["emitters_deg"])
    print_values(
        {
            "points": f"{found['done']} of {found['points']} done, {len(found['bad'])} bad, {found['left']} left",
            "angles": f"{found['first_deg']:g} to {found['last_deg']:g} degrees of the table",
            "emitters": f"{emitters} degrees in the room" if emitters else "not known: no truth",
            "starts": f"{found['starts']}, {len(found['epochs'])} coherence epochs",
            "time": f"{duration_words(lasted_s)} from the first to the last event",
            "size": f"{found['bytes'] / 1e6:.1f} MB, {found['samples_per_point']} samples a point",
            "SNR": "not known"
            if found["median_snr_db"] is None
            else f"{found['median_snr_db']:.1f} dB (median)",
            "note": found["note"],
        }
    )
    rows = [
        (
            r["recording"], str(r["points"]), f"{r['from_deg']:.2f}", f"{r['to_deg']:.2f}", str(r["epochs"]),
            r.get("problem") or f"{r['bytes'] / 1e6:.1f} MB" + ("" if r["complete"] else ", not closed"),
        )
        for r in found["runs"]
    ]  # fmt: skip
    if rows:
        print_table(("recording", "points", "from deg", "to deg", "epochs", "size"), rows)
    for bad in found["bad"]:
        console.print(f"bad: {bad['angle_deg']:g} degrees: {bad['why']}", markup=False, highlight=False)
    return 0


@app.command("process")
def process(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")],
    what: Annotated[str, typer.Option("--what", metavar="WORD", help="covariances, snapshots, csi, spectra or report-data.")] = "covariances",
    snapshots: SnapshotsOption = 256,
    rows: Annotated[int | None, typer.Option("--rows", metavar="N", help="Blocks of a point at most, evenly spread [default: all].")] = None,
    sources: Annotated[int | None, typer.Option("--sources", metavar="K", help="For spectra [default: the emitters of the campaign].")] = None,
    array: ArrayOption = None,
    calibration: CalibrationOption = None,
    relearn_phase: RelearnOption = False,
    stale_ok: StaleOption = None,
    waveform: WaveformOption = None,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    memory: MemoryOption = None,
    json: JsonOption = None,
) -> int:  # fmt: skip
    """Compute something of every point, once.

    The result is one HDF5 file a point.

    Ctrl-C, a kill or a lost worker lose no finished point: the same command makes what is missing. A point that cannot be
    used is named and stops nothing (exit code 4).

    \b
    Examples:
      hil campaign process night --out results --what spectra --calibration array.h5
      hil campaign process night --out results --what csi --waveform w.toml --workers 4 --memory 1G
      hil campaign process night --out /shared/results --scheduler tcp://192.168.1.10:8786
    """
    from hil.campaign.folder import open_campaign
    from hil.processing.process import process_campaign
    from hil.processing.settings import ProcessSettings

    settings = ProcessSettings(what, snapshots, rows, sources, array)  # pyright: ignore[reportArgumentType]
    campaign = open_campaign(folder)
    with told_of("points") as told:
        found = process_campaign(
            campaign, out, settings, calibration=_calibration(calibration, relearn_phase, stale_ok), waveform=waveform,
            where=where_of(scheduler, workers, memory), progress=told,
        )  # fmt: skip
    by_index = {p.index: p for p in campaign.points}
    bad = [
        {"index": i, "table_deg": by_index[i].table_deg, "why": why} for i, why in sorted(found.bad.items())
    ]
    emit(
        json,
        _ending(bad, len(campaign.points))
        | {
            "what": what, "points": len(campaign.points), "done": len(found.files), "made_now": found.made, "bad": bad,
            "not_recorded": len(campaign.open_indices) + len(campaign.bad), "manifest": str(found.manifest),
        },
    )  # fmt: skip
    console.print(
        f"{len(found.files)} of {len(campaign.points)} points in {out / what}, {found.made} made now"
    )
    _name_bad(bad)
    return 4 if bad else 0


@app.command("dataset")
def dataset(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Campaigns of the same array and carrier.")],
    out: Annotated[Path, typer.Option("--out", metavar="D.h5", help="The training set, a new file.")],
    what: Annotated[str, typer.Option("--what", metavar="WORD[,WORD]", help="Rows: covariances, snapshots, csi, or several.")] = "covariances",
    split: Annotated[str, typer.Option("--split", metavar="WORD", help="What is held out: angle, run, or angle+run.")] = "angle",
    val: Annotated[float, typer.Option("--val", metavar="SHARE", help="Of the angles or runs, for validation; 0: none.")] = 0.1,
    test: Annotated[float, typer.Option("--test", metavar="SHARE", help="Of the angles or runs, for the test; 0: none.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the choice of what is held out.")] = 0,
    emitter: Annotated[str | None, typer.Option("--emitter", metavar="DEG[,DEG]", help="Azimuth of the emitters in the room [default: as the campaigns say].")] = None,
    snapshots: SnapshotsOption = 256,
    rows: Annotated[int | None, typer.Option("--rows", metavar="N", help="Rows of a point at most, evenly spread [default: all blocks; 512 channel responses].")] = None,
    array: ArrayOption = None,
    calibration: CalibrationOption = None,
    relearn_phase: RelearnOption = False,
    stale_ok: StaleOption = None,
    waveform: WaveformOption = None,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    memory: MemoryOption = None,
    json: JsonOption = None,
) -> int:  # fmt: skip
    """Make a training set, split without a leak.

    It holds rows with their directions, epoch and run.

    Every angle (or run) is in one part only, whichever campaign it comes from. An interrupted call is taken up by the
    same call.

    \b
    Examples:
      hil campaign dataset night1 night2 --out set.h5 --split angle+run
      hil campaign dataset night --out csi.h5 --what csi --waveform w.toml --rows 450
    """
    from hil.campaign.folder import open_campaign
    from hil.cli.sweep import degrees_list
    from hil.processing.dataset_write import make_dataset
    from hil.processing.settings import ProcessSettings
    from hil.processing.split import SplitSettings

    kinds = [ProcessSettings(word.strip(), snapshots, rows, None, array) for word in what.split(",")]  # pyright: ignore[reportArgumentType]
    splitting = SplitSettings(split, val, test, seed)  # pyright: ignore[reportArgumentType]
    campaigns = [open_campaign(folder) for folder in folders]
    with told_of("points") as told:
        found = make_dataset(
            campaigns, out, kinds, splitting, emitters_deg=degrees_list(emitter), waveform=waveform,
            calibration=_calibration(calibration, relearn_phase, stale_ok),
            where=where_of(scheduler, workers, memory), progress=told,
        )  # fmt: skip
    bad = [{"campaign": folder, "index": index, "why": why} for folder, index, why in found.bad]
    emit(
        json,
        _ending(bad, sum(len(c.points) for c in campaigns))
        | {"file": str(found.path), "rows": found.rows, "points": found.points, "bad": bad},
    )
    held = ", ".join(f"{n} {part}" for part, n in found.points.items())
    console.print(
        f"{found.path}: " + ", ".join(f"{n} {kind}" for kind, n in found.rows.items()) + f"; points: {held}"
    )
    for one in bad[:10]:
        console.print(
            f"  bad: {one['campaign']}, point {one['index']}: {one['why']}", markup=False, highlight=False
        )
    return 4 if bad else 0


def _calibration(path: Path | None, relearn_phase: bool, stale_ok: str | None) -> CalibrationWanted | None:
    from hil.processing.calibrations import CalibrationWanted

    return None if path is None else CalibrationWanted(path, relearn_phase, stale_ok)


def _ending(bad: list[dict[str, Any]], total: int) -> dict[str, Any]:
    if not bad:
        return {}
    return {
        "status": "failed", "reason": f"{len(bad)} of {total} points are bad", "exit_code": 4,
        "hint": f"the first: {bad[0]['why']}; the same command tries them again",
    }  # fmt: skip


def _name_bad(bad: list[dict[str, Any]]) -> None:
    for one in bad[:10]:
        console.print(f"  bad: {one['table_deg']:.2f} degrees: {one['why']}", markup=False, highlight=False)
    if len(bad) > 10:
        console.print(f"  and {len(bad) - 10} more")
