"""Delay by a part of a sample against the same signal made later."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.fractional_delay import REACH, FractionalDelay


def _tones(t: np.ndarray) -> np.ndarray:
    """(n, 1, 2) two tones within 0.4 of the rate."""
    z = np.exp(2j * np.pi * 0.37 * t) + 0.5 * np.exp(-2j * np.pi * 0.11 * t + 1j)
    return np.stack((z.real, z.imag), axis=-1)[:, None]


@pytest.mark.parametrize("fraction", [-0.5, -0.13, 0.02, 0.31, 0.5])
def test_any_pieces_give_the_delayed_signal(fraction: float) -> None:
    n = np.arange(4000)
    wire = _tones(n).astype(np.float32)
    delay = FractionalDelay(fraction, wire[: 2 * REACH])
    out, at = [], 2 * REACH
    for size in (1, 7, 3, 500, 40, 2000, 1449):
        out.append(delay.push(wire[at : at + size]))
        at += size
    got = np.concatenate(out)
    expected = _tones(n[REACH : REACH + len(got)] - fraction)
    assert np.max(np.abs(got - expected)) < 3e-4


def test_integers_are_rounded_and_saturate() -> None:
    wire = np.full((200, 2, 2), 32767, np.int16)
    wire[100:] = -32768
    delay = FractionalDelay(0.5, wire[: 2 * REACH])
    out = delay.push(wire[2 * REACH :])
    assert out.dtype == np.int16
    assert out.max() == 32767
    assert out.min() == -32768
