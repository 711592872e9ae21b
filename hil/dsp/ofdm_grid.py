"""From bins of the DFT to columns of the CSI: which subcarriers, their inverse symbols, and the carrier's gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.waveform import OfdmLayout

_NEIGHBOURS = 8


class CsiGrid:
    """The uniform, ascending columns of the CSI of a layout.

    Bins between the first and the last subcarrier that are not sent (DC) are interpolated from eight neighbours on
    each side by the linear estimate of least mean square error for delays spread evenly from -cp/4 to cp, so that the
    gap looks like the rest of the band for every delay that the prefix allows.

    Parameters
    ----------
    layout : of the waveform.
    select : columns (of `layout.columns`) to keep, ascending and equally spaced; None: all.

    Attributes
    ----------
    columns : (S',) int64 bins. interpolated : (S',) bool. spacing_hz : between columns.

    Raises
    ------
    ConfigError : a selection that is not uniform or not inside.
    """

    def __init__(self, layout: OfdmLayout, select: Sequence[int] | NDArray[np.int64] | None = None) -> None:
        self._layout = layout
        everything = layout.columns
        if select is None:
            columns = everything
        else:
            columns = np.asarray(select, dtype=np.int64)
            steps = np.diff(columns)
            uniform = len(steps) == 0 or (steps[0] > 0 and np.all(steps == steps[0]))
            if (
                columns.ndim != 1
                or len(columns) == 0
                or not uniform
                or not np.all(np.isin(columns, everything))
            ):
                raise ConfigError(
                    "not an ascending, equally spaced selection of the subcarriers",
                    where="subcarriers",
                    hint=f"of {everything[0]}..{everything[-1]} in steps of {layout.step}",
                )
        self.columns: NDArray[np.int64] = columns
        step = int(columns[1] - columns[0]) if len(columns) > 1 else layout.step
        self.spacing_hz = step * layout.spacing_hz
        self.interpolated: NDArray[np.bool_] = ~np.isin(columns, layout.subcarriers)
        # the neighbours of a gap are read, too, if they are not selected
        used = set(columns[~self.interpolated].tolist())
        self._gaps: list[tuple[int, NDArray[np.int64], NDArray[np.complex128]]] = []
        for gap in columns[self.interpolated].tolist():
            order = np.argsort(np.abs(layout.subcarriers - gap), kind="stable")
            near = np.sort(layout.subcarriers[order[: 2 * _NEIGHBOURS]])
            used |= set(near.tolist())
            self._gaps.append((gap, near, _weights(near - gap, layout)))
        self._read = np.array(sorted(used), dtype=np.int64)
        at = np.searchsorted(layout.subcarriers, self._read)
        self.known: NDArray[np.complex128] = layout.grid[:, at]  # (n_symbols, R)
        self._runs = _runs(self._read % layout.n_fft)
        self._place = np.searchsorted(self.columns, self._read[np.isin(self._read, self.columns)])
        self._taken = np.isin(self._read, self.columns)
        self._plain = len(self._gaps) == 0

    @property
    def read_bins(self) -> NDArray[np.int64]:
        """(R,) bins whose symbols are divided out: the columns that are sent, and neighbours of gaps."""
        return self._read

    def gather(self, spectrum: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Bins (..., n_fft) of a DFT to the read ones (..., R), ascending in frequency."""
        out = np.empty((*spectrum.shape[:-1], len(self._read)), np.complex64)
        for at, first, n in self._runs:
            out[..., at : at + n] = spectrum[..., first : first + n]
        return out

    def fill(self, csi: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """CSI (..., R) of the read bins to the columns (..., S')."""
        if self._plain:
            return csi
        out = np.empty((*csi.shape[:-1], len(self.columns)), np.complex64)
        out[..., self._place] = csi[..., self._taken]
        for gap, near, weights in self._gaps:
            at = np.searchsorted(self._read, near)
            out[..., int(np.searchsorted(self.columns, gap))] = csi[..., at] @ weights.astype(np.complex64)
        return out


def _weights(distance: NDArray[np.int64], layout: OfdmLayout) -> NDArray[np.complex128]:
    """Weights (W,) that estimate the middle from bins at these distances, delays even over -cp/4..cp."""
    spread = max(1.25 * layout.cp_samples, 0.05 * layout.n_fft)
    middle = 0.375 * spread / 1.25

    def correlation(d: NDArray[np.int64]) -> NDArray[np.complex128]:
        # E H(k + d) H*(k), H = exp(-j 2 pi k tau / N), tau uniform
        turn = np.exp(-2j * np.pi * d * middle / layout.n_fft)
        return (np.sinc(d * spread / layout.n_fft) * turn).astype(np.complex128)

    matrix = correlation(distance[:, None] - distance[None, :]) + 1e-4 * np.eye(len(distance))
    solved: Any = np.linalg.solve(matrix, correlation(distance))
    return np.conj(solved)


def _runs(bins: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(position, first bin, length) of the runs of neighbouring bins."""
    edges = np.flatnonzero(np.diff(bins) != 1) + 1
    starts = np.concatenate(([0], edges))
    ends = np.concatenate((edges, [len(bins)]))
    return [(int(a), int(bins[a]), int(b - a)) for a, b in zip(starts, ends, strict=True)]
