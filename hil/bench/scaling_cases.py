"""What grows in `hil bench scaling`: each case makes the work of one size, to be timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.tracking.tracker import Tracker
from drivers.convert import wire_to_complex
from hil.core.geometry import ArrayGeometry, ula
from hil.core.impairments import ideal
from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import AngleDelayMapper, subcarrier_frequencies
from hil.dsp.covariance import block_covariances, sample_covariance
from hil.dsp.doa import DoaFinder
from hil.dsp.response import calibrated_response
from hil.learning.batch import learn_batch
from hil.learning.observe import BLOCK_SNAPSHOTS, CovarianceBatch
from hil.learning.settings import LearnSettings

_FC_HZ = 2.45e9
_FS_HZ = 2.5e6
_SUPPORT_DEG = (-60.0, 60.0)
_BLOCK = 4096
Work = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Growth:
    """what : is timed. size : what grows. sizes : ascending. theory : exponent of the time, why : where it comes from.
    make : size -> the work. quick : how many of the sizes `--quick` takes, from the smallest. once : too long for rounds."""

    what: str
    size: str
    sizes: tuple[int, ...]
    theory: float
    why: str
    make: Callable[[int], Work]
    quick: int = 4
    once: bool = False


def _positions(m: int) -> NDArray[np.float64]:
    return ula(m, 0.5 * SPEED_OF_LIGHT_M_S / _FC_HZ).positions_m


def _samples(m: int, n: int, k: int = 1) -> NDArray[np.complex64]:
    rng = np.random.default_rng(m * n + k)
    a = steering_vectors(_positions(m), _FC_HZ, np.deg2rad(np.linspace(-50, 50, k) if k > 1 else [11.3]))
    parts = rng.standard_normal((2, m + k, n), np.float32)
    both = parts[0] + 1j * parts[1]
    return (a.astype(np.complex64) @ both[:k] + 0.1 * both[k:]).astype(np.complex64)


def _music(m: int, n: int = 256, g: int = 721, k: int = 1) -> Work:
    x, finder = _samples(m, n, k), DoaFinder(_positions(m), _FC_HZ, np.linspace(-90.0, 90.0, g))
    return lambda: finder.find(sample_covariance(x), k)


def _covariance(m: int, n: int) -> Work:
    x = _samples(m, n)
    return lambda: sample_covariance(x)


def _map(m: int, side: int) -> Work:
    spacing_hz = 240e3
    f = subcarrier_frequencies(256, spacing_hz)
    angles, delays = np.linspace(-60, 60, side), np.linspace(0, 0.99 / spacing_hz, side)
    mapper = AngleDelayMapper(calibrated_response(_positions(m), _FC_HZ, None), f, angles, delays)
    y = _samples(m, 256)
    return lambda: mapper(y)


def _wire(boards: int) -> Work:
    wire = np.random.default_rng(boards).integers(-2047, 2047, (1 << 16, 4 * boards, 2), dtype=np.int16)
    out = np.empty((4 * boards, 1 << 16), np.complex64)
    return lambda: wire_to_complex(wire, 12, out)


def _recording(blocks: int) -> Work:
    """Wire samples of 4 channels to a direction a block, piece by piece as a file is read."""
    wire = np.random.default_rng(1).integers(-2047, 2047, (16 * _BLOCK, 4, 2), dtype=np.int16)
    out, finder = np.empty((4, 16 * _BLOCK), np.complex64), DoaFinder(_positions(4), _FC_HZ)

    def work() -> None:
        for _ in range(blocks // 16):
            wire_to_complex(wire, 12, out)
            for r in block_covariances(out, _BLOCK):
                finder.find(r, 1)

    return work


def hops(m: int, n_blocks: int) -> tuple[CovarianceBatch, ArrayGeometry, NDArray[np.complex128]]:
    """Blocks of an emitter that hops every ten, seen by a line with unknown gains (M,), which are returned too."""
    rng = np.random.default_rng(m + n_blocks)
    geometry = ula(m, 0.5 * SPEED_OF_LIGHT_M_S / _FC_HZ)
    gain = np.exp(1j * rng.uniform(-np.pi, np.pi, m)).astype(np.complex128)
    gain *= rng.uniform(0.8, 1.2, m)
    covariance = np.empty((n_blocks, m, m), np.complex128)
    for low in range(0, n_blocks, 10):
        count = min(10, n_blocks - low)
        a = (
            gain
            * steering_vectors(geometry.positions_m, _FC_HZ, np.deg2rad([rng.uniform(*_SUPPORT_DEG)]))[:, 0]
        )
        parts = rng.standard_normal((2, count, m + 1, BLOCK_SNAPSHOTS))
        both = parts[0] + 1j * parts[1]
        x = a[:, None] * both[:, :1] + 0.1 * both[:, 1:]
        covariance[low : low + count] = x @ x.conj().transpose(0, 2, 1) / BLOCK_SNAPSHOTS
    first = np.arange(n_blocks, dtype=np.int64) * round(_FS_HZ / 1000)
    return CovarianceBatch(covariance, first, BLOCK_SNAPSHOTS, _FS_HZ), geometry, gain


def _follow(m: int) -> Work:
    batch, geometry, gain = hops(m, 20)
    impairments = replace(ideal(m), gain=gain)
    tracker = Tracker(impairments, geometry, _FC_HZ, 1, BLOCK_SNAPSHOTS, support_deg=_SUPPORT_DEG)
    return lambda: tracker.follow(batch.covariance)


def _learn(m: int, n_blocks: int) -> Work:
    batch, geometry, _ = hops(m, n_blocks)
    settings = LearnSettings(support_deg=_SUPPORT_DEG)
    return lambda: learn_batch(batch, geometry, _FC_HZ, settings)


CASES: tuple[Growth, ...] = (
    Growth("MUSIC frame", "elements", (2, 4, 8, 16, 32, 64, 128), 3, "M^3 of the eigenvectors", _music),
    Growth("MUSIC frame", "snapshots", (64, 256, 1024, 4096, 16384, 65536), 1, "N of the covariance", lambda n: _music(8, n)),
    Growth("MUSIC frame", "grid angles", (181, 361, 721, 1801, 3601, 7201), 1, "G of the spectrum", lambda g: _music(8, g=g)),
    Growth("MUSIC frame", "sources", (1, 2, 4, 8, 12), 1, "K of the subspace", lambda k: _music(16, k=k)),
    Growth("covariance", "elements", (2, 4, 8, 16, 32, 64, 128), 2, "M^2 products", lambda m: _covariance(m, 4096)),
    Growth("covariance", "snapshots", (256, 1024, 4096, 16384, 65536), 1, "N products", lambda n: _covariance(8, n)),
    Growth("angle-delay map", "elements", (4, 8, 16, 32, 64, 128), 1, "M of both products", lambda m: _map(m, 100)),
    Growth("angle-delay map", "grid points a side", (50, 100, 200, 400), 2, "cells of the map", lambda n: _map(64, n)),
    Growth("samples to complex", "boards of 4 channels", (1, 2, 4, 8), 1, "bytes", _wire),
    Growth("recording to directions", "blocks", (16, 64, 256, 1024), 1, "blocks", _recording),
    Growth("live learner's step", "elements", (4, 8, 16, 32, 64), 3, "M^3 of eigenvectors and filter", _follow),
    Growth("batch learning", "elements", (4, 8, 16, 32), 3, "M^3 of the equations", lambda m: _learn(m, 500), quick=3, once=True),
    Growth("batch learning", "blocks", (500, 1000, 2000, 4000, 8000), 1, "blocks", lambda b: _learn(8, b), quick=3, once=True),
)  # fmt: skip
