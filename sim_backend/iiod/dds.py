"""Direct digital synthesis of a transmit core: two tones for I and for Q of every transmitter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Phase accumulator steps; frequencies are multiples of fs / 2^16.
STEPS = 1 << 16


@dataclass(frozen=True, slots=True)
class Tone:
    """scale sin(2 pi f t + phase); phase in millidegrees as the attribute holds it."""

    frequency_hz: float
    phase_mdeg: float
    scale: float
    enabled: bool


def quantise_hz(frequency_hz: float, fs_hz: float) -> int:
    """Frequency that the accumulator can make, in whole hertz."""
    return round(round(frequency_hz / fs_hz * STEPS) * fs_hz / STEPS)


def waveform(tones: Sequence[Tone], fs_hz: float) -> NDArray[np.complex64] | None:
    """One period, (transmitters, 2^16) complex64; None if nothing is on.

    `tones` in the order TX1_I_F1, TX1_I_F2, TX1_Q_F1, TX1_Q_F2, TX2_I_F1, ...
    """
    if not any(tone.enabled and tone.scale for tone in tones):
        return None
    turn = 2 * np.pi * np.arange(STEPS) / STEPS
    out = np.zeros((len(tones) // 4, STEPS), dtype=np.complex64)
    for number, tone in enumerate(tones):
        if not (tone.enabled and tone.scale):
            continue
        step = round(tone.frequency_hz / fs_hz * STEPS)
        values = tone.scale * np.sin(step * turn + np.deg2rad(tone.phase_mdeg / 1000))
        out[number // 4] += values if number % 4 < 2 else 1j * values
    parts = out.view(np.float32)
    np.clip(parts, -1.0, 1.0, out=parts)  # what the DAC cannot show
    return out
