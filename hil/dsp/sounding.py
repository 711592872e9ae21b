"""Transmit channels one after the other: what each of them alone sends arrives in a time slot of its own.

A period of C channels and a waveform of n samples has 2 C + 1 slots of n: channels 0..C-1, then C-1..0, then silence.
From the two slots of a channel a Doppler shift is known, and all channels have the same middle. The silent slot says
where a period begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.waveform_types import OfdmLayout, Waveform

_MOST_BLOCKS = 64
_MOST_SEARCHED = 8
#: The weakest channel must stand out of the silent slot by this much.
_HEARD = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Sounded:
    """Channel responses of every transmit channel alone.

    csi (B, M, 2 C, S) complex64 : B blocks, M receivers, the slots of C transmit channels 0..C-1, C-1..0. frequency_hz (S,)
    from the carrier. window_s : delays, counted from the strongest path, that are received without interference.
    """

    csi: NDArray[np.complex64]
    frequency_hz: NDArray[np.float64]
    window_s: tuple[float, float]


def sounding(waveform: Waveform, n_channels: int) -> NDArray[np.complex64]:
    """(C, (2 C + 1) n) complex64: one period. Raises ConfigError for a waveform without subcarriers."""
    _layout(waveform)
    n, c = len(waveform.samples), n_channels
    out = np.zeros((c, (2 * c + 1) * n), np.complex64)
    for k in range(c):
        for slot in (k, 2 * c - 1 - k):
            out[k, slot * n : (slot + 1) * n] = waveform.samples
    return out


def read_sounding(samples: NDArray[np.complex64], waveform: Waveform, n_channels: int) -> Sounded:
    """Responses in samples (M, N) complex64 that were taken while `sounding` repeated, the carriers being one.

    Raises
    ------
    ConfigError : a waveform without subcarriers. ShapeError : shorter than three periods. NotIdentifiable : a transmit
    channel is not heard.
    """
    layout = _layout(waveform)
    n, slots = len(waveform.samples), 2 * n_channels + 1
    period = slots * n
    if samples.shape[1] < 3 * period:
        raise ShapeError(f"{samples.shape[1]} samples: three periods of {period} are needed")
    begin = _begin(_folded(samples, period, _MOST_SEARCHED), waveform, slots)
    folded = _folded(samples[:, begin:], period, _MOST_BLOCKS)
    blocks = len(folded)
    early = layout.cp_samples // 4
    symbols = np.arange(len(layout.grid)) * layout.symbol_samples
    csi = np.empty((blocks, len(samples), slots - 1, len(layout.subcarriers)), np.complex64)
    turn = np.exp(2j * np.pi * layout.subcarriers * early / layout.n_fft) / len(symbols)
    for slot in range(slots - 1):
        at = slot * n + symbols + layout.cp_samples - early
        index = at[:, None] + np.arange(layout.n_fft)
        spectrum = np.fft.fft(folded[:, :, index], axis=-1, norm="ortho")
        known = spectrum[..., layout.subcarriers % layout.n_fft] / layout.grid
        csi[:, :, slot] = known.sum(axis=2) * turn
    window_s = (-early / waveform.fs_hz, (layout.cp_samples - early) / waveform.fs_hz)
    return Sounded(csi, np.asarray(layout.subcarriers * layout.spacing_hz, np.float64), window_s)


def _folded(samples: NDArray[np.complex64], period: int, most: int) -> NDArray[np.complex64]:
    """(B, M, period): means of equally many neighbouring periods."""
    count = samples.shape[1] // period
    blocks = min(count, most)
    each = count // blocks
    parts = samples[:, : blocks * each * period].reshape(len(samples), blocks, each, period)
    return parts.mean(axis=2).transpose(1, 0, 2)


def _layout(waveform: Waveform) -> OfdmLayout:
    if waveform.layout is None:
        raise ConfigError(
            f"a waveform of kind {waveform.kind} has no subcarriers to measure transmit channels with",
            hint="use hil waveform new ofdm or srs",
        )
    return waveform.layout


def _begin(folded: NDArray[np.complex64], waveform: Waveform, slots: int) -> int:
    """Place of the period's beginning at the strongest path, in (B, M, slots n)."""
    n = len(waveform.samples)
    reference = np.conj(np.fft.fft(waveform.samples, slots * n))
    match = np.fft.ifft(np.fft.fft(folded, axis=-1) * reference, axis=-1)
    energy = np.sum(match.real**2 + match.imag**2, axis=(0, 1)).reshape(slots, n)
    offset = int(np.argmax(energy.sum(axis=0)))
    heard = energy[:, offset]
    silent = int(np.argmin(heard))
    if not np.sort(heard)[1] > _HEARD * heard[silent]:
        raise NotIdentifiable(
            "not every transmit channel is heard while it sends alone", parameters=["transmit gain"],
            hint="check the cables of the --tx-channel ports, or lower --tx-attenuation",
        )  # fmt: skip
    return ((silent + 1) % slots) * n + offset
