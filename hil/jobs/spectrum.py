"""`hil spectrum`: directions of a device or recording, once or continuously."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.errors import ConfigError, HilError, RecordingError, StreamStopped
from hil.core.frame import Frame, StreamInfo
from hil.core.geometry import parse_array
from hil.core.units import parse_quantity
from hil.dsp.correction import correct_samples, is_ideal, receiver_errors
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder, Method
from hil.dsp.doa_accuracy import doa_sigma_deg
from hil.dsp.source_count import mdl
from hil.jobs.stated_array import stated_array
from hil.jobs.watched import Watched
from hil.learning.observe import CovarianceBatch, CovarianceTap, join, observe_recording
from hil.learning.using import CalibrationInUse, calibration_for
from hil.session import Session, open_session

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
    """One estimate. spectrum (G,) linear over angles_deg (G,). health : faults told since the last one (hil.health)."""

    stream: StreamInfo
    doa_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    n_sources: int
    used: CalibrationInUse | None
    angles_deg: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    first_sample: int
    health: list[dict[str, Any]] = field(default_factory=list)

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
            "health": self.health,
        }


class Estimator:
    """Directions of frames of one stream with one array description."""

    def __init__(self, stream: StreamInfo, settings: SpectrumSettings, used: CalibrationInUse | None) -> None:
        if stream.geometry is None:
            raise ConfigError(
                "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
            )
        m, k = stream.n_channels, settings.n_sources
        if m < 2 or (k is not None and k >= m):
            raise ConfigError(
                f"{k or 1} sources: {m} elements separate at most {m - 1}",
                where="--sources",
                hint="give fewer, or auto",
            )
        self.stream, self.settings, self.used = stream, settings, used
        grid = None
        if settings.grid_deg is not None:
            low, high, step = settings.grid_deg
            grid = np.arange(low, high + step / 2, step)
        array: Any = used.calibration if used is not None else stream.geometry
        self.finder = DoaFinder(array, stream.fc_hz, grid, method=settings.method)
        self._receivers = None
        if used is not None:
            errors = receiver_errors(used.calibration.impairments)
            self._receivers = None if is_ideal(errors) else errors

    def estimate(self, samples: NDArray[np.complex64], first_sample: int) -> Directions:
        """From (M, N) samples; delays, responses, images and DC that the calibration knows are undone in them."""
        if self._receivers is not None:
            samples = correct_samples(samples, self._receivers, self.stream.fs_hz)
        covariance = sample_covariance(samples)
        n = samples.shape[1]
        count = self.settings.n_sources
        if count is None:
            count = min(int(mdl(np.linalg.eigvalsh(covariance), n)), len(covariance) - 1)
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
        inside = 0 <= settings.at_s < recording.n_samples / recording.stream.fs_hz  # not for NaN
        start = round(settings.at_s * recording.stream.fs_hz) if inside else -1
        if not 0 <= start < recording.n_samples:
            raise ConfigError(f"{settings.at_s:g} s is outside the recording", where="--at")
        segment = recording.segment_at(start)
        stream = replace(segment.stream, geometry=stated_array(array, segment.stream))
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
    session = open_session(uri, lambda fc_hz: parse_array(array, fc_hz), want)
    with session:
        watched = Watched(session.stream, n_sources=settings.n_sources)
        newest = _Newest(settings.snapshots, watched)
        session.start(on_frame=newest)
        estimator: Estimator | None = None
        directions: Directions | None = None
        while True:
            try:
                found = newest.wait(session, estimator.stream.epoch.id if estimator else "")
            except StreamStopped:
                if directions is None:
                    raise
                return directions  # a recording that was followed has been played to its end
            except HilError as err:
                watched.failed(err)
                if directions is not None and on_directions is not None:
                    on_directions(replace(directions, health=watched.take()))
                raise
            if found is None:  # nothing new but a fault
                assert directions is not None
                directions = replace(directions, health=watched.take())
            else:
                samples, first, stream = found
                if estimator is None or stream.epoch.id != estimator.stream.epoch.id:
                    used = _use(settings, stream, newest.batch())
                    estimator = Estimator(stream, settings, used)
                    if used is not None:
                        watched.watch.calibrate(used.calibration)
                directions = replace(estimator.estimate(samples, first), health=watched.take())
            if on_directions is not None:
                on_directions(directions)
            if on_directions is None or not keep_on():
                break
        session.stop()
        session.raise_error()
    return directions


class _Newest:
    """In the DSP thread: keeps the newest samples, and covariances of the present epoch."""

    def __init__(self, n_snapshots: int, watched: Watched) -> None:
        self._n = n_snapshots
        self._watched = watched
        self._tap = CovarianceTap()
        self._lock = threading.Lock()
        self._batches: deque[CovarianceBatch] = deque(maxlen=200)
        self._epoch, self._in_epoch = "", 0
        self._last: tuple[NDArray[np.complex64], int, StreamInfo] | None = None
        self._seen = -1

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        self._watched(frame, clipped)
        batch, n = self._tap.take(frame), frame.samples.shape[1]
        samples = frame.samples[:, -self._n :].copy()
        with self._lock:
            if frame.stream.epoch.id != self._epoch:
                self._batches.clear()
                self._epoch, self._in_epoch = frame.stream.epoch.id, 0
            self._batches.append(batch)
            self._in_epoch += n
            self._last = samples, frame.first_sample + n - samples.shape[1], frame.stream

    def batch(self) -> CovarianceBatch:
        """Blocks of the present epoch."""
        with self._lock:
            return join(self._batches)

    def wait(self, session: Session, epoch: str) -> tuple[NDArray[np.complex64], int, StreamInfo] | None:
        """(samples, first sample, stream) not given before; in an epoch other than this one only when there
        is enough of it to judge a calibration. None: no samples, but the watch has something to tell.

        Raises what ends the stream.
        """
        step_s = 0.1 if epoch else 0.02
        while True:
            stopped: StreamStopped | None = None
            try:
                session.wait(step_s)
            except StreamStopped as err:
                stopped = err
            with self._lock:
                last, in_epoch, here = self._last, self._in_epoch, self._epoch
            if last is not None and last[1] != self._seen:
                if here == epoch or in_epoch >= _DEVICE_S * last[2].fs_hz or stopped:
                    self._seen = last[1]
                    return last
            elif stopped is not None:
                raise stopped
            self._watched.tick()
            if epoch and self._watched.pending and here == epoch:
                return None


def _use(settings: SpectrumSettings, stream: StreamInfo, batch: CovarianceBatch) -> CalibrationInUse | None:
    if settings.calibration is None:
        return None
    return calibration_for(
        settings.calibration, stream, batch, settings.n_sources,
        relearn_phase=settings.relearn_phase, stale_ok=settings.stale_ok,
    )  # fmt: skip
