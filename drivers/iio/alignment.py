"""Integer sample offset between boards that started at different times, by correlation of what they receive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hil.core.errors import CaptureError

SEGMENT = 8192  # samples; the phase between boards must hold still that long, not longer
_MIN_RATIO = 1.5  # score of the peak over the next best one outside its main lobe; noise alone reaches 1.05
_MAX_PAIRS = 4


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """Result of a search.

    Attributes
    ----------
    offset : sample j of the other board and sample j + offset of the reference board are simultaneous.
    ratio : score of the correlation peak over the next best; inf if there is none.
    clear : True if the peak stands out, is narrow, and both halves of the data agree on it.
    """

    offset: int
    ratio: float
    clear: bool


def samples_needed(max_offset: int, n_segments: int) -> int:
    """Samples of each board that `find_offset` takes."""
    reach = -(-max_offset // SEGMENT) + 1
    return (n_segments + 2 * reach + 1) * SEGMENT


def _pairs(n_reference: int, n_other: int) -> list[tuple[int, int]]:
    """Channel pairs that use every channel before any of them twice."""
    n = min(_MAX_PAIRS, max(n_reference, n_other))
    return [(k % n_reference, k % n_other) for k in range(n)]


def find_offset(
    reference: NDArray[np.complex64], other: NDArray[np.complex64], max_offset: int, n_segments: int
) -> OffsetEstimate:
    """Search the offset between two boards.

    `P_k(d) = |sum_t x(p_k + t) conj(y(p_k + t - d))|**2` for every segment k and channel pair, and the score
    `S(d) = sum_k log(1 + P_k(d) / mean(P_k))`. Segments are combined without their phase, because the angle of
    the emitter, and with it the phase between boards, may change in between; the logarithm keeps one segment
    with an accidental peak from outvoting the others.

    Parameters
    ----------
    reference, other : (n, C) complex64 received since each board's own start,
        n >= samples_needed(max_offset, n_segments).
    max_offset : largest |offset| to look for, samples.
    n_segments : segments of 8192 samples to combine.
    """
    reach = -(-max_offset // SEGMENT) + 1
    power = np.zeros((2, 2 * reach + 1, SEGMENT), np.float32)  # halves of the data, coarse lag, fine lag
    for a, b in _pairs(reference.shape[1], other.shape[1]):
        _accumulate(power, reference[:, a], other[:, b], reach, n_segments)
    # coarse index r, fine index l: other is read at SEGMENT * (i - reach + r) + l for the segment i of the
    # reference (which begins at SEGMENT * (i + reach)), hence the offset falls with both
    lags = (2 * reach - np.arange(2 * reach + 1))[:, None] * SEGMENT - np.arange(SEGMENT)[None, :]
    lags = lags.ravel() - reach * SEGMENT
    inside = np.abs(lags) <= max_offset
    return _judge(power.reshape(2, -1)[:, inside][:, ::-1], lags[inside][::-1])


def _accumulate(
    power: NDArray[np.float32],
    x: NDArray[np.complex64],
    y: NDArray[np.complex64],
    reach: int,
    n_segments: int,
) -> None:
    n_coarse = power.shape[1]
    chunks = np.lib.stride_tricks.sliding_window_view(np.ascontiguousarray(y), 2 * SEGMENT)[::SEGMENT]
    y_spectra = np.asarray(fft.fft(chunks[: n_segments + n_coarse - 1], axis=1))
    for i in range(n_segments):
        low = (i + reach) * SEGMENT
        segment = x[low : low + SEGMENT]
        energy = float(np.vdot(segment, segment).real)
        if energy == 0.0:
            continue
        x_spectrum = np.conj(np.asarray(fft.fft(segment / np.float32(np.sqrt(energy)), 2 * SEGMENT)))
        product = y_spectra[i : i + n_coarse] * x_spectrum
        correlation = np.asarray(fft.ifft(product, axis=1, overwrite_x=True), np.complex64)
        part: NDArray[np.complex64] = correlation[:, :SEGMENT]
        strength = part.real**2 + part.imag**2
        power[i % 2] += np.log(1.0 + strength / strength.mean())


def _judge(power: NDArray[np.float32], lags: NDArray[np.int64]) -> OffsetEstimate:
    total = power.sum(axis=0)
    peak = int(np.argmax(total))
    height = float(total[peak])
    if height == 0.0:
        return OffsetEstimate(0, 0.0, False)
    below = np.flatnonzero(total < 0.5 * height)
    left = below[below < peak]
    right = below[below > peak]
    half_width = max(
        peak - (int(left[-1]) if len(left) else 0), (int(right[0]) if len(right) else len(lags)) - peak
    )
    guard = 4 * half_width + 8
    outside = np.concatenate([total[: max(peak - guard, 0)], total[peak + guard + 1 :]])
    second = float(outside.max()) if len(outside) else height
    ratio = height / second if second else float("inf")
    halves_agree = all(int(np.argmax(half)) == peak for half in power)
    clear = ratio >= _MIN_RATIO and halves_agree and guard < len(lags) // 8
    return OffsetEstimate(int(lags[peak]), ratio, clear)


def alignment_error(estimate: OffsetEstimate, names: str) -> CaptureError:
    """The error for boards that cannot be aligned."""
    return CaptureError(
        f"boards {names} could not be aligned: the signal repeats or is too weak "
        f"(correlation peak {estimate.ratio:.2f} times the next, {_MIN_RATIO:g} needed)",
        hint="put a modulated or noise-like emitter in view that all boards receive, or use boards with a "
        "common start (sync_start_enable)",
    )


def slip(reference: NDArray[np.complex64], other: NDArray[np.complex64]) -> int:
    """Offset by which two aligned boards have slipped, 0 where nothing is clear.

    reference, other : (n, C) complex64, n >= samples_needed(SEGMENT // 2, 2).
    """
    estimate = find_offset(reference, other, SEGMENT // 2, 2)
    return estimate.offset if estimate.clear and estimate.ratio > 2 * _MIN_RATIO else 0
