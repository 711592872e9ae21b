"""IQ image and DC offset of every channel from a known waveform.

    x[n] = z[n] + k z*[n] + dc + noise,   z = sum_l h[l] w[n - l]

w is the waveform as it was sent, h the channel's few taps. Least squares on w, w* and a constant (widely linear
regression, Picinbono and Chevalier 1995): the image is what follows w*. Nothing is assumed about the statistics of
w, so short periods that are not circular do no harm, as they do to E[x^2] / (2 E|x|^2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import NotIdentifiable, ShapeError

_LEAST_DEGREES = 64
#: Share of the greatest eigenvalue below which a direction of the regression is not followed: a waveform that does
#: not fill its band leaves many of them empty.
_EMPTY = 1e-9
_ROUNDS = 4
_MOST_IMAGE = 0.7
_LEAST_APART = 1e-3
_CHANCE = 3.0


@dataclass(frozen=True, slots=True)
class IqBalance:
    """Estimate of M channels.

    Attributes
    ----------
    iq_image, dc_offset : (M,) complex128 as in `Impairments`; dc_offset in the unit of the samples.
    iq_sigma, dc_sigma : (M,) float64, one standard deviation of the real and of the imaginary part.
    n_samples : used per channel.
    iq_lasting, dc_lasting : (M,) float64, the part of the sigmas that more samples of the same scene do not lower.
    chi_square : of the estimates that were combined, per degree of freedom; NaN for a single one. Sigmas are
        scaled by its root where it is above what chance allows.
    """

    iq_image: NDArray[np.complex128]
    dc_offset: NDArray[np.complex128]
    iq_sigma: NDArray[np.float64]
    dc_sigma: NDArray[np.float64]
    n_samples: int
    iq_lasting: NDArray[np.float64]
    dc_lasting: NDArray[np.float64]
    chi_square: float = float("nan")

    def correct(self, samples: NDArray[np.complexfloating]) -> NDArray[np.complex64]:
        """Samples (M, N) without DC and image, complex64."""
        k = self.iq_image[:, None]
        own = 1 / (1 - np.abs(k) ** 2)
        x = np.asarray(samples, np.complex64) - self.dc_offset[:, None].astype(np.complex64)
        direct = np.asarray(own, np.float32) * x
        return np.asarray(direct - np.asarray(k * own, np.complex64) * x.conj(), np.complex64)


def iq_balance(
    samples: NDArray[np.complexfloating],
    reference: NDArray[np.complexfloating],
    *,
    taps: tuple[int, int] = (-4, 12),
    period: int | None = None,
    turn_rad: float = 0.0,
) -> IqBalance:
    """Image and DC of samples (M, N) that hold the waveform `reference` (N,) behind short channels.

    Parameters
    ----------
    samples : (M, N) complex, full scale 1.
    reference : (N,) complex, the waveform as it would arrive with delay zero: the period repeated, turned by the
        carrier offset if there is one.
    taps : first and last tap of the channels in samples.
    period : of the waveform in samples. What the taps do not follow (late echoes, clipping) comes back in every
        period and does not average out; with the period known, the sigmas say so.
    turn_rad : by which the carrier offset turns `reference` from sample to sample.

    Raises
    ------
    ShapeError : wrong shapes, or too few samples for the taps.
    NotIdentifiable : the waveform and its conjugate cannot be told apart (a real waveform), or silence.
    """
    x, w = np.asarray(samples), np.asarray(reference)
    first, last = taps
    if x.ndim != 2 or w.shape != x.shape[1:] or not first <= 0 <= last:
        raise ShapeError(f"samples {x.shape}, reference {w.shape}: expected (M, N) and (N,)")
    n = x.shape[1] - (last - first)  # sample last .. last + n - 1: every tap lies inside
    width = last - first + 1
    if n < 2 * width + 1 + _LEAST_DEGREES:
        raise ShapeError(f"{x.shape[1]} samples are too few for {width} taps")
    w = np.asarray(w, np.complex128)
    if not np.any(w):
        raise NotIdentifiable("the waveform is silent", parameters=("iq_image",))
    silent = np.flatnonzero(~np.any(x, axis=1))
    if len(silent):
        raise NotIdentifiable(
            f"channel {silent[0]} hears nothing", parameters=("iq_image", "dc_offset"),
            hint="check its cable and power, or leave the channel out",
        )  # fmt: skip
    shifted = np.stack([w[last - tap : last - tap + n] for tap in range(first, last + 1)])
    x = np.asarray(x[:, last : last + n], np.complex128)
    basis = np.concatenate((shifted, np.ones((1, n))))
    power, turn = np.linalg.eigh(basis @ basis.conj().T)
    kept = power > _EMPTY * power[-1]
    solve = (turn[:, kept] / np.sqrt(power[kept])).T.conj()
    axes = solve @ basis  # orthonormal rows
    kappa, own = np.zeros(len(x), np.complex128), np.ones(len(x))
    clean = rest = x
    for _ in range(_ROUNDS):  # what the forward regression took up of the image goes with the square of kappa
        better = (x - kappa[:, None] * x.conj()) / (1 - np.abs(kappa[:, None]) ** 2)
        clean = ((better @ axes.conj().T) @ solve)[:, :-1] @ shifted
        image = _apart(clean.conj(), axes)
        own = np.sum(np.abs(image) ** 2, axis=1)
        if np.any(own < _LEAST_APART * np.sum(np.abs(clean) ** 2, axis=1)):
            raise NotIdentifiable(
                "the waveform and its conjugate cannot be told apart",
                parameters=("iq_image",),
                hint="use a waveform of random complex symbols (hil waveform new ofdm)",
            )
        rest = _apart(better, axes)
        step = np.sum(image.conj() * rest, axis=1) / own
        kappa = np.clip(np.abs(kappa + step), 0, _MOST_IMAGE) * np.exp(1j * np.angle(kappa + step))
        rest = rest - step[:, None] * image
    noise = np.sum(np.abs(rest) ** 2, axis=1) / (n - len(axes) - 1)
    lasting = np.zeros(len(x)) if period is None else _recurring(rest, noise, period, turn_rad)
    periods = 1 if period is None else n // period
    half = 0.5 * turn_rad * (period or 0)  # from period to period against DC; the image turns the other way
    iq_lasting = np.sqrt(lasting / (2 * own)) * _kept(2 * half, periods)
    alone = 1 / max(
        float(np.sum(np.abs(solve[:, -1]) ** 2)), 1e-300
    )  # of a constant, what no tap can take up
    dc_lasting = np.sqrt(lasting / (2 * alone)) * _kept(half, periods)
    return IqBalance(
        iq_image=kappa,
        dc_offset=np.mean(x - clean - kappa[:, None] * clean.conj(), axis=1),
        iq_sigma=np.hypot(np.sqrt(noise / (2 * own)), iq_lasting),
        dc_sigma=np.hypot(np.sqrt(noise / (2 * alone)), dc_lasting),
        n_samples=n,
        iq_lasting=iq_lasting,
        dc_lasting=dc_lasting,
    )


def combined(parts: Sequence[IqBalance]) -> IqBalance:
    """Weighted mean of estimates from several stretches; they must not differ by more than their sigmas say.

    What lasts does not average out. Raises ShapeError : no parts.
    """
    if not parts:
        raise ShapeError("no estimates to combine")
    if len(parts) == 1:
        return parts[0]
    iq, iq_sigma, iq_chi = _mean([(p.iq_image, p.iq_sigma, p.iq_lasting) for p in parts])
    dc, dc_sigma, dc_chi = _mean([(p.dc_offset, p.dc_sigma, p.dc_lasting) for p in parts])
    return IqBalance(
        iq, dc, iq_sigma, dc_sigma, sum(p.n_samples for p in parts), chi_square=max(iq_chi, dc_chi),
        iq_lasting=np.min([p.iq_lasting for p in parts], axis=0),
        dc_lasting=np.min([p.dc_lasting for p in parts], axis=0),
    )  # fmt: skip


def _mean(parts: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> tuple[Any, Any, float]:
    """(mean, sigma, chi square per degree of freedom) of (value, sigma, lasting part of sigma) (M,)."""
    value = np.stack([p[0] for p in parts])
    lasting = np.stack([p[2] for p in parts])
    weight = 1 / np.maximum(np.stack([p[1] for p in parts]) ** 2 - lasting**2, 1e-30)
    mean = np.sum(weight * value, axis=0) / np.sum(weight, axis=0)
    free = 2 * (len(parts) - 1)
    chi = np.sum(weight * np.abs(value - mean) ** 2, axis=0) / free
    excess = np.where(chi > 1 + _CHANCE * np.sqrt(2 / free), chi, 1.0)
    lasts = np.sum(weight * lasting, axis=0) / np.sum(weight, axis=0)
    return mean, np.hypot(np.sqrt(excess / np.sum(weight, axis=0)), lasts), float(np.mean(chi))


def _recurring(
    rest: NDArray[np.complex128], noise: NDArray[np.float64], period: int, turn_rad: float
) -> NDArray[np.float64]:
    """(M,) what has to be added to the noise power for the part of `rest` (M, n) that every period repeats."""
    count = rest.shape[1] // period
    if count < 2:
        return np.zeros(len(rest))
    at = np.arange(count * period)
    folded = (rest[:, : count * period] * np.exp(-1j * turn_rad * at)).reshape(len(rest), count, period)
    seen = count * np.mean(np.abs(folded.mean(axis=1)) ** 2, axis=1)
    return np.where(seen > noise * (1 + _CHANCE / np.sqrt(period)), seen - noise, 0.0)


def _kept(half_rad: float, count: int) -> float:
    """Length of the mean of `count` phasors that turn by 2 half_rad from one to the next."""
    one = abs(np.sin(half_rad))
    return min(float(abs(np.sin(count * half_rad)) / (count * one)), 1.0) if one > 1e-9 else 1.0


def _apart(rows: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
    """Rows (M, n) less their projection on the orthonormal rows of `axes`."""
    return rows - (rows @ axes.conj().T) @ axes
