"""`hil angle-delay`: directions and distances in a recording, a device's signal or channel responses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.sigmf_files import Recording, open_recording
from hil import store
from hil.core.calibration import Calibration
from hil.core.device import RxConfig, TxConfig
from hil.core.errors import CalibrationMismatch, ConfigError, RecordingError
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.core.waveform import Waveform, load_waveform
from hil.dsp.angle_delay import subcarrier_frequencies
from hil.dsp.angle_delay_channel import known_channel, mistrust
from hil.dsp.angle_delay_comb import step_of
from hil.dsp.angle_delay_direct import DirectChoice
from hil.dsp.angle_delay_doppler import unfolded
from hil.dsp.angle_delay_foreign import words_on_others
from hil.dsp.angle_delay_keystone import keystone
from hil.dsp.angle_delay_looks import Separated, hears_only_itself, separate
from hil.dsp.angle_delay_paths import PathEstimate, find_paths
from hil.dsp.angle_delay_phase import aligned, merged
from hil.dsp.angle_delay_verdict import PlaneVerdict, plane_verdict
from hil.dsp.correction import converter_errors, correct_samples
from hil.dsp.response import calibrated_response
from hil.jobs.angle_delay_map import power_map
from hil.jobs.angle_delay_words import beyond_the_prefix, cut_short, migrates, of_speeds, span_m_s
from hil.jobs.stated_array import stated_array
from hil.jobs.transmit import TransmitRequest, at_the_greatest, waveform_beside
from hil.learning.csi import read_csi
from hil.learning.csi_recording import CsiCapture, CsiTap, Mend, covariances_of_looks, csi_of_recording
from hil.learning.using import CalibrationInUse, calibration_for
from hil.session import open_session

#: Blocks of symbols that are kept: as short as the symbols where this allows, for Doppler shifts.
_MOST_GROUPS = 4096
#: Values of all blocks that paths are fitted to; more until there are enough blocks for what moves.
_USUAL_VALUES, _MOST_VALUES = 1 << 19, 1 << 21
_ENOUGH_BLOCKS, _LEAST_BLOCKS = 256, 8
#: Blocks that a calibration is judged by.
_MOST_JUDGED = 512
_ELEMENTS_THAT_TELL = 4


@dataclass(slots=True)
class AngleDelaySettings:
    """What is wanted.

    waveform : file of what was transmitted. grid_deg : (low, high, step) of the map and limits of the search, or None.
    max_range_m : None: all that the subcarriers tell apart. max_paths. reference : "auto", "direct", "strongest", or the
    delay in seconds that counts as zero. at_s, seconds : part of the input. false_alarm : of any path at all.
    """

    waveform: Path | None = None
    calibration: Path | None = None
    relearn_phase: bool = False
    stale_ok: str | None = None
    grid_deg: tuple[float, float, float] | None = None
    max_range_m: float | None = None
    max_paths: int = 16
    reference: str | float = "auto"
    at_s: float = 0.0
    seconds: float = 0.25
    false_alarm: float = 1e-3


@dataclass(slots=True)
class AngleDelay:
    """Paths and a map. power (A, D) linear over angles_deg (A,) and delays_s (D,) after the reference; the direct path is not in it.

    unambiguous_speed_m_s : speeds beyond it, towards the array or away, show as others; NaN with a single block.
    """

    stream: StreamInfo
    estimate: PathEstimate
    used: CalibrationInUse | None
    n_blocks: int
    n_symbols: int
    first_sample: int
    angles_deg: NDArray[np.float64]
    delays_s: NDArray[np.float64]
    power: NDArray[np.float32]
    unambiguous_speed_m_s: float
    notes: tuple[str, ...] = ()

    @property
    def range_m(self) -> NDArray[np.float64]:
        """(D,) metres, c delay / 2."""
        return self.delays_s * SPEED_OF_LIGHT_M_S / 2

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of contract.md."""
        e, used = self.estimate, self.used
        paths = [
            {
                "angle_deg": p.angle_deg, "delay_s": p.delay_s, "range_m": p.range_m, "power_db": p.power_db,
                "angle_sigma_deg": p.angle_sigma_deg, "range_sigma_m": p.range_sigma_m, "snr_db": p.snr_db,
                "doppler_hz": p.doppler_hz, "range_rate_m_s": p.range_rate_m_s, "range_rate_sigma_m_s": p.range_rate_sigma_m_s,
            }
            for p in self._with_gauge()
        ]  # fmt: skip
        return {
            "paths": paths,
            "n_blocks": self.n_blocks,
            "n_symbols": self.n_symbols,
            "snr_db": e.snr_db,
            "delay_reference": e.delay_reference,
            "direct_path_db": e.direct_db,
            "range_bin_m": e.range_bin_m,
            "residual": e.residual,
            "unambiguous_speed_m_s": self.unambiguous_speed_m_s,
            "complete": e.complete,
            "epoch": self.stream.epoch.id,
            "calibration_status": used.status if used else "none",
            "calibration_id": used.calibration.id if used else None,
            "stale_reason": (used.calibration.stale_reason or None) if used else None,
            "first_sample": self.first_sample,
            "notes": list(self.notes),
        }

    def _with_gauge(self) -> list[Any]:
        """Paths whose angle sigma includes what the calibration leaves open."""
        gauge = self.used.calibration.gauge.angle_sigma_deg if self.used else 0.0
        return [replace(p, angle_sigma_deg=math.hypot(p.angle_sigma_deg, gauge)) for p in self.estimate.paths]


def of_responses(
    path: Path, array: str | None, fc_hz: float | None, settings: AngleDelaySettings
) -> AngleDelay:
    """Paths in a file of channel responses (.npz). Raises ConfigError, CalibrationError, ShapeError."""
    if settings.waveform is not None:
        raise ConfigError(
            "channel responses are demodulated already", where="--waveform", hint="leave the option out"
        )
    csi, stream, _ = read_csi(path, array, fc_hz)
    f = subcarrier_frequencies(csi.n_subcarriers, csi.subcarrier_spacing_hz)
    blocks = csi.csi.astype(np.complex64)
    notes: tuple[str, ...] = ()
    times = csi.time_s
    turned, _, common = aligned(blocks)
    if times is None:
        if not common:
            notes = (f"the {len(blocks)} responses differ and carry no times: the first one was used",)
            turned = blocks[:1]
        else:
            turned = merged(turned)
        times = np.zeros(len(turned))
    first = np.round((times - times[0]) * stream.fs_hz).astype(np.int64)
    capture = CsiCapture(
        turned, f, np.asarray(times), first, csi.subcarrier_spacing_hz, stream, np.zeros(csi.n_elements),
        np.ones(len(turned), np.int64), 0.0, None, notes,
    )  # fmt: skip
    return _analyse(capture, settings, own=False)


def of_recording(path: Path, array: str | None, settings: AngleDelaySettings) -> AngleDelay:
    """Paths at `at_s` of a recording. Raises ConfigError, RecordingError."""
    with open_recording(path) as recording:
        inside = 0 <= settings.at_s < recording.n_samples / recording.stream.fs_hz  # not for NaN
        if not inside:
            raise ConfigError(
                f"{settings.at_s:g} s is outside the recording", where="--at",
                hint=f"it is {recording.n_samples / recording.stream.fs_hz:.4g} s long",
            )  # fmt: skip
        start = round(settings.at_s * recording.stream.fs_hz)
        segment = recording.segment_at(start)
        stream = replace(segment.stream, geometry=stated_array(array, segment.stream))
        waveform = waveform_of(settings.waveform, path)
        end = min(_end_of_epoch(recording, start), start + max(round(settings.seconds * stream.fs_hz), 1))
        own = transmitted(recording)
        mend = _mend(settings, stream)
        capture = csi_of_recording(
            recording, waveform, start, end, most_groups=_MOST_GROUPS, own=own, mend=mend
        )
    return _analyse(replace(capture, stream=stream), settings, own=own)


def of_device(
    uri: str,
    array: str,
    want: Callable[[int | None], RxConfig],
    settings: AngleDelaySettings,
    transmit: TransmitRequest | None = None,
) -> AngleDelay:
    """Paths in what a device hears now, while it transmits a waveform itself if asked to.

    Raises DeviceError, ConfigError, RecordingError. The transmitter is silent afterwards, however it ends.
    """
    waveform = waveform_of(settings.waveform)
    session = open_session(uri, lambda fc_hz: parse_array(array, fc_hz), want)
    with session:
        quiet = ""
        if transmit is not None:
            sent = TxConfig(attenuation_db=transmit.attenuation_db, channels=transmit.channels)
            quiet = at_the_greatest(transmit, session.transmit(load_waveform(transmit.file), sent))
        total = max(round(settings.seconds * session.stream.fs_hz), 1)
        tap = CsiTap(
            waveform, total, _MOST_GROUPS, own=transmit is not None, mend=_mend(settings, session.stream)
        )
        session.start(on_frame=tap, n_samples=total)
        while not session.wait(0.1):
            pass
        session.stop()
        session.raise_error()
    try:
        capture = tap.result()
    except RecordingError as err:
        if not quiet:
            raise
        raise RecordingError(str(err), hint=f"{quiet}; {err.hint}", exit_code=err.exit_code) from err
    return _analyse(
        replace(capture, notes=(*capture.notes, quiet) if quiet else capture.notes), settings,
        own=transmit is not None,
    )  # fmt: skip


def _expected(own: bool, stream: StreamInfo) -> DirectChoice:
    """Few elements cannot tell a direct path from a plane wave: then it is there if the device transmitted."""
    return "yes" if own and stream.n_channels < _ELEMENTS_THAT_TELL else "auto"


def _mend(settings: AngleDelaySettings, stream: StreamInfo) -> Mend | None:
    """Undoes the IQ images and DC that the calibration knows, in samples; None: nothing to undo."""
    if settings.calibration is None:
        return None
    imp = converter_errors(store.load(settings.calibration).impairments)
    if imp.n_elements != stream.n_channels or not (np.any(imp.iq_image) or np.any(imp.dc_offset)):
        return None
    return lambda samples: correct_samples(samples, imp, stream.fs_hz)


def waveform_of(path: Path | None, recording: Path | None = None) -> Waveform:
    """The waveform the user names, else the one that was transmitted while the recording was made. Raises ConfigError."""
    path = path or (waveform_beside(recording) if recording is not None else None)
    if path is None:
        raise ConfigError(
            "what was transmitted is not known", where="--waveform",
            hint="give its file (hil waveform new ofdm F.toml, or hil waveform from-scene)",
        )  # fmt: skip
    return load_waveform(path)


def transmitted(recording: Recording) -> bool:
    """Whether the recording says that the device itself transmitted."""
    return any(segment.keys.get("hil:transmitted") for segment in recording.segments)


def _end_of_epoch(recording: Recording, start: int) -> int:
    """End of the stretch of one epoch and configuration that holds `start`."""
    here = recording.segment_at(start).stream
    end = start
    for segment in recording.segments:
        if segment.start + segment.n <= start:
            continue
        if (segment.stream.epoch.id, segment.stream.config) != (here.epoch.id, here.config):
            break
        end = segment.start + segment.n
    return end


def _analyse(capture: CsiCapture, settings: AngleDelaySettings, *, own: bool) -> AngleDelay:
    stream = capture.stream
    geometry = stream.geometry
    if geometry is None:
        raise ConfigError(
            "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
        )
    if stream.n_channels < 2:
        raise ConfigError("one element has no directions", where="--array", hint="use two channels or more")
    capture = capture.unbroken()
    csi, scatter, _ = aligned(capture.csi)
    capture, notes = replace(capture, csi=csi), list(capture.notes)
    if scatter:
        notes.append(f"a common phase that scattered by {np.rad2deg(scatter):.2g} degrees was removed")
    silent = np.flatnonzero(~np.any(csi, axis=(0, 2)))
    if len(silent):
        notes.append(
            f"element {silent[0]} hears nothing: angles are less sure; check its cable and port, or leave it out"
        )
    choice, given = _reference(settings.reference, _expected(own, stream))
    used = _use(settings, capture, choice, own=own)
    calibration = used.calibration if used is not None else None
    max_delay_s = None if settings.max_range_m is None else 2 * settings.max_range_m / SPEED_OF_LIGHT_M_S
    limits = None if settings.grid_deg is None else settings.grid_deg[:2]

    def found_in(some: CsiCapture) -> tuple[CsiCapture, PathEstimate, int]:
        few = some.averaged(_blocks(some))
        contiguous = some.prefix is not None or len(few) < len(some)  # responses of a file are moments
        estimate = find_paths(
            few.csi, geometry.positions_m, stream.fc_hz, few.frequency_hz,
            time_s=few.time_s if len(few) > 1 else None, calibration=calibration, direct=choice, reference_s=given,
            max_delay_s=max_delay_s, angles_deg=limits, max_paths=settings.max_paths,
            false_alarm=settings.false_alarm, prefix=capture.prefix, block_s=_block_s(few) if contiguous else 0.0,
        )  # fmt: skip
        if len(few) == len(some):
            return few, estimate, 0
        return few, *_unfolded(estimate, few, some, calibration)

    few, estimate, undecided = found_in(capture)
    if len(few) > 1 and migrates(estimate, float(np.ptp(few.time_s))):
        mended = keystone(capture.csi, capture.frequency_hz, capture.time_s, stream.fc_hz)
        capture = replace(capture, csi=mended)
        few, estimate, undecided = found_in(capture)
    notes += cut_short(estimate, settings.max_paths)
    notes += beyond_the_prefix(capture, estimate)
    notes += of_speeds(
        estimate, stream.fc_hz, float(np.ptp(few.time_s)), _block_s(few), _block_s(capture), undecided
    )
    notes += words_on_others(estimate.foreign_db)
    angles, delays, power = power_map(few, estimate, calibration, settings.grid_deg, settings.max_range_m)
    return AngleDelay(
        stream, estimate, used, len(few), int(capture.symbols.sum()), int(capture.first_sample[0]), angles, delays,
        power, span_m_s(stream.fc_hz, _block_s(capture)), tuple(notes),
    )  # fmt: skip


def _reference(text: str | float, direct: DirectChoice) -> tuple[DirectChoice, float | None]:
    if isinstance(text, float | int):
        return direct, float(text)
    if text not in ("auto", "direct", "strongest"):
        raise ConfigError(
            f"{text!r} is not one of auto, direct, strongest", where="--reference", hint="or a delay: 1.2e-6"
        )
    choices: dict[str, DirectChoice] = {"auto": direct, "direct": "yes", "strongest": "no"}
    return choices[text], None


def _blocks(capture: CsiCapture) -> int:
    """As many blocks as a fit of bounded effort allows: they set which Doppler shifts can be seen."""
    _, m, s = capture.csi.shape
    enough = min(_ENOUGH_BLOCKS, _MOST_VALUES // (m * s))
    return max(_USUAL_VALUES // (m * s), enough, _LEAST_BLOCKS)


def _unfolded(
    estimate: PathEstimate, few: CsiCapture, capture: CsiCapture, calibration: Calibration | None
) -> tuple[PathEstimate, int]:
    """The Doppler shifts that the shorter blocks of `capture` show, and how many stay undecided."""
    stream, f = capture.stream, capture.frequency_hz
    assert stream.geometry is not None
    response = calibrated_response(stream.geometry.positions_m, stream.fc_hz, calibration)
    csi = capture.csi if calibration is None else capture.csi / known_channel(calibration, f)
    steering = response.steering(np.array([p.angle_deg for p in estimate.paths]))
    paths, undecided = unfolded(
        estimate.paths, estimate.reference_s, stream.fc_hz, csi, f, capture.time_s, steering, _block_s(few)
    )
    return replace(estimate, paths=paths), undecided


def _block_s(capture: CsiCapture) -> float:
    """Length of a block; 0 for a single one."""
    return step_of(capture.time_s) if len(capture) > 1 else 0.0


def _use(
    settings: AngleDelaySettings, capture: CsiCapture, direct: DirectChoice, *, own: bool
) -> CalibrationInUse | None:
    """The calibration, confirmed by what each single target shows of the array."""
    if settings.calibration is None:
        return None
    geometry = capture.stream.geometry
    assert geometry is not None
    calibration = store.load(settings.calibration)
    known = calibration.geometry.n_elements == geometry.n_elements
    capture = capture.averaged(_MOST_JUDGED)

    def parted(choice: DirectChoice) -> Separated:
        return separate(
            capture.csi, calibration.positions_m if known else geometry.positions_m, capture.stream.fc_hz,
            capture.frequency_hz, direct=choice, only_planes=False,
        )  # fmt: skip

    found = parted(direct)
    if hears_only_itself(found, direct, own=own):
        found = parted("yes")

    def judge(loaded: Calibration) -> PlaneVerdict:
        response = calibrated_response(geometry.positions_m, capture.stream.fc_hz, loaded)
        return plane_verdict(found.looks, response, found.deviation, mistrust(loaded))

    try:
        return calibration_for(
            settings.calibration, capture.stream, covariances_of_looks(found, capture), 1,
            relearn_phase=settings.relearn_phase, stale_ok=settings.stale_ok, judge=judge,
        )  # fmt: skip
    except CalibrationMismatch as err:
        if capture.overdriven and err.field == "epoch":
            # not the calibration's fault
            raise CalibrationMismatch(str(err), field=err.field, hint=capture.overdriven) from err
        raise
