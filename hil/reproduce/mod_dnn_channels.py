"""More than one path: stochastic stand-ins for the line-of-sight channels of TR 38.901, and a hall like the parking lot.

The stand-ins keep three numbers of each scenario (medians of TR 38.901 V16 table 7.5-6 at 4.85 GHz, which its formulas take
as 6 GHz outdoors): Rician factor, delay spread, and the spread of azimuth at the base station. They have no clusters of
rays, no elevation, no shadowing and no spread of the three numbers themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hil.reproduce.mod_dnn_data import OFFSETS_HZ, drawn_signal, response, with_noise

_CHUNK = 500
_EDGE_DEG = 85.0


@dataclass(frozen=True, slots=True)
class Channel:
    """k_db : power of the direct path over the others. delay_s : their rms delay (exponential). angle_deg : their rms
    azimuth about the direct path (Laplacian). n_paths : without the direct one."""

    k_db: float
    delay_s: float
    angle_deg: float
    n_paths: int


CHANNELS = {
    "InH": Channel(7.0, 20e-9, 39.8, 15),
    "InF": Channel(7.0, 53e-9, 36.3, 25),
    "UMi": Channel(9.0, 45e-9, 14.7, 12),
    "UMa": Channel(9.0, 93e-9, 14.0, 12),
    "RMa": Channel(7.0, 32e-9, 7.9, 11),
}


def draw_channel(
    name: str, angle_deg: NDArray[np.float64], rng: np.random.Generator, snr_db: float
) -> NDArray[np.complex128]:
    """Symbols (B, K, M) whose direct path comes from angle_deg (B,); unit power of all paths together on average."""
    return np.concatenate([
        _channel_part(CHANNELS[name], angle_deg[low : low + _CHUNK], rng, snr_db)
        for low in range(0, len(angle_deg), _CHUNK)
    ])  # fmt: skip


def _channel_part(
    channel: Channel, angle_deg: NDArray[np.float64], rng: np.random.Generator, snr_db: float
) -> NDArray[np.complex128]:
    shape = (len(angle_deg), channel.n_paths)
    k = 10 ** (channel.k_db / 10)
    away = np.clip(
        angle_deg[:, None] + rng.laplace(0, channel.angle_deg / np.sqrt(2), shape), -_EDGE_DEG, _EDGE_DEG
    )
    size = np.sqrt(1 / (k + 1) / channel.n_paths / 2)
    amplitude = size * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    later = np.exp(
        -2j * np.pi * OFFSETS_HZ[:, None] * rng.exponential(channel.delay_s, shape)[:, None]
    )  # (B, K, paths)
    arrays = response(away.ravel()).reshape(*shape, len(OFFSETS_HZ), -1)
    others = np.einsum("bp,bkp,bpkm->bkm", amplitude, later, arrays)
    paths = np.sqrt(k / (k + 1)) * response(angle_deg) + others
    return with_noise(paths * drawn_signal(len(angle_deg), rng)[..., None], rng, snr_db)


ARRAY_M = np.array([-10.3, 9.5])
AREA_M = ((-35.0, 8.0), (10.0, 33.0))
N_POSITIONS, N_SYMBOLS = 279, 100
_WALLS_M = {"left": -37.0, "right": 10.0, "far": 35.0}
_WALL_LOSS = 0.4
_PILLAR_STEP_M, _PILLAR_RADIUS_M = 8.0, 0.4
_SCATTER_M = 0.6  # amplitude of a pillar's or pipe's echo over that of a mirror, times metres
_N_PIPES = 25
_BLOCKED = 10 ** (-9 / 20)
_SITE_SNR_DB = 20.0
_SITE_SEED = 62


@dataclass(frozen=True, slots=True)
class Hall:
    """Channels of every position, sorted by angle. tones : (279, K, M) without noise, unit power. angle_deg : (279,) of the
    direct line. blocked : (279,) a pillar stands in it. k_db : (279,) direct path over all others."""

    tones: NDArray[np.complex128]
    angle_deg: NDArray[np.float64]
    blocked: NDArray[np.bool_]
    k_db: NDArray[np.float64]

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """(279,) every fourth position."""
        return np.arange(len(self.angle_deg)) % 4 == 2

    def symbols(
        self, positions: NDArray[np.intp], rng: np.random.Generator, snr_db: float = _SITE_SNR_DB
    ) -> NDArray[np.complex128]:
        """One symbol (B, K, M) at each position (B,)."""
        signal = drawn_signal(len(positions), rng)
        return with_noise(self.tones[positions] * signal[..., None], rng, snr_db)


@cache
def hall() -> Hall:
    """The one hall of this experiment: mirrors at three walls, pillars and pipes that scatter, pillars that block.

    All echoes are of one symbol, so they are coherent; only 100 MHz of bandwidth tell them apart.
    """
    rng = np.random.default_rng(_SITE_SEED)
    (left, right), (near, far) = AREA_M
    pillars = np.stack(
        np.meshgrid(np.arange(left + 3, right, _PILLAR_STEP_M), np.arange(near + 4, far, _PILLAR_STEP_M)), -1
    ).reshape(-1, 2)
    pipes = rng.uniform((left, near), (right, far + 1.5), (_N_PIPES, 2))
    scatterers = np.concatenate((pillars, pipes))
    strength = _SCATTER_M * rng.uniform(0.5, 1.5, len(scatterers))
    stops = np.stack(np.meshgrid(np.arange(left, right, 1.5), np.arange(near, far, 1.5)), -1).reshape(-1, 2)
    stops = stops + rng.uniform(-0.4, 0.4, stops.shape)
    stops = stops[(np.abs(_angle_deg(stops)) <= 60) & (np.linalg.norm(stops - ARRAY_M, axis=1) > 2)]
    stops = stops[rng.permutation(len(stops))[:N_POSITIONS]]
    stops = stops[np.argsort(_angle_deg(stops))]
    blocked = _blocked(stops, pillars)
    tones, k_db = [], []
    for stop, behind in zip(stops, blocked, strict=True):
        direct = np.linalg.norm(stop - ARRAY_M)
        seen = [stop * (1, -1) + (0, 2 * _WALLS_M["far"])]
        seen += [stop * (-1, 1) + (2 * _WALLS_M[side], 0) for side in ("left", "right")]
        seen_at = np.array([stop, *seen, *scatterers])
        length = np.linalg.norm(seen_at - ARRAY_M, axis=1)
        ways = np.concatenate((length[:4], length[4:] + np.linalg.norm(scatterers - stop, axis=1)))
        first = np.maximum(np.linalg.norm(scatterers - stop, axis=1), 0.5)
        amplitude = np.concatenate((
            [(_BLOCKED if behind else 1.0) / direct], _WALL_LOSS / length[1:4], strength / (first * length[4:])
        ))  # fmt: skip
        phase = np.concatenate(([0.0], rng.uniform(0, 2 * np.pi, len(ways) - 1)))
        later = np.exp(-2j * np.pi * OFFSETS_HZ[:, None] * (ways - direct) / 3e8 + 1j * phase)
        arrays = response(np.clip(_angle_deg(seen_at), -_EDGE_DEG, _EDGE_DEG))
        h = np.einsum("p,kp,pkm->km", amplitude, later, arrays)
        tones.append(h / np.sqrt(np.mean(np.abs(h) ** 2)))
        k_db.append(10 * np.log10(amplitude[0] ** 2 / np.sum(amplitude[1:] ** 2)))
    return Hall(np.array(tones), _angle_deg(stops), blocked, np.array(k_db))


def _angle_deg(points_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the array, which looks along +y."""
    away = points_m - ARRAY_M
    return np.rad2deg(np.arctan2(away[:, 0], away[:, 1]))


def _blocked(stops: NDArray[np.float64], pillars: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a pillar comes within its radius of the direct line."""
    way = stops - ARRAY_M
    share = np.clip(np.einsum("sc,pc->sp", way, pillars - ARRAY_M) / np.sum(way**2, axis=1)[:, None], 0, 1)
    nearest = ARRAY_M + share[..., None] * way[:, None]
    return np.any(np.linalg.norm(nearest - pillars, axis=-1) < _PILLAR_RADIUS_M, axis=1)
