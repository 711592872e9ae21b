"""`hil spectrum`: directions of a device or recording, once or continuously."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil.core import compiled
from hil.core.device import RxConfig
from hil.core.errors import ConfigError, HilError, RecordingError, StreamStopped
from hil.core.frame import Frame, StreamInfo
from hil.core.geometry import parse_array
from hil.core.units import parse_quantity
from hil.jobs.directions import Directions, Estimator, SpectrumSettings
from hil.jobs.stated_array import stated_array
from hil.jobs.watched import Watched
from hil.learning.observe import CovarianceBatch, CovarianceTap, join, observe_recording
from hil.learning.using import CalibrationInUse, calibration_for
from hil.session import Session, open_session

#: What a device is asked for: long enough to confirm a calibration.
_DEVICE_S = 0.3


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
    if on_directions is not None:
        compiled.prepare()
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
                    on_directions(replace(directions, health=watched.report()))
                raise
            if found is None:  # nothing new but a fault
                assert directions is not None
                directions = replace(directions, health=watched.report())
            else:
                samples, first, stream = found
                if estimator is None or stream.epoch.id != estimator.stream.epoch.id:
                    used = _use(settings, stream, newest.batch())
                    estimator = Estimator(stream, settings, used)
                    if used is not None:
                        watched.watch.calibrate(used.calibration)
                health = watched.report()
                silent = {c for h in health if h["kind"] == "dead-channel" for c in h["channels"]}
                directions = replace(estimator.estimate(samples, first, silent), health=health)
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
