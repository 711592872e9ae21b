"""`hil diagnose`: ports, cables, channels, multipath and lobes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli.options import ArrayOption, CalibrationOption, is_device
from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError
from hil.core.units import parse_quantity

if TYPE_CHECKING:
    from hil.jobs.diagnose import Diagnosis


def diagnose(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Recording, or an array: ula:8:0.7, uca:8:0.6, a TOML file."),
    ],
    array: ArrayOption = None,
    calibration: CalibrationOption = None,
    sources: Annotated[
        str, typer.Option("--sources", metavar="K", help="Emitters at a time, or auto (MDL).")
    ] = "auto",
    support: Annotated[
        str | None, typer.Option("--support", metavar="A:B", help="Where the emitters roughly are, degrees.")
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor", metavar="DEG[@T0:T1]", help="A known direction: tells a mirrored port order."
        ),
    ] = None,
    rotations: Annotated[
        Path | None,
        typer.Option(
            "--rotations", metavar="F", help="Turns of a table, as for hil learn: tell a mirrored port order."
        ),
    ] = None,
    positions: Annotated[
        float,
        typer.Option("--position-std", metavar="WAVELENGTHS", help="Expected spread of position errors."),
    ] = 0.1,
    wiggle: Annotated[
        bool,
        typer.Option(
            "--wiggle", help="Announce the order in which antennas were covered by hand, one at a time."
        ),
    ] = False,
    fc: Annotated[
        str | None,
        typer.Option("--fc", metavar="HZ", help="Carrier; needed for an array without a recording."),
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Ambiguity from which directions count as alike, 0..1.")
    ] = 0.9,
    sigma_limit: Annotated[
        float | None,
        typer.Option(
            "--sigma-limit",
            metavar="DEG",
            help="Uncertainty from which a direction counts as blind; default: three times the smallest.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="F.png", help="Draw the array's ambiguities and uncertainty."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the searches' restarts.")] = 0,
    json: JsonOption = None,
) -> None:
    """Say what is wrong: swapped ports, dead or conjugated channels, flipped cables, multipath, grating lobes.

    A recording of emitters that move or hop tells about ports and channels without any label. With --calibration
    also cables that were turned round and copies of a signal (multipath). An array alone gives its lobes.

    \b
    Examples:
      hil diagnose rec.sigmf-meta --array ula:8:0.5
      hil diagnose rec.sigmf-meta --calibration array.h5 --sources 2
      hil diagnose touch.sigmf-meta --wiggle
      hil diagnose ula:8:0.7 --fc 2.4e9 --plot lobes.png
    """
    from hil.jobs.diagnose import diagnose_array, diagnose_recording
    from hil.learning.settings import parse_flat_anchors, parse_sources, parse_support, read_rotations

    if not 0 < threshold < 1:
        raise ConfigError("must lie between 0 and 1", where="--threshold")
    if not 0 < positions < 10:
        raise ConfigError("must be between 0 and 10 wavelengths", where="--position-std")
    if sigma_limit is not None and not 0 < sigma_limit <= 90:
        raise ConfigError("must be over 0 and at most 90 degrees", where="--sigma-limit")
    if is_device(source) and not source.startswith("replay:"):
        raise ConfigError(
            "a device cannot be looked at before it has been recorded", where=source,
            hint="hil capture DEVICE rec.sigmf-meta --seconds 5, then hil diagnose rec.sigmf-meta",
        )  # fmt: skip
    if _is_array(source):
        recorded = {
            "--wiggle": wiggle, "--array": array, "--support": support, "--anchor": anchor, "--rotations": rotations,
        }  # fmt: skip
        for option, value in recorded.items():
            if value:
                raise ConfigError(f"{source} is an array, not a recording", where=option, hint="leave it out")
        if fc is None:
            raise ConfigError("the carrier is not known", where="--fc", hint="--fc 2.4e9")
        fc_hz = parse_quantity(fc, where="--fc", unit="Hz")
        if not fc_hz > 0:
            raise ConfigError("must be positive", where="--fc")
        found = diagnose_array(source, fc_hz, calibration, threshold, sigma_limit)
    else:
        if fc is not None:
            raise ConfigError("a recording is as it was recorded", where="--fc", hint="leave the option out")
        with console.status("looking"):
            found = diagnose_recording(
                Path(source.removeprefix("replay:")), array=array, calibration=calibration, n_sources=parse_sources(sources),
                support_deg=parse_support(support), position_std_wavelengths=positions, wiggle=wiggle,
                threshold=threshold, limit_deg=sigma_limit, anchors_deg=parse_flat_anchors(anchor),
                rotations=read_rotations(rotations), seed=seed,
            )  # fmt: skip
    if plot is not None:
        _plot(found, plot)
    emit(json, found.as_dict())
    _show(found)


def _is_array(source: str) -> bool:
    return source.split(":")[0] in ("ula", "uca") or source.endswith(".toml")


def _show(found: Diagnosis) -> None:
    for finding in found.findings:
        sure = f" ({100 * finding.confidence:.0f} %)" if finding.confidence == finding.confidence else ""
        style = "yellow" if finding.fault else None
        mark = "!" if finding.fault else " "
        console.print(
            f"{mark} {finding.kind}: {finding.words}{sure}", style=style, markup=False, highlight=False
        )
        if finding.advice:
            console.print(f"    {finding.advice}", markup=False, highlight=False)
    for name, reason, hint in found.failed:
        console.print(
            f"? {name}: cannot tell: {reason}" + (f" ({hint})" if hint else ""), markup=False, highlight=False
        )


def _plot(found: Diagnosis, path: Path) -> None:
    from hil.reporting import plots

    if found.lobes is None or found.geometry is None:
        raise ConfigError("there is nothing to draw without an array", where="--plot", hint="give --array")
    lobes, planar = found.lobes, found.geometry.kind != "line"
    label = plots.PLANE_ANGLE if planar else plots.LINE_ANGLE
    figure = plots.new_figure(11.0, 4.6)
    left, right = figure.subplots(1, 2)
    edges = (float(lobes.angles_deg[0]), float(lobes.angles_deg[-1]))
    image = left.imshow(
        lobes.ambiguity, origin="lower", extent=(*edges, *edges), vmin=0, vmax=1, cmap="viridis"
    )
    figure.colorbar(image, ax=left, label="ambiguity |a^H a'| / (|a| |a'|)")
    left.set_xlabel(label, fontsize=8)
    left.set_ylabel("another direction / degrees")
    for first, second, _ in lobes.pairs:
        left.plot([first, second], [second, first], "o", color=plots.ACCENT, markersize=5, fillstyle="none")
    left.set_title(f"circles: look alike (over {lobes.threshold:g})", fontsize=9)
    right.semilogy(lobes.angles_deg, lobes.sigma_deg, color=plots.CALIBRATED)
    right.axhline(
        lobes.limit_deg, color=plots.NOMINAL, linestyle="--", label=f"limit {lobes.limit_deg:.2g} degrees"
    )
    for low, high in lobes.blind_deg:
        right.axvspan(low, high, color=plots.NOMINAL, alpha=0.25)
    right.set_xlabel(label, fontsize=8)
    right.set_ylabel("standard deviation of the direction / degrees")
    right.set_title("one source, 20 dB per element, 256 snapshots; grey: blind", fontsize=9)
    right.set_ylim(lobes.sigma_deg.min() / 2, min(float(lobes.sigma_deg.max()) * 2, 90.0))
    right.legend()
    plots.save(figure, path)
