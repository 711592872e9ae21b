"""The simulated radio behind one scene: wire samples as a pure function of board, sample index and events.

    x = G (diag(g) C A(theta; r + dr) s + n),  then IQ image, DC, rounding, clipping

per chunk of CHUNK samples aligned to the scene's sample count, so that a sample never depends on how it was
asked for. G is the gain setting relative to the board's nominal gain; it acts on signal and noise.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim_backend.clock import Clock, FreeRunningClock, RealTimeClock
from sim_backend.drawn import draw, stream_key
from sim_backend.echo_drawn import draw_tx
from sim_backend.echo_timeline import Timeline
from sim_backend.events import BoardState, EventLog
from sim_backend.fault_track import FaultTrack
from sim_backend.faults import border
from sim_backend.frontend import convert, garbage
from sim_backend.mixer import TRACK_PHASE_RAD, Mixer
from sim_backend.motion import Motion, Table
from sim_backend.propagation import CHUNK
from sim_backend.scene import Scene
from sim_backend.source import SampleSource
from sim_backend.truth import TruthWriter
from sim_backend.truth_log import TruthLog
from sim_backend.turntable import Turntable
from sim_backend.turntable_heading import Heading, Programmed, heading_of

_KEPT_CHUNKS = 8


class ArrayEngine:
    """A `SampleSource` (sim_backend.source) made from a scene.

    Parameters
    ----------
    scene : what to simulate.
    free_running : time passes as samples are read; else with the monotonic clock from construction on.
    truth : file to write the truth to (sim_backend.truth), a TruthWriter, or None.
    table : the array stands on it; None: on the programme of the scene's [chamber].

    Raises
    ------
    SceneError : the scene cannot be simulated (unreadable recording, delays too long for the bandwidth).
    """

    def __init__(
        self,
        scene: Scene,
        *,
        free_running: bool = False,
        truth: TruthWriter | str | Path | None = None,
        table: Turntable | None = None,
    ) -> None:
        self.scene = scene
        self.drawn = draw(scene)
        self._board = scene.board
        self._motions = [
            Motion(emitter, stream_key(scene.seed, "hop", k)) for k, emitter in enumerate(scene.emitters)
        ]
        self._log = EventLog(scene)
        self._faults = FaultTrack(scene)
        self._reported = 0  # marks of the faults that the truth file has
        self._lock = threading.RLock()
        self._chunks: list[OrderedDict[Any, NDArray[np.int16]]] = [
            OrderedDict() for _ in range(scene.n_boards)
        ]
        self.tx_drawn = draw_tx(scene)
        self._timeline = Timeline(scene)
        self.clock: Clock = FreeRunningClock() if free_running else RealTimeClock()
        turns = None if table is None else heading_of(table, self.clock)
        self._heading: Heading = turns or Programmed(Table(scene.chamber))
        self._mixer = Mixer(scene, self.drawn, self._motions, self._heading, self._timeline, self.tx_drawn)
        self._mixer.prepare(self._log.last(0))
        if isinstance(self.clock, RealTimeClock):
            self.clock.begin()
        writer = TruthWriter(truth) if isinstance(truth, str | Path) else truth
        self._truth = (
            TruthLog(
                writer, scene, self.drawn, self._motions, self._log, self._mixer.echoes.paths, self.tx_drawn,
                self._timeline, turns,
            )
            if writer
            else None
        )  # fmt: skip

    # What the scene is

    @property
    def n_boards(self) -> int:
        """Boards of the scene."""
        return self.scene.n_boards

    def board_name(self, board: int) -> str:
        """Name of the board's kind."""
        self._log.check(board)
        return self._board.name

    def n_channels(self, board: int) -> int:
        """Receive channels C of the board."""
        self._log.check(board)
        return self._board.n_channels

    def fc_hz(self, board: int, chip: int = 0) -> float:
        """LO of a chip, as last written."""
        return self._log.last(board).fc_hz[chip]

    def fs_hz(self, board: int) -> float:
        """Sample rate, as last written."""
        return self._log.last(board).fs_hz

    def gain_db(self, board: int, channel: int) -> float:
        """Gain of a channel, as last written."""
        return self._log.last(board).gain_db[channel]

    def epoch(self, board: int) -> int:
        """Coherence epoch: counts redraws of the board's LO phases."""
        return self._log.last(board).epoch

    # Time

    def now(self, board: int) -> int:
        """Scene sample that is converted now; free-running: the latest one handed out on any board."""
        # the margin undoes the rounding of n / fs * fs
        return int(self.clock.now_s() * self.fs_hz(board) + 1e-3)

    def wait_until(self, board: int, sample: int, timeout_s: float) -> bool:
        """Block until `now(board) >= sample`; at once when free-running. False after the timeout."""
        return self.clock.wait_until_s(sample / self.fs_hz(board), timeout_s)

    # Samples

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        """(n, 2 C) int16: I and Q of every channel of the board from scene sample `first` on.

        Thread-safe, and the same whatever the pieces. Raises ValueError for negative first or n.
        """
        self._log.check(board)
        if first < 0 or n < 0:
            raise ValueError(f"read of {n} samples from {first}: neither may be negative")
        out = np.empty((n, 2 * self._board.n_channels), np.int16)
        states = self._log.states(board)
        fs_hz = states[-1].fs_hz
        self._heading.cover((first + n) / fs_hz)
        if self._truth:
            self._truth.cover((first + n) / fs_hz)
            self._report_faults((first + n) / fs_hz)
        self._fill(board, states, first, out)
        slipping = self._faults.slipping(board)
        if slipping:
            self._slip(board, states, slipping, first, out)
        faults = self.scene.faults
        if faults.garbage_after_retune:
            garbage(
                self.scene.seed,
                board,
                states,
                faults.garbage_after_retune,
                self.scene.receiver.adc_bits,
                first,
                out,
            )
        self.clock.handed_out((first + n) / fs_hz)
        return out

    def _fill(self, board: int, states: tuple[BoardState, ...], first: int, out: NDArray[np.int16]) -> None:
        at = 0
        while at < len(out):
            index, skip = divmod(first + at, CHUNK)
            n = min(CHUNK - skip, len(out) - at)
            target = out[at : at + n]
            if n == CHUNK:
                self._make(board, states, index, target)
            else:
                target[:] = self._chunk(board, states, index)[skip : skip + n]
            at += n

    def _chunk(self, board: int, states: tuple[BoardState, ...], index: int) -> NDArray[np.int16]:
        """A whole chunk, remembered: reads that are not aligned ask for it twice."""
        # states are only ever added; what is sent may change at any time
        sent = self._mixer.echoes.key(states[-1].fs_hz, index * CHUNK, (index + 1) * CHUNK)
        key, kept = (index, len(states), sent, self._heading.version), self._chunks[board]
        with self._lock:
            if key in kept:
                return kept[key]
        made = np.empty((CHUNK, 2 * self._board.n_channels), np.int16)
        self._make(board, states, index, made)
        with self._lock:
            kept[key] = made
            while len(kept) > _KEPT_CHUNKS:
                kept.popitem(last=False)
        return made

    def _make(self, board: int, states: tuple[BoardState, ...], index: int, out: NDArray[np.int16]) -> None:
        """One chunk, state by state."""
        start = index * CHUNK
        bits = self.scene.receiver.adc_bits
        k = max(0, bisect_right(states, start, key=lambda state: state.begins) - 1)
        while k < len(states) and states[k].begins < start + CHUNK:
            low = max(0, states[k].begins - start)
            high = min(CHUNK, states[k + 1].begins - start) if k + 1 < len(states) else CHUNK
            if high > low:
                for first, end, wrong in self._faults.pieces(
                    board, states[k].fs_hz, start + low, start + high
                ):
                    rows = out[first - start : end - start]
                    convert(
                        self._mixer.analog(states[k], index, first - start, end - start, wrong), bits, rows
                    )
                    wrong.corrupt(rows)
            k += 1

    def _slip(
        self,
        board: int,
        states: tuple[BoardState, ...],
        channels: tuple[int, ...],
        first: int,
        out: NDArray[np.int16],
    ) -> None:
        """Shift the slipped channels against the others; before the first sample there is nothing."""
        columns = [2 * channel + part for channel in channels for part in (0, 1)]
        for low, end, slipped in self._faults.slips(board, states[-1].fs_hz, first, len(out)):
            if slipped:
                moved = np.zeros((end - low, out.shape[1]), np.int16)
                void = min(max(0, -(low + slipped)), end - low)
                self._fill(board, states, low + slipped + void, moved[void:])
                out[low - first : end - first, columns] = moved[:, columns]

    # Events

    def write_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        """LO of one chip from `at` on; a new phase of that chip where the board relocks."""
        self._record(
            "lo_write", board, at, lambda s: s.with_lo(chip, float(fc_hz)), chip=chip, fc_hz=float(fc_hz)
        )
        if self._board.one_lo:
            self.write_tx_lo(board, chip, fc_hz, at)

    def write_rate(self, board: int, fs_hz: float, at: int) -> None:
        """Sample rate from `at` on (`at` counts at the old rate; sample n is scene second n / fs_hz from
        then on); new phases of all chips where the board relocks."""
        self._record("rate_write", board, at, lambda s: s.with_rate(float(fs_hz)), fs_hz=float(fs_hz))
        self._timeline.write_rate(board, float(fs_hz), int(at))

    def write_gain(self, board: int, channel: int, gain_db: float, at: int) -> None:
        """Gain of one channel from `at` on."""
        change = {"channel": channel, "gain_db": float(gain_db)}
        self._record("gain_write", board, at, lambda s: s.with_gain(channel, float(gain_db)), **change)

    def transmit(
        self,
        board: int,
        waveform: NDArray[np.complex64] | None,
        at: int,
        *,
        cyclic: bool = True,
        scale: tuple[float, ...] | None = None,
    ) -> None:
        """What the board sends from `at` on, (channels, n) complex64 of full scale 1, or None; targets and
        leakage return it (sim_backend.echo). `scale`: amplitude of every channel of the board. Raises ShapeError.

        Blocks that go on where the last one ended are one transmission in the truth file.
        """
        self._log.check(board)
        at = max(0, int(at))
        goes_on = self._timeline.transmit(board, waveform, at, cyclic=cyclic, scale=scale)
        if goes_on and waveform is not None:
            return
        samples = np.zeros((0, 0)) if waveform is None else np.asarray(waveform)
        with np.errstate(divide="ignore"):
            power_dbfs = 10 * np.log10(np.mean(np.abs(samples) ** 2, axis=1)) if samples.size else np.zeros(0)
        self.note(
            "transmit", board, at, samples=samples.shape[1], cyclic=cyclic,
            power_dbfs=[round(float(p), 3) if np.isfinite(p) else None for p in power_dbfs],
            scale=None if scale is None else list(scale), **self._tx_truth(board),
        )  # fmt: skip

    def rescale(self, board: int, scale: tuple[float, ...], at: int) -> None:
        """Amplitude of every transmit channel from `at` on, of what sounds or is queued. Raises ShapeError."""
        self._log.check(board)
        self._timeline.rescale(board, scale, int(at))
        self.note("tx_scale", board, at, scale=list(scale))

    def write_tx_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        """Transmit LO of one chip from `at` on; a new phase of its transmit chains where the board relocks."""
        self._log.check(board)
        self._timeline.write_lo(board, chip, fc_hz, int(at))
        self.note("tx_lo_write", board, at, chip=chip, fc_hz=float(fc_hz), **self._tx_truth(board))

    def tx_fc_hz(self, board: int, chip: int = 0) -> float:
        """Transmit LO of a chip, as last written; the scene's fc_hz before."""
        self._log.check(board)
        return self._timeline.state(board).fc_hz[chip]

    def _tx_truth(self, board: int) -> dict[str, Any]:
        return {"tx_phase_rad": list(self._timeline.state(board).phase_rad)}

    def note(self, event: str, board: int, at: int, **details: Any) -> None:
        """Write an event such as "open" or "stall" to the truth file."""
        self._log.check(board)
        if self._truth:
            self._truth.event(event, self._log.last(board), at, details)

    def _report_faults(self, t_s: float) -> None:
        """Write the faults of the samples up to t_s to the truth file."""
        with self._lock:
            marks = self._faults.marks
            while self._truth and self._reported < len(marks) and marks[self._reported].t_s < t_s:
                fault = self._faults.describe(marks[self._reported])
                self._reported += 1
                sample = border(fault.t_s, self.fs_hz(fault.board))
                state = self._log.at(fault.board, sample)
                details = {"kind": fault.kind, "channel": fault.channel, **fault.details}
                self._truth.event(fault.event, state, sample, details)

    def _record(self, event: str, board: int, at: int, change: Any, **details: Any) -> None:
        with self._lock:
            state, sample, fs_hz = self._log.append(board, at, change)
            if self._truth:
                self._truth.event(event, state, sample, details, fs_hz)

    def close(self) -> None:
        """Close the truth file. Idempotent."""
        if self._truth:
            self._truth.close()


if TYPE_CHECKING:

    def _is_source(engine: ArrayEngine) -> SampleSource:
        return engine  # held by the type checker


__all__ = ["TRACK_PHASE_RAD", "ArrayEngine"]
