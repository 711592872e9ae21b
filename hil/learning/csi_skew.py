"""Delays between the channels, taken out of channel responses before anything is known about the array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calib.channel.fit import skew_s
from hil.dsp.angle_delay_looks import Separated
from hil.learning.csi_recording import CsiCapture

#: Rounds and remainder (turns over the band) of levelling the channels' delays, from so many blocks.
_LEVEL_ROUNDS = 3
_LEVEL = 1e-4
#: Share of the energy in agreeing looks that a round must keep.
_KEPT = 0.95
_SKEW_BLOCKS = 256
#: Turns over the band between channels from which on components are looked for without the skew, too.
_SKEWED = 0.02
_NEAR_BINS = 2

Parted = Callable[[CsiCapture], Separated]


def without_rough_skew(
    found: Separated, capture: CsiCapture, parted: Parted
) -> tuple[Separated, CsiCapture, NDArray[np.float64]]:
    """The better of both: as they are, or without the delays (M,) that the strongest component shows."""
    rough_s = _rough_skew_s(capture)
    if float(np.ptp(rough_s)) * float(np.ptp(capture.frequency_hz)) > _SKEWED:
        levelled = _delayed(capture, -rough_s)
        trial = parted(levelled)
        if _worth(trial) > _worth(found) and not _direct_lost(found, trial):
            return trial, levelled, rough_s
    return found, capture, np.zeros(len(rough_s))


def centre_hz(capture: CsiCapture) -> float:
    """Middle of the band, from the carrier."""
    return float(capture.frequency_hz.mean())


def _rough_skew_s(capture: CsiCapture) -> NDArray[np.float64]:
    """(M,) delays between the channels by the strongest component, be it the direct path."""
    rows, f = capture.averaged(_SKEW_BLOCKS).csi.astype(np.complex128), capture.frequency_hz
    place = np.rint((f - f[0]) / capture.spacing_hz).astype(int)
    n = int(place[-1]) + 1
    even = np.zeros((*rows.shape[:2], n), np.complex128)
    even[..., place] = rows
    delays = np.fft.ifft(even * np.hanning(n + 2)[1:-1], axis=2)
    # what lies more than a few bins from the strongest is another component
    strongest = int(np.argmax(np.sum(np.abs(delays) ** 2, axis=(0, 1))))
    bins = np.abs((np.arange(n) - strongest + n // 2) % n - n // 2)
    near = np.fft.fft(np.where(bins <= _NEAR_BINS, delays, 0), axis=2)
    inner = slice(len(f) // 8, len(f) - len(f) // 8)  # the window leaves nothing at the edges
    return skew_s(near[..., place[inner]], f[inner])


def _worth(found: Separated) -> tuple[int, float]:
    """More looks that agree, and more energy in them, are better."""
    return len(found.looks), sum(look.energy for look in found.looks)


def _direct_lost(found: Separated, trial: Separated) -> bool:
    """A direct path that is no longer told apart would count as a target, and as a strong one."""
    return found.direct is not None and trial.direct is None


def level(
    found: Separated, capture: CsiCapture, parted: Parted
) -> tuple[Separated, CsiCapture, NDArray[np.float64]]:
    """Responses, capture without delays between the channels, and these (M,); components are told apart better without."""
    removed = np.zeros(len(found.deviation))
    span_hz = float(np.ptp(capture.frequency_hz))
    for _ in range(_LEVEL_ROUNDS):
        energy = np.stack([np.sum(np.abs(response) ** 2, axis=(1, 2)) for response in found.responses])
        strongest = np.sort(np.argsort(-energy, axis=None, kind="stable")[:_SKEW_BLOCKS])
        rows = found.responses[np.unravel_index(strongest, energy.shape)]
        skew = skew_s(rows, capture.frequency_hz)
        levelled = _delayed(capture, -skew)
        trial = parted(levelled)
        fewer = len(trial.looks) < len(found.looks) or _worth(trial)[1] < _KEPT * _worth(found)[1]
        if fewer or _direct_lost(found, trial):
            break  # what looked like delays was what the components leave in each other
        found, capture, removed = trial, levelled, removed + skew
        if float(np.abs(skew).max()) * span_hz < _LEVEL:
            break
    return found, capture, removed


def _delayed(capture: CsiCapture, delay_s: NDArray[np.float64]) -> CsiCapture:
    """Channels later by delay_s (M,), their phases at the middle of the band kept."""
    turn = np.exp(-2j * np.pi * np.outer(delay_s, capture.frequency_hz - centre_hz(capture)))
    return replace(capture, csi=capture.csi * turn.astype(np.complex64))
