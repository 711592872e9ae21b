"""A SoapyRemote server over a counter: sample n of channel c is I = n mod 2^16, Q = (n >> 16) xor (c << 12).

Run as a program it serves on a free port of the address given, prints its URL, and ends with its input.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_backend.soapy_remote.server import SoapyServer


def counter(channel: int, first: int, n: int) -> NDArray[np.int16]:
    """(n, 2) int16: I and Q of a channel from sample `first` on."""
    index = np.arange(first, first + n, dtype=np.int64)
    words = np.stack((index & 0xFFFF, (index >> 16 ^ channel << 12) & 0xFFFF), axis=-1)
    return words.astype(np.uint16).view(np.int16)


class CounterSource:
    """A SampleSource (sim_backend.source) of one board with 4 channels of 16 bits that counts.

    fs_hz : 0 for free-running, else by the clock. cached : the same block again and again, for speed.
    """

    def __init__(self, fs_hz: float = 0.0, *, cached: bool = False) -> None:
        self._fs_hz, self._paced = fs_hz or 61.44e6, fs_hz > 0
        self._cached, self._block = cached, np.empty((0, 8), np.int16)
        self._began = time.monotonic()
        self._done = 0
        self._gains = [20.0] * 4
        self.events: list[tuple[Any, ...]] = []
        self.sent: list[tuple[NDArray[np.complex64] | None, int, bool]] = []

    n_boards = 1

    def board_name(self, board: int) -> str:
        return "adrv9009-zu11eg"

    def n_channels(self, board: int) -> int:
        return 4

    def fc_hz(self, board: int, chip: int = 0) -> float:
        return 2.45e9

    tx_fc_hz = fc_hz

    def fs_hz(self, board: int) -> float:
        return self._fs_hz

    def gain_db(self, board: int, channel: int) -> float:
        return self._gains[channel]

    def now(self, board: int) -> int:
        return int((time.monotonic() - self._began) * self._fs_hz) if self._paced else self._done

    def wait_until(self, board: int, sample: int, timeout_s: float) -> bool:
        left = (sample - self.now(board)) / self._fs_hz
        if self._paced and left > 0:
            time.sleep(min(left, timeout_s))
        return not self._paced or self.now(board) >= sample

    def read(self, board: int, first: int, n: int) -> NDArray[np.int16]:
        self._done = max(self._done, first + n)
        if self._cached:
            if len(self._block) < n:
                self._block = self._made(0, n)
            return self._block[:n]
        return self._made(first, n)

    def _made(self, first: int, n: int) -> NDArray[np.int16]:
        words = np.empty((n, 4), np.uint32)
        index = np.arange(first, first + n, dtype=np.int64).astype(np.uint32)
        for channel in range(4):
            words[:, channel] = index ^ np.uint32(channel << 28)
        return words.view(np.int16)

    def write_lo(self, board: int, chip: int, fc_hz: float, at: int) -> None:
        self.events.append(("lo", chip, fc_hz, at))

    write_tx_lo = write_lo

    def write_rate(self, board: int, fs_hz: float, at: int) -> None:
        self.events.append(("rate", fs_hz, at))

    def write_gain(self, board: int, channel: int, gain_db: float, at: int) -> None:
        self._gains[channel] = gain_db

    def transmit(
        self,
        board: int,
        waveform: NDArray[np.complex64] | None,
        at: int,
        *,
        cyclic: bool = True,
        scale: tuple[float, ...] | None = None,
    ) -> None:
        self.sent.append((waveform, at, cyclic))
        self.events.append(("scale", scale, at))

    def rescale(self, board: int, scale: tuple[float, ...], at: int) -> None:
        self.events.append(("rescale", scale, at))

    def note(self, event: str, board: int, at: int, **details: Any) -> None:
        self.events.append((event, at, details))


if __name__ == "__main__":
    host, rate, kind = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    source = CounterSource(rate, cached=kind == "cached")
    with SoapyServer(source, (host, 0), free_running=rate == 0) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
