"""States of the boards over time: LO, rate, gain and LO phase, each from one scene sample on."""

from __future__ import annotations

import cmath
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from hil.core.errors import ShapeError
from sim_backend.drawn import stream_key
from sim_backend.motion import uniform
from sim_backend.scene import Scene


@dataclass(frozen=True, slots=True)
class BoardState:
    """One board from scene sample `begins` (at `fs_hz`) on.

    fc_hz : LO of every chip. gain_db : of every channel. locks : how often each chip has relocked.
    phase_rad : LO phase of every chip. channel_turn : exp(j phase) of every channel. epoch : counts relocks.
    """

    board: int
    begins: int
    fs_hz: float
    fc_hz: tuple[float, ...]
    gain_db: tuple[float, ...]
    locks: tuple[int, ...]
    phase_rad: tuple[float, ...]
    channel_turn: tuple[complex, ...]
    epoch: int
    relocks: bool
    retuned: bool = False

    def with_lo(self, chip: int, fc_hz: float) -> BoardState:
        """The state after an LO write to one chip."""
        fc = _replaced(self.fc_hz, chip, fc_hz)
        return self._relocked((chip,), replace(self, fc_hz=fc, retuned=True))

    def with_rate(self, fs_hz: float) -> BoardState:
        """The state after a rate write."""
        return self._relocked(tuple(range(len(self.fc_hz))), replace(self, fs_hz=fs_hz, retuned=True))

    def with_gain(self, channel: int, gain_db: float) -> BoardState:
        """The state after a gain write."""
        return replace(self, gain_db=_replaced(self.gain_db, channel, gain_db), retuned=False)

    def _relocked(self, chips: tuple[int, ...], state: BoardState) -> BoardState:
        if not self.relocks:
            return state
        locks = tuple(n + (k in chips) for k, n in enumerate(self.locks))
        return replace(state, locks=locks, epoch=self.epoch + 1)


def _replaced(values: tuple[float, ...], index: int, value: float) -> tuple[float, ...]:
    if not 0 <= index < len(values) or not math.isfinite(value):
        raise ShapeError(f"index {index} of {len(values)}, value {value}: not possible")
    return (*values[:index], value, *values[index + 1 :])


class EventLog:
    """The states of all boards. Thread-safe: `states` returns a tuple that never changes."""

    def __init__(self, scene: Scene) -> None:
        self._board = scene.board
        self._key = stream_key(scene.seed, "group")
        chips, receiver = len(self._board.chips), scene.receiver
        self._lock = threading.Lock()
        self._states: list[tuple[BoardState, ...]] = []
        for board in range(scene.n_boards):
            first = BoardState(
                board, 0, receiver.fs_hz, (receiver.fc_hz,) * chips,
                (self._board.nominal_gain_db,) * self._board.n_channels, (0,) * chips, (), (), 0,
                scene.impairments.relock_phase,
            )  # fmt: skip
            self._states.append((self._phased(first),))

    def _phased(self, state: BoardState) -> BoardState:
        """Fill in the LO phases: a hash of board, chip and count of relocks; zero where nothing relocks."""
        if state.relocks:
            phase = tuple(
                2 * math.pi * uniform(self._key, state.board, chip, n) for chip, n in enumerate(state.locks)
            )
        else:
            phase = (0.0,) * len(state.locks)
        channels = tuple(
            cmath.exp(1j * phase[self._board.chip_of(ch)]) for ch in range(self._board.n_channels)
        )
        return replace(state, phase_rad=phase, channel_turn=channels)

    def check(self, board: int) -> None:
        """Raise ShapeError if there is no such board."""
        if not 0 <= board < len(self._states):
            raise ShapeError(f"board {board}: the scene has boards 0..{len(self._states) - 1}")

    def states(self, board: int) -> tuple[BoardState, ...]:
        """All states of a board in order; `begins` of each is in samples of the present rate."""
        self.check(board)
        return self._states[board]

    def last(self, board: int) -> BoardState:
        """The latest state."""
        return self.states(board)[-1]

    def at(self, board: int, sample: int) -> BoardState:
        """The state that holds at a scene sample."""
        return [state for state in self.states(board) if state.begins <= sample][-1]

    def append(
        self, board: int, at: int, change: Callable[[BoardState], BoardState]
    ) -> tuple[BoardState, int, float]:
        """Add a state from `at` on (not before the last one); returns it with `at` and the rate of `at`.

        After a new rate all states count in samples of that rate, rounded up to the next sample.
        """
        self.check(board)
        with self._lock:
            states = self._states[board]
            last = states[-1]
            at = max(int(at), last.begins)
            new = self._phased(change(replace(last, begins=at)))
            ratio = new.fs_hz / last.fs_hz
            if not 0 < ratio < math.inf:
                raise ShapeError(f"fs_hz = {new.fs_hz}: must be positive")
            merged = [*states, new]
            if ratio != 1.0:
                merged = [
                    replace(s, begins=math.ceil(s.begins * ratio - 1e-6), fs_hz=new.fs_hz) for s in merged
                ]
            self._states[board] = tuple(merged)
            return merged[-1], at, last.fs_hz
