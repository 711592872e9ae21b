"""`hil angle-delay`: directions and distances from OFDM channel responses."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.capture import TransmitOption, TxAttenuationOption, TxChannelOption, transmit_request
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
from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError
from hil.core.units import parse_quantity


def angle_delay(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Recording, device URI, or channel responses (.npz).")
    ],
    waveform: Annotated[
        Path | None,
        typer.Option(
            "--waveform",
            metavar="F",
            help="What is transmitted (OFDM or SRS); default: the one kept beside the recording.",
        ),
    ] = None,
    transmit: TransmitOption = None,
    tx_attenuation: TxAttenuationOption = None,
    tx_channel: TxChannelOption = None,
    calibration: CalibrationOption = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="F.png", help="Draw the map.")] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid",
            metavar="A:B:STEP",
            help="Angles searched and drawn, degrees; default: the whole field of view.",
        ),
    ] = None,
    max_range: Annotated[
        str | None,
        typer.Option(
            "--max-range",
            metavar="M",
            help="Search no farther, metres; default: all that the subcarriers tell apart.",
        ),
    ] = None,
    paths: Annotated[
        int, typer.Option("--paths", metavar="K", min=1, max=256, help="List at most K paths.")
    ] = 16,
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            metavar="R",
            help="What counts as delay zero: direct (path from the own transmitter), strongest, seconds, or auto.",
        ),
    ] = "auto",
    false_alarm: Annotated[
        float,
        typer.Option(
            "--false-alarm", metavar="P", help="Probability of listing any path that is only noise."
        ),
    ] = 1e-3,
    at: Annotated[float, typer.Option("--at", metavar="S", help="Where in a recording, seconds.")] = 0.0,
    seconds: Annotated[
        str,
        typer.Option("--seconds", metavar="S", help="How much to use; targets should not move a range bin."),
    ] = "0.25",
    array: ArrayOption = None,
    fc: FcOption = None,
    fs: FsOption = None,
    gain: GainOption = None,
    relearn_phase: RelearnOption = False,
    stale_ok: StaleOption = None,
    json: JsonOption = None,
) -> None:
    """Paths over angle and delay in what an array hears of a known OFDM waveform, with one standard deviation each.

    Ranges are c delay/2 after the direct path from the own transmitter, which is found by itself, measured and
    taken out of the map. Without one the strongest path is the reference, and the output says so. They are half of the
    way from the transmitting element over the target to the array's origin: centimetres off its distance from there.

    \b
    Examples:
      hil angle-delay rec.sigmf-meta --waveform w.toml --calibration array.h5 --plot map.png
      hil angle-delay iio:ip:192.168.2.1 --array ula:4:0.5 --transmit w.toml --tx-attenuation 30 --max-range 300
      hil angle-delay responses.npz --array ula:8:0.5 --fc 2.45G --json -
    """
    from hil.jobs.angle_delay import AngleDelaySettings, of_device, of_recording, of_responses
    from hil.jobs.spectrum import parse_grid
    from hil.learning.csi import is_csi

    if not 0 < false_alarm <= 0.5:
        raise ConfigError(
            f"{false_alarm:g} does not lie in 0..0.5", where="--false-alarm", hint="--false-alarm 1e-3"
        )
    settings = AngleDelaySettings(
        waveform=waveform, calibration=calibration, relearn_phase=relearn_phase, stale_ok=stale_ok,
        grid_deg=parse_grid(grid), max_range_m=_positive(max_range, "--max-range", "m"), max_paths=paths,
        reference=_reference(reference), at_s=at, seconds=_positive(seconds, "--seconds", "s") or 0.25,
        false_alarm=false_alarm,
    )  # fmt: skip
    request = transmit_request(transmit, tx_attenuation, tx_channel)
    if request is not None and not is_device(source):
        raise ConfigError("only devices transmit", where="--transmit", hint="--waveform names what was sent")
    if is_device(source):
        if array is None:
            raise ConfigError(
                "hardware does not know its geometry",
                where="--array",
                hint="give for example --array ula:4:0.5",
            )
        if transmit is not None and waveform is None:
            settings.waveform = transmit
        found = of_device(source, array, partial(rx_config, fc, fs, gain), settings, request)
    elif is_csi(Path(source)):
        refuse_tuning(None, fs, gain)
        found = of_responses(Path(source), array, rx_config(fc, None, None).fc_hz, settings)
    else:
        refuse_tuning(fc, fs, gain)
        found = of_recording(Path(source), array, settings)
    if plot is not None:
        from hil.cli.angle_delay_plot import angle_delay_figure
        from hil.reporting import plots

        plots.save(angle_delay_figure(found), plot)
    result = found.as_dict()
    emit(json, result)
    for p in result["paths"]:
        speed = (
            ""
            if math.isnan(p["range_rate_m_s"])
            else f"  {p['range_rate_m_s']:+8.3f} +- {p['range_rate_sigma_m_s']:.2g} m/s"
        )
        console.print(
            f"{p['angle_deg']:9.3f} +- {p['angle_sigma_deg']:.3f} degrees  {p['range_m']:10.3f} +- "
            f"{p['range_sigma_m']:.3f} m  {p['power_db']:7.1f} dB{speed}",
            highlight=False,
        )
    if not result["paths"]:
        console.print("no path above the noise")
    span = result["unambiguous_speed_m_s"]
    told = "" if math.isnan(span) else f"; speeds are told apart within +-{span:.4g} m/s"
    console.print(
        f"ranges count from the {result['delay_reference']}; range bin {result['range_bin_m']:.4g} m{told}",
        highlight=False,
    )
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    if found.used is not None:
        words = f" ({found.used.words})" if found.used.words else ""
        console.print(f"calibration {found.used.status}{words}", highlight=False)
    else:
        console.print("no calibration: angles are those of the nominal array, and off by more than is stated")


def _positive(text: str | None, where: str, unit: str) -> float | None:
    if text is None:
        return None
    value = parse_quantity(text, where=where, unit=unit)
    if not value > 0:
        raise ConfigError("must be positive", where=where, hint=f"for example {where} 1")
    return value


def _reference(text: str) -> str | float:
    if text in ("auto", "direct", "strongest"):
        return text
    return parse_quantity(text, where="--reference", unit="s")
