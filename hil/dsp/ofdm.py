"""Channel responses from samples that carry a known OFDM-like waveform (`OfdmReceiver`, `channel_responses`).

receiver = OfdmReceiver(load_waveform("w.toml"), n_channels=4, average=16)
for block in receiver.push(frame.samples, frame.first_sample): ...
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import CaptureError, ShapeError
from hil.core.waveform import Waveform
from hil.dsp.ofdm_block import CsiBlock
from hil.dsp.ofdm_receiver import OfdmReceiver

__all__ = ["CsiBlock", "OfdmReceiver", "channel_responses", "not_found"]


def channel_responses(
    samples: NDArray[np.complex64], waveform: Waveform, first_sample: int = 0, **options: object
) -> list[CsiBlock]:
    """CSI of a whole capture (M, N) complex64; options as of `OfdmReceiver`.

    Raises
    ------
    CaptureError : the waveform is not in it, or its spectrum is inverted. ConfigError, ShapeError : as of the receiver.
    """
    x = np.asarray(samples)
    if x.ndim != 2:
        raise ShapeError(f"samples: shape {x.shape}, expected (M, N)")
    receiver = OfdmReceiver(waveform, len(x), **options)  # pyright: ignore[reportArgumentType]
    blocks = receiver.push(x, first_sample)
    if not blocks:
        raise not_found(receiver, x.shape[1])
    return blocks


def not_found(receiver: OfdmReceiver, n_samples: int) -> CaptureError:
    """The error that says why a receiver has no channel responses."""
    wave = receiver.waveform
    if receiver.locked:
        return CaptureError(
            f"{n_samples} samples are too few for one channel response",
            hint="capture more, or average fewer symbols",
        )
    if receiver.inverted:
        return CaptureError(
            "the waveform is there with its spectrum inverted: I and Q are swapped, or a mixer inverts",
            hint="swap I and Q in the receiver's settings; the program never mends it silently",
        )
    return CaptureError(
        f"the waveform ({wave.kind}, period {len(wave.samples)} samples at {wave.fs_hz:g} S/s) is not in these "
        f"{n_samples} samples",
        hint="check waveform file, sample rate, carrier and level; two periods are needed",
    )
