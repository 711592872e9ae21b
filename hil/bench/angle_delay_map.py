"""Angle-delay maps of 64 antennas and 256 subcarriers against the two products that they cannot do without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.bench.machine import machine_limit
from hil.bench.measure import Row, StageReport, at_most, interleaved, rows_in_microseconds
from hil.core.geometry import ula
from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import AngleDelayMapper, subcarrier_frequencies
from hil.dsp.response import calibrated_response

M, S = 64, 256
FC_HZ, SPACING_HZ = 60e9, 240e3
#: (angles, delays) of the grid.
GRIDS = ((100, 100), (720, 200))
#: (words, longest delay in seconds): what the subcarriers tell apart, and the window of targets up to 43.75 m.
WINDOWS = (("all delays", (S - 1) / (S * SPACING_HZ)), ("delays up to 292 ns", 292e-9))
_TIMES_LIMIT = 1.4
#: Largest difference to double precision, of the map's maximum, that counts as the same.
_TOLERANCE = 1e-4

Cells = NDArray[np.floating]


def run(quick: bool) -> StageReport:
    """Every way gives the same map, or the row says by how much it is wrong."""
    rows: list[Row] = []
    for angles, delays in GRIDS:
        for words, longest_s in WINDOWS:
            rows += _case(angles, delays, words, longest_s, 3 if quick else 9)
    return StageReport(
        tuple(rows),
        notes=(
            "Two products: y D and A (y D) in complex64 into arrays that are there, nothing else. Where the delays of interest "
            "fill a small subspace, ours projects into it first and needs fewer operations than those two.",
        ),
    )


def _case(n_angles: int, n_delays: int, words: str, longest_s: float, rounds: int) -> list[Row]:
    y, positions = channel()
    angles, delays = np.linspace(-60.0, 60.0, n_angles), np.linspace(0.0, longest_s, n_delays)
    f = subcarrier_frequencies(S, SPACING_HZ)
    mapper = AngleDelayMapper(calibrated_response(positions, FC_HZ, None), f, angles, delays)
    beams = steering_vectors(positions, FC_HZ, np.deg2rad(angles)).conj().T / M
    filters = np.exp(2j * np.pi * np.outer(f, delays)) / S
    want = np.abs(beams @ (y.astype(np.complex128) @ filters)) ** 2
    a, d = beams.astype(np.complex64), filters.astype(np.complex64)
    inner, outer = np.empty((M, n_delays), np.complex64), np.empty((n_angles, n_delays), np.complex64)

    def two_products() -> None:
        np.matmul(y, d, out=inner)
        np.matmul(a, inner, out=outer)

    maps: dict[str, Callable[[], Cells]] = {
        "ours": lambda: mapper(y),
        "left-to-right products": lambda: np.abs((a @ y) @ d) ** 2,
        "A @ (Y @ D)": lambda: np.abs(a @ (y @ d)) ** 2,
        "einsum, optimized": lambda: np.abs(np.einsum("am,ms,sd->ad", a, y, d, optimize=True)) ** 2,
    }
    candidates: dict[str, Callable[[], Any]] = {**maps, "two products": two_products}
    found = interleaved(candidates, rounds=rounds)
    limit_s = found["two products"].cpu_s
    flops = 8 * (M * S * n_delays + n_angles * M * n_delays)
    case = f"{n_angles} x {n_delays}, {words}"
    rows = rows_in_microseconds(case, found, machine_limit().least_s(flops, 8 * M * S))
    return [_judged(row, maps, want, limit_s) for row in rows]


def _judged(row: Row, maps: dict[str, Callable[[], Cells]], want: Cells, limit_s: float) -> Row:
    if row.who in maps:
        row = replace(row, note=wrong_by(maps[row.who](), want))
    if row.who != "ours":
        return row
    times = row.cpu_s / limit_s
    return replace(
        at_most(row, _TIMES_LIMIT, times, f"at most {_TIMES_LIMIT:g} x the two products"),
        note="; ".join(filter(None, [row.note, f"{times:.2f} x the two products"])),
        reached=row.note == "" and times <= _TIMES_LIMIT,
    )


def channel() -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """(M, S) complex64 channel of two paths in noise, and the positions (M, 3) of a half-wavelength line."""
    rng = np.random.default_rng(17)
    positions = ula(M, 0.5 * SPEED_OF_LIGHT_M_S / FC_HZ).positions_m
    f = subcarrier_frequencies(S, SPACING_HZ)
    y = 0.1 * (rng.standard_normal((M, S)) + 1j * rng.standard_normal((M, S)))
    for angle_deg, delay_s in ((-20.3, 110e-9), (31.7, 240e-9)):
        a = steering_vectors(positions, FC_HZ, np.deg2rad([angle_deg]))
        y += a * np.exp(-2j * np.pi * f * delay_s)
    return y.astype(np.complex64), positions


def wrong_by(found: Sequence[float] | Cells, want: Cells) -> str:
    """ "" for the same map within single precision, else how far it is off."""
    error = float(np.max(np.abs(np.asarray(found) - want)) / want.max())
    return "" if error < _TOLERANCE else f"off by {error:.1e} of the maximum"
