"""Pseudo-labels: directions from the samples alone, as starts and, in the published training, as first targets.

As printed (Guo et al., eq. 10-11) the K largest grid values of |mean(y)^H a| are taken: neighbours of one peak. Even its
local maxima are those of a single snapshot, since channels of mean zero average away. The others work on R.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.dual_path_vae.direction_grid import DirectionGrid
from calib.methods.dual_path_vae.posterior import ChannelPrior, marginal
from hil.core.errors import ConfigError

LabelKind = Literal["paper", "matched-filter", "bartlett", "somp", "music", "best"]
_OF_SAMPLES = ("paper", "matched-filter")
LABEL_KINDS: tuple[LabelKind, ...] = ("paper", "matched-filter", "bartlett", "somp", "music", "best")
_CHUNK = 256


class Labeller:
    """Pseudo-labels for one array, number of users and sector. sector_deg : (low, high) of the users."""

    def __init__(
        self, array: KnownArray, n_users: int, sector_deg: tuple[float, float] = (-60.0, 60.0)
    ) -> None:
        self.array, self.n_users, self.sector_deg = array, n_users, sector_deg
        self.grid = DirectionGrid(array, sector_deg)
        self.responses = array.responses(torch.as_tensor(self.grid.u)).numpy()
        self.power = np.sum(np.abs(self.responses) ** 2, axis=0)

    def __call__(
        self, kind: LabelKind, y: NDArray[np.complex128], prior: ChannelPrior
    ) -> NDArray[np.float64]:
        """u (B, K), ascending, of samples y (B, N, M). prior : for "best", which keeps the likelier of two."""
        if kind == "paper":
            return self._printed(y)
        if kind == "matched-filter":
            mean = y.mean(axis=2)
            return self.grid.peaks(np.abs(mean.conj() @ self.responses) ** 2 / self.power, self.n_users)
        return self.of_covariance(kind, y @ np.conj(np.swapaxes(y, 1, 2)) / y.shape[2], prior)

    def of_covariance(
        self, kind: LabelKind, r: NDArray[np.complex128], prior: ChannelPrior
    ) -> NDArray[np.float64]:
        """u (B, K), ascending, of sample covariances R (B, N, N). Raises ConfigError for a kind that needs samples."""
        if kind not in LABEL_KINDS:
            raise ConfigError(f"pseudo-labels {kind!r}", hint=f"one of {', '.join(LABEL_KINDS)}")
        if kind in _OF_SAMPLES:
            raise ConfigError(
                f"pseudo-labels {kind!r} need the samples",
                hint="a covariance serves bartlett, somp, music and best",
            )
        power = self._power(r)
        if kind == "bartlett":
            return self.grid.peaks(power / self.power, self.n_users)
        if kind == "somp":
            return self._somp(r, power)
        music = self._music(r, power)
        return music if kind == "music" else self._best(r, self._somp(r, power), music, prior)

    def _printed(self, y: NDArray[np.complex128]) -> NDArray[np.float64]:
        fine_u = np.sin(np.deg2rad(np.arange(*self.sector_deg, 0.01)))
        wave = self.array.responses(torch.as_tensor(fine_u)).numpy()
        spectrum = np.abs(y.mean(axis=2).conj() @ wave)
        return np.sort(fine_u[np.argpartition(-spectrum, self.n_users, axis=1)[:, : self.n_users]], axis=1)

    def _power(self, r: NDArray[np.complex128]) -> NDArray[np.float64]:
        """a^H R a (B, G)."""
        parts = [
            np.einsum("ng,bng->bg", self.responses.conj(), r[i : i + _CHUNK] @ self.responses).real
            for i in range(0, len(r), _CHUNK)
        ]
        return np.concatenate(parts)

    def _music(self, r: NDArray[np.complex128], power: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = np.linalg.eigh(r)[1][:, :, -self.n_users :].conj().swapaxes(1, 2)
        parts = [
            np.sum(np.abs(rows[i : i + _CHUNK] @ self.responses) ** 2, axis=1)
            for i in range(0, len(r), _CHUNK)
        ]
        # the parabola fits the null depth, which is one; its inverse has a cusp between grid points
        depth = np.concatenate(parts) / self.power - 1.0
        return self.grid.peaks(depth, self.n_users, power / self.power)

    def _somp(self, r: NDArray[np.complex128], power: NDArray[np.float64]) -> NDArray[np.float64]:
        """Users one after the other: what was found is projected out, then each is looked for again without it."""
        found = self._top(power / self.power)
        while found.shape[1] < self.n_users:
            found = np.concatenate((found, self._strongest(r, power, found)), axis=1)
            for k in range(found.shape[1]):
                found[:, k] = self._strongest(r, power, np.delete(found, k, axis=1))[:, 0]
        return self.grid.inside(found)

    def _strongest(
        self, r: NDArray[np.complex128], power: NDArray[np.float64], found: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(B, 1): the largest maximum of the Bartlett spectrum with `found` projected out, relative to what is left of a."""
        out = np.empty((len(r), 1))
        k = found.shape[1]
        for i in range(0, len(r), _CHUNK):
            part = slice(i, i + _CHUNK)
            q = np.linalg.qr(self.array.responses(torch.as_tensor(found[part])).numpy())[0]
            rows = q.conj().swapaxes(1, 2)
            seen = rows @ r[part]
            # a^H (1 - QQ^H) R (1 - QQ^H) a from a^H R a, without another N x N product for every point
            both = np.concatenate((rows, 2 * seen - seen @ q @ rows), axis=1) @ self.responses
            gone = np.sum(both[:, :k].real * both[:, k:].real + both[:, :k].imag * both[:, k:].imag, axis=1)
            shown = np.sum(np.abs(both[:, :k]) ** 2, axis=1)
            out[part] = self._top((power[part] - gone) / np.maximum(self.power - shown, 0.02 * self.power))
        return out

    def _top(self, spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.grid.between(spectrum, spectrum[:, 1:-1].argmax(axis=1)[:, None] + 1)

    def _best(
        self,
        r: NDArray[np.complex128],
        one: NDArray[np.float64],
        other: NDArray[np.float64],
        prior: ChannelPrior,
    ) -> NDArray[np.float64]:
        covariance = torch.as_tensor(r)
        values = [marginal(self.array, covariance, torch.as_tensor(u), prior).numpy() for u in (one, other)]
        return np.where((values[0] < values[1])[:, None], one, other)
