"""The simulator as a data set: rows of a scene's drawn array at angles of a field, by the simulator's own physics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil import store
from hil.core.errors import SceneError
from hil.core.geometry import ArrayGeometry
from hil.jobs.train_calibration import fitting
from hil.jobs.train_data import DataSettings, Origin, Rows
from sim_backend.drawn import Drawn, draw
from sim_backend.propagation import Ray, Table, coefficients, rays
from sim_backend.scene import Scene, load_scene
from sim_backend.signals import emitter_waveform

_FIELD_DEG = (-60.0, 60.0)
_STEP_DEG = 1.0
_PER_ANGLE = 40
_SNAPSHOTS = 64
_RECORDINGS = 3000
_SHARES = (0.7, 0.1, 0.2)
_ONE = Table(np.zeros((0, 1), np.complex64), 1, np.zeros(1), constant=True)


def scene_csi(
    path: Path,
    settings: DataSettings,
    picked: int | NDArray[np.float64] | None,
    field_deg: tuple[float, float] | None,
    seed: int,
) -> Rows:
    """Channel responses of the first emitter: an angle at random in every degree of the field (default +-60), forty
    responses of each, at the scene's signal-to-noise ratio a tone; a tenth of the angles to validate, a fifth to test.

    Raises SceneError, ConfigError, CalibrationError.
    """
    from hil.jobs.train_data import columns_of

    scene, drawn, rng = *_loaded(path), np.random.default_rng(seed)
    frequency = _tones_hz(scene)
    frequency = frequency[columns_of(frequency, picked)]
    low, high = field_deg or _FIELD_DEG
    n = max(2, round((high - low) / _STEP_DEG))
    angle = np.concatenate(([low], low + (high - low) * (np.arange(n) + rng.uniform(size=n)) / n, [high]))
    part = np.concatenate(([0], rng.choice(3, n, p=_SHARES), [0])).astype(np.uint8)
    angle, part = np.repeat(angle, _PER_ANGLE), np.repeat(part, _PER_ANGLE)
    source = [ray for ray in rays(scene) if ray.index == 0]
    clean = np.stack([_responses(scene, drawn, source, angle, f) for f in frequency], axis=2)
    turn = np.exp(2j * np.pi * rng.uniform(size=(len(angle), 1, 1)))
    csi = clean * turn + _noise(rng, clean.shape, scene.receiver.snr_db)
    return _ready(path, settings, scene, drawn, csi.astype(np.complex64), angle[:, None], part, frequency)


def scene_covariances(
    path: Path, settings: DataSettings, field_deg: tuple[float, float] | None, seed: int
) -> Rows:
    """Covariances of 64 snapshots of all emitters of the scene at random angles of the field, their channels Gaussian; 3000
    of them. Raises as `scene_csi`."""
    scene, drawn, rng = *_loaded(path), np.random.default_rng(seed)
    low, high = field_deg or _FIELD_DEG
    k = len(scene.emitters)
    angle = np.sort(rng.uniform(low, high, (_RECORDINGS, k)), axis=1)
    owner = rng.permuted(np.tile(np.arange(k), (_RECORDINGS, 1)), axis=1)
    shape = (_RECORDINGS, drawn.gain.size, _SNAPSHOTS)
    y = _noise(rng, shape, scene.receiver.snr_db)
    for ray in rays(scene):
        if ray.path is None:
            at = angle[owner == ray.index]
            a = _responses(scene, drawn, [ray], at, 0.0)
            s = _noise(rng, (_RECORDINGS, 1, _SNAPSHOTS), 0.0)
            y += a[:, :, None] * s
    covariance = y @ y.conj().swapaxes(1, 2) / _SNAPSHOTS
    part = rng.choice(3, _RECORDINGS, p=_SHARES).astype(np.uint8)
    return _ready(path, settings, scene, drawn, covariance, angle, part, np.zeros(0))


def _loaded(path: Path) -> tuple[Scene, Drawn]:
    scene = load_scene(path)
    if not scene.emitters:
        raise SceneError(f"{path}: no emitter to learn directions from", hint="add an [[emitter]]")
    return scene, draw(scene)


def _tones_hz(scene: Scene) -> NDArray[np.float64]:
    kind = scene.emitters[0].waveform
    wave = emitter_waveform(
        scene.ofdm, kind if kind in ("ofdm", "srs") else "srs", scene.receiver.fs_hz, np.random.default_rng(0)
    )
    assert wave.layout is not None
    return np.asarray(wave.layout.columns * wave.layout.spacing_hz, np.float64)


def _responses(
    scene: Scene, drawn: Drawn, source: list[Ray], angle_deg: NDArray[np.float64], offset_hz: float
) -> NDArray[np.complex128]:
    """(R, M) of a carrier at an offset from the middle of the band, multipath at its angle from the direct way included."""
    fc_hz = np.full(len(drawn.gain), scene.receiver.fc_hz)
    out = np.zeros((len(angle_deg), len(drawn.gain)), np.complex128)
    for ray in source:
        emitter = replace(ray.emitter, offset_hz=offset_hz, rf_hz=None)
        beside = 0.0 if ray.path is None else ray.path.angle_deg - ray.emitter.angle_deg
        one = replace(ray, emitter=emitter)
        out += coefficients(one, _ONE, drawn, fc_hz, np.asarray(angle_deg, float) + beside)[:, 0]
    return out


def _noise(rng: np.random.Generator, shape: tuple[int, ...], below_db: float) -> NDArray[np.complex128]:
    return (
        10 ** (-below_db / 20) * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)
    )


def _ready(
    path: Path, settings: DataSettings, scene: Scene, drawn: Drawn, values: NDArray[np.complexfloating],
    angle_deg: NDArray[np.float64], part: NDArray[np.uint8], frequency_hz: NDArray[np.float64],
) -> Rows:  # fmt: skip
    from calib.trained.csi import corrected
    from hil.core.geometry import parse_array

    fc_hz = scene.receiver.fc_hz
    geometry = (
        ArrayGeometry(drawn.positions_m) if settings.array is None else parse_array(settings.array, fc_hz)
    )
    if geometry.n_elements != len(drawn.gain):
        raise SceneError(f"--array: {geometry.n_elements} elements, the scene has {len(drawn.gain)}")
    origin = Origin((path.name,), geometry, fc_hz, False, "", ())
    given = None
    if settings.calibration is not None:
        given = fitting(store.load(settings.calibration), geometry, fc_hz, (settings.stale_ok or "").strip())
        origin = replace(
            origin, geometry=ArrayGeometry(given.positions_m), calibrated=True, calibration=given.id, given=given,
            notes=("the calibration is not checked against a scene",),
        )  # fmt: skip
        if len(frequency_hz):
            values = corrected(values, frequency_hz, given).astype(np.complex64)
    decoder = None if len(frequency_hz) else given
    return Rows(origin, values, angle_deg, part, frequency_hz, len(frequency_hz) or _SNAPSHOTS, decoder)
