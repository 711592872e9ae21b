"""MUSIC peaks of one array by the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.dsp.doa_cells import Cells
from hil.dsp.doa_search import SearchGrid
from hil.dsp.response import Steering


class CompiledMusic:
    """What the kernels need of one array and grid.

    Parameters
    ----------
    kernel : of `hil.core.compiled`. steering : (G,) degrees -> (M, G). search : the grid. refined : False leaves peaks
        on the grid.
    """

    def __init__(self, kernel: Any, steering: Steering, search: SearchGrid, refined: bool) -> None:
        self._kernel = kernel
        self._find = kernel.find_music
        self._search_grid = search
        self._planes = search.planes()
        self._cells = Cells(steering, search.grid_deg, search.periodic)
        self._refined, self._periodic = refined, search.periodic

    def find(self, covariance: NDArray[np.complex128], n_sources: int) -> NDArray[np.float64] | None:
        """Angles (P,) in degrees of at most `n_sources` peaks of (M, M), deepest first.

        None where only LAPACK finds the subspace (`find_in_subspace` goes on), or the array cannot be followed between
        grid angles.
        """
        return self._search(covariance, False, n_sources)

    def find_in_subspace(self, rows: NDArray[np.complex128]) -> NDArray[np.float64] | None:
        """`find` where the eigenvectors are known: rows (K, M), conjugate. None as there."""
        return self._search(np.ascontiguousarray(rows), True, len(rows))

    def _search(self, matrix: NDArray[np.complex128], known: bool, k: int) -> NDArray[np.float64] | None:
        cells, planes, out = self._cells, self._planes, np.empty(k)
        while True:
            n = self._find(
                matrix, known, planes, cells.coefficients, cells.brackets, self._refined, self._periodic, out
            )
            if n == k:
                return out
            if n >= 0:
                return out[:n]
            if n <= self._kernel.NOT_MADE:
                cells.add(self._kernel.NOT_MADE - n)
            elif n == self._kernel.FLAT:
                planes = self._search_grid.planes(double=True)
            else:
                return None
