"""`hil learn`: gain, phase and position errors without labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.cli.learn_refusals import (
    refuse_for_campaign,
    refuse_receivers,
    refuse_waveform,
    refuse_with_responses,
    refuse_without_waveform,
    require_responses,
)
from hil.cli.learn_words import show
from hil.cli.options import (
    ArrayOption,
    FcOption,
    FsOption,
    GainOption,
    SourcesOption,
    StaleOption,
    is_device,
    refuse_tuning,
    rx_config,
)
from hil.cli.output import JsonOption, console, emit
from hil.core.errors import CalibrationError, ConfigError
from hil.core.units import parse_quantity

if TYPE_CHECKING:
    from calib.result import Progress
    from hil.core.calibration import Calibration
    from hil.jobs.learn_labels import LabelSource


def learn(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Device URI, recording, or folder of a campaign.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="F.h5",
            help="Calibration file to write. One that is there is replaced, and kept: in the store or under a name "
            "of its own.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method", metavar="NAME", help="Learning method, or race: all of them, the best is offered."
        ),
    ] = "cold-start",
    sources: SourcesOption = "1",
    support: Annotated[
        str | None,
        typer.Option("--support", metavar="A:B", help="The emitters' directions fill A to B degrees evenly."),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor",
            metavar="DEG[/EL][@T0:T1]",
            help="A known direction (from T0 to T1 seconds); repeatable. With elevation for --method planar-2d.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="F.csv",
            help="Known directions (t0_s,t1_s,angle_deg[,elevation_deg][,sigma_deg]) beside the unlabelled data, or "
            "alone with --method pilot; 'recording': those that the recording or campaign states; 'rotation': of a campaign "
            "only by how much its table turned.",
        ),
    ] = None,
    rotations: Annotated[
        Path | None,
        typer.Option(
            "--rotations",
            metavar="F",
            help="When a turntable under the array rested at which angle (t0_s, t1_s, angle_deg; CSV or TOML), "
            "clockwise seen from above, from any zero. Emitters must not move in the room meanwhile.",
        ),
    ] = None,
    positions: Annotated[
        float | None,
        typer.Option(
            "--position-std",
            metavar="WAVELENGTHS",
            help="Expected spread of position errors; 0: positions are exact. Default 0.1; gain-phase-isac: 0.",
        ),
    ] = None,
    waveform: Annotated[
        Path | None,
        typer.Option(
            "--waveform",
            metavar="F",
            help="Recording: the OFDM or SRS waveform that arrives in it; learns from its channel responses.",
        ),
    ] = None,
    direct_path: Annotated[
        bool | None,
        typer.Option(
            "--direct-path/--no-direct-path",
            help="With --waveform: a transmitter stands beside the array, or none does; default: found from the data.",
        ),
    ] = None,
    anchor_range: Annotated[
        float | None,
        typer.Option(
            "--anchor-range",
            metavar="M",
            help="With --waveform: the anchor is the target at this range, metres.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="Known receivers: gains and delays of this file, of the same epoch, are divided out first and kept. "
            "--method differentiable-omp or gain-phase-isac.",
        ),
    ] = None,
    stale_ok: StaleOption = None,
    hold_out: Annotated[
        int | None,
        typer.Option(
            "--hold-out",
            metavar="N",
            min=0,
            help="Campaign: every N-th angle judges and teaches nothing; 0: none. Default 5.",
        ),
    ] = None,
    response: Annotated[
        str | None,
        typer.Option(
            "--response",
            metavar="KIND",
            help="Campaign, --method pilot: table of what depends on the angle: phase, full, none, or auto.",
        ),
    ] = None,
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
            "--truth",
            metavar="FILE",
            help="Truth file of the simulator: adds errors before and after. Not with --waveform or channel responses.",
        ),
    ] = None,
    json: JsonOption = None,
) -> int:
    """Learn gain, phase and position of every element from unlabelled signals.

    Emitters must show many directions. On a line their offset and scale stay open without --support, --anchor
    or --rotations; the file is then still written, but the command exits 4 and says how much is open.

    \b
    Examples:
      hil learn rec.sigmf-meta --support -60:60 --out array.h5
      hil learn iio:ip:192.168.2.1 --array ula:4:0.5 --support -60:60 --out array.h5
      hil learn rec.sigmf-meta --anchor 20@0:1 --anchor -35@2:3 --out array.h5
      hil learn rec.sigmf-meta --rotations table.csv --out array.h5
      hil learn rec.sigmf-meta --labels known.csv --method pilot --out array.h5
      hil learn night --method pilot --out array.h5
      hil learn rec.sigmf-meta --method race --support -60:60 --out offered.h5
      hil learn echoes.sigmf-meta --waveform w.toml --method gain-phase-isac --anchor 20 --out array.h5
      hil learn responses.npz --array ula:8:0.5 --fc 2.45G --method gain-phase-isac --support -60:60 --out array.h5
      hil learn echoes.sigmf-meta --method differentiable-omp --calibration gains.h5 --support -60:60 --out array.h5
    """
    from calib.registry import CSI_METHODS, method_names
    from hil.campaign.folder import is_campaign
    from hil.jobs.learn import keep, learn_device, learn_recording
    from hil.jobs.learn_campaign import LearnedCampaign, learn_campaign, write_bias
    from hil.jobs.learn_campaign_labels import response_kind
    from hil.jobs.learn_csi import KnownReceivers, learn_responses, learn_waveform
    from hil.jobs.transmit import waveform_beside
    from hil.learning.csi import is_csi
    from hil.learning.settings import (
        LearnSettings,
        default_position_std,
        parse_anchor_elevations,
        parse_anchors,
        parse_sources,
        parse_support,
        read_rotations,
    )

    if method not in (*method_names(), "race"):
        raise ConfigError(
            f"unknown method {method!r}",
            where="--method",
            hint=f"one of {', '.join((*method_names(), 'race'))}",
        )
    known = _labels(labels, method, bool(anchor or rotations))
    if rotations is not None and method in ("pilot", "planar-2d", *CSI_METHODS):
        raise ConfigError(
            f"{method} does not use turns of a table", where="--rotations",
            hint="leave the option out, or leave --method out",
        )  # fmt: skip
    if positions is None:
        positions = default_position_std(method)
    if not 0 <= positions < 10:
        raise ConfigError("must be between 0 and 10 wavelengths", where="--position-std")
    earlier = _check_out(out)
    settings = LearnSettings(
        method=method, n_sources=parse_sources(sources), support_deg=parse_support(support),
        anchors_deg=parse_anchors(anchor), position_std_wavelengths=positions, seed=seed,
        rotations=read_rotations(rotations), anchor_elevations_deg=parse_anchor_elevations(anchor),
    )  # fmt: skip
    length_s = None if seconds is None else parse_quantity(seconds, where="--seconds", unit="s")
    if length_s is not None and not length_s > 0:
        raise ConfigError("must be positive", where="--seconds")
    path = Path(source.removeprefix("replay:"))
    campaign = not is_device(source) and is_campaign(path)
    if campaign:
        refuse_for_campaign(known, bool(anchor or rotations), seconds, waveform, method)
    elif hold_out is not None or response is not None:
        raise ConfigError(
            "only for the folder of a campaign", where="--response" if hold_out is None else "--hold-out",
            hint="leave the option out",
        )  # fmt: skip
    if waveform is None and method in CSI_METHODS and not is_csi(path):
        waveform = waveform_beside(path)  # what `hil capture --transmit` sent
    refuse_without_waveform(waveform, direct_path, anchor_range)
    receivers = None if calibration is None else KnownReceivers(calibration, stale_ok)
    refuse_receivers(calibration, stale_ok, method, labels)
    if is_device(source) and not source.startswith("replay:"):
        require_responses(method)
        refuse_waveform(
            waveform, "a device is not demodulated while it learns", "record it first: hil capture"
        )
        learned = learn_device(
            source, settings, array=array, truth=truth, seconds=length_s, labels=known,
            want=lambda n: rx_config(fc, fs, gain, n), say=lambda text: console.print(text, highlight=False),
        )  # fmt: skip
    else:
        with console.status("learning") as status:

            def progress(p: Progress) -> None:
                status.update(f"learning: {p.stage}, excess {p.excess:+.2f}, {p.seconds:.1f} s")

            if campaign:
                refuse_tuning(fc, fs, gain)
                learned = learn_campaign(
                    path, settings, labels=known, hold_out=5 if hold_out is None else hold_out,
                    response=response_kind(response), array=array, truth=truth, progress=progress,
                )  # fmt: skip
            elif is_csi(path):
                refuse_tuning(None, fs, gain)
                refuse_with_responses(truth, seconds)
                refuse_waveform(waveform, "channel responses are demodulated already", "leave the option out")
                learned = learn_responses(
                    path, settings, array=array, labels=known, progress=progress,
                    fc_hz=rx_config(fc, None, None).fc_hz, receivers=receivers,
                )  # fmt: skip
            elif waveform is not None:
                refuse_tuning(fc, fs, gain)
                if truth is not None:
                    raise ConfigError(
                        "not with --waveform: its errors are worked out for directions of arrival",
                        where="--truth", hint="leave the option out",
                    )  # fmt: skip
                learned = learn_waveform(
                    path, waveform, settings, array=array, seconds=length_s, labels=known, progress=progress,
                    direct="auto" if direct_path is None else "yes" if direct_path else "no",
                    anchor_range_m=anchor_range, receivers=receivers,
                )  # fmt: skip
            else:
                require_responses(method)
                refuse_tuning(fc, fs, gain)
                learned = learn_recording(
                    path,
                    settings,
                    array=array,
                    truth=truth,
                    seconds=length_s,
                    labels=known,
                    progress=progress,
                )
    kept = "" if earlier is None or learned.calibration is None else _set_aside(earlier, out)
    keep(learned, out)
    bias = write_bias(learned, out) if isinstance(learned, LearnedCampaign) else None
    emit(json, learned.as_dict())
    show(learned)
    if bias is not None:
        console.print(f"wrote {bias}, the bias table", highlight=False)
    if kept:
        console.print(kept, highlight=False, markup=False)
    return 4 if learned.problem is not None else 0


def _labels(text: str | None, method: str, others: bool) -> LabelSource | None:
    """The labels asked for; refuses what cannot be combined with them."""
    from calib.registry import CSI_METHODS
    from hil.jobs.learn_labels import read_labels

    if text is None:
        return None
    if others:
        raise ConfigError(
            "labels already say what --anchor and --rotations would", where="--labels",
            hint="write the known directions into the table",
        )  # fmt: skip
    if method in ("race", *CSI_METHODS):
        raise ConfigError(
            f"method {method} does not use labels",
            where="--labels",
            hint="--method pilot, or leave --method out",
        )
    return read_labels(text)


def _check_out(out: Path) -> Calibration | None:
    """The calibration that the file holds already. Raises ConfigError for what must not be replaced."""
    if not out.parent.is_dir():
        raise ConfigError(f"no folder {out.parent}", where="--out", hint="make it first")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder", where="--out", hint="name a file, e.g. array.h5")
    if out.exists() and out.stat().st_size:
        from hil import store

        try:
            return store.load(out)
        except CalibrationError as err:
            raise ConfigError(
                f"{out} exists and is not a calibration", where="--out", hint="choose another name"
            ) from err
    return None


def _set_aside(earlier: Calibration, out: Path) -> str:
    """See that the calibration which is about to be replaced stays, and say where."""
    from hil.store import Store

    if any(entry.id == earlier.id for entry in Store().history()):
        return f"{out} held {earlier.id}, which is in the store: hil calib restore, or hil calib export {earlier.id} F.h5"
    other = out.with_name(f"{out.stem}.{earlier.id[:8]}{out.suffix}")
    try:
        shutil.copy2(out, other)
    except OSError as err:
        raise ConfigError(f"cannot keep {out} as {other}: {err.strerror}", where="--out") from err
    return f"the calibration that {out} held is now {other}"
