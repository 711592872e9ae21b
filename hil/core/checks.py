"""Checked, read-only arrays for the frozen types."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hil.core.errors import ShapeError


def array(
    name: str,
    value: ArrayLike,
    dtype: DTypeLike,
    shape: tuple[int | None, ...],
    *,
    finite: bool = True,
) -> NDArray[Any]:
    """Return a read-only copy of `value` with the given dtype and shape (None: any length).

    Raises
    ------
    ShapeError : wrong number of dimensions, wrong length, not convertible, or not finite.
    """
    try:
        out = np.array(value, dtype=dtype)
    except (TypeError, ValueError) as err:
        raise ShapeError(f"{name}: not an array of {np.dtype(dtype).name}: {err}") from err
    fits = out.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(out.shape, shape, strict=True)
    )
    if not fits:
        want = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise ShapeError(f"{name}: shape {out.shape}, expected {want}")
    if finite and not np.all(np.isfinite(out)):
        raise ShapeError(f"{name}: contains values that are not finite")
    out.setflags(write=False)
    return out
