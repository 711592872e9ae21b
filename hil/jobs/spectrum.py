"""`hil spectrum`: directions of a device or recording, once or continuously."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.errors import ConfigError, RecordingError
from hil.core.frame import Frame, StreamInfo
from hil.core.geometry import ArrayGeometry, parse_array
from hil.core.units import parse_quantity
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder, Method
from hil.dsp.doa_accuracy import doa_sigma_deg
from hil.dsp.source_count import mdl
from hil.learning.observe import CovarianceBatch, CovarianceTap, join, observe_recording
from hil.learning.using import CalibrationInUse, calibration_for
from hil.session import open_session

#: What a device is asked for: long enough to confirm a calibration.
_DEVICE_S = 0.3


@dataclass(slots=True)
class SpectrumSettings:
    """What is wanted. grid_deg : (low, high, step) or None; snapshots : per estimate; at_s : where in a recording."""

    n_sources: int | None = None
    method: Method = "music"
    grid_deg: tuple[float, float, float] | None = None
    snapshots: int = 4096
    at_s: float = 0.0
    calibration: Path | None = None
    relearn_phase: bool = False
    stale_ok: str | None = None


@dataclass(slots=True)
class Directions:
    """One estimate. spectrum (G,) linear over angles_deg (G,)."""

    stream: StreamInfo
    doa_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    n_sources: int
    used: CalibrationInUse | None
    angles_deg: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    first_sample: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of contract.md."""
        used = self.used
        return {
            "doa_deg": self.doa_deg,
            "doa_sigma_deg": self.sigma_deg,
            "n_sources": self.n_sources,
            "epoch": self.stream.epoch.id,
            "calibration_status": used.status if used else "none",
            "calibration_id": used.calibration.id if used else None,
            "stale_reason": (used.calibration.stale_reason or None) if used else None,
            "first_sample": self.first_sample,
            "time_s": self.first_sample / self.stream.fs_hz,
        }


class Estimator:
    """Directions of frames of one stream with one array description."""

    def __init__(self, stream: StreamInfo, settings: SpectrumSettings, used: CalibrationInUse | None) -> None:
        if stream.geometry is None:
            raise ConfigError(
                "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
            )
        self.stream, self.settings, self.used = stream, settings, used
        grid = None
        if settings.grid_deg is not None:
            low, high, step = settings.grid_deg
            grid = np.arange(low, high + step / 2, step)
        array: Any = used.calibration if used is not None else stream.geometry
        self.finder = DoaFinder(array, stream.fc_hz, grid, method=settings.method)

    def estimate(self, samples: NDArray[np.complex64], first_sample: int) -> Directions:
        """From (M, N) samples."""
        covariance = sample_covariance(samples)
        n = samples.shape[1]
        count = self.settings.n_sources
        if count is None:
            count = int(mdl(np.linalg.eigvalsh(covariance), n))
        most = len(covariance) - 1
        count = min(count, most)
        if count < 1:
            found = np.zeros(0)
            spectrum = np.ones(len(self.finder.grid_deg))
            return Directions(
                self.stream, found, found, 0, self.used, self.finder.grid_deg, spectrum, first_sample
            )
        found = self.finder.find(covariance, count)
        sigma = doa_sigma_deg(covariance, self.finder.response, self.stream.fc_hz, found, n, count)
        if self.used is not None:
            sigma = np.hypot(sigma, self.used.calibration.gauge.angle_sigma_deg)
        spectrum = self.finder.spectrum(covariance, count)
        return Directions(
            self.stream, found, sigma, count, self.used, self.finder.grid_deg, spectrum, first_sample
        )


def parse_grid(text: str | None) -> tuple[float, float, float] | None:
    """`A:B:STEP` in degrees. Raises ConfigError."""
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) != 3:
        raise ConfigError(f"cannot read {text!r}", where="--grid", hint="--grid -90:90:0.5")
    low, high, step = (parse_quantity(p, where="--grid", unit="degrees") for p in parts)
    if not (-180 <= low < high <= 180 and 1e-4 <= step <= (high - low) / 2):
        raise ConfigError(f"{text!r} is not a grid of angles", where="--grid", hint="--grid -90:90:0.5")
    return low, high, step


def of_recording(path: Path, array: str | None, settings: SpectrumSettings) -> Directions:
    """Directions at `at_s` of a recording."""
    with open_recording(path) as recording:
        start = round(settings.at_s * recording.stream.fs_hz)
        if not 0 <= start < recording.n_samples:
            raise ConfigError(f"{settings.at_s:g} s is outside the recording", where="--at")
        segment = recording.segment_at(start)
        stream = _placed(segment.stream, array)
        n = min(settings.snapshots, segment.start + segment.n - start)
        if n <= stream.n_channels:
            raise RecordingError(f"{path}: only {n} samples there", hint="choose another --at", exit_code=2)
        samples, _ = wire_to_complex(recording.read(start, n), stream.device.full_scale_bits)
        used = None
        if settings.calibration is not None:
            batch = observe_recording(recording, segment.start, segment.start + segment.n, max_blocks=1000)
            used = _use(settings, stream, batch)
        first = segment.global_index + start - segment.start
    return Estimator(stream, settings, used).estimate(samples, first)


def of_device(
    uri: str,
    array: str,
    want: Callable[[int | None], RxConfig],
    settings: SpectrumSettings,
    on_directions: Callable[[Directions], None] | None = None,
    keep_on: Callable[[], bool] = lambda: False,
) -> Directions:
    """Directions of a device now; with `on_directions`, again and again while `keep_on()`."""
    batches: list[CovarianceBatch] = []
    newest: list[tuple[NDArray[np.complex64], int, StreamInfo]] = []
    tap = CovarianceTap()

    def on_frame(frame: Frame, clipped: NDArray[np.int64]) -> None:
        del clipped
        batches.append(tap.take(frame))
        del batches[:-200]
        newest[:] = [(frame.samples[:, -settings.snapshots :].copy(), frame.first_sample, frame.stream)]

    session = open_session(uri, lambda fc_hz: parse_array(array, fc_hz), want)
    with session:
        session.start(on_frame=on_frame)
        enough = round(_DEVICE_S * session.stream.fs_hz)
        while session.samples < enough or not newest:
            session.wait(0.02)
        used = _use(settings, session.stream, join(list(batches)))
        estimator = Estimator(session.stream, settings, used)
        samples, first, _ = newest[0]
        directions = estimator.estimate(samples, first)
        while on_directions is not None:
            on_directions(directions)
            if not keep_on():
                break
            session.wait(0.1)
            samples, first, stream = newest[0]
            if stream.epoch.id != estimator.stream.epoch.id:
                used = _use(settings, stream, join(list(batches)))
                estimator = Estimator(stream, settings, used)
            directions = estimator.estimate(samples, first)
        session.stop()
        session.raise_error()
    return directions


def _use(settings: SpectrumSettings, stream: StreamInfo, batch: CovarianceBatch) -> CalibrationInUse | None:
    if settings.calibration is None:
        return None
    return calibration_for(
        settings.calibration, stream, batch, settings.n_sources,
        relearn_phase=settings.relearn_phase, stale_ok=settings.stale_ok,
    )  # fmt: skip


def _placed(stream: StreamInfo, array: str | None) -> StreamInfo:
    geometry: ArrayGeometry | None = stream.geometry if array is None else parse_array(array, stream.fc_hz)
    if geometry is None:
        raise ConfigError(
            "the recording does not say what the array is", where="--array", hint="--array ula:8:0.5"
        )
    if geometry.n_elements != stream.n_channels:
        raise ConfigError(
            f"{geometry.n_elements} elements, the recording has {stream.n_channels} channels", where="--array",
            hint="give an array with as many elements as channels",
        )  # fmt: skip
    return replace(stream, geometry=geometry)
