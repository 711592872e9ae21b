"""Takes what the watch needs out of a stream: a few short windows per health block, whatever the frames' sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.frame import Frame

#: Windows per block and snapshots per window.
WINDOWS = 8
SNAPSHOTS = 256
#: Contiguous samples kept of every block, for correlations over lags.
STRETCH = 4096
#: Larger values, and what is no number, cannot be judged: their squares overflow.
_LARGEST = 1e15


def block_samples(fs_hz: float) -> int:
    """Samples of a health block: about 12 ms, a power of two, at least 8192 (the usual hardware block)."""
    return 2 ** int(min(max(round(math.log2(max(fs_hz, 1.0) * 0.012)), 13), 18))


@dataclass(frozen=True, slots=True)
class HealthBlock:
    """Samples of one health block.

    windows : (S, M, T) complex64, S windows spread evenly. stretch : (M, n) complex64, contiguous, from the
    block's start. clipped : (M,) share of the samples at full scale. first_sample, n_samples : of the block.
    """

    windows: NDArray[np.complex64]
    stretch: NDArray[np.complex64]
    clipped: NDArray[np.float64]
    first_sample: int
    n_samples: int

    @property
    def covariance(self) -> NDArray[np.complex128]:
        """(S, M, M) sample covariances of the windows."""
        x = self.windows
        return np.matmul(x, x.conj().transpose(0, 2, 1)).astype(np.complex128) / x.shape[2]


class BlockTap:
    """Collects health blocks from frames. A block with a gap in it is left out, and one with values that are no numbers.

    Blocks lie at multiples of `n_samples` of the absolute index, so that they do not depend on the frames.

    Attributes
    ----------
    no_numbers : channels for which the latest block was left out.
    """

    def __init__(self, n_channels: int, n_samples: int) -> None:
        self.n_samples = n_samples
        self._stride = n_samples // WINDOWS
        self._m = n_channels
        self._stretch_n = min(STRETCH, n_samples // 2)
        self._next = -1  # absolute index of the next sample expected
        self.no_numbers: tuple[int, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._windows = np.empty((WINDOWS, self._m, SNAPSHOTS), np.complex64)
        self._stretch = np.empty((self._m, self._stretch_n), np.complex64)
        self._clipped = np.zeros(self._m)
        self._whole = False

    def take(self, frame: Frame, clipped: NDArray[np.int64]) -> list[HealthBlock]:
        """Blocks that this frame completes; clipped : (M,) samples at full scale in it."""
        out: list[HealthBlock] = []
        first, n = frame.first_sample, frame.samples.shape[1]
        if n == 0:
            return out
        if first != self._next:
            self._begin()
        self._next = first + n
        share = clipped / n
        at = 0
        while at < n:
            skip = (first + at) % self.n_samples
            piece = min(self.n_samples - skip, n - at)
            if skip == 0:
                self._whole = True
                self._clipped[:] = 0
            if self._whole:
                self._copy(frame.samples[:, at : at + piece], skip)
                self._clipped += share * piece
            at += piece
            if skip + piece == self.n_samples and self._whole:
                start = first + at - self.n_samples
                self.no_numbers = (
                    () if _are_numbers(self._windows) and _are_numbers(self._stretch) else self._odd()
                )
                if not self.no_numbers:
                    out.append(
                        HealthBlock(
                            self._windows,
                            self._stretch,
                            self._clipped / self.n_samples,
                            start,
                            self.n_samples,
                        )
                    )
                self._begin()
        return out

    def _odd(self) -> tuple[int, ...]:
        """Channels with values that cannot be judged."""
        return tuple(
            c for c in range(self._m)
            if not (_are_numbers(self._windows[:, c].copy()) and _are_numbers(self._stretch[c]))
        )  # fmt: skip

    def _copy(self, samples: NDArray[np.complex64], skip: int) -> None:
        """Samples from place `skip` of the block on into the windows and the stretch."""
        end = skip + samples.shape[1]
        stop = min(end, self._stretch_n)
        if skip < stop:
            self._stretch[:, skip:stop] = samples[:, : stop - skip]
        last = min((end - 1) // self._stride, WINDOWS - 1)
        for w in range(skip // self._stride, last + 1):
            low, high = max(skip, w * self._stride), min(end, w * self._stride + SNAPSHOTS)
            if low < high:
                begin = w * self._stride
                self._windows[w, :, low - begin : high - begin] = samples[:, low - skip : high - skip]


def _are_numbers(samples: NDArray[np.complex64]) -> bool:
    return float(np.abs(samples.view(np.float32)).max()) < _LARGEST  # not for NaN
