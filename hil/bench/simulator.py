"""How fast the simulated array makes samples."""

from __future__ import annotations

import time

from hil.bench.measure import Row, StageReport
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene

_BLOCK = 1 << 16
_SCENE = """
[array]
n_elements = {m}
[[emitter]]
hop = {{ period_s = 0.01, min_deg = -60.0, max_deg = 60.0 }}
"""


def run(quick: bool) -> StageReport:
    """Default receiver, hopping emitter, 4 and 16 channels, boards read in turn as servers do."""
    rows = []
    seconds = 0.4 if quick else 2.0
    for m in (4, 16):
        engine = ArrayEngine(parse_scene(_SCENE.format(m=m)), free_running=True)
        boards = range(engine.n_boards)
        for board in boards:
            engine.read(board, 0, _BLOCK)
        first, wall, cpu = _BLOCK, time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < seconds:
            for board in boards:
                engine.read(board, first, _BLOCK)
            first += _BLOCK
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
        n = first - _BLOCK
        fs_hz = engine.fs_hz(0)
        note = f"{n / fs_hz / cpu_s:.2f} x real time at {fs_hz / 1e6:g} MS/s, one core"
        rows.append(
            Row(f"{m} channels", "ours", n / cpu_s / 1e6, "MS/s a channel", cpu_s, wall_s, None, note)
        )
        engine.close()
    return StageReport(tuple(rows), notes=("No peer simulates array, receiver and hopping emitters alike.",))
