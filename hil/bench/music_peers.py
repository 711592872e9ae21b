"""Other implementations of a MUSIC frame, each told the same and asked for two angles.

Each `prepare(samples, positions_m, fc_hz, grid_deg)` does what its package computes once per array and
returns a function that does one frame: from samples to two angles in degrees, our sign.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S

Frame = Callable[[], NDArray[np.float64]]
Prepare = Callable[[NDArray[np.complex64], NDArray[np.float64], float, NDArray[np.float64]], Frame]


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: its import name ("" for those written here), how to install it, and its adapter."""

    package: str
    install: str
    prepare: Prepare


def _peaks(spectrum: NDArray[Any], grid_deg: NDArray[np.float64], k: int = 2) -> NDArray[np.float64]:
    inner = np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])) + 1
    return grid_deg[inner[np.argsort(spectrum[inner])[-k:]]]


def _plain_numpy(x, positions_m, fc_hz, grid_deg) -> Frame:
    """The textbook in whole-array numpy: all eigenvectors, noise subspace, complex128."""
    a = steering_vectors(positions_m, fc_hz, np.deg2rad(grid_deg))

    def frame() -> NDArray[np.float64]:
        r = x @ x.conj().T / x.shape[1]
        noise = np.linalg.eigh(r)[1][:, :-2]
        return _peaks(1.0 / np.sum(np.abs(noise.conj().T @ a) ** 2, axis=0), grid_deg)

    return frame


def _loop_over_angles(x, positions_m, fc_hz, grid_deg) -> Frame:
    """The textbook as it is often written: general eigensolver, one product per angle."""
    a = steering_vectors(positions_m, fc_hz, np.deg2rad(grid_deg))

    def frame() -> NDArray[np.float64]:
        r = x @ x.conj().T / x.shape[1]
        values, vectors = np.linalg.eig(r)
        noise = vectors[:, np.argsort(np.abs(values))[:-2]]
        projector = noise @ noise.conj().T
        spectrum = np.empty(len(grid_deg))
        for i in range(len(grid_deg)):
            spectrum[i] = 1.0 / np.abs(a[:, i].conj() @ projector @ a[:, i])
        return _peaks(spectrum, grid_deg)

    return frame


class _Forgiving(np.ndarray):
    """Takes a 1 x 1 matrix into one place, as every array did before numpy 2.4."""

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(place, value.item() if isinstance(value, np.matrix) else value)


class _NumpyOfOld(ModuleType):
    """numpy as pyargus was written for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def zeros(*args: Any, **kwargs: Any) -> NDArray[Any]:
        """As numpy's, forgiving."""
        return np.zeros(*args, **kwargs).view(_Forgiving)


def _pyargus(x, positions_m, fc_hz, grid_deg) -> Frame:
    from pyargus import directionEstimation  # pyright: ignore[reportMissingImports]

    directionEstimation.np = _NumpyOfOld("numpy")
    a = steering_vectors(positions_m, fc_hz, np.deg2rad(grid_deg))

    def frame() -> NDArray[np.float64]:
        r = directionEstimation.corr_matrix_estimate(x.T, imp="fast")
        return _peaks(np.abs(directionEstimation.DOA_MUSIC(r, a, signal_dimension=2)), grid_deg)

    return frame


def _classical_doa(x, positions_m, fc_hz, grid_deg) -> Frame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has a successor, and why numpy.product has gone
        from classical_doa.algorithm.music_based import music  # pyright: ignore[reportMissingImports]
        from classical_doa.arrays import Array  # pyright: ignore[reportMissingImports]

    # its azimuth counts from +x, its phases lag, and its speed of light is 3e8 m/s
    array = Array(*(positions_m * 3e8 / SPEED_OF_LIGHT_M_S).T)
    azimuth_deg = 90.0 + grid_deg

    def frame() -> NDArray[np.float64]:
        return _peaks(music(x, 2, array, fc_hz, azimuth_deg), grid_deg)

    return frame


def _acoular(x, positions_m, fc_hz, grid_deg) -> Frame:
    import acoular  # pyright: ignore[reportMissingImports]

    acoular.config.global_caching = "none"
    angle = np.deg2rad(grid_deg)
    far_m = 1e3 * np.stack((np.sin(angle), np.cos(angle), np.zeros_like(angle)))
    steer = acoular.SteeringVector(
        mics=acoular.MicGeom(pos_total=np.ascontiguousarray(positions_m.T)),
        grid=acoular.ImportGrid(pos=far_m), env=acoular.Environment(c=SPEED_OF_LIGHT_M_S),
    )  # fmt: skip

    def frame() -> NDArray[np.float64]:
        data = acoular.PowerSpectraImport(
            csm=(x @ x.conj().T / x.shape[1]).astype(np.complex128)[None], frequencies=np.array([fc_hz])
        )
        music = acoular.BeamformerMusic(freq_data=data, steer=steer, n=2, cached=False)
        return _peaks(np.ravel(np.asarray(music.synthetic(fc_hz))), grid_deg)

    return frame


def _doatools(x, positions_m, fc_hz, grid_deg) -> Frame:
    import doatools.estimation as estimation  # pyright: ignore[reportMissingImports]
    import doatools.model as model  # pyright: ignore[reportMissingImports]

    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    design = model.UniformLinearArray(len(positions_m), float(positions_m[1, 0] - positions_m[0, 0]))
    grid = estimation.FarField1DSearchGrid(start=-np.pi / 2, stop=np.pi / 2, size=len(grid_deg))
    music = estimation.MUSIC(design, wavelength_m, grid)

    def frame() -> NDArray[np.float64]:
        resolved, found = music.estimate(x @ x.conj().T / x.shape[1], 2)
        return np.rad2deg(np.ravel(found.locations)) if resolved else np.empty(0)

    return frame


def _pyroomacoustics(x, positions_m, fc_hz, grid_deg) -> Frame:
    import pyroomacoustics as pra  # pyright: ignore[reportMissingImports]

    # One frequency bin; its azimuth counts from +x, and its plane-wave phase is that of a sound from there.
    n_fft, fs_hz = 8, 8.0 * fc_hz
    colatitude = np.deg2rad(90.0 - grid_deg)
    doa = pra.doa.algorithms["MUSIC"](
        positions_m[:, :2].T, fs_hz, n_fft, c=SPEED_OF_LIGHT_M_S, num_src=2, azimuth=colatitude
    )
    spectra = np.zeros((len(positions_m), n_fft // 2 + 1, x.shape[1]), np.complex64)
    spectra[:, 1] = x

    def frame() -> NDArray[np.float64]:
        doa.locate_sources(spectra, num_src=2, freq_bins=np.array([1]))
        return 90.0 - np.rad2deg(doa.azimuth_recon)

    return frame


_EXTRA = "pip install coherent-array-hil[bench]"
PEERS: dict[str, Peer] = {
    "plain numpy": Peer("", "", _plain_numpy),
    "loop over angles": Peer("", "", _loop_over_angles),
    "doatools": Peer("doatools", "pip install git+https://github.com/morriswmz/doatools.py", _doatools),
    "pyargus": Peer("pyargus", _EXTRA, _pyargus),
    "pyroomacoustics": Peer("pyroomacoustics", _EXTRA, _pyroomacoustics),
    "acoular": Peer("acoular", _EXTRA, _acoular),
    "classical_doa": Peer("classical_doa", _EXTRA, _classical_doa),
}
