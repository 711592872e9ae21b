"""What a network server or driver asks of the simulated radio.

Everything is indexed by *scene samples*: sample n of a board is the instant n / fs after the scene began (in
the board's present rate). The wire samples are a pure function of (board, first, n) and of the events recorded
so far, so that servers may read any piece, in any order and from any thread, and all boards agree.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class SampleSource(Protocol):
    """The simulated radio behind one scene."""

    @property
    def n_boards(self) -> int:
        """Boards of the scene; elements are spread over them in order."""
        ...

    def board_name(self, board: int) -> str:
        """ "pluto", "fmcomms5", "adrv9009" or "adrv9009-zu11eg"."""
        ...

    def n_channels(self, board: int) -> int:
        """Receive channels of the board (also those without an element; they carry noise)."""
        ...

    def fc_hz(self, board: int, chip: int = 0) -> float: ...

    def fs_hz(self, board: int) -> float: ...

    def gain_db(self, board: int, channel: int) -> float: ...

    def tx_fc_hz(self, board: int, chip: int = 0) -> float:
        """Transmit LO of a chip, as last written; the scene's fc_hz before."""
        ...

    def now(self, board: int) -> int:
        """Scene sample that the ADC of the board converts now (real-time clock: from the monotonic clock;
        free-running: the latest sample that was handed out on any board)."""
        ...

    def wait_until(self, board: int, sample: int, timeout_s: float) -> bool:
        """Block until `now(board) >= sample`; at once when free-running. False after the timeout."""
        ...

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        """(n, 2 C) int16, C-contiguous: I and Q of every receive channel, quantised and clipped to the
        board's bits (sign-extended, not shifted). Thread-safe."""
        ...

    # Events; `at` is the scene sample from which they hold. Each may start a new coherence epoch as the
    # board does (see the board's table) and is written to the truth file.
    def write_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None: ...

    def write_rate(self, board: int, fs_hz: float, at: int) -> None: ...

    def write_gain(self, board: int, channel: int, gain_db: float, at: int) -> None: ...

    def transmit(
        self,
        board: int,
        waveform: NDArray[np.complex64] | None,
        at: int,
        *,
        cyclic: bool = True,
        scale: tuple[float, ...] | None = None,
    ) -> None:
        """What the board sends from `at` on: (channels, n) complex64 of full scale 1, or None for silence.
        Cyclic: repeated until the next call; else n samples, and silence after them. `scale`: amplitude of
        every channel of the board, 10^(-attenuation_db / 20); None: the waveform is attenuated already. It takes the place of what was to be sent from `at` on, and returns through the scene's targets and
        leakage. ShapeError for more channels than the board has, no samples, or values that are not finite."""
        ...

    def rescale(self, board: int, scale: tuple[float, ...], at: int) -> None:
        """Amplitude of every transmit channel of the board from `at` on, in the place of the `scale` of what
        sounds or is queued: an attenuator that is turned, or a transmitter that is powered down (0), while it
        sends. What is sent by a later `transmit` brings its own."""
        ...

    def write_tx_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        """Transmit LO of one chip from `at` on; a new phase of its transmit chains where the board relocks.
        On boards whose chips have one LO for both directions `write_lo` moves it."""
        ...

    def note(self, event: str, board: int, at: int, **details: Any) -> None:
        """Write an event such as "open", "stall", "close", "disconnect" to the truth file."""
        ...
