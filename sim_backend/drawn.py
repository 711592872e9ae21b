"""The array's errors, drawn once from the seed of a scene.

Each field has a random stream of its own, so changing one key of a scene leaves the other draws as they were.
Per-channel fields (gain, delay, IQ, DC, drift) belong to receiver channels, positions and coupling to
antenna elements; all arrays here are in the order of the receiver channels, counted over all boards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import SceneError
from sim_backend.scene import Scene

# Position in this list is the key of the stream: append only.
_STREAMS = ("gain", "phase", "position", "coupling", "delay", "iq", "dc", "drift", "angle", "hop", "group",
            "waveform", "noise", "garbage", "fault", "tx", "target")  # fmt: skip

#: Levels below this are none at all.
NOTHING_DB = -190.0


def stream(seed: int, name: str, *more: int) -> np.random.Generator:
    """Random generator of one field of one scene."""
    key = (_STREAMS.index(name), *more)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def stream_key(seed: int, name: str, *more: int) -> int:
    """A 63-bit integer for counter-based draws (sim_backend.motion.uniform)."""
    return int(stream(seed, name, *more).integers(1 << 63))


@dataclass(frozen=True, slots=True)
class Drawn:
    """Errors of the M channels that carry elements, in channel order.

    Attributes
    ----------
    positions_m : (M, 3) nominal. position_error_m : (M, 3) true minus nominal.
    gain : (M,) complex128, 1 + dg times the extra phase. coupling : (M, M) complex128.
    delay_s : (M,) positive = later. iq_image, dc_offset : (M,) complex128. drift_rad_per_s : (M,).
    angle_table_deg, angle_phase_rad : (A,), (M, A), empty without angle-dependent phase.
    ports : (M,) channel of element i.
    """

    positions_m: NDArray[np.float64]
    position_error_m: NDArray[np.float64]
    gain: NDArray[np.complex128]
    coupling: NDArray[np.complex128]
    delay_s: NDArray[np.float64]
    iq_image: NDArray[np.complex128]
    dc_offset: NDArray[np.complex128]
    drift_rad_per_s: NDArray[np.float64]
    angle_table_deg: NDArray[np.float64]
    angle_phase_rad: NDArray[np.float64]
    ports: tuple[int, ...]

    @property
    def coupled(self) -> bool:
        """True if the coupling matrix is not the identity."""
        return bool(np.any(self.coupling[~np.eye(len(self.gain), dtype=bool)] != 0))


def element_positions(scene: Scene) -> NDArray[np.float64]:
    """Nominal positions (M, 3) in metres, in element order: a line on x ascending and centred; a circle
    with element m at R (cos, sin)(2 pi m / M); or as listed."""
    spec, n, wavelength_m = scene.array, scene.n_elements, scene.wavelength_m
    out = np.zeros((n, 3))
    if spec.kind == "ula":
        out[:, 0] = (np.arange(n) - (n - 1) / 2) * spec.spacing_wavelengths * wavelength_m
    elif spec.kind == "uca":
        turn = 2 * np.pi * np.arange(n) / n
        out[:, 0] = spec.radius_wavelengths * wavelength_m * np.cos(turn)
        out[:, 1] = spec.radius_wavelengths * wavelength_m * np.sin(turn)
    else:
        out[:] = spec.positions_m
    return out


def free_axes(positions_m: NDArray[np.float64]) -> tuple[int, ...]:
    """Axes along which elements may be misplaced: a line on x: x; a planar array: x, y; else x, y, z."""
    extent = np.ptp(positions_m, axis=0) > 1e-9
    if extent[2]:
        return (0, 1, 2)
    return (0, 1) if extent[1] else (0,)


def draw(scene: Scene) -> Drawn:
    """Draw the errors of a scene. Raises SceneError if they leave the array unusable (singular coupling)."""
    spec, n, seed = scene.impairments, scene.n_elements, scene.seed
    nominal = element_positions(scene)
    error = np.zeros((n, 3))
    axes = free_axes(nominal)
    normal = stream(seed, "position").standard_normal((n, 3))
    error[:, axes] = spec.position_std_wavelengths * scene.wavelength_m * normal[:, : len(axes)]
    turn = stream(seed, "phase")
    if spec.phase_std_deg is None:
        phase = 2 * np.pi * turn.random(n)
    else:
        phase = np.deg2rad(spec.phase_std_deg) * turn.standard_normal(n)
    gain = (1 + spec.gain_std * _complex_normal(stream(seed, "gain"), n)) * np.exp(1j * phase)
    table, table_phase = _angle_table(scene)
    ports = scene.array.ports or tuple(range(n))
    order = np.argsort(ports)  # element on each channel
    coupling = _coupling(scene, nominal)
    return Drawn(
        positions_m=nominal[order],
        position_error_m=error[order],
        gain=gain,
        coupling=coupling[np.ix_(order, order)],
        delay_s=spec.delay_std_s * stream(seed, "delay").standard_normal(n),
        iq_image=_level(spec.iq_image_db) * _turns(stream(seed, "iq"), n),
        dc_offset=_level(spec.dc_dbfs) * _turns(stream(seed, "dc"), n),
        drift_rad_per_s=np.deg2rad(spec.drift_deg_per_minute) / 60 * stream(seed, "drift").standard_normal(n),
        angle_table_deg=table,
        angle_phase_rad=table_phase[order] if len(table) else table_phase,
        ports=tuple(ports),
    )


def rewired(drawn: Drawn, channels: tuple[int, int]) -> Drawn:
    """What it is after the antennas of two channels have changed places: what belongs to receivers stays."""
    order = np.arange(len(drawn.gain))
    order[list(channels)] = order[list(reversed(channels))]
    return replace(
        drawn,
        positions_m=drawn.positions_m[order],
        position_error_m=drawn.position_error_m[order],
        coupling=drawn.coupling[np.ix_(order, order)],
        angle_phase_rad=drawn.angle_phase_rad[order],
    )


def _complex_normal(rng: np.random.Generator, n: int) -> NDArray[np.complex128]:
    """CN(0, 1): E|z|^2 = 1."""
    return (rng.standard_normal(n) + 1j * rng.standard_normal(n)) / np.sqrt(2)


def _turns(rng: np.random.Generator, n: int) -> NDArray[np.complex128]:
    return np.asarray(np.exp(2j * np.pi * rng.random(n)), dtype=np.complex128)


def _level(db: float) -> float:
    return 0.0 if db <= NOTHING_DB else 10 ** (db / 20)


def _coupling(scene: Scene, positions_m: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Symmetric, unit diagonal; nearest neighbours at `coupling_db`, falling as the power of the distance
    in nearest-neighbour steps. Line: Toeplitz, a random phase per lag; else one random phase that turns
    with the extra distance."""
    n, level = scene.n_elements, _level(scene.impairments.coupling_db)
    if level == 0.0 or n == 1:
        return np.eye(n, dtype=complex)
    rng = stream(scene.seed, "coupling")
    if scene.array.kind == "ula":
        lags = level ** np.arange(n) * np.exp(2j * np.pi * rng.random(n))
        out = lags[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]
    else:
        distance_m = np.linalg.norm(positions_m[:, None] - positions_m[None], axis=-1)
        step_m = np.min(distance_m[~np.eye(n, dtype=bool)])
        if step_m < 1e-6:
            raise SceneError("array.positions_m: two elements in one place cannot couple")
        excess = (distance_m - step_m) / scene.wavelength_m
        out = level ** (distance_m / step_m) * np.exp(2j * np.pi * (rng.random() - excess))
    out = np.asarray(out, dtype=np.complex128)
    np.fill_diagonal(out, 1.0)
    if np.linalg.cond(out) > 1e6:
        raise SceneError("impairments.coupling_db: the coupling matrix is singular", hint="use a lower level")
    return out


def _angle_table(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Angle-dependent phase (A,), (M, A): the synthetic error after Liu et al. 2025, figure 1b, at mid band,
    scaled so that its greatest magnitude within +-60 degrees is `angle_dependent_phase_deg`.

    Elements beyond the fourth take the second to fourth's shape with random phases.
    """
    wanted = np.deg2rad(scene.impairments.angle_dependent_phase_deg)
    n = scene.n_elements
    if wanted == 0 or n == 1:
        return np.zeros(0), np.zeros((n, 0))
    table = np.arange(-90.0, 90.5, 1.0)
    # The published error belongs to elements along -x in our sign: psi_m(-theta).
    theta = -table
    a, p, phase = (0, 6, 7, 8), (40, 38, 47, 55), (0, 0.4, 2.1, 4.0)
    a2, p2, phase2 = (0, 1.5, 1.5, 2), (9, 11, 13, 10), (0, 1, 3, 5)
    left, right, slow = (0, 0.45, 0.85, 1.15), (0, 0.40, 0.75, 1.25), (0, 2, 3, 4)
    extra = 2 * np.pi * stream(scene.seed, "angle").random((n, 2))
    extra[:4] = 0
    out = np.zeros((n, len(table)))
    for m in range(1, n):
        k = m if m < 4 else 1 + (m - 1) % 3
        out[m] = (
            a[k] * np.sin(2 * np.pi * theta / p[k] + phase[k] + extra[m, 0])
            + a2[k] * np.sin(2 * np.pi * theta / p2[k] + phase2[k] + extra[m, 1])
            + right[k] * 3 * np.log1p(np.exp((theta - 30) / 3))
            - left[k] * 3 * np.log1p(np.exp((-theta - 30) / 3))
            + slow[k] * np.sin(2 * np.pi * theta / 70 + m)
        )
    return table, out * (wanted / np.max(np.abs(out[:, np.abs(table) <= 60])))
