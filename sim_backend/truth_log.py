"""Writes an engine's truth file: what was drawn, events, and angles ahead of the samples."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sim_backend.drawn import Drawn
from sim_backend.echo_drawn import TxDrawn
from sim_backend.echo_paths import Path
from sim_backend.echo_timeline import Timeline
from sim_backend.events import BoardState, EventLog
from sim_backend.motion import Motion, Table, seen_from_table, seen_from_turning_table
from sim_backend.scene import Scene
from sim_backend.truth import TruthWriter
from sim_backend.turntable_heading import Commanded, Stretch

#: Angles are written for whole pieces of so many scene seconds.
PIECE_S = 1.0
_TARGET_FIELDS = ("angle_deg", "elevation_deg", "range_m", "speed_m_s", "rcs_db", "phase_deg")


class TruthLog:
    """The truth of one engine. Thread-safe."""

    def __init__(
        self,
        writer: TruthWriter,
        scene: Scene,
        drawn: Drawn,
        motions: list[Motion],
        log: EventLog,
        targets: list[Path],
        tx: TxDrawn,
        timeline: Timeline,
        commanded: Commanded | None = None,
    ) -> None:
        self._writer = writer
        self._motions, self._targets = motions, targets
        self._table = Table(scene.chamber)
        self._turntable = bool(scene.chamber.steps_deg)
        self._rate_hz = lambda: log.last(0).fs_hz
        self._lock = threading.Lock()
        self._until = 0  # pieces written
        self._commanded = commanded
        self._until_s = self._fixed_s = (
            0.0  # with a commanded table: written; what no command can change any more
        )
        self._version = -1
        self._rests_at: float | None = None
        moving = [m.moves for m in motions] + [path.motion.moves for path in targets]
        self._all_stand = not any(moving)
        states = [log.last(board) for board in range(scene.n_boards)]
        board = scene.board
        channels = range(scene.n_elements)
        writer.write(
            "drawn",
            format=1,
            seed=scene.seed,
            board=board.name,
            n_boards=scene.n_boards,
            n_channels=board.n_channels,
            n_elements=scene.n_elements,
            n_emitters=len(scene.emitters),
            fc_hz=scene.receiver.fc_hz,
            fs_hz=scene.receiver.fs_hz,
            snr_db=scene.receiver.snr_db,
            peak_dbfs=scene.receiver.peak_dbfs,
            adc_bits=scene.receiver.adc_bits,
            nominal_gain_db=board.nominal_gain_db,
            ports=list(drawn.ports),
            chips=[[c // board.n_channels, board.chip_of(c % board.n_channels)] for c in channels],
            positions_m=drawn.positions_m.tolist(),
            position_error_m=drawn.position_error_m.tolist(),
            gain_re=drawn.gain.real.tolist(),
            gain_im=drawn.gain.imag.tolist(),
            coupling_re=drawn.coupling.real.tolist(),
            coupling_im=drawn.coupling.imag.tolist(),
            delay_s=drawn.delay_s.tolist(),
            iq_image_re=drawn.iq_image.real.tolist(),
            iq_image_im=drawn.iq_image.imag.tolist(),
            dc_offset_re=drawn.dc_offset.real.tolist(),
            dc_offset_im=drawn.dc_offset.imag.tolist(),
            drift_rad_per_s=drawn.drift_rad_per_s.tolist(),
            angle_table_deg=drawn.angle_table_deg.tolist(),
            angle_phase_rad=drawn.angle_phase_rad.tolist(),
            group_phase_rad=[list(state.phase_rad) for state in states],
            targets=[
                {name: getattr(t, name) for name in _TARGET_FIELDS} | {"moves": not t.still}
                for t in scene.targets
            ],
            tx_gain_re=tx.gain.real.tolist(),
            tx_gain_im=tx.gain.imag.tolist(),
            leakage_re=tx.leakage.real.tolist(),
            leakage_im=tx.leakage.imag.tolist(),
            leakage_delay_s=scene.transmit.leakage_delay_s,
            tx_phase_rad=[list(timeline.state(k).phase_rad) for k in range(scene.n_boards)],
            scene=scene.to_toml(),
        )
        self.cover(0.0)

    def cover(self, t_s: float) -> None:
        """Write the angles of all pieces that samples up to t_s lie in, if not yet written."""
        if self._commanded is not None:
            self._cover_commanded(t_s, self._commanded)
            return
        wanted = int(t_s / PIECE_S) + 1
        if wanted <= self._until:
            return
        with self._lock:
            while self._until < wanted:
                # one line per emitter for a long jump: reading far ahead must not write millions of lines
                pieces = min(wanted - self._until, 10)
                t0_s, t1_s = self._until * PIECE_S, (self._until + pieces) * PIECE_S
                headings = list(self._table.changes(t0_s, t1_s))
                self._write(t1_s, partial(self._points, t0_s=t0_s, t1_s=t1_s, headings=headings))
                self._note_turns(headings if t0_s == 0 else headings[1:])
                self._until += pieces

    def _write(self, until_s: float, points_of: Callable[[Motion], dict[str, Any]]) -> None:
        """A line for every emitter and target."""
        for k, motion in enumerate(self._motions):
            self._writer.write("angles", emitter=k, until_s=until_s, **points_of(motion))
        for k, path in enumerate(self._targets):
            points = points_of(path.motion)
            ranges_m = [round(path.range_m(t, path.dwell(t)), 9) for t in points["t_s"]]
            self._writer.write("target_angles", target=k, until_s=until_s, range_m=ranges_m, **points)

    def _cover_commanded(self, t_s: float, table: Commanded) -> None:
        """The same under a table that is commanded. Rests are written ahead as long as everything stands still; what a
        command changes is written again, from where it is changed on."""
        with self._lock:
            until_s = table.cover(t_s)
            if table.version != self._version:
                self._version = table.version
                self._until_s = min(self._until_s, self._fixed_s)
            self._fixed_s = max(self._fixed_s, until_s)
            ahead_s = math.floor(until_s / PIECE_S + 1) * PIECE_S
            while self._until_s < until_s:
                rests = table.rests_until(self._until_s) > self._until_s
                end_s = ahead_s if rests and self._all_stand else until_s
                stretch = table.stretch(self._until_s, end_s)
                self._write_stretch(stretch)
                self._until_s = stretch.ends_s

    def _write_stretch(self, stretch: Stretch) -> None:
        t0_s, t1_s, knots, rests = stretch
        if rests and self._rests_at != knots[0][1]:
            self._note_turns(knots)
        self._rests_at = knots[0][1] if rests else None

        def points_of(motion: Motion) -> dict[str, Any]:
            points = [(max(t, t0_s), deg) for t, deg in motion.changes(t0_s, t1_s)]
            if rests:
                points = seen_from_table(points, knots, linear=motion.kind == "linear")
                return _line(motion.kind, points)
            return _line("linear", seen_from_turning_table(points, knots, linear=motion.kind == "linear"))

        self._write(t1_s, points_of)

    def _points(
        self, motion: Motion, t0_s: float, t1_s: float, headings: list[tuple[float, float]]
    ) -> dict[str, Any]:
        """What describes an angle from t0_s to t1_s, as the table has turned it."""
        points = list(motion.changes(t0_s, t1_s))
        if self._turntable:
            points = seen_from_table(points, headings, linear=motion.kind == "linear")
        return _line(motion.kind, points)

    def _note_turns(self, headings: list[tuple[float, float]]) -> None:
        """Write an event for every new heading of the table."""
        for t_s, heading_deg in headings if self._turntable or self._commanded else ():
            self._writer.write(
                "table",
                board=0,
                t_s=round(t_s, 12),
                scene_sample=round(t_s * self._rate_hz()),
                heading_deg=round(heading_deg, 9),
            )

    def event(
        self, event: str, state: BoardState, sample: int, details: dict[str, Any], fs_hz: float | None = None
    ) -> None:
        """Write an event at a scene sample that counts at fs_hz (default: the board's present rate)."""
        rate = fs_hz or state.fs_hz
        line: dict[str, Any] = {
            "board": state.board,
            "scene_sample": int(sample),
            "t_s": sample / rate,
            "epoch": state.epoch,
            "group_phase_rad": list(state.phase_rad),
            "fs_hz": rate,
        }
        self._writer.write(
            event, **{**details, **line, **({"fs_hz": state.fs_hz} if event == "rate_write" else {})}
        )

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._writer.close()


def _line(kind: str, points: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        "interpolation": kind,
        "t_s": [round(t, 12) for t, _ in points],
        "angle_deg": [round(deg, 9) for _, deg in points],
    }
