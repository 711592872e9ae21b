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
from calib.methods.dual_path_vae.posterior import ChannelPrior, marginal
from hil.core.errors import ConfigError

LabelKind = Literal["paper", "matched-filter", "bartlett", "somp", "music", "best"]
LABEL_KINDS: tuple[LabelKind, ...] = ("paper", "matched-filter", "bartlett", "somp", "music", "best")
_GUARD_DEG = 4.0
_PER_BEAM = 16
_CHUNK = 256


class Labeller:
    """Pseudo-labels for one array, number of users and sector.

    sector_deg : (low, high) of the users; grids reach 4 degrees beyond, or a maximum at the edge would not be one.
    """

    def __init__(
        self, array: KnownArray, n_users: int, sector_deg: tuple[float, float] = (-60.0, 60.0)
    ) -> None:
        self.array, self.n_users = array, n_users
        low, high = np.sin(
            np.deg2rad(np.clip([sector_deg[0] - _GUARD_DEG, sector_deg[1] + _GUARD_DEG], -89.9, 89.9))
        )
        self.edges = tuple(np.sin(np.deg2rad(sector_deg)))
        count = int(np.ceil((high - low) / array.beam_u * _PER_BEAM)) + 1
        self.grid_u = np.linspace(low, high, count)
        self.responses = array.responses(torch.as_tensor(self.grid_u)).numpy()
        self.power = np.sum(np.abs(self.responses) ** 2, axis=0)
        self.fine_u = np.sin(np.deg2rad(np.arange(*sector_deg, 0.01)))

    def __call__(
        self, kind: LabelKind, y: NDArray[np.complex128], prior: ChannelPrior
    ) -> NDArray[np.float64]:
        """u (B, K), ascending, of samples y (B, N, M). prior : for "best", which keeps the likelier of two."""
        if kind not in LABEL_KINDS:
            raise ConfigError(f"pseudo-labels {kind!r}", hint=f"one of {', '.join(LABEL_KINDS)}")
        r = y @ np.conj(np.swapaxes(y, 1, 2)) / y.shape[2]
        if kind == "paper":
            return self._printed(y)
        if kind == "matched-filter":
            mean = y.mean(axis=2)
            return self._peaks(np.abs(mean.conj() @ self.responses) ** 2 / self.power)
        if kind == "bartlett":
            return self._peaks(self._bartlett(r))
        if kind == "somp":
            return self._somp(r)
        if kind == "music":
            return self._music(r)
        return self._best(r, self._somp(r), self._music(r), prior)

    def _printed(self, y: NDArray[np.complex128]) -> NDArray[np.float64]:
        wave = self.array.responses(torch.as_tensor(self.fine_u)).numpy()
        spectrum = np.abs(y.mean(axis=2).conj() @ wave)
        return np.sort(
            self.fine_u[np.argpartition(-spectrum, self.n_users, axis=1)[:, : self.n_users]], axis=1
        )

    def _bartlett(self, r: NDArray[np.complex128]) -> NDArray[np.float64]:
        parts = [
            np.einsum("ng,bng->bg", self.responses.conj(), r[i : i + _CHUNK] @ self.responses).real
            for i in range(0, len(r), _CHUNK)
        ]
        return np.concatenate(parts) / self.power

    def _music(self, r: NDArray[np.complex128]) -> NDArray[np.float64]:
        vectors = np.linalg.eigh(r)[1][:, :, -self.n_users :]
        inside = np.concatenate(
            [
                np.sum(np.abs(vectors[i : i + _CHUNK].conj().swapaxes(1, 2) @ self.responses) ** 2, axis=1)
                for i in range(0, len(r), _CHUNK)
            ]
        )
        # the parabola fits the null depth, which is one; its inverse has a cusp between grid points
        return self._peaks(inside / self.power - 1.0, self._bartlett(r))

    def _somp(self, r: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Users one after the other: what was found is projected out, then each is looked for again without it."""
        found = np.empty((len(r), 0))
        for k in range(self.n_users):
            found = np.concatenate((found, self._strongest(r, found)), axis=1)
            if k:
                found = self._again(r, found)
        return np.sort(found, axis=1)

    def _again(self, r: NDArray[np.complex128], found: NDArray[np.float64]) -> NDArray[np.float64]:
        for k in range(found.shape[1]):
            others = np.delete(found, k, axis=1)
            found[:, k] = self._strongest(r, others)[:, 0]
        return found

    def _strongest(self, r: NDArray[np.complex128], found: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, 1): the largest maximum of the Bartlett spectrum with `found` projected out, relative to what is left of a."""
        out = np.empty((len(r), 1))
        for i in range(0, len(r), _CHUNK):
            part = r[i : i + _CHUNK]
            if found.shape[1]:
                a = self.array.responses(torch.as_tensor(found[i : i + _CHUNK])).numpy()
                q = np.linalg.qr(a)[0]
                keep = np.eye(a.shape[1]) - q @ q.conj().swapaxes(1, 2)
                part = keep @ part @ keep
                shown = np.abs(q.conj().swapaxes(1, 2) @ self.responses) ** 2
                left = np.maximum(self.power - shown.sum(axis=1), 0.02 * self.power)
            else:
                left = np.broadcast_to(self.power, (len(part), len(self.grid_u)))
            spectrum = np.einsum("ng,bng->bg", self.responses.conj(), part @ self.responses).real / left
            out[i : i + _CHUNK] = self._between(spectrum, spectrum[:, 1:-1].argmax(axis=1)[:, None] + 1)
        return out

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

    def _peaks(
        self, spectrum: NDArray[np.float64], instead: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """The K largest local maxima (B, K), ascending; missing ones are taken beside the strongest of `instead`."""
        inner = spectrum[:, 1:-1]
        is_peak = (inner > spectrum[:, :-2]) & (inner >= spectrum[:, 2:])
        ranked = np.where(is_peak, inner, -np.inf)
        order = np.argsort(-ranked, axis=1)[:, : self.n_users] + 1
        u = self._between(spectrum, order)
        missing = ~np.isfinite(np.take_along_axis(ranked, order - 1, axis=1))
        if np.any(missing):
            backup = spectrum if instead is None else instead
            top = self.grid_u[backup.argmax(axis=1)]
            beside = top[:, None] + self.array.beam_u / 4 * np.arange(1, self.n_users + 1)
            u = np.where(missing, np.clip(beside, self.grid_u[0], self.grid_u[-1]), u)
        return np.sort(np.clip(u, *self.edges), axis=1)

    def _between(self, spectrum: NDArray[np.float64], at: NDArray[np.intp]) -> NDArray[np.float64]:
        """u (B, K) of maxima at grid indices, by a parabola that stays within half a step."""
        left, top, right = (np.take_along_axis(spectrum, at + d, axis=1) for d in (-1, 0, 1))
        bend = left - 2 * top + right
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(bend < 0, 0.5 * (left - right) / bend, 0.0)
        step = self.grid_u[1] - self.grid_u[0]
        return self.grid_u[at] + step * np.clip(shift, -0.5, 0.5)
