"""From emitters to elements: delays, carrier phases and the tables that make them.

An element at r receives, from direction u, the waveform early by tau = r . u / c:

    x_m(t) = s(t + tau_m) exp(+j 2 pi f tau_m),   f the radio frequency of the emitter.

The envelope s(t + D) for the small delays D of an array is interpolated between P copies of the table that
are delayed exactly (Chebyshev nodes, Lagrange weights), so M channels cost one (n, P) x (P, M) product.
P is chosen so that the error stays under -100 dB of the signal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import SceneError
from hil.core.units import SPEED_OF_LIGHT_M_S
from sim_backend.drawn import Drawn, stream
from sim_backend.motion import unit_vectors
from sim_backend.scene import Emitter, Multipath, Scene
from sim_backend.signals import half_width_hz, spectrum, table_lengths

#: Samples that are made at a time; tables carry so many more samples than their period.
CHUNK = 4096
_ERROR = 1e-5
_MOST_NODES = 16
_TABLE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """P delayed copies of one envelope.

    Attributes
    ----------
    samples : (L + CHUNK, P) complex64, cyclic with `period` L; column p is s(t + nodes_s[p]).
    nodes_s : (P,) seconds. constant : True for a carrier (envelope 1).
    baked_hz : offset that is already in the samples.
    """

    samples: NDArray[np.complex64]
    period: int
    nodes_s: NDArray[np.float64]
    constant: bool = False
    baked_hz: float = 0.0

    def weights(self, delay_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lagrange weights (P, *shape of delay_s): s(t + D) = sum_p w_p(D) s(t + nodes_s[p])."""
        nodes = self.nodes_s
        out = np.ones((len(nodes), *delay_s.shape))
        for p, node in enumerate(nodes):
            for q, other in enumerate(nodes):
                if p != q:
                    out[p] *= (delay_s - other) / (node - other)
        return out


@dataclass(frozen=True, slots=True)
class Ray:
    """One way from an emitter to the array: the direct one (`path` None) or a multipath.

    sudden : it is there only while the scene's multipath fault lasts.
    """

    index: int
    emitter: Emitter
    path: Multipath | None
    amplitude: float
    sudden: bool = False

    def offset_hz(self, fc_hz: float) -> float:
        """Carrier of the emitter relative to an LO at fc_hz."""
        return self.emitter.offset_hz if self.emitter.rf_hz is None else self.emitter.rf_hz - fc_hz


def rays(scene: Scene) -> list[Ray]:
    """All rays; amplitude 1 is the strongest emitter's direct ray."""
    strongest = max((e.power_db for e in scene.emitters), default=0.0)
    out: list[Ray] = []
    for index, emitter in enumerate(scene.emitters):
        level = 10 ** ((emitter.power_db - strongest) / 20)
        out.append(Ray(index, emitter, None, level))
        out += [Ray(index, emitter, p, level * 10 ** (p.power_db / 20)) for p in emitter.paths]
    return out


def sudden_rays(scene: Scene) -> list[Ray]:
    """Rays that come with the scene's multipath fault."""
    f, k = scene.faults, scene.faults.multipath_emitter
    if not f.multipath_at_s:
        return []
    direct = next(ray for ray in rays(scene) if ray.index == k and ray.path is None)
    path = Multipath(
        angle_deg=f.multipath_angle_deg, delay_s=f.multipath_delay_s, power_db=f.multipath_power_db,
        phase_deg=f.multipath_phase_deg, elevation_deg=direct.emitter.elevation_deg,
    )  # fmt: skip
    return [Ray(k, direct.emitter, path, direct.amplitude * 10 ** (path.power_db / 20), sudden=True)]


def delay_span_s(drawn: Drawn) -> tuple[float, float]:
    """Least and greatest envelope advance over all directions and channels, less the channels' delays."""
    reach_s = float(np.max(np.linalg.norm(drawn.positions_m + drawn.position_error_m, axis=1)))
    reach_s /= SPEED_OF_LIGHT_M_S
    return -reach_s - float(np.max(drawn.delay_s)), reach_s - float(np.min(drawn.delay_s))


def make_table(scene: Scene, ray: Ray, fs_hz: float, offset_hz: float, span_s: tuple[float, float]) -> Table:
    """Table of one ray at this rate and offset. What lies outside +-fs/2 is filtered out.

    Raises
    ------
    SceneError : a delay spread that is too large for the waveform's band, or too much memory.
    """
    if ray.emitter.waveform == "cw":
        inside = abs(offset_hz) <= fs_hz / 2
        return Table(np.full((CHUNK, 1), complex(inside), np.complex64), 1, np.zeros(1), constant=True)
    if ray.emitter.rf_hz is not None and abs(offset_hz) + half_width_hz(ray.emitter, fs_hz) <= fs_hz / 2:
        offset_hz = 0.0  # wholly in band: the same table wherever the LO is
    make = _make_table.__wrapped__ if ray.emitter.file else _make_table  # a file's content may change
    return make(scene, ray, fs_hz, offset_hz, span_s)


@lru_cache(maxsize=8)
def _spectrum(scene: Scene, index: int, fs_hz: float) -> NDArray[np.complex64]:
    length = table_lengths(scene.emitters, fs_hz)[index]
    rng = stream(scene.seed, "waveform", index)
    return spectrum(scene.emitters[index], scene, fs_hz, length, rng)


@lru_cache(maxsize=8)
def _make_table(scene: Scene, ray: Ray, fs_hz: float, offset_hz: float, span_s: tuple[float, float]) -> Table:
    spectrum_of = _spectrum.__wrapped__ if ray.emitter.file else _spectrum
    envelope = spectrum_of(scene, ray.index, fs_hz)
    length = len(envelope)
    f_hz = np.asarray(np.fft.fftfreq(length, 1 / fs_hz), dtype=np.float64)
    envelope = np.where(np.abs(f_hz + offset_hz) <= fs_hz / 2, envelope, np.complex64(0))
    nodes_s = _nodes(envelope, f_hz, span_s)
    if (length + CHUNK) * len(nodes_s) * 8 * len(rays(scene)) > _TABLE_BYTES:
        raise SceneError("the scene's emitters and paths need over 1 GiB of tables", hint="use fewer of them")
    baked_hz = 0.0
    if ray.emitter.rf_hz is None:
        cycles = length * offset_hz / fs_hz
        baked_hz = offset_hz if abs(cycles - round(cycles)) < 1e-8 else 0.0
    later_s = ray.path.delay_s if ray.path else 0.0
    samples = np.empty((length + CHUNK, len(nodes_s)), np.complex64)
    turn = None
    if baked_hz:
        turn = np.exp(2j * np.pi * ((round(length * baked_hz / fs_hz) * np.arange(length)) % length) / length)
    for p, node_s in enumerate(nodes_s):
        column = np.fft.ifft(envelope * np.exp(2j * np.pi * f_hz * (node_s - later_s)).astype(np.complex64))
        samples[:length, p] = column if turn is None else column * turn
    extra = np.arange(CHUNK) % length
    samples[length:] = samples[extra]
    samples.setflags(write=False)
    return Table(samples, length, nodes_s, baked_hz=baked_hz)


def _nodes(
    envelope: NDArray[np.complex64], f_hz: NDArray[np.float64], span_s: tuple[float, float]
) -> NDArray[np.float64]:
    """Chebyshev nodes over the span; as many as the envelope's spectral moments ask for.

    Interpolation error of exp(j 2 pi f D) on a half-span R: at most (2 pi |f| R)^P / (2^(P-1) P!).
    """
    centre, half = (span_s[0] + span_s[1]) / 2, (span_s[1] - span_s[0]) / 2
    power = np.abs(envelope) ** 2
    total = float(np.sum(power, dtype=np.float64))
    if half <= 0 or total == 0:
        return np.array([centre])
    x = 2 * np.pi * np.abs(f_hz) * half
    for n in range(1, _MOST_NODES + 1):
        bound = x**n / (2.0 ** (n - 1) * math.factorial(n))
        if math.sqrt(float(np.sum(power * bound**2)) / total) < _ERROR:
            return centre + half * np.cos(np.pi * (np.arange(n) + 0.5) / n)
    raise SceneError(
        f"delays over {2 * half:.3g} s are too long for the bandwidth of an emitter",
        hint="lower impairments.delay_std_s, the array's size or symbol_rate_hz",
    )


def coefficients(
    ray: Ray,
    table: Table,
    drawn: Drawn,
    fc_hz: NDArray[np.float64],
    azimuth_deg: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Complex weights (J, P, M) of the table's copies in every channel for J azimuths, before gain settings
    and LO phase: drawn gains, coupling, delays and angle-dependent phase included.

    fc_hz : (M,) LO of each channel. azimuth_deg : (J,) of the ray, relative to the array.
    """
    path = ray.path
    u = unit_vectors(azimuth_deg, path.elevation_deg if path else ray.emitter.elevation_deg)
    tau_s = u @ (drawn.positions_m + drawn.position_error_m).T / SPEED_OF_LIGHT_M_S  # (J, antenna)
    offset_hz, rf = ray.emitter.offset_hz, ray.emitter.rf_hz
    rf_hz = fc_hz + offset_hz if rf is None else np.full_like(fc_hz, rf)
    later_s = path.delay_s if path else 0.0
    turn = np.full(tau_s.shape, np.exp(1j * math.radians(path.phase_deg)) if path else 1.0 + 0j)
    if len(drawn.angle_table_deg):
        wrapped = (azimuth_deg + 180) % 360 - 180
        psi = [np.interp(wrapped, drawn.angle_table_deg, row) for row in drawn.angle_phase_rad]
        turn *= np.exp(1j * np.array(psi).T)
    after = ray.amplitude * drawn.gain * np.exp(-2j * np.pi * (rf_hz - fc_hz) * drawn.delay_s)
    if not drawn.coupled:
        carrier = np.exp(2j * np.pi * rf_hz * (tau_s - later_s)) * turn
        weights = table.weights(tau_s - drawn.delay_s)
        return np.moveaxis(weights * (carrier * after), 0, 1)
    # (J, channel, antenna): the carrier differs between channels whose LOs differ
    carrier = np.exp(2j * np.pi * rf_hz[:, None] * (tau_s - later_s)[:, None, :]) * turn[:, None, :]
    weights = table.weights(tau_s[:, None, :] - drawn.delay_s[:, None])  # (P, J, channel, antenna)
    return np.moveaxis(np.sum(weights * (drawn.coupling * carrier), axis=3) * after, 0, 1)


def real_form(weights: NDArray[np.complex128]) -> NDArray[np.float32]:
    """(2 P, 2 C) float32: complex weights (P, C) as a product of interleaved real and imaginary parts."""
    out = np.empty((2 * weights.shape[0], 2 * weights.shape[1]), np.float32)
    out[0::2, 0::2], out[0::2, 1::2] = weights.real, weights.imag
    out[1::2, 0::2], out[1::2, 1::2] = -weights.imag, weights.real
    return out
