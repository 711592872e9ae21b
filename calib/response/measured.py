"""What a parametric array leaves unexplained at known angles: one ratio per element and angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.layout import Layout
from calib.model import TWO_PI
from calib.pilot.agree import Agreement
from calib.pilot.start import inside_of


@dataclass(frozen=True, slots=True)
class MeasuredResponse:
    """Seen over modelled at A known angles, channels in the receiver's order.

    angle_deg : (A,) ascending. ratio : (M, A) complex128, without the common factor of each angle. sigma : (M, A), of the
    real and of the imaginary part of log ratio, from noise. table_sigma_rad : (M, A), of its phase by the table's error,
    common to all elements but for its size. wave : (M, A) and mixing (M, M), the parametric array: a = mixing @ wave in white
    noise. gain_factor : (M,) by which the gains are to be multiplied, what is the same at all angles. seen : (M, A) unit-norm vectors of the sources there. floor, block_floor : (A,) null depth that noise
    alone explains, of all blocks together and of one.
    """

    angle_deg: NDArray[np.float64]
    ratio: NDArray[np.complex128]
    sigma: NDArray[np.float64]
    table_sigma_rad: NDArray[np.float64]
    wave: NDArray[np.complex128]
    mixing: NDArray[np.complex128]
    gain_factor: NDArray[np.float64]
    seen: NDArray[np.complex128]
    floor: NDArray[np.float64]
    block_floor: NDArray[np.float64]

    def part(self, keep: NDArray[np.intp]) -> MeasuredResponse:
        """Some of the angles."""
        return MeasuredResponse(
            self.angle_deg[keep], self.ratio[:, keep], self.sigma[:, keep], self.table_sigma_rad[:, keep],
            self.wave[:, keep], self.mixing, self.gain_factor, self.seen[:, keep], self.floor[keep], self.block_floor[keep],
        )  # fmt: skip


def measure(found: Agreement, layout: Layout) -> MeasuredResponse:
    """Ratios at the angles of a pilot fit, one source at a time; angles stated twice count once, the first.

    The ratio stands where files have it, at the antennas before their coupling: x = diag(g) C (a ratio).
    """
    model, lab = found.model, found.lab.turned(found.model)
    counts = np.bincount(lab.group, minlength=len(lab))
    seen = np.linalg.eigh(inside_of(lab))[1][:, :, -1]  # (G, N)
    variance = (
        np.add.reduceat(lab.variance[:, 0], np.searchsorted(lab.group, np.arange(len(lab)))) / counts**2
    )
    wave = np.exp(1j * TWO_PI * (lab.d @ model.r.T))
    modelled = model.g * (wave @ model.coupling().T)
    at_antennas = np.linalg.solve(model.coupling(), (seen / model.g).T).T / wave
    weight = np.abs(modelled) ** 2
    common = np.sum(weight * at_antennas, axis=1) / np.sum(weight, axis=1)
    ratio = at_antennas / common[:, None]
    # without coupling a constant modulus belongs to the gains; with it nothing commutes
    same = np.exp(np.mean(np.log(np.abs(ratio)), axis=0)) if not len(model.c) else np.ones(model.n_elements)
    ratio = ratio / same
    sigma = np.sqrt(variance)[:, None] / np.maximum(np.abs(seen), 1e-9)
    slope = np.einsum("nd,gd->gn", model.r - model.r.mean(axis=0), lab.slope[:, :, 0])
    table = TWO_PI * np.abs(slope) * found.sigma_rad[:, None]
    stated = np.rad2deg(lab.labels.azimuth_rad)
    angle, first = np.unique(np.asarray(np.round(stated, 6), np.float64), return_index=True)
    channel = np.argsort(layout.order)
    at = np.ix_(first, channel)
    mixing = ((model.g * same)[:, None] * model.coupling())[np.ix_(channel, channel)]
    return MeasuredResponse(
        angle, ratio[at].T, sigma[at].T, table[at].T, wave[at].T, mixing, same[channel], seen[at].T,
        (lab.dof * variance)[first], (lab.dof * variance * counts)[first],
    )  # fmt: skip
