"""How long learning takes: default scene, unlabelled hopping emitter, every phase unknown; then following the drift."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from calib.result import LearnResult
from calib.tracking.tracker import Tracker
from drivers.convert import wire_to_complex
from hil.bench.measure import Row, StageReport, at_most, interleaved
from hil.core.errors import HilError
from hil.core.geometry import ArrayGeometry, ula
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.covariance import sample_covariance
from hil.learning.batch import learn_batch
from hil.learning.follow import PhaseFollower
from hil.learning.observe import BLOCK_SNAPSHOTS, CovarianceBatch
from hil.learning.settings import LearnSettings
from sim_backend.engine import ArrayEngine
from sim_backend.scene import load_scene

_STRIDE_S = 1e-3
#: Seconds of signal that are learned from, and that are followed after them: what the live learner takes at a time.
_LEARNED_S, _FOLLOWED_S = 2.0, 1.0
_COLD_S, _STEP_MS, _UPDATE_MS = 1.0, 20.0, 2.0


def run(quick: bool) -> StageReport:
    """Cold start on 8 elements (two boards) from 2 s of signal, several seeds; one learner thread."""
    rows: list[Row] = []
    followed: list[Row] = []
    for seed in (7,) if quick else (7, 8, 9):
        scene = replace(load_scene(None), seed=seed)
        both = observe(
            ArrayEngine(scene, free_running=True), scene.receiver.adc_bits, _LEARNED_S + _FOLLOWED_S
        )
        batch = both.part(both.time_s < _LEARNED_S)
        geometry = ula(scene.n_elements, 0.5 * SPEED_OF_LIGHT_M_S / scene.receiver.fc_hz)
        settings = LearnSettings(support_deg=scene.support_deg, seed=seed)
        case = f"cold start, {scene.n_elements} elements, {len(batch)} blocks, seed {seed}"
        row, result = cold_start(case, batch, geometry, scene.receiver.fc_hz, settings)
        least = interleaved({"eigenvectors": lambda batch=batch: np.linalg.eigh(batch.covariance)}, rounds=3)
        least_s = least["eigenvectors"].cpu_s
        rows += [
            row,
            Row(case, "eigenvectors of all blocks", least_s, "s", least_s, ratio=least_s / row.cpu_s),
        ]
        if result is not None and not followed:
            newer = both.part(both.time_s >= _LEARNED_S)
            followed = follow(result, geometry, scene.receiver.fc_hz, newer, 5 if quick else 15)
    return StageReport(
        (*rows, *followed),
        notes=(
            "No peer learns phases, gains and positions from unlabelled signals. A step of the live learner follows the phases "
            "over the newest second, at most 100 blocks; it makes one every second.",
        ),
    )


def cold_start(
    case: str, batch: CovarianceBatch, geometry: ArrayGeometry, fc_hz: float, settings: LearnSettings
) -> tuple[Row, LearnResult | None]:
    """Learn once; the row, and the result if it converged."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = None
    try:
        result = learn_batch(batch, geometry, fc_hz, settings)
        note = "converged" if result.converged else f"refused: {result.reason}"
    except HilError as err:
        note = f"refused: {err}"
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    good = result is not None and result.converged
    row = at_most(Row(case, "ours", cpu_s, "s", cpu_s, wall_s, None, note), _COLD_S)
    return replace(row, reached=bool(row.reached) and good), result if good else None


def follow(
    result: LearnResult, geometry: ArrayGeometry, fc_hz: float, batch: CovarianceBatch, rounds: int
) -> list[Row]:
    """A step of the live learner on the window of a second, and one drift update of a block."""
    begin = int(batch.first_sample[0])

    def make() -> PhaseFollower:
        return PhaseFollower(result, geometry, fc_hz, batch.n_snapshots, begin)

    def step(follower: PhaseFollower) -> None:
        follower.follow(batch)
        follower.result()

    follower = make()
    used = follower.follow(batch)
    note = "" if follower.healthy else "the array was lost on the way"
    cpu_s, wall_s = _median(make, step, rounds)
    window = at_most(
        Row(f"live learner's step, {used} blocks", "ours", 1e3 * cpu_s, "ms", cpu_s, wall_s, note=note),
        _STEP_MS,
    )

    def tracker() -> Tracker:
        return Tracker(
            result.impairments, geometry, fc_hz, result.n_sources, batch.n_snapshots, rates=True,
            support_deg=result.gauge.support_deg,
        )  # fmt: skip

    blocks = list(zip(batch.covariance[:100], batch.time_s, strict=False))

    def updates(one: Tracker) -> None:
        for covariance, time_s in blocks:
            one.update(covariance, time_s)

    cpu_s, wall_s = (t / len(blocks) for t in _median(tracker, updates, rounds))
    update = at_most(Row("drift update, one block", "ours", 1e3 * cpu_s, "ms", cpu_s, wall_s), _UPDATE_MS)
    return [replace(window, reached=bool(window.reached) and not note), update]


def _median(make: Callable[[], Any], use: Callable[[Any], None], rounds: int) -> tuple[float, float]:
    """(CPU, wall) seconds of `use` on what `make` makes anew, which is not counted."""
    cpu, wall = [], []
    for _ in range(rounds + 1):
        made = make()
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        use(made)
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return statistics.median(cpu[1:]), statistics.median(wall[1:])


def observe(engine: ArrayEngine, bits: int, seconds: float) -> CovarianceBatch:
    """Covariances of a block each millisecond, as the live tap picks them; closes the engine."""
    fs_hz = engine.fs_hz(0)
    firsts = np.arange(0, round(seconds * fs_hz), round(_STRIDE_S * fs_hz))
    covariances = []
    for first in firsts:
        boards = [engine.read(b, int(first), BLOCK_SNAPSHOTS) for b in range(engine.n_boards)]
        wire = np.concatenate(boards, axis=1).reshape(BLOCK_SNAPSHOTS, -1, 2)[:, : engine.scene.n_elements]
        covariances.append(sample_covariance(wire_to_complex(wire, bits)[0]))
    engine.close()
    return CovarianceBatch(np.stack(covariances), firsts.astype(np.int64), BLOCK_SNAPSHOTS, fs_hz)
