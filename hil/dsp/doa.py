"""Directions of arrival: Bartlett, Capon and MUSIC spectra on any geometry, and continuous peaks.

Each spectrum comes from a cost that is smooth in the angle and smallest at a source,

    MUSIC     D = 1 - ||U_s^H a||^2 / ||a||^2      (Schmidt 1986; spectrum 1 / D)
    Capon     a^H R^-1 a / ||a||^2                 (Capon 1969; spectrum its inverse)
    Bartlett  -a^H R a / ||a||^2                   (spectrum -cost)

so peaks are searched on the cost, which stays a parabola where 1 / D becomes a needle: on the grid in single
precision, between its points in double (`hil.dsp.doa_search`). Which minima are deepest is decided between grid points,
where D = ||a - U_s U_s^H a||^2 / ||a||^2 is formed before it is squared: 1 - ||U_s^H a||^2 holds no needle of 60 dB.
`find` of MUSIC is compiled where a program has prepared that (`hil.core.compiled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import get_lapack_funcs

from hil.core import compiled
from hil.core.calibration import Calibration
from hil.core.errors import ShapeError
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa_compiled import CompiledMusic
from hil.dsp.doa_search import SearchGrid, candidates, parabola, refine, unit_columns, wrapped_deg
from hil.dsp.response import ArrayLikeResponse, ArrayResponse, array_response, calibrated_response

Method = Literal["music", "capon", "bartlett"]

_COMPLEX = np.dtype(np.complex128)
#: D of float64 is not known better than this.
_SMALLEST_COST = 1e-15
#: From here on the top eigenvectors alone are cheaper than all (measured).
_SUBSET_FROM_ELEMENTS = 12
#: Single precision ranks grid points safely while a step changes D by far more than 1e-7: D ~ (step / beam)^2.
_SINGLE_STEPS_PER_BEAM = 300
#: Blocks whose costs are held at a time.
_BLOCKS = 64


def music_spectrum(
    samples: NDArray[np.complexfloating],
    positions_m: ArrayLike,
    fc_hz: float,
    angles_deg: ArrayLike,
    n_sources: int,
    calibration: Calibration | None = None,
) -> NDArray[np.float64]:
    """MUSIC pseudospectrum 1 / (1 - ||U_s^H a||^2 / ||a||^2) of one block (Schmidt 1986).

    Parameters
    ----------
    samples : (M, N) complex, as received (a calibration's gains and coupling are in its steering vectors).
    positions_m : (M, 3) float64, metres, the nominal array.
    fc_hz : carrier in Hz.
    angles_deg : (G,) broadside angles (line on x) or azimuths from +y towards +x, degrees.
    n_sources : K, 1 to M - 1.
    calibration : learned errors of this array; None for the nominal manifold.

    Returns
    -------
    (G,) float64, at least 1.

    Raises
    ------
    ShapeError : shapes that do not fit, or K out of range. CalibrationMismatch : another array's calibration.
    """
    response = calibrated_response(positions_m, fc_hz, calibration)
    finder = DoaFinder(response, fc_hz, np.atleast_1d(np.asarray(angles_deg, np.float64)))
    return finder.spectrum(sample_covariance(samples), n_sources)


def find_doas(
    covariance: NDArray[np.complexfloating],
    array: ArrayLikeResponse | ArrayResponse,
    fc_hz: float | None,
    n_sources: int,
    grid_deg: ArrayLike | None = None,
    *,
    method: Method = "music",
) -> NDArray[np.float64]:
    """Angles of the `n_sources` highest peaks in degrees, highest first; see `DoaFinder.find`."""
    return DoaFinder(array, fc_hz, grid_deg, method=method).find(covariance, n_sources)


class DoaFinder:
    """Spectra and peaks of many covariances of one array on one grid (the steering is computed once).

    Parameters
    ----------
    array : geometry, (M, 3) positions in metres, calibration, steering function (G,) degrees -> (M, G),
        or ArrayResponse.
    fc_hz : carrier in Hz; may be None for a calibration or a function.
    grid_deg : (G,) ascending angles in degrees; None: the array's default grid. A grid that goes once round
        is searched across the wrap. A line is unique on -90..90 only: `find` leaves the rest out.
    method : "music", "capon" or "bartlett".
    elevation_deg : elevation at which azimuths are searched.
    refine : False leaves peaks on the grid.
    """

    def __init__(
        self,
        array: ArrayLikeResponse | ArrayResponse,
        fc_hz: float | None = None,
        grid_deg: ArrayLike | None = None,
        *,
        method: Method = "music",
        elevation_deg: float = 0.0,
        refine: bool = True,
    ) -> None:
        if method not in ("music", "capon", "bartlett"):
            raise ShapeError(f"method {method!r}: one of music, capon, bartlett")
        response = array if isinstance(array, ArrayResponse) else array_response(array, fc_hz, elevation_deg)
        grid = response.grid_deg() if grid_deg is None else np.asarray(grid_deg, np.float64)
        if grid.ndim != 1 or len(grid) < 1 or not np.all(np.isfinite(grid)):
            raise ShapeError(f"grid_deg: {grid.shape}, expected (G,) finite angles")
        self.response = response
        self.method: Method = method
        self.grid_deg = grid
        self.refine = refine
        self._unit_steering = unit_columns(response.steering(grid))
        self._search: SearchGrid | None = None
        self._compiled: CompiledMusic | None = None

    @property
    def n_elements(self) -> int:
        """M."""
        return self._unit_steering.shape[0]

    def spectrum(self, covariance: NDArray[np.complexfloating], n_sources: int = 1) -> NDArray[np.float64]:
        """Spectrum over the grid, (G,) float64, or (B, G) for covariances (B, M, M)."""
        r, batched = self._checked(covariance)
        cost = self._cost_on_grid(self._rows(r, n_sources))
        if self.method == "bartlett":
            out = -cost
        else:
            out = 1.0 / np.maximum(cost, _SMALLEST_COST)
        return out if batched else out[0]

    def find(self, covariance: NDArray[np.complexfloating], n_sources: int) -> NDArray[np.float64]:
        """Angles in degrees of the highest `n_sources` peaks of one covariance (M, M), highest first.

        Peaks are strict local maxima inside the grid, refined on the continuous manifold (far below 1e-4
        degrees for a noise-free source). Fewer come back where the spectrum has fewer; none is made up.
        """
        if self.method == "music":
            fast = self._compiled or self._compile()
            if fast is not None:
                return self._find_compiled(fast, covariance, n_sources)
        return self._find_plainly(np.asarray(covariance)[None], n_sources)[0]

    def find_many(
        self, covariances: NDArray[np.complexfloating], n_sources: int
    ) -> list[NDArray[np.float64]]:
        """`find` for covariances (B, M, M); one array of at most `n_sources` angles per block."""
        if self.method == "music":
            fast = self._compiled or self._compile()
            if fast is not None:
                r, _ = self._checked(covariances)
                return [self._find_compiled(fast, one, n_sources) for one in r]
        return self._find_plainly(covariances, n_sources)

    def _compile(self) -> CompiledMusic | None:
        kernel = compiled.kernel("doa")
        if kernel is None:
            return None
        search = self._search_grid()
        self._compiled = CompiledMusic(kernel, self.response.steering, search, self.refine)
        return self._compiled

    def _find_compiled(
        self, fast: CompiledMusic, covariance: NDArray[np.complexfloating], n_sources: int
    ) -> NDArray[np.float64]:
        m = self.n_elements
        r: Any = covariance
        if not (
            type(r) is np.ndarray
            and r.shape == (m, m)
            and r.dtype == _COMPLEX
            and r.flags.c_contiguous
            and r.flags.aligned
        ):
            r = np.ascontiguousarray(self._checked(np.asarray(covariance)[None])[0][0])
        if not 1 <= n_sources < m:
            raise _too_many(n_sources, m)
        found = fast.find(r, n_sources)
        if found is not None:
            return found
        rows = self._rows(r[None], n_sources)
        found = fast.find_in_subspace(rows[0])
        return self._find_some(rows, n_sources)[0] if found is None else found

    def _find_plainly(
        self, covariances: NDArray[np.complexfloating], n_sources: int
    ) -> list[NDArray[np.float64]]:
        r, _ = self._checked(covariances)
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(r), _BLOCKS):
            found += self._find_some(self._rows(r[first : first + _BLOCKS], n_sources), n_sources)
        return found

    def _find_some(self, rows: NDArray[np.complex128], n_sources: int) -> list[NDArray[np.float64]]:
        search = self._search_grid()
        cost = self._cost(search.power(rows))
        told = [candidates(c, n_sources, search.periodic) for c in cost]
        untold = [b for b, t in enumerate(told) if t is None]
        if untold:
            cost = cost.astype(np.float64)
            cost[untold] = self._cost(search.power(rows[untold], double=True))
            for b in untold:
                told[b] = candidates(cost[b], n_sources, search.periodic)
        peaks = [t for t in told if t is not None]
        n_found = [len(p) for p in peaks]
        if not sum(n_found):
            return [np.empty(0) for _ in rows]
        if len(rows) == 1:
            angle, height = self._refined(rows[0], cost, peaks[0])
            return [angle[height.argsort(kind="stable")[:n_sources]]]
        block = np.repeat(np.arange(len(rows)), n_found)
        angle, height = self._refined(rows[block], cost[block], np.concatenate(peaks))
        ordered = np.split(angle[np.lexsort((height, block))], np.cumsum(n_found)[:-1])
        return [a[:n_sources] for a in ordered]

    def _refined(
        self, rows: NDArray[np.complex128], cost: NDArray[Any], index: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Angles (P,) of peaks and the cost there; rows (K, M) of all, or (P, K, M) of each."""
        search = self._search_grid()
        costs = np.broadcast_to(cost, (len(index), cost.shape[1]))
        if not self.refine:
            angles = search.grid_deg[index]
            height = parabola(costs, index, search.grid_deg, search.periodic)[1]
            return (wrapped_deg(angles) if search.periodic else angles), height

        def exact_cost(theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
            unit = unit_columns(self.response.steering(theta_deg.ravel()))
            if rows.ndim == 3:
                unit = unit.reshape(-1, *theta_deg.shape).transpose(1, 0, 2)
            product = rows @ unit
            if self.method != "music":
                return self._cost(_power(product, -2)).reshape(theta_deg.shape)
            cost = _power(unit - rows.conj().swapaxes(-1, -2) @ product, -2)
            return np.where(_power(unit, -2) > 0.0, cost, 1.0).reshape(theta_deg.shape)

        return refine(exact_cost, costs, index, search.grid_deg, search.periodic)

    def _checked(self, covariance: NDArray[np.complexfloating]) -> tuple[NDArray[np.complex128], bool]:
        r = np.asarray(covariance, np.complex128)
        m = self.n_elements
        if r.ndim not in (2, 3) or r.shape[-2:] != (m, m):
            raise ShapeError(f"covariance: shape {r.shape}, expected (M, M) with M = {m} elements")
        return (r, True) if r.ndim == 3 else (r[None], False)

    def _rows(self, r: NDArray[np.complex128], n_sources: int) -> NDArray[np.complex128]:
        """W (B, rows, M) such that the cost is a function of ||W a||^2 / ||a||^2."""
        m = r.shape[-1]
        if self.method == "music":
            if not 1 <= n_sources < m:
                raise _too_many(n_sources, m)
            return signal_subspace(r, n_sources).conj().swapaxes(-1, -2)
        if n_sources < 1:
            raise ShapeError(f"n_sources = {n_sources}: at least 1")
        values, vectors = np.linalg.eigh(r)
        values = np.maximum(values, 1e-12 * np.maximum(values[:, -1:], np.finfo(float).tiny))
        scale = values**0.5 if self.method == "bartlett" else values**-0.5
        return (scale[:, :, None] * vectors.conj().swapaxes(-1, -2)).astype(np.complex128, copy=False)

    def _cost(self, power: NDArray[Any]) -> NDArray[Any]:
        if self.method == "music":
            return 1.0 - power
        return power if self.method == "capon" else -power

    def _cost_on_grid(self, rows: NDArray[np.complex128]) -> NDArray[np.float64]:
        b, k, m = rows.shape
        product = rows.reshape(b * k, m) @ self._unit_steering
        power = product.real**2 + product.imag**2
        return self._cost(power.reshape(b, k, -1).sum(axis=1))

    def _search_grid(self) -> SearchGrid:
        if self._search is None:
            # Peaks that stay on the grid are ranked by its costs alone: in double precision.
            beam = self.response.beamwidth_deg if self.method == "music" and self.refine else None
            least_step = 0.0 if beam is None else beam / _SINGLE_STEPS_PER_BEAM
            self._search = SearchGrid(
                self.grid_deg, self.response.limits_deg, self._unit_steering, least_step
            )
        return self._search


def _power(x: NDArray[np.complex128], axis: int) -> NDArray[np.float64]:
    return (x.real**2 + x.imag**2).sum(axis=axis)


def _too_many(n_sources: int, m: int) -> ShapeError:
    return ShapeError(f"n_sources = {n_sources}: {m} elements can separate 1 to {m - 1}")


def signal_subspace(covariance: NDArray[np.complex128], n_sources: int) -> NDArray[np.complex128]:
    """Eigenvectors of the `n_sources` largest eigenvalues, (M, K), or (B, M, K) for (B, M, M)."""
    r = np.asarray(covariance, np.complex128)
    m = r.shape[-1]
    if m < _SUBSET_FROM_ELEMENTS:
        return np.linalg.eigh(r)[1][..., m - n_sources :]
    flat = r.reshape(-1, m, m)
    out = np.empty((len(flat), m, n_sources), np.complex128)
    (heevr,) = get_lapack_funcs(("heevr",), (flat,))
    for b, one in enumerate(flat):
        _, vectors, _, _, info = heevr(one, range="I", il=m - n_sources + 1, iu=m, lower=1)
        if info != 0:
            raise np.linalg.LinAlgError(f"heevr: info {info}")
        out[b] = vectors[:, :n_sources]
    return out.reshape(*r.shape[:-1], n_sources)


def assign_errors_deg(
    found_deg: Sequence[float] | NDArray[np.float64], true_deg: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Errors found - true in degrees (wrapped), paired so that their squares sum to the least.

    (k,) float64 with k = min(lengths), in the order of `true_deg`; a true angle without an estimate is absent.
    """
    from scipy.optimize import linear_sum_assignment

    found, true = np.asarray(found_deg, np.float64), np.asarray(true_deg, np.float64)
    error = wrapped_deg(found[None, :] - true[:, None])
    row, column = linear_sum_assignment(error**2)
    return error[row, column]
