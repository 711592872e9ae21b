"""Sample covariances R = X X^H / N, one or many, and the averaging that coherent sources need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core import compiled
from hil.core.errors import ShapeError

_SINGLE = np.dtype(np.complex64)
#: Snapshots summed in single precision before the sum goes on in double.
_CHUNK = 4096


def sample_covariance(samples: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Sample covariance R = X X^H / N.

    Parameters
    ----------
    samples : (M, N) or (B, M, N), complex64 or complex128.

    Returns
    -------
    (M, M) or (B, M, M) complex128, exactly Hermitian. complex64 products are summed in single precision
    over at most 4096 snapshots, then in double.

    Raises
    ------
    ShapeError : not complex, another number of dimensions, or no snapshot.
    """
    x = np.asarray(samples)
    if x.ndim not in (2, 3) or not np.iscomplexobj(x) or x.shape[-1] < 1:
        raise ShapeError(f"samples: {x.dtype} {x.shape}, expected complex (M, N) or (B, M, N) with N >= 1")
    kernel = compiled.kernel("doa")
    if kernel is not None and x.ndim == 2 and x.dtype == _SINGLE and x.flags.c_contiguous and x.flags.aligned:
        out = np.empty((len(x), len(x)), np.complex128)
        kernel.covariance(x, out)
        return out
    n = x.shape[-1]
    first = x[..., :_CHUNK]
    total = (first @ first.conj().swapaxes(-1, -2)).astype(np.complex128, copy=False)
    for start in range(_CHUNK, n, _CHUNK):
        part = x[..., start : start + _CHUNK]
        total += part @ part.conj().swapaxes(-1, -2)
    out = total + total.conj().swapaxes(-1, -2)
    out *= 0.5 / n
    return out


def block_covariances(samples: NDArray[np.complexfloating], n_snapshots: int) -> NDArray[np.complex128]:
    """Covariances of consecutive blocks of `n_snapshots` snapshots, (B, M, M) complex128.

    Parameters
    ----------
    samples : (M, N) complex64 or complex128, B = N // n_snapshots; a rest shorter than a block is left out.
    n_snapshots : snapshots per block.

    Raises
    ------
    ShapeError : not complex (M, N), n_snapshots < 1, or fewer snapshots than one block.
    """
    x = np.asarray(samples)
    if x.ndim != 2 or not np.iscomplexobj(x):
        raise ShapeError(f"samples: {x.dtype} {x.shape}, expected complex (M, N)")
    m, total = x.shape
    n_blocks = total // n_snapshots if n_snapshots >= 1 else 0
    if n_blocks < 1:
        raise ShapeError(f"blocks of {n_snapshots} snapshots from {total} samples")
    blocks = x[:, : n_blocks * n_snapshots].reshape(m, n_blocks, n_snapshots)
    return sample_covariance(blocks.transpose(1, 0, 2))


def forward_backward(covariance: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    """Forward-backward average (R + J R* J) / 2, (..., M, M).

    Only for arrays whose elements lie symmetrically about their centre, in ascending order, without
    uncalibrated gains; it decorrelates two coherent sources.
    """
    r = np.asarray(covariance, np.complex128)
    return (r + r.conj()[..., ::-1, ::-1]) / 2


def spatial_smoothing(covariance: NDArray[np.complexfloating], n_sub: int) -> NDArray[np.complex128]:
    """Average over the M - n_sub + 1 subarrays of a uniform line, (..., n_sub, n_sub).

    Decorrelates up to M - n_sub + 1 coherent sources (Shan, Wax, Kailath 1985). Use it with the positions
    of the first `n_sub` elements. Raises ShapeError for a subarray larger than the array.
    """
    r = np.asarray(covariance, np.complex128)
    m = r.shape[-1]
    if not 1 <= n_sub <= m:
        raise ShapeError(f"n_sub = {n_sub}: an array of {m} elements has subarrays of 1 to {m}")
    n = m - n_sub + 1
    total = r[..., :n_sub, :n_sub].copy()
    for start in range(1, n):
        total += r[..., start : start + n_sub, start : start + n_sub]
    return total / n
