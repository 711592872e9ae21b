"""The published ISAC scene in its own numbers and signs (Mateos-Ramos et al., Sec. II and V-A), as a generator.

    Y~ = sum_t alpha_t a(theta_t) rho(tau_t)^T + N,   alpha_t = psi_t a(theta_t)^T f / sqrt(S)        (3)
    y = [x . beta] f^T a(phi) + n                                                                     (4)
    a_k = exp(-j 2 pi p_k sin theta),   rho_s = exp(-j 2 pi s spacing tau),   p in wavelengths

The known symbols are divided out: white noise stays white. N0 = 1. Noise is drawn inside the delay subspace only,
which is exactly equivalent for everything that is computed; its energy outside is drawn as what it is, a gamma
variable. Everything but the beam is drawn first: all methods meet the same targets, noise and channels. Shares no
code with the learners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

SPEED_M_S = 3e8
N_ELEMENTS = 64
N_CARRIERS = 256
SPACING_HZ = 120e3
RANGE_M = (10.0, 190.0)
WINDOW_S = (2 * RANGE_M[0] / SPEED_M_S, 2 * RANGE_M[1] / SPEED_M_S)
SNR = 10**1.5
LINK_SNR = 100.0
N_TAPS = 5
LINK_SECTOR_DEG = (30.0, 50.0)
MAX_TARGETS = 5
#: standard deviation of a spacing in wavelengths: as published in print, and in the program
SPREAD_WAVELENGTHS = {"mult": 1 / 25, "cum": 1 / 15, "unstructured": 0.0}
MODELS = tuple(SPREAD_WAVELENGTHS)
_HARMONICS = 15
_RIPPLE = 1.0
_CENTRED = np.arange(N_ELEMENTS) - (N_ELEMENTS - 1) / 2
#: elements are counted from the end of largest p
NOMINAL = -_CENTRED / 2


@dataclass(frozen=True, slots=True)
class TrueArray:
    """What the methods do not know.

    positions (64,) in wavelengths, the paper's sign. ripple (64, 31) complex128: Fourier coefficients over the angle
    of an error that no positions explain, zero for the position models.
    """

    positions: NDArray[np.float64]
    ripple: NDArray[np.complex128]

    def steering(self, theta_rad: NDArray[np.float64]) -> NDArray[np.complex128]:
        """a(theta), (..., 64) complex128 of norm 8, for angles (...) in radians."""
        angle = np.asarray(theta_rad, float)[..., None]
        a = np.exp(-2j * np.pi * np.sin(angle) * self.positions)
        if not np.any(self.ripple):
            return a
        waves = np.exp(2j * angle * np.arange(-_HARMONICS, _HARMONICS + 1))
        a = a + waves @ self.ripple.T
        return a * (np.sqrt(N_ELEMENTS) / np.linalg.norm(a, axis=-1, keepdims=True))


def draw_array(model: str, draw: int) -> TrueArray:
    """Array number `draw` of a model.

    "mult": spacing errors times the element's number, N(1/2, 1/25^2) wavelengths, as printed. "cum": as the published
    program, positions are sums of spacings N(1/2, 1/15^2) from the first element on, sorted. "unstructured": nominal
    positions, and an error as large as the steering itself that changes over about 6 degrees.
    """
    rng = np.random.default_rng([draw, MODELS.index(model)])
    spacing = 0.5 + SPREAD_WAVELENGTHS[model] * rng.standard_normal(N_ELEMENTS)
    none = np.zeros((N_ELEMENTS, 2 * _HARMONICS + 1), complex)
    if model == "mult":
        return TrueArray(-_CENTRED * spacing, none)
    if model == "cum":
        steps = np.concatenate(([0.0], np.cumsum(spacing[1:])))
        return TrueArray(np.sort(NOMINAL[0] - steps)[::-1].copy(), none)
    size = _RIPPLE / np.sqrt(2 * none.shape[1])
    return TrueArray(NOMINAL, size * (rng.standard_normal(none.shape) + 1j * rng.standard_normal(none.shape)))


def window_basis() -> NDArray[np.complex128]:
    """Orthonormal basis (256, r) of all rho(tau) in the window, singular values above 1e-5."""
    vectors = delay_vectors(np.linspace(*RANGE_M, 800)).T
    left, values, _ = np.linalg.svd(vectors, full_matrices=False)
    return left[:, values > 1e-5 * values[0]]


def delay_vectors(range_m: NDArray[np.float64]) -> NDArray[np.complex128]:
    """rho, (..., 256) complex128, for ranges (...) in metres."""
    tau = 2 * np.asarray(range_m, float)[..., None] / SPEED_M_S
    return np.exp(-2j * np.pi * SPACING_HZ * tau * np.arange(N_CARRIERS))


@dataclass(frozen=True, slots=True)
class Scenes:
    """B scenes of up to T targets, without a beam.

    sector_deg (B, 2). count (B,): the first `count` targets of a row are there. theta_rad, range_m (B, T). psi (B, T)
    complex128, 0 where nothing is. steering (B, T, 64) complex128. delay (B, T, r) complex64. noise (B, 64, r)
    complex64. outside (B, 64), energy of the noise beyond the subspace.
    """

    sector_deg: NDArray[np.float64]
    count: NDArray[np.intp]
    theta_rad: NDArray[np.float64]
    range_m: NDArray[np.float64]
    psi: NDArray[np.complex128]
    steering: NDArray[np.complex128]
    delay: NDArray[np.complex64]
    noise: NDArray[np.complex64]
    outside: NDArray[np.float64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(B, T): which targets are there."""
        return np.arange(self.psi.shape[1]) < self.count[:, None]

    def amplitudes(self, beams: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """alpha (B, T) for beams (B, 64) or (64,) of unit norm."""
        return self.psi * np.sum(self.steering * beams[..., None, :], axis=2) / np.sqrt(N_CARRIERS)

    def taps(self, beams: NDArray[np.complex128]) -> NDArray[np.complex64]:
        """What is received in the delay subspace, (B, 64, r) complex64, for beams (B, 64) or (64,)."""
        weighted = (self.amplitudes(beams)[..., None] * self.steering).astype(np.complex64)
        echoes = weighted.transpose(0, 2, 1) @ self.delay
        return (self.noise + echoes).astype(np.complex64, copy=False)

    def taps_torch(self, beams: torch.Tensor) -> torch.Tensor:
        """The same (B, 64, r) complex64 from a tensor of beams (B, 64), differentiable in them."""
        import torch

        steering = torch.as_tensor(self.steering)
        gain = (steering * beams.to(steering.dtype)[:, None, :]).sum(dim=2)
        alpha = torch.as_tensor(self.psi) * gain / float(np.sqrt(N_CARRIERS))
        weighted = (alpha[..., None] * steering).to(torch.complex64)
        return torch.as_tensor(self.noise) + weighted.transpose(1, 2) @ torch.as_tensor(self.delay)


def draw_scenes(
    rng: np.random.Generator,
    array: TrueArray,
    basis: NDArray[np.complex128],
    count: int,
    *,
    max_targets: int,
    min_targets: int = 0,
    sector_deg: tuple[float, float] | None = None,
    snr: float = SNR,
) -> Scenes:
    """`count` scenes; sector_deg None: drawn for each, as in training. The number of targets is uniform."""
    if sector_deg is None:
        middle, span = rng.uniform(-60, 60, count), rng.uniform(10, 20, count)
        sector = np.stack((middle - span / 2, middle + span / 2), axis=1)
    else:
        sector = np.tile(np.asarray(sector_deg, float), (count, 1))
    number = rng.integers(min_targets, max_targets, size=count, endpoint=True)
    shape = (count, max_targets)
    theta = np.deg2rad(rng.uniform(sector[:, :1], sector[:, 1:], shape))
    distance = rng.uniform(*RANGE_M, shape)
    psi = _complex_normal(rng, shape) * np.sqrt(snr / N_ELEMENTS)
    psi[np.arange(max_targets) >= number[:, None]] = 0
    rank = basis.shape[1]
    noise = rng.standard_normal((count, N_ELEMENTS, 2 * rank), dtype=np.float32) * np.float32(np.sqrt(0.5))
    outside = rng.gamma(N_CARRIERS - rank, 1.0, (count, N_ELEMENTS))
    delay = (delay_vectors(distance) @ basis.conj()).astype(np.complex64)
    return Scenes(
        sector, number, theta, distance, psi, array.steering(theta), delay, noise.view(np.complex64), outside
    )


@dataclass(frozen=True, slots=True)
class Links:
    """B transmissions to the communication receiver, without a beam.

    symbols (B, 256) in 0..3: bit 0 turns the sign of the real part, bit 1 that of the imaginary part. fading (B, 256) complex128, beta. steering (B, 64). noise (B, 256).
    """

    symbols: NDArray[np.intp]
    fading: NDArray[np.complex128]
    steering: NDArray[np.complex128]
    noise: NDArray[np.complex128]

    def state(self, beam: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """The channel state kappa (B, 256) for a beam (64,)."""
        return self.fading * (self.steering @ beam)[:, None]

    def received(self, beam: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """y (B, 256) for a beam (64,)."""
        sent = (1 - 2 * (self.symbols & 1) + 1j * (1 - (self.symbols & 2))) * np.sqrt(0.5)
        return sent * self.state(beam) + self.noise


def draw_links(rng: np.random.Generator, array: TrueArray, count: int) -> Links:
    """`count` transmissions over 5 exponentially decaying taps, 20 dB per subcarrier before the beam."""
    power = np.exp(-np.arange(N_TAPS))
    power *= LINK_SNR * N_CARRIERS / power.sum()
    taps = _complex_normal(rng, (count, N_TAPS)) * np.sqrt(power)
    fading = np.fft.fft(taps, N_CARRIERS, axis=1, norm="ortho")
    phi = np.deg2rad(rng.uniform(*LINK_SECTOR_DEG, count))
    symbols = rng.integers(0, 4, (count, N_CARRIERS))
    return Links(symbols, fading, array.steering(phi), _complex_normal(rng, (count, N_CARRIERS)))


def _complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * np.sqrt(0.5)
