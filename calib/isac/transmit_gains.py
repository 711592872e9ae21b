"""Gains of the transmit chains from echoes, each channel having sent alone; and the weights that make a beam of them.

What receiver m hears of transmit channel k by way of a target at (u, tau), receivers corrected:

    Y[b, m, k, s] = alpha_b a_m(u) b_k a_k(u) exp(-j 2 pi f_s tau) + noise,   a_k(u) = exp(+j 2 pi x_k u)

The learned receive array says u; then a_m(u)^H Y conj(a_k(u)) = alpha_b b_k for every echo: one vector b up to a factor,
whatever the targets are and wherever they stand. An error of u is a ramp in b that turns the beam by the same angle.
The direct path does not show b: where the antennas couple every pair has a phase of its own. It is told from an echo
by not being a plane wave, and projected out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from hil.core.epoch import Epoch, EpochScope
from hil.core.errors import CalibrationMismatch
from hil.dsp.angle_delay_direct import noise_deviation

_POINTS_PER_CELL = 2.5
_ZOOMS = (1.0, 0.5, 0.2, 0.08, 0.03, 0.01, 4e-3, 1.5e-3)
#: A component whose best plane wave holds less than this of its energy is no echo.
_PLANE = 0.8
_MOST_DIRECT = 2
#: What is left of a delay after the direct path has been projected out, for it to be searched.
_CLEAR = 0.4
_FALSE_ALARM = 1e-4
_MOST_TARGETS = 4
#: Part of the energy of the echoes that one vector of gains may leave unexplained.
_MISFIT = 0.05
_MOST_SIGMA_DEG = 15.0
#: Weaker than this against the strongest of a block: the remainder of one that moves.
_WEAKEST = 0.01
_REFINED = 2
_SUBSPACE = 1e-4
_ROUNDS = 12
_ROW_MISFIT = 0.01
_LEAST_SHARE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class TransmitGains:
    """gain (C,) complex128 of transmit chains, of mean power 1, the first real and positive. sigma (C,) relative, of each of its two
    parts. n_echoes : used. misfit : share of their energy that the gains do not explain. epoch : in which they hold.
    """

    gain: NDArray[np.complex128]
    sigma: NDArray[np.float64]
    n_echoes: int
    misfit: float
    epoch: Epoch

    @property
    def sigma_deg(self) -> float:
        """Greatest standard deviation of a phase, degrees."""
        return float(np.rad2deg(self.sigma.max()))


def transmit_gains(
    csi: NDArray[np.complexfloating],
    frequency_hz: NDArray[np.float64],
    x: NDArray[np.float64],
    tx_x: NDArray[np.float64],
    window_s: tuple[float, float],
    epoch: Epoch,
) -> TransmitGains:
    """Gains of C transmit chains.

    Parameters
    ----------
    csi : (B, M, 2 C, S), slots 0..C-1, C-1..0 of the channels, receivers corrected, the strongest path at delay 0. frequency_hz : (S,). x : (M,) and tx_x (C,)
    learned positions along the line, wavelengths. window_s : delays to search.

    Raises
    ------
    CalibrationMismatch : no echo stands out, the receive array does not fit, or the echoes contradict each other.
    """
    data = _whitened(np.asarray(csi, np.complex128))
    search = _Search(data, np.asarray(frequency_hz, float), np.asarray(x, float), window_s)
    rows = [
        _at_rest(slots) * np.exp(-2j * np.pi * tx_x * u)
        for block in range(len(data))
        for u, slots in search.echoes(block)
    ]
    if not rows:
        raise CalibrationMismatch(
            "the transmit gains of this epoch cannot be measured: no echo stands out while each channel sends alone",
            field="transmit gains",
            hint="have a target in view, a few range bins away; lower --tx-attenuation; if it is there, the gains of the "
            "receivers in --calibration are not those of this epoch: learn them again",
        )  # fmt: skip
    return _one_vector(np.array(rows), tx_x - np.mean(tx_x), float(np.std(x)), epoch)


def beam_weights(beam: NDArray[np.complex128], gains: TransmitGains, epoch: Epoch) -> NDArray[np.complex128]:
    """(C,) what the channels must be driven with for `beam` (C,) to leave the antennas, of greatest modulus 1.

    Raises CalibrationMismatch : the gains are of another epoch.
    """
    if epoch.change_since(gains.epoch) is not EpochScope.NOTHING:
        raise CalibrationMismatch(
            f"the transmit gains are of another epoch: {epoch.cause} since then ({gains.epoch.id} -> {epoch.id})",
            field="transmit gains",
            hint="measure them again",
        )  # fmt: skip
    weights = np.asarray(beam, complex) / gains.gain
    return weights / np.max(np.abs(weights))


def _whitened(csi: NDArray[np.complex128]) -> NDArray[np.complex128]:
    b, m, c, s = csi.shape
    flat = csi.reshape(b, m * c, s)
    # one scale for all: receivers stay a known array
    return csi / float(np.sqrt(np.mean(noise_deviation(flat) ** 2)))


def _at_rest(slots: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(C,) of noise 1 from the slots (2 C,) of an echo, its Doppler shift taken out.

    conj(v_k) v_(2C-1-k) = |v_k|^2 exp(j w (2 C - 1 - 2 k)), w in radians a slot, at most a quarter turn.
    """
    c = len(slots) // 2
    there, back = slots[:c], slots[: c - 1 : -1]
    apart = 2 * c - 1 - 2 * np.arange(c)
    centre, half = 0.0, np.pi / 2
    for _ in range(5):
        trial = centre + np.linspace(-half, half, 8 * c + 1)
        match = (np.exp(-1j * np.outer(trial, apart)) @ (there.conj() * back)).real
        centre, half = float(trial[int(np.argmax(match))]), half / (3 * c)
    turn = np.exp(0.5j * centre * apart)
    return (there * turn + back / turn) / np.sqrt(2)


class _Search:
    """Echoes in data (B, M, slots, S) of noise 1, the direct path taken out."""

    def __init__(
        self,
        data: NDArray[np.complex128],
        f_hz: NDArray[np.float64],
        x: NDArray[np.float64],
        window_s: tuple[float, float],
    ) -> None:
        self.f, self.x = f_hz, x - x.mean()
        self.cell_s = 1 / (float(np.ptp(f_hz)) + float(np.diff(f_hz).min()))
        self.cell_u = 1 / max(float(np.ptp(x)), 0.5)
        # paths that are cut by the window's edge have no place of their own
        window = window_s[0] - self.cell_s, window_s[1]
        self.delays = np.arange(window[0], window[1], self.cell_s / _POINTS_PER_CELL)
        self.u = np.linspace(-1, 1, int(np.ceil(2 / self.cell_u * _POINTS_PER_CELL)) + 1)
        # all that a delay of the window can put on the subcarriers
        left, values, _ = np.linalg.svd(self._on_subcarriers(self.delays), full_matrices=False)
        self.basis = left[:, values > _SUBSPACE * values[0]]
        self.data = data @ self.basis.conj()
        self.direct = np.zeros((self.basis.shape[1], 0), complex)
        for _ in range(_MOST_DIRECT):
            if not self._direct_is_left():
                break
        cells = len(self.u) * len(self.delays)
        self.threshold = float(gammainccinv(data.shape[2], _FALSE_ALARM / cells))

    def _on_subcarriers(self, delay_s: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(S, D) of norm 1."""
        return np.exp(-2j * np.pi * np.outer(self.f, delay_s)) / np.sqrt(len(self.f))

    def _delay_vectors(self, delay_s: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(r, D) in the subspace of the window, of norm 1 but for what the direct path covers."""
        b = self.basis.conj().T @ self._on_subcarriers(delay_s)
        return b - self.direct @ (self.direct.conj().T @ b)

    def _direct_is_left(self) -> bool:
        """Whether the strongest component is no plane wave; it is projected out then."""
        flat = self.data.reshape(-1, self.data.shape[3])
        seen, tau = self.delays, 0.0
        for _ in range(2):
            b = self._delay_vectors(seen)
            clear = np.linalg.norm(b, axis=0) ** 2
            power = np.sum(np.abs(flat @ b.conj()) ** 2, axis=0) / np.maximum(clear, _CLEAR)
            tau = float(seen[int(np.argmax(power))])
            seen = tau + np.linspace(-0.5, 0.5, 41) * self.cell_s / _POINTS_PER_CELL
        at = self._delay_vectors(np.array([tau]))[:, 0]
        h = self.data @ at.conj()  # (B, M, C)
        noise = h.size / max(float(np.sum(np.abs(h) ** 2)), 1e-30)
        plane = np.abs(np.einsum("mg,bmk->bgk", self._steering(self.u).conj(), h)) ** 2
        share = float(plane.sum(axis=2).max(axis=1).sum()) / (len(self.x) * float(np.sum(np.abs(h) ** 2)))
        if share > _PLANE * (1 - noise):
            return False
        b = self._on_subcarriers(np.array([tau]))[:, 0]
        basis = self.basis.conj().T @ np.stack([b, (self.f - self.f.mean()) * b], axis=1)
        basis = np.concatenate([self.direct, basis / np.linalg.norm(basis, axis=0)], axis=1)
        self.direct = np.linalg.qr(basis)[0]
        self.data = self.data - (self.data @ self.direct.conj()) @ self.direct.T
        return True

    def _steering(self, u: NDArray[np.float64]) -> NDArray[np.complex128]:
        """(M, G)."""
        return np.exp(2j * np.pi * np.outer(self.x, u))

    def echoes(self, block: int) -> list[tuple[float, NDArray[np.complex128]]]:
        """(u, what the slots bring at it) of the targets of a block, strongest first; noise 1."""
        y = self.data[block]
        atoms: list[tuple[float, float]] = []
        rest, found = y, np.zeros((0, y.shape[1]), complex)
        least = self.threshold
        while len(atoms) < _MOST_TARGETS:
            u, tau, power = self._strongest(rest)
            if power < least:
                break
            least = max(least, _WEAKEST * power)
            atoms.append((u, tau))
            rest, found = self._without(y, atoms)
        for _ in range(_REFINED if len(atoms) > 1 else 0):
            for i, atom in enumerate(atoms):
                # what the others brought stood in the way when this one was found
                alone, _ = self._without(y, atoms[:i] + atoms[i + 1 :])
                atoms[i] = self._strongest(alone, atom)[:2]
        if len(atoms) > 1:
            found = self._without(y, atoms)[1]
        return [(u, row) for (u, _), row in zip(atoms, found, strict=True)]

    def _without(
        self, y: NDArray[np.complex128], atoms: list[tuple[float, float]]
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """(y (M, slots, r) without plane waves at (u, tau), their amplitudes (T, slots))."""
        a = self._steering(np.array([u for u, _ in atoms])) / np.sqrt(len(self.x))
        b = self._delay_vectors(np.array([tau for _, tau in atoms]))
        b /= np.linalg.norm(b, axis=0)
        columns = np.einsum("mt,st->mst", a, b).reshape(-1, len(atoms))
        flat = y.transpose(0, 2, 1).reshape(-1, y.shape[1])
        found = np.asarray(np.linalg.lstsq(columns, flat, rcond=None)[0], np.complex128)
        rest = np.asarray(flat - columns @ found, np.complex128).reshape(len(self.x), y.shape[2], -1)
        return rest.transpose(0, 2, 1), found

    def _strongest(
        self, y: NDArray[np.complex128], near: tuple[float, float] | None = None
    ) -> tuple[float, float, float]:
        """(u, tau, energy over the slots) of the strongest plane wave of y (M, slots, r), or of the one near a place."""
        us, taus = self.u, self.delays
        best = (0.0, 0.0, 0.0) if near is None else (*near, 0.0)
        for zoom in _ZOOMS[near is not None :]:
            if zoom < 1:
                us = np.clip(best[0] + np.linspace(-1, 1, 9) * zoom * self.cell_u, -1, 1)
                taus = best[1] + np.linspace(-1, 1, 9) * zoom * self.cell_s
            b = self._delay_vectors(taus)
            clear = np.sum(np.abs(b) ** 2, axis=0)
            beams = np.einsum("mg,mks->gks", self._steering(us).conj(), y)
            power = np.sum(np.abs(beams @ b.conj()) ** 2, axis=1) / np.maximum(clear, _CLEAR) / len(self.x)
            power[:, clear < _CLEAR] = 0.0
            g, d = np.unravel_index(int(np.argmax(power)), power.shape)
            best = float(us[g]), float(taus[d]), float(power[g, d])
        return best


def _one_vector(
    rows: NDArray[np.complex128], tx_x: NDArray[np.float64], aperture: float, epoch: Epoch
) -> TransmitGains:
    """The vector of which most rows (E, C), noise 1, are multiples. aperture : rms size of the receive array.

    A target that hops while the channels take turns gives a row of two places: such rows are left out.
    """
    c = rows.shape[1]
    energy = np.sum(np.abs(rows) ** 2, axis=1)
    keep = np.ones(len(rows), bool)
    for _ in range(_ROUNDS):
        b = np.linalg.svd(rows[keep], full_matrices=False)[2][0]
        left = energy - np.abs(rows @ b.conj()) ** 2
        doubt = (left - (c - 1)) / energy
        # the better half first: what is wrong must not say what is right
        limit = max(_ROW_MISFIT, float(np.median(doubt[keep])))
        now = doubt <= limit + 3 * np.sqrt(c - 1) / energy
        if np.array_equal(now, keep):
            break
        keep = now
    count = int(np.count_nonzero(keep))
    scale, right = np.linalg.svd(rows[keep], full_matrices=False)[1:]
    b = right[0] * np.exp(-1j * np.angle(right[0, 0])) * np.sqrt(c)
    strength = max(float(scale[0] ** 2) - count, 1e-12)
    misfit = max(float(energy[keep].sum()) - float(scale[0] ** 2) - (count - 1) * (c - 1), 0.0) / strength
    if misfit > _MISFIT or count < _LEAST_SHARE * len(rows):
        raise CalibrationMismatch(
            f"{len(rows)} echoes do not agree on the transmit gains: {100 * misfit:.2g} % of the energy of the best "
            f"{count} is left over",
            field="transmit gains",
            hint="positions of --calibration are wrong, targets move or hop too fast, or two stand at one distance",
        )
    # angles are off by 1/(2 pi aperture sqrt(2 strength)) in u: a ramp
    ramp = (tx_x / aperture) ** 2 / (2 * strength)
    sigma = np.sqrt(c / (2 * strength) + misfit / c) / np.maximum(np.abs(b), 1e-6)
    sigma = np.sqrt(sigma**2 + ramp)
    if float(np.rad2deg(sigma.max())) > _MOST_SIGMA_DEG:
        raise CalibrationMismatch(
            f"the echoes are too weak to measure the transmit gains: {np.rad2deg(sigma.max()):.0f} degrees",
            field="transmit gains", hint="lower --tx-attenuation, or have stronger targets in view",
        )  # fmt: skip
    return TransmitGains(b, sigma, count, misfit, epoch)
