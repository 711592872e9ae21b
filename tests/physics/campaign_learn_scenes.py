"""Campaign folders from the simulator's own samples, without a network: the quick way to a swept array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.campaign.journal import CampaignJournal
from hil.campaign.plan import Plan
from hil.campaign.plan_file import NAME, CampaignFile
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.jobs.demo import scene_geometry
from hil.recorder import Recorder
from hil.recorder.metadata import Point
from hil.sweep.checks import snr_db
from sim_backend.boards import BOARDS
from sim_backend.engine import ArrayEngine
from sim_backend.scene import ChamberSpec, Emitter, Scene
from sim_backend.truth import TruthWriter

_SECOND_NS = 1_000_000_000


def chamber_scene(seed: int, n: int = 4, room_deg: Sequence[float] = (0.0,), **impairments: Any) -> Scene:
    """n elements on a line, emitters that stand still in the room, OFDM."""
    base = Scene()
    emitters = tuple(
        Emitter(angle_deg=a, waveform="ofdm", offset_hz=1e5 * (1 - 3 * i)) for i, a in enumerate(room_deg)
    )
    return replace(
        base, seed=seed, emitters=emitters, array=replace(base.array, n_elements=n),
        receiver=replace(base.receiver, fs_hz=1.92e6), impairments=replace(base.impairments, **impairments),
    )  # fmt: skip


def make_campaign(
    folder: Path,
    scene: Scene,
    table_deg: Sequence[float],
    samples: int,
    *,
    runs: int = 1,
    stated: bool = True,
    misread: dict[int, float] | None = None,
    table_error_deg: float = 0.01,
) -> Path:
    """Sweep the scene's array through the table's angles; the truth file is folder/truth.jsonl.

    runs : starts of the sweep, each a recording and a coherence epoch. stated : the emitters' azimuths are known. misread : by
    how many degrees the read-back of a point is wrong.
    """
    folder.mkdir()
    fs_hz, m = scene.receiver.fs_hz, scene.n_elements
    step_s = (samples + 4096) / fs_hz
    scene = replace(scene, chamber=ChamberSpec(steps_deg=tuple(table_deg), step_s=step_s))
    emitters = tuple(e.angle_deg for e in scene.emitters) if stated else ()
    plan = Plan(tuple(table_deg), samples=samples, emitters_deg=emitters)
    (folder / NAME).write_text(CampaignFile(plan).to_toml())
    truth = TruthWriter(folder / "truth.jsonl")
    engine = ArrayEngine(scene, free_running=True, truth=truth)
    board = BOARDS[scene.receiver.board]
    groups = tuple(tuple(c for c in chip) for chip in _chips(scene))
    config = RxConfig(
        scene.receiver.fc_hz, fs_hz, fs_hz, (0.0,) * m, channels=tuple(range(m)), block_samples=4096
    )
    info = DeviceInfo("sim:", "sim", "sim", "sim", "", groups, WireFormat.CI16, board.adc_bits)
    epoch = new_epoch("sim")
    with CampaignJournal(folder) as journal:
        for run in range(runs):
            part = range(run * len(table_deg) // runs, (run + 1) * len(table_deg) // runs)
            begin = round(part[0] * step_s * fs_hz)
            if run:
                for b in range(engine.n_boards):
                    for chip in range(len(board.chips)):
                        engine.write_lo(b, chip, scene.receiver.fc_hz, begin)
            engine.note("open", 0, begin)
            stream = StreamInfo(config, info, replace(epoch, counter=run), scene_geometry(scene))
            path = folder / f"run-{run + 1:03d}.sigmf-collection"
            journal.append("run", run=run + 1, fingerprint=plan.fingerprint, recording=path.name)
            with Recorder(path, stream, policy="gap") as recorder:
                for i in part:
                    first = round(i * step_s * fs_hz) + 2048
                    read = table_deg[i] + (misread or {}).get(i, 0.0)
                    recorder.leave_out()
                    recorder.note_segment(
                        Point(table_azimuth_deg=read, emitter_angles_deg=plan.truth_deg(read))
                    )
                    wire = np.concatenate(
                        [_wire(engine, b, first, samples) for b in range(engine.n_boards)], axis=1
                    )
                    start = recorder.samples
                    now = _SECOND_NS * (i + 1)
                    recorder.write(Block(wire[:, :m], first - begin, i, now, now, FrameFlag(0), stream))
                    journal.append(
                        "point", index=i, set_deg=table_deg[i], table_deg=read, table_error_deg=table_error_deg,
                        truth_deg=list(plan.truth_deg(read)), recording=path.name, start=start, n=samples,
                        epoch=stream.epoch.id, attempt=0, snr_db=_snr_db(wire[:, :m], len(scene.emitters)),
                    )  # fmt: skip
    engine.close()
    truth.close()
    return folder


def _wire(engine: ArrayEngine, board: int, first: int, n: int) -> NDArray[np.int16]:
    rows = [engine.read(board, at, min(8192, first + n - at)) for at in range(first, first + n, 8192)]
    wire = np.concatenate(rows)
    return wire.reshape(len(wire), -1, 2)


def _snr_db(wire: NDArray[np.int16], n_sources: int) -> float:
    """As a sweep measures it."""
    x = (wire[..., 0] + 1j * wire[..., 1]).T
    return snr_db(x @ x.conj().T / x.shape[1], n_sources, x.shape[1])


def _chips(scene: Scene) -> list[list[int]]:
    """Channels of every chip over all boards that the array fills."""
    board = BOARDS[scene.receiver.board]
    out, base = [], 0
    while base < scene.n_elements:
        for chip in board.chips:
            here = [base + c for c in chip if base + c < scene.n_elements]
            if here:
                out.append(here)
        base += board.n_channels
    return out
