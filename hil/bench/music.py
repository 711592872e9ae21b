"""One MUSIC frame: covariance, subspace, spectrum and peaks of two sources."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from hil.bench.machine import machine_limit
from hil.bench.measure import Row, StageReport, at_least, at_most, interleaved, rows_in_microseconds
from hil.bench.music_peers import PEERS
from hil.core import compiled
from hil.core.geometry import ula
from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder, assign_errors_deg

#: (M elements, N snapshots, G grid angles)
CASES = ((4, 1024, 361), (4, 65536, 361), (8, 4096, 1801), (16, 100, 1801), (64, 256, 721))
_FC_HZ = 2.45e9
_DOAS_DEG = (-20.3, 31.7)
_SNR_DB = 15.0
_K = len(_DOAS_DEG)
#: What old packages raise under new versions of numpy.
_BROKEN = (ImportError, AttributeError, TypeError, ValueError, IndexError, KeyError, RuntimeError)


def run(quick: bool) -> StageReport:
    """Time ours and every peer on the same samples; an answer that is wrong by a grid step is noted."""
    compiled.prepare(wait=True)
    rows: list[Row] = []
    present = {name: peer for name, peer in PEERS.items() if not peer.package or _installed(peer.package)}
    missing = {name: peer.install for name, peer in PEERS.items() if name not in present}
    for m, n, g in CASES[:: 2 if quick else 1]:
        x, positions = scene(m, n)
        grid = np.linspace(-90.0, 90.0, g)
        finder = DoaFinder(positions, _FC_HZ, grid)
        on_grid = DoaFinder(positions, _FC_HZ, grid, refine=False)
        candidates: dict[str, Callable[[], Any]] = {
            "ours": lambda f=finder, x=x: f.find(sample_covariance(x), 2),
            "ours, grid only": lambda f=on_grid, x=x: f.find(sample_covariance(x), 2),
        }
        for name, peer in present.items():
            if name in missing:
                continue
            try:
                candidates[name] = peer.prepare(x, positions, _FC_HZ, grid)
                candidates[name]()
            except _BROKEN as err:
                candidates.pop(name, None)
                missing[name] = f"installed, but fails here: {type(err).__name__}: {err}"
        solver = f"LAPACK, {_K} eigenvectors"
        candidates |= {f"{solver} ({name})": solve for name, solve in _solvers(sample_covariance(x)).items()}
        found = interleaved(candidates, rounds=3 if quick else 9)
        evd_s = min(found.pop(name).cpu_s for name in list(found) if name.startswith(solver))
        case = f"{m} elements, {n} snapshots, {g} angles"
        # Hermitian covariance, eigenvectors of the two largest (about 9 M^3 real operations), spectrum.
        flops = 4 * m * m * n + 9 * m**3 + 2 * 8 * m * g
        limit_s = machine_limit().least_s(flops, 8 * m * n)
        # The limit without its own share of eigenvectors, and with what LAPACK needs for them.
        with_evd_s = machine_limit().least_s(flops - 9 * m**3, 8 * m * n) + evd_s
        peers = {name: found[name].cpu_s for name in found if name in present and present[name].package}
        best = min(peers, key=lambda name: peers[name], default="")
        for row in rows_in_microseconds(case, found, limit_s, {"limit with LAPACK EVD": with_evd_s}):
            note = _judge(candidates[row.who](), 180.0 / (g - 1)) if row.who in candidates else ""
            told = replace(row, note=note)
            if row.who == "ours":
                told = at_most(told, 2.0, row.cpu_s / with_evd_s, "at most 2 x the limit with LAPACK EVD")
            elif row.who == best:
                told = at_least(told, 4.0, row.ratio, "the best peer takes 4 times as long")
            rows.append(told)
    return StageReport(
        tuple(rows),
        missing,
        (
            "Ours refines its peaks between grid angles; the peers stay on the grid, as does `ours, grid only`.",
            "Limit with LAPACK EVD: the other operations and bytes at the machine's rates, and the fastest of LAPACK's "
            "solvers as it was measured for the eigenvectors of the two largest eigenvalues.",
            *([f"Ours in plain numpy: {compiled.why_not()}."] if compiled.kernel("doa") is None else []),
        ),
    )


def scene(m: int, n: int) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """(M, N) complex64 samples of two sources at 15 dB on a half-wavelength line, and its positions."""
    rng = np.random.default_rng(m * 1000 + n)
    positions = ula(m, 0.5 * SPEED_OF_LIGHT_M_S / _FC_HZ).positions_m
    a = steering_vectors(positions, _FC_HZ, np.deg2rad(_DOAS_DEG))
    s = rng.standard_normal((2, 2, n))
    w = rng.standard_normal((2, m, n)) * 10 ** (-_SNR_DB / 20)
    return (a @ (s[0] + 1j * s[1]) + w[0] + 1j * w[1]).astype(np.complex64), positions


def _solvers(r: NDArray[np.complex128]) -> dict[str, Callable[[], Any]]:
    """LAPACK's ways to the eigenvectors of the two largest eigenvalues."""
    m, single = len(r), r.astype(np.complex64)
    out: dict[str, Callable[[], Any]] = {"heev": lambda: np.linalg.eigh(single)}
    for name in ("heevr", "heevx"):
        (solve,) = get_lapack_funcs((name,), (single,))
        out[name] = lambda solve=solve: solve(single, range="I", il=m - _K + 1, iu=m, lower=1)
    return out


def _judge(found_deg: NDArray[np.float64], step_deg: float) -> str:
    errors = assign_errors_deg(np.atleast_1d(found_deg), _DOAS_DEG)
    if len(errors) < 2:
        return "found fewer than two sources"
    worst = float(np.max(np.abs(errors)))
    return f"off by {worst:.2g} degrees" if worst > 2 * step_deg + 0.5 else ""


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
