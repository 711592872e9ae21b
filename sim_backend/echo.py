"""Echoes of the array's own transmissions: targets and leakage, added to what a receiver hears.

Two ways that agree to -75 dB. Where one cyclic waveform has been sounding for longer than the farthest echo takes,
what targets that stand still return is itself cyclic: a table of one period per receive channel, made in the
frequency domain, so that delays are exact; moving targets read tables of the waveform. Starts, stops and changes of
a transmission, and streamed blocks, are delayed piece by piece by a long windowed sinc (sim_backend.echo_filter).

Echoes begin at `at + 2 R / c`: the waveform is zero before, and the band-limited receiver shows that edge with the
ringing of its filter. A board hears boards that run at its own sample rate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim_backend import echo_filter
from sim_backend.drawn import Drawn
from sim_backend.echo_drawn import TxDrawn
from sim_backend.echo_moving import MovingEchoes
from sim_backend.echo_paths import Path, Ways, delay_s
from sim_backend.echo_still import StillEchoes
from sim_backend.echo_timeline import Timeline
from sim_backend.events import BoardState
from sim_backend.scene import Scene
from sim_backend.turntable_heading import Heading, Held

#: Periods longer than this are delayed piece by piece, too: making their tables would hold a board up for seconds.
_LONGEST_TABLE = 1 << 17


class Echoes:
    """What the array's own transmissions add to its receivers. Thread-safe.

    Parameters
    ----------
    scene, drawn, tx : what to simulate, its errors, and those of its transmit chains.
    timeline : what is sent. heading : of the array. lsb : converter steps of the level `peak_dbfs`.
    sending : errors of the antennas as the transmitters are connected to them, if the receivers are not.

    Attributes
    ----------
    paths : the targets over time.
    """

    def __init__(
        self,
        scene: Scene,
        drawn: Drawn,
        tx: TxDrawn,
        timeline: Timeline,
        heading: Heading,
        lsb: float,
        *,
        sending: Drawn | None = None,
    ) -> None:
        self._n_boards, self._timeline = scene.n_boards, timeline
        self._heading = heading
        self._ways = Ways(scene, drawn, sending or drawn, tx, lsb)
        self.paths = [Path(scene, k) for k in range(len(scene.targets))]
        self._movers = [path for path in self.paths if not path.target.still]
        self._still = StillEchoes(self._ways, [path for path in self.paths if path.target.still])
        self._moving = MovingEchoes(self._ways)

    def key(self, fs_hz: float, first: int, end: int) -> tuple[int, ...]:
        """Changes whenever the echoes in scene samples first..end do."""
        if not self._timeline.n_events:
            return ()
        low, high = self._reach(fs_hz, first, end)
        return tuple(s.serial for tx in range(self._n_boards) for s in self._timeline.window(tx, low, high))

    def add(self, samples: NDArray[np.float32], state: BoardState, first: int) -> None:
        """Add the echoes at a board's receivers to samples (n, 2 C) in LSB from scene sample `first` on."""
        if not self._timeline.n_events or not (self.paths or self._ways.leaks):
            return
        out = samples.view(np.complex64)
        at = 0
        while at < len(out):
            held = self._heading.at(first + at, first + len(out), state.fs_hz)
            end = held.end - first
            for tx in range(self._n_boards):
                self._add_board(out[at:end], state, first + at, tx, held)
            at = end

    def _add_board(
        self, out: NDArray[np.complex64], state: BoardState, first: int, tx: int, held: Held
    ) -> None:
        """Echoes of what board `tx` sends."""
        low, high = self._reach(state.fs_hz, first, first + len(out))
        heard = [s for s in self._timeline.window(tx, low, high) if s.fs_hz == state.fs_hz]
        if not heard:
            return
        one = heard[0]
        steady = len(heard) == 1 and one.wave.cyclic and one.begins <= low and one.ends >= high
        steady = steady and one.wave.samples.shape[1] <= _LONGEST_TABLE and held.rests
        heading_deg = held.heading_deg
        if steady:
            self._still.add_steady(out, state, first, tx, one, heading_deg)
        else:
            self._still.add_piece(out, state, first, tx, heard, heading_deg)
        for path in self._movers:
            self._moving.add(out, state, first, tx, heard, path, heading_deg, steady=steady)

    def _reach(self, fs_hz: float, first: int, end: int) -> tuple[int, int]:
        """Scene samples of transmissions that may be heard in first..end."""
        far_m = max((path.farthest_m(end / fs_hz) for path in self.paths), default=0.0)
        far_s = max(delay_s(far_m), self._ways.leak_s)
        spread = echo_filter.reach(self._ways.spread_s * fs_hz) + 1
        return first - math.ceil(far_s * fs_hz) - spread, end + spread
