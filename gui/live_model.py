"""What the live window shows, without Qt: a session, a live learner, and the newest spectra."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import HilError
from hil.core.frame import Frame
from hil.core.geometry import parse_array
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder
from hil.learning.batch import to_calibration
from hil.learning.live import LiveLearner
from hil.learning.observe import BLOCK_SNAPSHOTS
from hil.learning.settings import LearnSettings, parse_support
from hil.pipeline.latest import Latest
from hil.session import Session, open_session


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One picture: dB spectra (G,) over angles (G,), peaks in degrees, age of the samples."""

    angles_deg: NDArray[np.float64]
    nominal_db: NDArray[np.float64]
    calibrated_db: NDArray[np.float64] | None
    peaks_deg: NDArray[np.float64]
    t_mono_ns: int
    overload: tuple[int, ...]


class LiveModel:
    """Runs a device and the learner; `start`, then poll `snapshot`, `learner_words`, `calibration`."""

    def __init__(self, uri: str, array: str | None, support: str) -> None:
        self._uri, self._array, self._support = uri, array, support
        self.session: Session | None = None
        self.calibration: Calibration | None = None
        self.learner_words = "waiting for samples"
        self.converged = False
        self.error: HilError | None = None
        self._learner: LiveLearner | None = None
        self._latest: Latest[Snapshot] = Latest("dsp -> gui")
        self._finders: dict[str, DoaFinder] = {}
        self._next_picture = 0.0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Open the device and start learning. Raises HilError."""
        array = self._array
        place = None if array is None else (lambda fc_hz: parse_array(array, fc_hz))
        self.session = open_session(self._uri, place, None)
        if self.session.stream.geometry is None:
            self.session.geometry = self._scene_array()
            self.session.configure(self.session.stream.config)
        settings = LearnSettings(support_deg=parse_support(self._support))
        self._settings = settings
        self._learner = LiveLearner(self.session.stream, settings)
        self._learner.start()
        self._build_finders()
        self.session.start(on_frame=self._on_frame)

    def _scene_array(self) -> Any:
        from hil.jobs.demo import scene_geometry
        from sim_backend.scene import load_scene

        return scene_geometry(load_scene(self._uri.removeprefix("sim:") or None))

    def _build_finders(self) -> None:
        assert self.session is not None
        stream = self.session.stream
        assert stream.geometry is not None
        planar = stream.geometry.kind != "line"
        grid = np.linspace(-180, 180, 721) if planar else np.linspace(-90, 90, 721)
        with self._lock:
            self._finders = {"nominal": DoaFinder(stream.geometry, stream.fc_hz, grid)}
            if self.calibration is not None:
                self._finders["calibrated"] = DoaFinder(self.calibration, stream.fc_hz, grid)

    def _on_frame(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        assert self._learner is not None
        self._learner.offer(frame)
        now = time.monotonic()
        if now < self._next_picture:
            return
        self._next_picture = now + 1 / 30
        covariance = sample_covariance(frame.samples[:, -BLOCK_SNAPSHOTS:])
        with self._lock:
            finders = dict(self._finders)
        spectra = {n: 10 * np.log10(np.maximum(f.spectrum(covariance, 1), 1e-12)) for n, f in finders.items()}
        best = finders.get("calibrated", finders["nominal"])
        self._latest.put(
            Snapshot(
                best.grid_deg, spectra["nominal"], spectra.get("calibrated"), best.find(covariance, 1),
                frame.t_mono_ns, tuple(int(c) for c in clipped),
            ),
            frame.samples.shape[1],
        )  # fmt: skip

    def snapshot(self) -> Snapshot | None:
        """The newest picture that was not shown yet, or None."""
        return self._latest.take()

    def poll(self) -> None:
        """Take the learner's reports and the session's errors; called by a timer."""
        assert self.session is not None
        assert self._learner is not None
        try:
            self.session.wait(0.0)
            update = self._learner.poll()
        except HilError as err:
            self.error = err
            return
        if update is None:
            return
        result = update.result
        if result is None:
            self.learner_words = update.problem
            return
        self.converged = result.converged
        self.learner_words = f"{result.n_angles} directions, excess {result.excess:+.2f}, " + (
            f"angles within {result.gauge.angle_sigma_deg:.2g} degrees" if result.converged else result.reason
        )
        if result.converged:
            self.calibration = to_calibration(result, self.session.stream, self._settings)
            self._build_finders()

    def stop(self) -> None:
        """Stop everything. Idempotent."""
        if self.session is not None:
            self.session.close()
        if self._learner is not None:
            self._learner.close()
