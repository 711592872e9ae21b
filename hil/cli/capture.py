"""`hil capture`: record samples of a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hil.cli.options import (
    ArrayOption,
    CalibrationOption,
    FcOption,
    FsOption,
    GainOption,
    StaleOption,
    decibels,
    rx_config,
)
from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError
from hil.core.units import format_si, parse_quantity

TransmitOption = Annotated[
    Path | None,
    typer.Option("--transmit", metavar="FILE", help="Send this waveform meanwhile (hil waveform new ...)."),
]
TxAttenuationOption = Annotated[
    str | None,
    typer.Option("--tx-attenuation", metavar="DB", help="Below the greatest output: one number, or '40 50 ...' for each --tx-channel; default: as low as it goes."),
]  # fmt: skip
TxChannelOption = Annotated[
    str | None,
    typer.Option("--tx-channel", metavar="K,...", help="Transmit channels, counted from 0; default 0."),
]


def capture(
    device: Annotated[str, typer.Argument(help="Device URI, e.g. iio:ip:192.168.2.1 or sim:")],
    out: Annotated[
        Path,
        typer.Argument(
            help="Recording: .sigmf-collection (one file a channel) or .sigmf-meta (interleaved)."
        ),
    ],
    samples: Annotated[
        str | None, typer.Option("--samples", metavar="N", help="Samples per channel, e.g. 1M; or --seconds.")
    ] = None,
    seconds: Annotated[
        str | None, typer.Option("--seconds", metavar="S", help="Length, e.g. 2 or '500 ms'; or --samples.")
    ] = None,
    fc: FcOption = None,
    fs: FsOption = None,
    gain: GainOption = None,
    array: ArrayOption = None,
    gaps: Annotated[
        bool, typer.Option("--gaps", help="Record on after a loss and note the gap, instead of stopping.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing recording.")] = False,
    transmit: TransmitOption = None,
    tx_attenuation: TxAttenuationOption = None,
    tx_channel: TxChannelOption = None,
    tx_beam: Annotated[
        str | None,
        typer.Option(
            "--tx-beam",
            metavar="A:B",
            help="With --transmit and --calibration: send over all --tx-channel as a beam on these degrees. The gains of the "
            "channels are measured first, from echoes.",
        ),
    ] = None,
    communication: Annotated[
        str | None,
        typer.Option(
            "--communication",
            metavar="A:B",
            help="With --tx-beam: a receiver of data is within these degrees.",
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            "--eta", metavar="0..1", help="With --communication: share of the power for sensing; default 0.5."
        ),
    ] = None,
    phi: Annotated[
        float | None,
        typer.Option(
            "--phi", metavar="DEG", help="With --communication: phase between both beams; default 0."
        ),
    ] = None,
    calibration: CalibrationOption = None,
    stale_ok: StaleOption = None,
    json: JsonOption = None,
) -> int:
    """Record samples of a device. Ctrl-C ends it early; the recording is then complete up to there.

    With --transmit the device sends a waveform meanwhile and is silenced at the end, however that comes.

    \b
    Examples:
      hil capture sim: rec.sigmf-meta --seconds 2 --array ula:8:0.5
      hil capture iio:ip:192.168.2.1 rec.sigmf-collection --samples 1M --fc 2.45G --gain 30
      hil waveform new ofdm ofdm.toml
      hil capture iio:ip:192.168.2.1 rec.sigmf-meta --seconds 1 --transmit ofdm.toml --tx-attenuation 40
      hil capture iio:ip:192.168.2.1 rec.sigmf-meta --seconds 1 --transmit ofdm.toml --tx-attenuation 40 \\
        --tx-channel 0,1,2,3 --tx-beam -40:-20 --calibration array.h5
    """
    from hil.jobs.capture import capture_to_file
    from hil.session_summary import loss_words

    if (samples is None) == (seconds is None):
        raise ConfigError("give either --samples or --seconds", where="hil capture", hint="--seconds 2")
    n = None if samples is None else _count(parse_quantity(samples, where="--samples"), "--samples")
    length_s = None if seconds is None else parse_quantity(seconds, where="--seconds", unit="s")
    if length_s is not None and not length_s > 0:
        raise ConfigError("must be positive", where="--seconds")
    request = transmit_request(transmit, tx_attenuation, tx_channel)
    beam = beam_request(tx_beam, communication, eta, phi, calibration, stale_ok)
    if beam is not None:
        if request is None or len(request.channels or ()) < 2:
            raise ConfigError(
                "a beam needs a waveform and several transmit channels", where="--tx-beam",
                hint="--transmit ofdm.toml --tx-channel 0,1,2,3",
            )  # fmt: skip
        request = replace(request, beam=beam)
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
            transmit=request, say=lambda text: console.print(text, markup=False, highlight=False),
        )  # fmt: skip
    summary = result.summary
    emit(json, result.as_dict())
    lost = loss_words(result.session.lost, result.session.gaps, result.session.lost_unknown)
    seconds = format_si(summary.samples / result.stream.fs_hz, "s", 4)
    console.print(
        f"{summary.samples} samples per channel ({seconds}) of {result.stream.n_channels} channels in {out}: {lost}"
        if summary.samples
        else f"nothing was recorded, no {out} is left"
    )
    if result.transmitted is not None:
        sent = result.transmitted
        console.print(
            f"transmitted {sent.waveform} on channel {', '.join(map(str, sent.channels))} at "
            f"{', '.join(f'{a:g}' for a in sent.attenuation_db)} dB attenuation; silent now"
        )
    if summary.overloads:
        attenuate = ", or transmit with a higher --tx-attenuation" if result.transmitted is not None else ""
        console.print(f"[yellow]{summary.overloads} samples at full scale: lower the gain{attenuate}[/]")
    return 130 if result.interrupted else 0


def _count(value: float, where: str) -> int:
    if not value >= 1 or value != int(value) or value > 1e15:
        raise ConfigError("must be a whole number of samples, at least 1", where=where)
    return int(value)


def transmit_request(file: Path | None, attenuation: str | None, channels: str | None) -> Any:
    """TransmitRequest of the options, or None. Raises ConfigError."""
    from hil.jobs.transmit import TransmitRequest

    if file is None:
        for option, value in (("--tx-attenuation", attenuation), ("--tx-channel", channels)):
            if value is not None:
                raise ConfigError(
                    "nothing is transmitted", where=option, hint="name a waveform: --transmit FILE"
                )
        return None
    return TransmitRequest(file, decibels(attenuation, "--tx-attenuation"), _channels(channels))


def _channels(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError as err:
        raise ConfigError(
            f"{text!r} is not a list of channels", where="--tx-channel", hint="for example 0,1"
        ) from err


def beam_request(
    sector: str | None,
    communication: str | None,
    eta: float | None,
    phi: float | None,
    calibration: Path | None,
    stale_ok: str | None,
) -> Any:
    """BeamRequest of the options, or None. Raises ConfigError."""
    from hil.jobs.transmit_beam import BeamRequest

    if sector is None:
        for option, value in (
            ("--communication", communication), ("--eta", eta), ("--phi", phi), ("--calibration", calibration),
            ("--stale-ok", stale_ok),
        ):  # fmt: skip
            if value is not None:
                raise ConfigError("only with --tx-beam", where=option, hint="leave the option out")
        return None
    if calibration is None:
        raise ConfigError(
            "the array is not known", where="--tx-beam",
            hint="give its calibration: --calibration array.h5 (hil learn ... --method differentiable-omp)",
        )  # fmt: skip
    if communication is None and (eta is not None or phi is not None):
        raise ConfigError(
            "only with --communication",
            where="--phi" if eta is None else "--eta",
            hint="leave the option out",
        )
    if eta is not None and not 0 <= eta <= 1:
        raise ConfigError(f"{eta:g} does not lie in 0..1", where="--eta")
    sharing = 0.5 if communication is not None and eta is None else eta
    return BeamRequest(
        calibration, _sector(sector, "--tx-beam"),
        None if communication is None else _sector(communication, "--communication"),
        1.0 if sharing is None else sharing, phi or 0.0, stale_ok,
    )  # fmt: skip


def _sector(text: str, where: str) -> tuple[float, float]:
    try:
        low, high = (parse_quantity(part, where=where, unit="degrees") for part in text.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not -90 <= low < high <= 90:
        raise ConfigError(
            f"{text!r} is not a sector",
            where=where,
            hint="two broadside angles in degrees, low one first: -40:-20",
        )
    return low, high
