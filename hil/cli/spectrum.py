"""`hil spectrum`: directions of arrival."""

from __future__ import annotations

import json as jsonlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from hil.cli.options import (
    ArrayOption,
    CalibrationOption,
    FcOption,
    FsOption,
    GainOption,
    RelearnOption,
    StaleOption,
    is_device,
    refuse_tuning,
    rx_config,
)
from hil.cli.output import JsonOption, console, emit, plain, write_line
from hil.cli.workers import SchedulerOption, WorkersOption, told_of, where_of
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from hil.jobs.directions import SpectrumSettings
    from hil.processing.where import Where


def spectrum(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Device URI or recording.")],
    calibration: CalibrationOption = None,
    sources: Annotated[
        str, typer.Option("--sources", metavar="K", help="Emitters at a time, or auto (MDL).")
    ] = "auto",
    method: Annotated[
        str, typer.Option("--method", help="music, capon, bartlett, diffmusic or dual-path-vae.")
    ] = "music",
    network: Annotated[
        Path | None,
        typer.Option(
            "--network", metavar="F", help="Trained network for --method dual-path-vae (hil train)."
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid", metavar="A:B:STEP", help="Angles searched, degrees; default: the whole field of view."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="F.png", help="Draw the spectrum.")] = None,
    at: Annotated[float, typer.Option("--at", metavar="S", help="Where in a recording, seconds.")] = 0.0,
    snapshots: Annotated[
        int, typer.Option("--snapshots", metavar="N", min=16, max=10_000_000, help="Samples per estimate.")
    ] = 4096,
    every: Annotated[
        float | None,
        typer.Option("--every", metavar="S", help="Recording: directions every S seconds, into --out."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F.csv", help="With --every: a row for every direction.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", metavar="S", help="With --every: how much of the recording [default: all]."
        ),
    ] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Device: one JSON line per estimate until interrupted.")
    ] = False,
    zmq: Annotated[
        str | None,
        typer.Option(
            "--zmq", metavar="ADDR", help="With --follow: publish the lines, e.g. tcp://127.0.0.1:5556."
        ),
    ] = None,
    array: ArrayOption = None,
    fc: FcOption = None,
    fs: FsOption = None,
    gain: GainOption = None,
    relearn_phase: RelearnOption = False,
    stale_ok: StaleOption = None,
    json: JsonOption = None,
) -> int:
    """Directions of arrival of a device or recording, with one standard deviation each.

    With --every: of the whole recording, however long, shared among the cores. Ctrl-C loses nothing that is finished: the same
    command goes on. A piece that cannot be used is named and stops nothing (exit code 4).

    \b
    Examples:
      hil spectrum rec.sigmf-meta --calibration array.h5 --plot spectrum.png
      hil spectrum rec.sigmf-meta --calibration array.h5 --method dual-path-vae --sources 2
      hil spectrum rec.sigmf-meta --calibration array.h5 --every 0.01 --out directions.csv
      hil spectrum sim: --array ula:8:0.5 --follow
    """
    from hil.jobs.directions import METHODS, Directions, SpectrumSettings
    from hil.jobs.spectrum import of_device, of_recording, parse_grid
    from hil.learning.settings import parse_sources

    if method not in METHODS:
        raise ConfigError(f"{method!r} is not one of {', '.join(METHODS)}", where="--method")
    if zmq is not None and not follow:
        raise ConfigError("publishes what --follow finds", where="--zmq", hint="add --follow")
    settings = SpectrumSettings(
        n_sources=parse_sources(sources), method=method, grid_deg=parse_grid(grid), snapshots=snapshots, at_s=at,
        calibration=calibration, relearn_phase=relearn_phase, stale_ok=stale_ok, network=network,
    )  # fmt: skip
    if every is None:
        for option, value in (
            ("--out", out),
            ("--seconds", seconds),
            ("--workers", workers),
            ("--scheduler", scheduler),
        ):
            if value is not None:
                raise ConfigError(
                    "belongs to --every", where=option, hint="add --every, for example --every 0.01"
                )
    elif is_device(source) or follow:
        raise ConfigError(
            "is for recordings", where="--every", hint="hil capture first; a device is followed with --follow"
        )
    else:
        refuse_tuning(fc, fs, gain)
        return _over_time(
            Path(source), array, settings, every, out, seconds, where_of(scheduler, workers, None), plot, json
        )
    if not is_device(source):
        refuse_tuning(fc, fs, gain)
        if follow:
            raise ConfigError(
                "follows devices only", where="--follow", hint=f"use replay:{source} for a recording"
            )
        directions = of_recording(Path(source), array, settings)
    else:
        if array is None:
            raise ConfigError(
                "hardware does not know its geometry",
                where="--array",
                hint="give for example --array ula:4:0.5",
            )
        publisher = _publisher(zmq)

        def show(found: Directions) -> None:
            line = jsonlib.dumps(plain(found.as_dict()))
            write_line(line)
            if publisher is not None:
                publisher.send_string(line)

        want = partial(rx_config, fc, fs, gain)
        try:
            directions = of_device(source, array, want, settings, show if follow else None, lambda: follow)
        finally:
            if publisher is not None:
                publisher.close()
    if plot is not None:
        _plot(directions, plot)
    emit(json, directions.as_dict())
    for angle, sigma in zip(directions.doa_deg, directions.sigma_deg, strict=True):
        deviation = f"+- {sigma:.3f}" if np.isfinite(sigma) else "+- not determined"
        console.print(f"{angle:9.3f} degrees  {deviation}", highlight=False)
    if directions.note:
        console.print(directions.note, style="yellow", markup=False, highlight=False)
    if not len(directions.doa_deg) and directions.determined:
        console.print("no emitter above the noise")
    if directions.used is not None:
        words = f" ({directions.used.words})" if directions.used.words else ""
        console.print(f"calibration {directions.used.status}{words}", highlight=False)
    return 0


def _over_time(
    path: Path,
    array: str | None,
    settings: SpectrumSettings,
    every_s: float,
    out: Path | None,
    seconds: float | None,
    where: Where,
    plot: Path | None,
    json: str | None,
) -> int:
    from hil.jobs.over_time import over_time, read_rows

    if out is None:
        raise ConfigError("needs a file", where="--every", hint="add --out directions.csv")
    with told_of("pieces") as told:
        found = over_time(
            path, array, settings, out, every_s=every_s, seconds=seconds, where=where, progress=told
        )
    if plot is not None:
        from hil.reporting import plots

        plots.save(plots.over_time_figure(read_rows(out)), plot)
    problem: dict[str, Any] = {}
    if found.bad:
        problem = {
            "status": "failed", "reason": f"{len(found.bad)} pieces of the recording are bad", "exit_code": 4,
            "hint": f"the first: {found.bad[0][2]}; the same command tries them again",
        }  # fmt: skip
    emit(json, problem | found.as_dict())
    console.print(
        f"{found.directions} directions of {found.estimates} looks in {out}: {found.recording_s:.1f} s of recording in "
        f"{found.seconds:.1f} s",
        markup=False, highlight=False,
    )  # fmt: skip
    for low, high, why in found.bad[:10]:
        console.print(f"  bad: {low:.3f} to {high:.3f} s: {why}", markup=False, highlight=False)
    for epoch, status in found.calibration_status.items():
        if status != "none":
            console.print(f"calibration {status} in epoch {epoch[:8]}", highlight=False)
    return 4 if found.bad else 0


def _publisher(address: str | None) -> Any:
    if address is None:
        return None
    import zmq

    if not address.startswith(("tcp://127.", "tcp://localhost", "ipc://", "inproc://", "tcp://[::1]")):
        raise ConfigError("publishes on this machine only", where="--zmq", hint="tcp://127.0.0.1:5556")
    port = address.rpartition(":")[2]
    if address.startswith("tcp:") and not (port == "*" or (port.isdecimal() and 0 < int(port) < 65536)):
        # ZeroMQ would take the number modulo 65536
        raise ConfigError(f"{port!r} is not a port", where="--zmq", hint="tcp://127.0.0.1:5556")
    socket = zmq.Context.instance().socket(zmq.PUB)
    socket.setsockopt(zmq.LINGER, 200)
    try:
        socket.bind(address)
    except zmq.ZMQError as err:
        socket.close(0)
        raise ConfigError(
            f"cannot publish on {address}: {err}", where="--zmq", hint="tcp://127.0.0.1:5556"
        ) from err
    return socket


def _plot(directions: Any, path: Path) -> None:
    from hil.reporting import plots

    power = np.maximum(directions.spectrum, 1e-12)
    level = 10 * np.log10(power / power.max())
    name = "calibrated" if directions.used is not None else "nominal"
    planar = directions.stream.geometry.kind != "line"
    figure = plots.spectrum_figure(directions.angles_deg, {name: level}, planar=planar)
    plots.save(figure, path)
