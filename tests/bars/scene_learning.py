"""Scene -> samples -> learning -> score, without a network: the quick way to see many arrays."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calib.result import LearnResult
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import NotIdentifiable
from hil.core.frame import StreamInfo
from hil.evaluation.outcome import Outcome, evaluate
from hil.jobs.demo import scene_geometry
from hil.learning.batch import learn_batch, to_calibration
from hil.learning.observe import BLOCK_RATE_HZ, BLOCK_SNAPSHOTS, CovarianceBatch
from hil.learning.settings import LearnSettings
from sim_backend.engine import ArrayEngine
from sim_backend.scene import Scene
from sim_backend.truth import TruthWriter, read_truth


@dataclass(slots=True)
class Trial:
    """One array: what was learned and how right it is."""

    seed: int
    result: LearnResult | None
    outcome: Outcome | None
    problem: str = ""


def covariances(
    engine: ArrayEngine, scene: Scene, start: int, end: int, rate_hz: float = BLOCK_RATE_HZ
) -> CovarianceBatch:
    """Blocks of the engine's own samples, as a capture would pick them."""
    stride = max(BLOCK_SNAPSHOTS, round(scene.receiver.fs_hz / rate_hz))
    first = np.arange(start + (-start) % stride, end - BLOCK_SNAPSHOTS, stride, dtype=np.int64)
    m = scene.n_elements
    covariance = np.empty((len(first), m, m), np.complex128)
    for b, sample in enumerate(first):
        x = np.concatenate(
            [_complex(engine.read(board, int(sample), BLOCK_SNAPSHOTS)) for board in range(engine.n_boards)]
        )[:m]
        covariance[b] = x @ x.conj().T / BLOCK_SNAPSHOTS
    return CovarianceBatch(covariance, first, BLOCK_SNAPSHOTS, scene.receiver.fs_hz)


def _complex(wire: np.ndarray) -> np.ndarray:
    pairs = wire.astype(np.float64).reshape(len(wire), -1, 2)
    return (pairs[..., 0] + 1j * pairs[..., 1]).T / 2048


def stream_of(scene: Scene) -> StreamInfo:
    """A StreamInfo as a driver would give it."""
    m = scene.n_elements
    config = RxConfig(
        scene.receiver.fc_hz,
        scene.receiver.fs_hz,
        scene.receiver.fs_hz,
        (0.0,) * m,
        channels=tuple(range(m)),
        block_samples=4096,
    )
    info = DeviceInfo("sim:", "sim", "sim", "sim", "", (tuple(range(m)),), WireFormat.CI16, 12)
    return StreamInfo(config, info, new_epoch("sim"), scene_geometry(scene))


def run_trial(
    scene: Scene, seed: int, capture_s: float = 5.7, *, settings: LearnSettings | None = None, **changes: Any
) -> Trial:
    """Learn from the first four fifths of `capture_s` seconds, score on the last."""
    scene = replace(scene, seed=seed)
    settings = settings or LearnSettings(n_sources=scene.sources, support_deg=scene.support_deg, seed=seed)
    settings = replace(settings, **changes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.jsonl"
        writer = TruthWriter(path)
        engine = ArrayEngine(scene, free_running=True, truth=writer)
        total = round(capture_s * scene.receiver.fs_hz)
        split = total - total // 5
        teach, rest = covariances(engine, scene, 0, split), covariances(engine, scene, split, total)
        engine.note("open", 0, 0)
        engine.close()
        writer.close()
        truth = read_truth(path)
        stream = stream_of(scene)
        assert stream.geometry is not None
        try:
            result = learn_batch(teach, stream.geometry, stream.fc_hz, settings, time_limit_s=60.0)
        except NotIdentifiable as err:
            return Trial(seed, None, None, str(err))
        calibration = to_calibration(result, stream, settings)
        outcome = evaluate(rest, truth, 0, stream.geometry, stream.fc_hz, calibration, settings.support_deg)
        return Trial(seed, result, outcome)


def line(trial: Trial) -> str:
    """One row for a log."""
    r, o = trial.result, trial.outcome
    if r is None or o is None:
        return f"{trial.seed:4d} {trial.problem}"
    return (
        f"{trial.seed:4d} conv {r.converged!s:5} excess {r.excess:+.3f}/{r.excess_threshold:.3f} out {r.outlier_fraction:.3f} "
        f"angles {r.n_angles:4d} sigma {r.gauge.angle_sigma_deg:.3f} before {o.before['doa_rmspe_deg']:7.3f} "
        f"after {o.after['doa_rmspe_deg']:.4f} known {o.known['doa_rmspe_deg']:.4f} manifold {o.after['manifold_error']:.1e} "
        f"{r.seconds:.2f} s {r.reason}"
    )
