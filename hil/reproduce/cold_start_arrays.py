"""Arrays and blocks of the cold-start experiment, drawn with numpy alone.

    x = g * (C a(theta_1), ..., C a(theta_K)) s + n,    a_n = exp(+j 2 pi r_n . d(theta))

Positions r are in wavelengths; on a line theta is the broadside angle and d = (sin theta, 0), on a plane the
azimuth from +y towards +x and d = (sin theta, cos theta). No code is shared with the learner or the simulator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CHUNK_BLOCKS = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """Law from which arrays and blocks are drawn. The defaults are those of the published trial.

    Attributes
    ----------
    n : elements. k : sources per block. blocks : number of blocks. snapshots : T of each block.
    shape : "line" (half-wavelength spacing) or "circle" (radius 0.6 wavelengths). limits_deg : sources are
        uniform in angle between these. snr_db : per element, mean over the elements, of each source.
    gain_std : of the complex gain error. position_std : wavelengths, each coordinate (x alone on a line).
    power_db : power of each source, or () for equal ones. rho : correlation between neighbouring sources, 1:
        copies of one signal. coupling_db : amplitude between neighbours, None: none (second neighbours 6 dB less).
    angles : number of places that sources come from, 0: any. cluster_deg : width of each such place.
    dwell : blocks that one set of angles lasts. bad : share of blocks that are spoilt, `how`: "emitter" one
        more source from anywhere, "phase" one channel turned by a random angle, "noise" nothing but noise.
    noise_db : standard deviation of the elements' noise powers.
    """

    n: int = 8
    k: int = 1
    blocks: int = 600
    snapshots: int = 256
    shape: str = "line"
    limits_deg: tuple[float, float] = (-60.0, 60.0)
    snr_db: float = 20.0
    gain_std: float = 0.3
    position_std: float = 0.1
    power_db: tuple[float, ...] = ()
    rho: float = 0.0
    coupling_db: float | None = None
    angles: int = 0
    cluster_deg: float = 0.0
    dwell: int = 1
    bad: float = 0.0
    how: str = "phase"
    noise_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One array with its blocks.

    response : (N, N) complex128, diag(g) C. position, nominal : (N, 2) float64, wavelengths. is_line.
    angle_rad : (B, K) float64. covariance : (B, N, N) complex128.
    """

    response: NDArray[np.complex128]
    position: NDArray[np.float64]
    nominal: NDArray[np.float64]
    is_line: bool
    angle_rad: NDArray[np.float64]
    covariance: NDArray[np.complex128]

    def manifold(self, angle_rad: NDArray[np.float64]) -> NDArray[np.complex128]:
        """True response (..., N) to angles (...) in radians."""
        return _plane_waves(self.position, self.is_line, angle_rad) @ self.response.T


def nominal_positions(setting: Setting) -> NDArray[np.float64]:
    """Centred nominal positions (N, 2) in wavelengths."""
    index = np.arange(setting.n)
    if setting.shape == "line":
        return np.column_stack(((index - (setting.n - 1) / 2) / 2, np.zeros(setting.n)))
    turn = 2 * np.pi * index / setting.n
    return 0.6 * np.column_stack((np.cos(turn), np.sin(turn)))


def draw(setting: Setting, seed: int) -> Drawn:
    """Draw an array and its blocks; the same seed gives the same arrays for every number of blocks."""
    of_array, of_angles, of_signals = (np.random.default_rng([seed, stream]) for stream in range(3))
    n, is_line = setting.n, setting.shape == "line"
    nominal = nominal_positions(setting)
    error = setting.position_std * of_array.standard_normal((n, 2))
    if is_line:
        error[:, 1] = 0.0
    gain = 1 + setting.gain_std * _normal(of_array, (n,))
    gain = gain * np.exp(2j * np.pi * of_array.random(n))
    response = gain[:, None] * _coupling(setting, of_array)
    position = nominal + error
    angle = _angles(setting, of_angles)
    spoilt = of_angles.random(setting.blocks) < setting.bad
    noise = 10 ** (setting.noise_db * of_array.standard_normal(n) / 20)
    noise *= np.sqrt(10 ** (-setting.snr_db / 10) * np.mean(np.abs(gain) ** 2) / np.mean(noise**2))
    covariance = np.empty((setting.blocks, n, n), complex)
    for first in range(0, setting.blocks, _CHUNK_BLOCKS):
        part = slice(first, min(first + _CHUNK_BLOCKS, setting.blocks))
        waves = _plane_waves(position, is_line, angle[part]) @ response.T
        x = waves.transpose(0, 2, 1) @ _signals(setting, of_signals, len(waves))
        x = _spoil(setting, of_angles, x, spoilt[part], position, response)
        x += noise[:, None] * _normal(of_signals, x.shape)
        covariance[part] = x @ x.conj().transpose(0, 2, 1) / setting.snapshots
    return Drawn(response, position, nominal, is_line, angle, covariance)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Circular complex normal numbers of variance 1."""
    return rng.standard_normal((*shape, 2)).view(complex)[..., 0] * np.sqrt(0.5)


def _plane_waves(
    position: NDArray[np.float64], is_line: bool, angle_rad: NDArray[np.float64]
) -> NDArray[np.complex128]:
    path = np.sin(angle_rad)[..., None] * position[:, 0]
    if not is_line:
        path = path + np.cos(angle_rad)[..., None] * position[:, 1]
    return np.exp(2j * np.pi * path)


def _coupling(setting: Setting, rng: np.random.Generator) -> NDArray[np.complex128]:
    c = np.eye(setting.n, dtype=complex)
    if setting.coupling_db is None:
        return c
    for lag, below_db in ((1, 0.0), (2, 6.0)):
        size = 10 ** ((setting.coupling_db - below_db) / 20) * np.exp(2j * np.pi * rng.random())
        c += size * (np.eye(setting.n, k=lag) + np.eye(setting.n, k=-lag))
    return c


def _angles(setting: Setting, rng: np.random.Generator) -> NDArray[np.float64]:
    """(B, K) radians."""
    low, high = np.deg2rad(setting.limits_deg)
    shape = (-(-setting.blocks // setting.dwell), setting.k)
    if setting.angles:
        width = np.deg2rad(setting.cluster_deg)
        places = rng.uniform(low + width / 2, high - width / 2, setting.angles)
        # different places within one block: two sources at one angle are one source
        order = np.argsort(rng.random((shape[0], setting.angles)), axis=1)[:, : setting.k]
        angle = places[order] + width * (rng.random(shape) - 0.5)
    else:
        angle = rng.uniform(low, high, shape)
    return angle.repeat(setting.dwell, axis=0)[: setting.blocks]


def _signals(setting: Setting, rng: np.random.Generator, blocks: int) -> NDArray[np.complex128]:
    """(B, K, T) of the stated powers; neighbours correlate with coefficient rho."""
    s = _normal(rng, (blocks, setting.k, setting.snapshots))
    for i in range(1, setting.k):
        phase = np.exp(2j * np.pi * rng.random((blocks, 1)))
        s[:, i] = setting.rho * phase * s[:, i - 1] + np.sqrt(1 - setting.rho**2) * s[:, i]
    if setting.power_db:
        s *= 10 ** (np.array(setting.power_db)[:, None] / 20)
    return s


def _spoil(
    setting: Setting,
    rng: np.random.Generator,
    x: NDArray[np.complex128],
    spoilt: NDArray[np.bool_],
    position: NDArray[np.float64],
    response: NDArray[np.complex128],
) -> NDArray[np.complex128]:
    """Spoil some of the blocks x (B, N, T) before noise is added."""
    bad = np.flatnonzero(spoilt)
    if len(bad) == 0:
        return x
    if setting.how == "emitter":
        angle = rng.uniform(-np.pi / 2, np.pi / 2, len(bad))
        wave = _plane_waves(position, setting.shape == "line", angle) @ response.T
        x[bad] += wave[:, :, None] * _normal(rng, (len(bad), 1, setting.snapshots))
    elif setting.how == "phase":
        channel = rng.integers(setting.n, size=len(bad))
        x[bad, channel] *= np.exp(2j * np.pi * rng.random((len(bad), 1)))
    else:
        x[bad] = 0.0
    return x
