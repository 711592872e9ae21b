"""From the wire to covariances: what every live sample costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from hil.bench.machine import machine_limit
from hil.bench.measure import Row, StageReport, at_most, interleaved
from hil.dsp.covariance import block_covariances
from hil.dsp.psd import power_spectrum

_N = 1 << 18
_SNAPSHOTS = 256
#: The live stream that the cores are stated for.
_LIVE_HZ = 2.5e6
#: Of an FMComms5 at its highest rate.
_FAST_HZ = 30.72e6


def run(quick: bool) -> StageReport:
    """int16 wire blocks to complex64, and complex64 to covariances of 256 snapshots, 4 and 8 channels."""
    rows: list[Row] = []
    limit = machine_limit()
    for m in (4, 8):
        wire = np.random.default_rng(m).integers(-2047, 2047, (_N, m, 2), dtype=np.int16)
        out = np.empty((m, _N), np.complex64)
        wire_to_complex(wire, 12, out)
        least = limit.least_s(0, _N * m * (4 + 8))
        rows += _rows(f"int16 to complex64, {m} channels", m, quick, least, {
            "ours": lambda wire=wire, out=out: wire_to_complex(wire, 12, out),
            "I + 1j * Q": lambda wire=wire: _textbook(wire),
        })  # fmt: skip
        least = limit.least_s(4 * m * m * _N, 8 * m * _N)
        rows += _rows(f"covariances of {_SNAPSHOTS} snapshots, {m} channels", m, quick, least, {
            "ours": lambda out=out: block_covariances(out, _SNAPSHOTS),
            "one product a block": lambda out=out: _one_by_one(out),
        })  # fmt: skip
        rows += _rows(f"PSD, 1024 bins, {m} channels", m, quick, None, {
            "ours": lambda out=out: power_spectrum(out[:, :65536], _LIVE_HZ),
            "scipy.signal.welch": lambda out=out: _welch(out[:, :65536]),
        }, 65536)  # fmt: skip
    return StageReport(
        tuple(rows), notes=(f"Rates are CPU rates; cores at {_LIVE_HZ / 1e6:g} MS/s a channel.",)
    )


def _rows(
    case: str,
    m: int,
    quick: bool,
    least_s: float | None,
    candidates: dict[str, Callable[[], Any]],
    n: int = _N,
) -> list[Row]:
    found = interleaved(candidates, rounds=3 if quick else 9)
    ours = found["ours"].cpu_s
    rows = []
    for who, t in found.items():
        cores = f"{_LIVE_HZ * t.cpu_s / n:.3f} cores at {_LIVE_HZ / 1e6:g} MS/s a channel"
        ratio = None if who == "ours" else t.cpu_s / ours
        rows.append(Row(case, who, n / t.cpu_s / 1e6, "MS/s a channel", t.cpu_s, t.wall_s, ratio, cores))
    if case.startswith("int16") and m == 4:
        cores = _FAST_HZ * ours / n
        rows[0] = at_most(rows[0], 0.2, cores, f"at most 0.2 cores at {_FAST_HZ / 1e6:g} MS/s a channel")
    if least_s is not None:
        rate = n / least_s / 1e6
        rows.append(Row(case, "machine limit", rate, "MS/s a channel", least_s, ratio=least_s / ours))
    return rows


def _textbook(wire: NDArray[np.int16]) -> NDArray[np.complexfloating]:
    return (wire[..., 0] + 1j * wire[..., 1]).T / 2048


def _one_by_one(x: NDArray[np.complex64]) -> list[NDArray[np.complexfloating]]:
    blocks = [x[:, i : i + _SNAPSHOTS] for i in range(0, x.shape[1], _SNAPSHOTS)]
    return [b @ b.conj().T / _SNAPSHOTS for b in blocks]


def _welch(x: NDArray[np.complex64]) -> Any:
    from scipy.signal import welch

    return welch(x, _LIVE_HZ, nperseg=1024, return_onesided=False, scaling="spectrum", detrend=False)  # pyright: ignore[reportArgumentType]
