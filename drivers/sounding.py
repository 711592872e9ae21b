"""Something that does not repeat, sent while boards are aligned: a cyclic waveform fits itself at every period."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Longer than two boards may start apart, at rates up to 17 MS/s (array_intake: first 0.03 s, then 0.25 s).
PERIOD_SAMPLES = 1 << 20


class Repeater(Protocol):
    """A transmitter that may be repeating a waveform."""

    @property
    def repeated(self) -> NDArray[np.complex64] | None:
        """(C, n) complex64 that is being repeated, None if nothing is."""
        ...

    def send_cyclic(self, samples: NDArray[np.complex64]) -> None:
        """See hil.core.device.TxDevice."""
        ...

    def replace(self, present: NDArray[np.complex64], samples: NDArray[np.complex64]) -> None:
        """`send_cyclic`, but only if `present` is still the very array that is being repeated."""
        ...


@contextmanager
def sounding(transmitter: Repeater | None) -> Iterator[bool]:
    """In here the transmitter sends noise of the same level in place of a short waveform; True if it does.

    Levels, channels and carrier stay as they are, so the receivers' phases do, too.
    """
    waveform = transmitter.repeated if transmitter is not None else None
    if transmitter is None or waveform is None or waveform.shape[1] >= PERIOD_SAMPLES:
        yield False
        return
    transmitter.replace(waveform, noise_like(waveform))
    noise = transmitter.repeated
    try:
        yield True
    finally:
        if noise is not None:  # unless somebody stopped it, or sends something else by now
            transmitter.replace(noise, waveform)


def noise_like(waveform: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """(C, PERIOD_SAMPLES) complex64 of random quaternary samples with the mean power of every row."""
    rows = len(waveform)
    rng = np.random.default_rng(0x50D)
    signs = 2.0 * rng.integers(0, 2, (rows, PERIOD_SAMPLES, 2), np.int8) - 1.0
    power = np.mean(np.abs(waveform) ** 2, axis=1, dtype=np.float64)
    # |I| = |Q|: no crest factor, so the level never exceeds what the waveform's own peaks reach
    signs *= np.sqrt(power / 2)[:, None, None]
    return np.ascontiguousarray(signs, np.float32).view(np.complex64)[..., 0]
