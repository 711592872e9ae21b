"""IQ image and DC offset of every channel from a known waveform.

    x[n] = z[n] + k z*[n] + dc + noise,   z = sum_l h[l] w[n - l]

w is the waveform as it was sent, h the channel's few taps. Least squares on w, w* and a constant (widely linear
regression, Picinbono and Chevalier 1995): the image is what follows w*. Nothing is assumed about the statistics of
w, so short periods that are not circular do no harm, as they do to E[x^2] / (2 E|x|^2).
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class IqBalance:
    """Estimate of M channels.

    Attributes
    ----------
    iq_image, dc_offset : (M,) complex128 as in `Impairments`; dc_offset in the unit of the samples.
    iq_sigma, dc_sigma : (M,) float64, one standard deviation of the real and of the imaginary part.
    n_samples : used per channel.
    """

    iq_image: NDArray[np.complex128]
    dc_offset: NDArray[np.complex128]
    iq_sigma: NDArray[np.float64]
    dc_sigma: NDArray[np.float64]
    n_samples: int


def iq_balance(
    samples: NDArray[np.complexfloating],
    reference: NDArray[np.complexfloating],
    *,
    taps: tuple[int, int] = (-4, 12),
) -> IqBalance:
    """Image and DC of samples (M, N) that hold the waveform `reference` (N,) behind short channels.

    Parameters
    ----------
    samples : (M, N) complex, full scale 1.
    reference : (N,) complex, the waveform as it would arrive with delay zero: the period repeated, turned by the
        carrier offset if there is one.
    taps : first and last tap of the channels in samples.

    Raises
    ------
    ShapeError : wrong shapes, or too few samples for the taps.
    NotIdentifiable : the waveform and its conjugate cannot be told apart (a real waveform, or silence).
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
    shifted = np.stack([w[last - tap : last - tap + n] for tap in range(first, last + 1)])
    x = np.asarray(x[:, last : last + n], np.complex128)
    basis = np.concatenate((shifted, np.ones((1, n))))
    power, turn = np.linalg.eigh(basis @ basis.conj().T)
    if not np.any(w):
        raise NotIdentifiable("the waveform is silent", parameters=("iq_image",))
    kept = power > _EMPTY * power[-1]
    axes = (turn[:, kept] / np.sqrt(power[kept])).T.conj() @ basis  # orthonormal rows
    solve = (turn[:, kept] / np.sqrt(power[kept])).T.conj()
    kappa, own, noise = np.zeros(len(x), np.complex128), np.ones(len(x)), np.ones(len(x))
    clean = x
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
        noise = np.sum(np.abs(rest - step[:, None] * image) ** 2, axis=1) / (n - len(axes) - 1)
    dc = np.mean(x - clean - kappa[:, None] * clean.conj(), axis=1)
    return IqBalance(
        iq_image=kappa,
        dc_offset=dc,
        iq_sigma=np.sqrt(noise / (2 * own)),
        dc_sigma=np.sqrt(noise / (2 * n)),
        n_samples=n,
    )


def _apart(rows: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
    """Rows (M, n) less their projection on the orthonormal rows of `axes`."""
    return rows - (rows @ axes.conj().T) @ axes
