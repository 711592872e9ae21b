"""How long learning takes: default scene, unlabelled hopping emitter, every phase unknown."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from drivers.convert import wire_to_complex
from hil.bench.measure import Row, StageReport
from hil.core.errors import HilError
from hil.core.geometry import ula
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.covariance import sample_covariance
from hil.learning.batch import learn_batch
from hil.learning.observe import BLOCK_SNAPSHOTS, CovarianceBatch
from hil.learning.settings import LearnSettings
from sim_backend.engine import ArrayEngine
from sim_backend.scene import load_scene

_STRIDE_S = 1e-3


def run(quick: bool) -> StageReport:
    """Cold start on 8 elements (two boards) from 2 s of signal, several seeds; one learner thread."""
    rows = []
    for seed in (7,) if quick else (7, 8, 9):
        scene = replace(load_scene(None), seed=seed)
        batch = _observe(ArrayEngine(scene, free_running=True), scene.receiver.adc_bits, 2.0)
        geometry = ula(scene.n_elements, 0.5 * SPEED_OF_LIGHT_M_S / scene.receiver.fc_hz)
        settings = LearnSettings(support_deg=scene.support_deg, seed=seed)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            result = learn_batch(batch, geometry, scene.receiver.fc_hz, settings)
            note = "converged" if result.converged else f"refused: {result.reason}"
        except HilError as err:
            note = f"refused: {err}"
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
        case = f"cold start, 8 elements, {len(batch)} blocks, seed {seed}"
        rows.append(Row(case, "ours", wall_s, "s", cpu_s, wall_s, None, note))
    return StageReport(
        tuple(rows), notes=("No peer learns phases, gains and positions from unlabelled signals.",)
    )


def _observe(engine: ArrayEngine, bits: int, seconds: float) -> CovarianceBatch:
    fs_hz = engine.fs_hz(0)
    firsts = np.arange(0, round(seconds * fs_hz), round(_STRIDE_S * fs_hz))
    covariances = []
    for first in firsts:
        boards = [engine.read(b, int(first), BLOCK_SNAPSHOTS) for b in range(engine.n_boards)]
        wire = np.concatenate(boards, axis=1).reshape(BLOCK_SNAPSHOTS, -1, 2)[:, : engine.scene.n_elements]
        covariances.append(sample_covariance(wire_to_complex(wire, bits)[0]))
    engine.close()
    return CovarianceBatch(np.stack(covariances), firsts.astype(np.int64), BLOCK_SNAPSHOTS, fs_hz)
