"""Integer sample offset between boards that started at different times, by correlation of what they receive."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from hil.core.errors import CaptureError

SEGMENT = 8192  # samples; the phase between boards must hold still that long, not longer
#: Or so far ahead of the next in every correlation, log of power: strong signals flatten the ratio of logarithms, and
#: echoes beside a strong direct path leave peaks of their own.
_AHEAD = float(np.log(4.0))
_MIN_RATIO = 1.5  # score of the peak over the next best one outside its main lobe; noise alone reaches 1.05
_MAX_PAIRS = 4
_PHASE_BINS_DEG = np.linspace(-180.0, 180.0, 721)
_FINE_AGREEING = 60.0  # groups of frequencies
_FINE_GROUP = 16  # neighbouring frequencies, joined before their phase is taken: noise scatters it less
_FINE_SEGMENTS = 64  # of the data at most: more is memory without need
#: Slips of no more samples may be the phases of emitters or moving echoes.
UNSURE_SAMPLES = 16
_LEAST_SLIP = 0.75  # samples; less is a part of a sample that is not corrected
#: Of 8192: a shift of one sample turns the phase over the first step by 2.8 degrees, over the last by 90.
_FINE_STEPS = (64, 256, 1024, 2048)
_WINDOW_DEG = 15.0
_FINE_SHARE = 0.2  # of the cross-spectrum's power within the window; chance alone brings 0.08 there
_FINE_PAIRS = 0.75  # of the power: channel pairs that must agree
_FINE_SIGMA = 0.1  # samples; less sure than that, the peak of the correlation is better
_SHIFTS = 50
_MOST_FOLLOWED = 0.95
_SURE_SIGMAS = 5.0  # of a part of a sample


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """Result of a search.

    Attributes
    ----------
    offset : sample j of the other board and sample j + offset of the reference board are simultaneous.
    ratio : score of the correlation peak over the next best; inf if there is none.
    clear : True if the peak stands out, is narrow, and both halves of the data agree on it.
    fraction : what is left of a sample, -0.5..0.5; converters of boards without a common clock phase. 0 where it is
        not sure.
    fine : True if `fine_offset` confirmed the offset. Without it, emitters' phases may have moved it by samples.
    """

    offset: int
    ratio: float
    clear: bool
    fraction: float = 0.0
    fine: bool = False


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
    pairs = _pairs(reference.shape[1], other.shape[1])
    for a, b in pairs:
        _accumulate(power, reference[:, a], other[:, b], reach, n_segments)
    # coarse index r, fine index l: other is read at SEGMENT * (i - reach + r) + l for the segment i of the
    # reference (which begins at SEGMENT * (i + reach)), hence the offset falls with both
    lags = (2 * reach - np.arange(2 * reach + 1))[:, None] * SEGMENT - np.arange(SEGMENT)[None, :]
    lags = lags.ravel() - reach * SEGMENT
    inside = np.abs(lags) <= max_offset
    estimate, half_width = _judge(
        power.reshape(2, -1)[:, inside][:, ::-1], lags[inside][::-1], n_segments * len(pairs)
    )
    if not estimate.clear:
        return estimate
    fine = fine_offset(reference, other, estimate.offset)
    if fine is None:
        return estimate
    residual, sigma = fine
    if abs(residual) > half_width:
        return estimate  # emitters' phases move the peak within its main lobe; late echoes can mislead the fine step
    fraction = residual - round(residual)
    return replace(
        estimate, offset=estimate.offset + round(residual),
        fraction=fraction if abs(fraction) > _SURE_SIGMAS * sigma else 0.0, fine=True,
    )  # fmt: skip


def fine_offset(
    reference: NDArray[np.complex64], other: NDArray[np.complex64], offset: int
) -> tuple[float, float] | None:
    """What is missing from a coarse `offset`, in samples and fractions of them (within +-60).

    With several emitters in different bands each has its own phase between two boards, and a step of phase over
    frequency looks like a delay of samples: the peak of the correlation moves. The phase *difference* between
    neighbouring frequencies knows nothing of those phases but where two emitters overlap,
    `D(f) = sum S(f + step) conj(S(f))`, `S = X conj(Y)`, `residual = -arg(D) N / (2 pi step)`, summed over
    segments and groups of neighbours. Most groups of most channel pairs agree on arg(D): the fullest place of its
    histogram counts.
    Larger steps turn further for the same delay and refine it, as far as signals are wide enough for them.

    Returns the residual and its standard deviation, or None where too few frequencies carry signal (narrow bands,
    much noise): the peak is better there.

    Parameters
    ----------
    reference, other : (n, C) complex64. offset : as in OffsetEstimate.
    """
    x, y = reference[max(offset, 0) :], other[max(-offset, 0) :]
    n_segments = min(len(x) // SEGMENT, len(y) // SEGMENT, _FINE_SEGMENTS)
    spectra_x, spectra_y = _spectra(x, n_segments), _spectra(y, n_segments)
    crosses = [a * np.conj(b) for a in spectra_x for b in spectra_y]
    found: tuple[float, float] | None = None
    for step in _FINE_STEPS:
        degrees_a_sample = -360.0 * step / SEGMENT
        phase_deg, weight = _turns(crosses, step)
        if found is None:
            near = _agreed(phase_deg, weight, _fullest(phase_deg, weight))
        else:
            near = _agreed(phase_deg, weight, found[0] * degrees_a_sample)
        if near is None:
            break
        residual, sigma = near[0] / degrees_a_sample, near[1] / abs(degrees_a_sample)
        if found is not None and abs(residual - found[0]) > _SURE_SIGMAS * found[1] + 0.02:
            break
        found = residual, sigma
    return found if found is None or found[1] < _FINE_SIGMA else None


def _turns(
    crosses: list[NDArray[np.complex64]], step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Phases in degrees over `step` bins, (channel pairs, groups of frequencies), and their weights."""
    turns = np.stack([(c[:, step:] * np.conj(c[:, :-step])).sum(axis=0) for c in crosses])
    turns = turns.reshape(len(crosses), -1, _FINE_GROUP).sum(axis=2)
    return np.rad2deg(np.angle(turns)).astype(float), np.abs(turns).astype(float)


def _fullest(phase_deg: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    histogram = np.histogram(phase_deg, _PHASE_BINS_DEG, weights=weight)[0]
    smooth = np.convolve(np.concatenate((histogram[-5:], histogram, histogram[:5])), np.ones(11), "valid")
    peak = int(np.argmax(smooth))
    return 0.5 * float(_PHASE_BINS_DEG[peak] + _PHASE_BINS_DEG[peak + 1])


def _agreed(
    phase_deg: NDArray[np.float64], weight: NDArray[np.float64], start_deg: float
) -> tuple[float, float] | None:
    """Where phases (pairs, frequencies) gather near a start (not wrapped), and its standard deviation; else None.

    The mean of what lies within the window, moved until it stays. Its scatter counts as often as the window follows
    itself: wholly in an even spread. A delay is the same for all channel pairs; the step from one emitter's band to
    another's is not.
    """
    total, centre = float(weight.sum()), start_deg
    away, near = phase_deg, weight
    for _ in range(_SHIFTS):
        away, near = _window(phase_deg, weight, centre)
        inside = float(near.sum())
        enough = inside > _FINE_SHARE * total and inside**2 > _FINE_AGREEING * float(np.sum(near**2))
        if not enough:  # not for NaN
            return None
        shift = float(np.sum(near * away)) / inside
        centre += shift
        if abs(shift) < 1e-4:
            break
    away, near = _window(phase_deg, weight, centre)
    inside, own, pairs = float(near.sum()), weight.sum(axis=1), near.sum(axis=1)
    if float(own[pairs > _FINE_SHARE * own].sum()) < _FINE_PAIRS * total:
        return None
    share, apart = pairs / inside, np.sum(near * away, axis=1) / np.maximum(pairs, 1e-30)
    scatter = float(np.sqrt(np.sum((near * away) ** 2))) / inside
    between = float(np.sqrt(np.sum((share * apart) ** 2))) if len(pairs) > 1 else 0.0
    aside = _WINDOW_DEG / 3
    means: list[float] = []
    for moved in (-aside, aside):
        away, near = _window(phase_deg, weight, centre + moved)
        means.append(moved + float(np.sum(near * away)) / max(float(near.sum()), 1e-30))
    follows = min(max((means[1] - means[0]) / (2 * aside), 0.0), _MOST_FOLLOWED)
    return centre, max(scatter, between) / (1.0 - follows)


def _window(
    phase_deg: NDArray[np.float64], weight: NDArray[np.float64], centre_deg: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of the phases from a centre, and the weights of those near it."""
    away = (phase_deg - centre_deg + 180.0) % 360.0 - 180.0
    return away, np.where(np.abs(away) < _WINDOW_DEG, weight, 0.0)


def _spectra(z: NDArray[np.complex64], n_segments: int) -> list[NDArray[np.complex64]]:
    """Per channel (segments, SEGMENT), ascending frequency, unit mean power."""
    out = []
    for c in range(min(z.shape[1], _MAX_PAIRS)):
        pieces = _finite(z[: n_segments * SEGMENT, c]).reshape(n_segments, SEGMENT)
        spectrum = np.fft.fftshift(np.asarray(fft.fft(pieces, axis=1)), axes=1)
        out.append(spectrum / (np.sqrt(np.mean(np.abs(spectrum) ** 2)) + np.float32(1e-30)))
    return out


def _finite(z: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """A contiguous copy, what is no number taken for silence."""
    return np.where(np.isfinite(z), z, np.complex64(0))


def _accumulate(
    power: NDArray[np.float32],
    x: NDArray[np.complex64],
    y: NDArray[np.complex64],
    reach: int,
    n_segments: int,
) -> None:
    n_coarse = power.shape[1]
    chunks = np.lib.stride_tricks.sliding_window_view(_finite(y), 2 * SEGMENT)[::SEGMENT]
    y_spectra = np.asarray(fft.fft(chunks[: n_segments + n_coarse - 1], axis=1))
    for i in range(n_segments):
        low = (i + reach) * SEGMENT
        segment = _finite(x[low : low + SEGMENT])
        energy = float(np.vdot(segment, segment).real)
        if energy == 0.0:
            continue
        x_spectrum = np.conj(np.asarray(fft.fft(segment / np.float32(np.sqrt(energy)), 2 * SEGMENT)))
        product = y_spectra[i : i + n_coarse] * x_spectrum
        correlation = np.asarray(fft.ifft(product, axis=1, overwrite_x=True), np.complex64)
        part: NDArray[np.complex64] = correlation[:, :SEGMENT]
        strength = part.real**2 + part.imag**2
        power[i % 2] += np.log(1.0 + strength / strength.mean())


def _judge(power: NDArray[np.float32], lags: NDArray[np.int64], terms: int) -> tuple[OffsetEstimate, int]:
    """The estimate, and half the width of its peak in samples."""
    total = power.sum(axis=0)
    peak = int(np.argmax(total))
    height = float(total[peak])
    if height == 0.0:
        return OffsetEstimate(0, 0.0, False), 0
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
    # within the main lobe: two emitters move the peak by samples, the fine step settles it
    halves_agree = all(abs(int(np.argmax(half)) - peak) <= half_width for half in power)
    stands_out = ratio >= _MIN_RATIO or height - second >= _AHEAD * terms
    clear = stands_out and halves_agree and guard < len(lags) // 8
    return OffsetEstimate(int(lags[peak]), ratio, clear), half_width


class NotAligned(CaptureError):
    """What the boards received has no instant in common that can be seen."""


def alignment_error(estimate: OffsetEstimate, names: str) -> NotAligned:
    """The error for boards that cannot be aligned."""
    return NotAligned(
        f"boards {names} could not be aligned: the signal repeats or is too weak "
        f"(correlation peak {estimate.ratio:.2f} times the next, {_MIN_RATIO:g} needed)",
        hint="put a modulated or noise-like emitter in view that all boards receive more strongly than its echoes "
        "(while they transmit, their own leakage will do: lower --tx-attenuation), or use boards with a common "
        "start (sync_start_enable)",
    )


def slip(reference: NDArray[np.complex64], other: NDArray[np.complex64]) -> int:
    """Offset by which two aligned boards have slipped, 0 where nothing is clear.

    reference, other : (n, C) complex64, n >= samples_needed(SEGMENT // 2, 2).
    """
    estimate = find_offset(reference, other, SEGMENT // 2, 2)
    if not estimate.clear or estimate.ratio <= 2 * _MIN_RATIO:
        return 0
    if not estimate.fine:
        # emitters' phases may have moved the peak by a few samples: no proof of a slip
        return estimate.offset if abs(estimate.offset) > UNSURE_SAMPLES else 0
    return estimate.offset if abs(estimate.offset + estimate.fraction) > _LEAST_SLIP else 0
