"""One angle-delay map and its paths, as shown: made from the channel responses of one look."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import AngleDelayMapper
from hil.dsp.angle_delay_channel import known_channel
from hil.dsp.angle_delay_direct import DirectChoice
from hil.dsp.angle_delay_paths import Path, PathEstimate, find_paths
from hil.dsp.response import calibrated_response
from hil.learning.csi_recording import CsiCapture

Reference = Literal["auto", "direct", "strongest"]
_MOST_PATHS = 8
_ELEMENTS_THAT_TELL = 4
_MOST_ANGLES = 361
_MOST_DELAYS = 400
_POINTS_PER_BIN = 4
_POINTS_PER_BEAM = 12
_LEAST_BINS = 12
#: How far the map goes beyond the farthest path; it grows when one comes and does not shrink again.
_ROOM = 1.3
_FLOOR = 1e-30


@dataclass(frozen=True, slots=True)
class EchoView:
    """What is wanted. calibrated : with the calibration in use, else the nominal array. reference : of delays, as of
    `hil angle-delay`. max_range_m : of map and list; None: as far as there are paths, up to the cyclic prefix.

    Paths are searched at all delays: side lobes of one beyond the limit would be taken for paths inside."""

    calibrated: bool = True
    reference: Reference = "auto"
    max_range_m: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EchoMap:
    """A map, and the paths found last.

    Attributes
    ----------
    t_mono_ns, paths_t_mono_ns : of the newest samples in the map, and in the paths. stream : of the map's samples.
    angles_deg (A,), delays_s (D,) after the reference, level_db (A, D) float32 : a channel of 1 in every element is 0 dB.
    paths : strongest first; their angle sigma includes what the calibration leaves open. reference : in words.
    range_bin_m, beamwidth_deg : one resolution cell. speed_span_m_s : speeds of -span..span are unambiguous, and
        speed_step_m_s is their resolution; NaN where the look is one block. snr_db : per element, subcarrier and block.
    calibration_id : "" for the nominal array. notes : for the user.
    """

    t_mono_ns: int
    paths_t_mono_ns: int
    stream: StreamInfo
    angles_deg: NDArray[np.float64]
    delays_s: NDArray[np.float64]
    level_db: NDArray[np.float32]
    paths: tuple[Path, ...]
    reference: str
    range_bin_m: float
    beamwidth_deg: float
    speed_span_m_s: float
    speed_step_m_s: float
    snr_db: float
    calibration_id: str
    notes: tuple[str, ...]

    @property
    def range_m(self) -> NDArray[np.float64]:
        """(D,) metres, c delay / 2."""
        return self.delays_s * SPEED_OF_LIGHT_M_S / 2


def estimate_paths(
    capture: CsiCapture, view: EchoView, calibration: Calibration | None, *, own: bool
) -> PathEstimate:
    """Paths in the responses of a look. own : the device transmitted. Raises ConfigError, CalibrationMismatch, ShapeError."""
    stream = capture.stream
    geometry = stream.geometry
    if geometry is None:
        raise ConfigError("the array is not known", hint="enter it and connect again")
    # few elements cannot tell a direct path from a plane wave: then it is there if the device transmits; while it does
    # not, what an array with errors hears of an emitter elsewhere must not be taken for one
    taken: DirectChoice = "no" if not own else "yes" if stream.n_channels < _ELEMENTS_THAT_TELL else "auto"
    direct: dict[Reference, DirectChoice] = {"auto": taken, "direct": "yes", "strongest": "no"}
    several = len(capture) > 1
    return find_paths(
        capture.csi, geometry.positions_m, stream.fc_hz, capture.frequency_hz,
        time_s=capture.time_s if several else None, calibration=calibration, direct=direct[view.reference],
        max_paths=_MOST_PATHS, prefix=capture.prefix,
    )  # fmt: skip


@dataclass(slots=True)
class _Grid:
    key: tuple[object, ...]
    angles_deg: NDArray[np.float64]
    delays_s: NDArray[np.float64]
    mapper: AngleDelayMapper
    channel: NDArray[np.complex128] | None
    beamwidth_deg: float
    bins: float
    most_bins: float


class MapMaker:
    """Maps on a grid that is made once for an array, a calibration, a band and a range. For one thread."""

    def __init__(self) -> None:
        self._grid: _Grid | None = None

    def make(
        self,
        capture: CsiCapture,
        view: EchoView,
        calibration: Calibration | None,
        estimate: PathEstimate,
        *,
        t_mono_ns: int,
        paths_t_mono_ns: int,
    ) -> EchoMap:
        """Largest power over Doppler at each angle and delay; the direct path taken out if it is the reference.

        Raises CalibrationMismatch, ShapeError.
        """
        grid = self._grid_for(capture, view, calibration, estimate)
        csi = echoes_alone(capture, estimate, grid.channel)
        power = np.zeros(grid.mapper.shape, np.float32)
        for spectrum in np.fft.fft(csi, axis=0) / len(csi):
            np.maximum(power, grid.mapper(spectrum), out=power)
        open_deg = 0.0 if calibration is None else calibration.gauge.angle_sigma_deg
        most_m = math.inf if view.max_range_m is None else view.max_range_m
        paths = tuple(
            replace(p, angle_sigma_deg=math.hypot(p.angle_sigma_deg, open_deg))
            for p in estimate.paths
            if p.range_m <= most_m
        )
        span, step = speeds_m_s(capture)
        return EchoMap(
            t_mono_ns, paths_t_mono_ns, capture.stream, grid.angles_deg, grid.delays_s,
            10 * np.log10(np.maximum(power, np.float32(_FLOOR))), paths, estimate.delay_reference,
            estimate.range_bin_m, grid.beamwidth_deg, span, step, estimate.snr_db,
            "" if calibration is None else calibration.id, _notes(capture, estimate, grid, calibration),
        )  # fmt: skip

    def _grid_for(
        self, capture: CsiCapture, view: EchoView, calibration: Calibration | None, estimate: PathEstimate
    ) -> _Grid:
        stream, f = capture.stream, capture.frequency_hz
        assert stream.geometry is not None
        calibrated = "" if calibration is None else calibration.id
        key = (
            stream.geometry.positions_m.tobytes(), stream.fc_hz, f.tobytes(), capture.prefix, calibrated,
            view.max_range_m,
        )  # fmt: skip
        bin_s = 2 * estimate.range_bin_m / SPEED_OF_LIGHT_M_S
        farthest = max((p.delay_s for p in estimate.paths), default=0.0) / bin_s
        same = self._grid is not None and self._grid.key == key
        if (
            self._grid is not None
            and same
            and (farthest < self._grid.bins or self._grid.bins >= self._grid.most_bins)
        ):
            return self._grid
        response = calibrated_response(stream.geometry.positions_m, stream.fc_hz, calibration)
        low, high = response.limits_deg
        beam = response.beamwidth_deg or 10.0
        count = int(np.clip((high - low) / beam * _POINTS_PER_BEAM, 181, _MOST_ANGLES)) // 2 * 2 + 1
        angles = np.linspace(low, high, count)
        if view.max_range_m is not None:
            most = bins = 2 * view.max_range_m / SPEED_OF_LIGHT_M_S / bin_s
        else:
            clean_s = capture.prefix.clean_s[1] if capture.prefix is not None else np.inf
            most = max(clean_s / bin_s, _LEAST_BINS)
            bins = max(_ROOM * farthest, _LEAST_BINS)
        most = float(np.clip(most, 2.0, len(f) - 1.0))
        bins = min(bins, most)
        points = int(np.clip((bins + 1) * _POINTS_PER_BIN, 64, _MOST_DELAYS))
        delays = np.linspace(-bin_s, bins * bin_s, points)
        channel = None if calibration is None else known_channel(calibration, f)
        mapper = AngleDelayMapper(response, f, angles, delays)
        self._grid = _Grid(key, angles, delays, mapper, channel, beam, bins, most)
        return self._grid


def echoes_alone(
    capture: CsiCapture, estimate: PathEstimate, channel: NDArray[np.complex128] | None
) -> NDArray[np.complex128]:
    """(B, M, S) responses with delays from the reference, the direct path taken out if it is that.

    channel : (M, S) of the receivers, divided out; None: nothing is known of it.
    """
    csi, f = capture.csi.astype(np.complex128), capture.frequency_hz
    if channel is not None:
        csi = csi / channel
    csi = csi * np.exp(2j * np.pi * f * estimate.reference_s)
    if estimate.delay_reference == "direct path":
        csi = csi - csi.mean(axis=(0, 2))[:, None]
    return csi


def speeds_m_s(capture: CsiCapture) -> tuple[float, float]:
    """(greatest unambiguous speed to either side, resolution), lambda/(4 T) and lambda/(2 B T) of B blocks T apart."""
    if len(capture) < 2:
        return math.nan, math.nan
    wavelength_m = SPEED_OF_LIGHT_M_S / capture.stream.fc_hz
    block_s = float(np.diff(capture.time_s).min())
    return wavelength_m / (4 * block_s), wavelength_m / (2 * block_s * len(capture))


def _notes(
    capture: CsiCapture, estimate: PathEstimate, grid: _Grid, calibration: Calibration | None
) -> tuple[str, ...]:
    notes = list(capture.notes)
    if calibration is None:
        notes.append("not calibrated: nominal angles, and weak paths may be side lobes")
    if not estimate.complete:
        notes.append(f"more than {_MOST_PATHS} paths: only the strongest are listed")
    beyond = sum(p.delay_s > grid.delays_s[-1] for p in estimate.paths)
    if beyond:
        notes.append(f"{beyond} of the paths lie beyond the map")
    if capture.prefix is not None:
        late = np.array([p.delay_s for p in estimate.paths]) + estimate.reference_s
        lost = int(np.count_nonzero(capture.prefix.outside_s(late)))
        if lost:
            reach_m = (capture.prefix.clean_s[1] - estimate.reference_s) * SPEED_OF_LIGHT_M_S / 2
            notes.append(
                f"{lost} of the paths lie beyond {reach_m:.4g} m, where the cyclic prefix ends: they are weakened"
            )
    return tuple(notes)
