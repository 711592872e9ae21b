"""Symbols to CSI: windows of the stream, unitary DFT, reciprocal filter, levels and common phase."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hil.core.waveform import OfdmLayout
from hil.dsp.ofdm_fft import dft
from hil.dsp.ofdm_grid import CsiGrid

#: Entries of a pair of symbols from which on one pair's noise is known well.
_MANY = 64


class SymbolReader:
    """Turns windows of a stream into CSI of the read bins.

    Parameters
    ----------
    layout, grid : of the waveform. advance : samples that windows begin before the end of the prefix, so that paths
        before the delay zero fall inside, too.
    """

    def __init__(self, layout: OfdmLayout, grid: CsiGrid, advance: int) -> None:
        self._layout, self._grid = layout, grid
        self.advance = advance
        self._inverse = (1 / grid.known).astype(np.complex64)  # (n_symbols, R)
        self.weight: NDArray[np.float64] = np.abs(grid.known) ** 2
        self._bins = grid.read_bins.astype(np.float64)
        self._late: tuple[float, NDArray[np.complex64]] | None = None
        self._ramped = (np.inf, self._inverse)

    def read(
        self,
        samples: NDArray[np.complex64],
        starts: NDArray[np.int64],
        rows: NDArray[np.int64],
        late: NDArray[np.float64],
        turns: NDArray[np.float64] | None,
        offset_cycles: float,
    ) -> NDArray[np.complex64]:
        """CSI (M, B, R) complex64 of B equally spaced windows.

        samples : (M, n) complex64. starts : (B,) first sample of each window. rows : (B,) symbol of the layout.
        late : (B,) samples from the window's beginning to the body of the symbol at delay zero.
        turns : (B,) carrier phase at the windows' beginning, in turns; None: no carrier offset.
        offset_cycles : carrier offset in cycles per sample.
        """
        n_fft = self._layout.n_fft
        spacing = int(starts[1] - starts[0]) if len(starts) > 1 else n_fft
        block = samples[:, starts[0] :]
        windows = np.lib.stride_tricks.as_strided(
            block,
            (len(samples), len(starts), n_fft),
            (block.strides[0], spacing * block.strides[1], block.strides[1]),
            writeable=False,
        )
        if turns is not None and offset_cycles != 0:
            wheel = np.exp(-2j * np.pi * offset_cycles * np.arange(n_fft)).astype(np.complex64)
            windows = windows * wheel
        csi = self._grid.gather(dft(windows, unitary=True))
        csi *= self._filter(rows, late, turns)
        return csi

    def _filter(
        self, rows: NDArray[np.int64], late: NDArray[np.float64], turns: NDArray[np.float64] | None
    ) -> NDArray[np.complex64]:
        """(B, R) reciprocal of the symbols, with the ramp that moves the delay zero to the window's beginning."""
        scale = 2j * np.pi / self._layout.n_fft
        if float(np.ptp(late)) < 1e-6:
            if self._ramped[0] != late[0]:
                ramp = np.exp(scale * late[0] * self._bins)
                self._ramped = (float(late[0]), (ramp / self._grid.known).astype(np.complex64))
            out = self._ramped[1][rows]
        else:
            out = self._inverse[rows] * np.exp(scale * np.outer(late, self._bins)).astype(np.complex64)
        if turns is not None:
            out *= np.exp(-2j * np.pi * turns)[:, None].astype(np.complex64)
        return out


def pair_levels(
    csi: NDArray[np.complex64], inverse_weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.complex128], NDArray[np.complex128]]:
    """Power, noise and turning of B >= 2 consecutive symbols.

    csi : (M, B, R). inverse_weight : (B,) mean of 1 / |X|^2 over the bins, which scales the noise of a symbol.
    Returns mean power per entry of weight 1 (M,), its noise (M,), and the sums of C_b+1 conj(C_b) over channels and
    bins (B - 1,), and over channels and pairs (R,), outstanding bins held down. Unbiased: the noise is that of the
    differences, after the common phase of each pair is taken out.
    """
    power = np.einsum("mbr,mbr->mb", csi.view(np.float32), csi.view(np.float32), dtype=np.float64)
    product = csi[:, 1:] * np.conj(csi[:, :-1])
    cross = np.sum(product, axis=2, dtype=np.complex128)
    weight = even_weights(np.asarray(np.sum(np.abs(product), axis=(0, 1))))
    by_all = np.sum(product, axis=0) * weight  # (B - 1, R)
    both: NDArray[np.complex128] = np.asarray(np.sum(by_all, axis=1), np.complex128)
    size = csi.shape[2]
    turned = np.real(cross * np.exp(-1j * np.angle(both)))
    each = np.maximum(power[:, 1:] + power[:, :-1] - 2 * turned, 0)
    scale = size * (inverse_weight[1:] + inverse_weight[:-1])
    steady = np.ones(len(scale), np.bool_)
    if size * len(csi) >= _MANY:  # where the channel itself jumps, the difference is no noise
        level = np.sum(each, axis=0) / scale
        steady = level <= 3 * np.median(level)
    noise = np.sum(each[:, steady], axis=1) / np.sum(scale[steady])
    mean = np.mean(power, axis=1) / size
    # the pair's phase was fitted to the data: one of 2 M R degrees of freedom
    noise = noise / (1 - 0.5 / (size * len(csi)))
    by_bin: NDArray[np.complex128] = np.asarray(np.sum(by_all, axis=0), np.complex128)
    return mean - noise * (float(np.mean(inverse_weight)) - 1), noise, both, by_bin


def even_weights(level: NDArray[np.floating]) -> NDArray[np.float32]:
    """(R,) weights that hold bins of more than four times the median level down to that: another carrier."""
    limit = 4 * float(np.median(level))
    return np.minimum(1.0, limit / np.maximum(level, max(limit, 1e-30))).astype(np.float32)


def mean_turning(by_bin: NDArray[np.complex128]) -> tuple[float, float]:
    """(mean turning from symbol to symbol in radians, its standard deviation as the bins show it).

    A few strong bins, as those of another carrier, disagree with the rest and make the deviation large.
    """
    total = complex(np.sum(by_bin))
    if abs(total) == 0 or len(by_bin) < 2:
        return 0.0, np.pi
    turn = float(np.angle(total))
    aside = np.imag(by_bin * np.exp(-1j * turn))
    return turn, float(np.sqrt(np.sum(aside**2))) / abs(total)


def averaged(
    csi: NDArray[np.complex64], weight: NDArray[np.float64], phase: NDArray[np.float64] | None, a: int
) -> NDArray[np.complex64]:
    """Means (M, B / a, R) of `a` symbols each of CSI (M, B, R), weighted as least squares does.

    weight : (B, R) |X|^2 of the symbols. phase : (B,) common phase of the symbols in radians, taken out relative to
    the first symbol of each mean; None: none.
    """
    m, count, size = csi.shape
    if phase is not None and np.any(phase):
        level = phase - np.repeat(phase[::a], a)
        csi = csi * np.exp(-1j * level).astype(np.complex64)[:, None]
    if float(np.ptp(weight)) < 1e-6:
        return csi.reshape(m, count // a, a, size).mean(axis=2)
    small = weight.astype(np.float32)
    total = small.reshape(count // a, a, size).sum(axis=1)
    return (csi * small).reshape(m, count // a, a, size).sum(axis=2) / total
