"""One calibration file of `hil learn` in plain MUSIC and in all five published methods: the directions of each get better."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hil import store
from hil.core.calibration import Calibration
from hil.core.frame import StreamInfo
from hil.core.impairments import ideal
from hil.dsp.angle_delay_paths import find_paths
from hil.dsp.doa import DoaFinder
from hil.jobs.doa_diffmusic import SoftMusic
from hil.jobs.doa_echo_omp import EchoOmp
from hil.jobs.doa_vae import VaeFinder
from hil.jobs.train_data import DataSettings
from hil.jobs.train_scene import scene_covariances, scene_csi
from tests.gui.pictures import stream_of
from tests.small_networks import belongs_of, mod_dnn

_SCENE = """
seed = 7
[array]
n_elements = 8
[receiver]
fs_hz = 1.0e6
[impairments]
relock_phase = false
[[emitter]]
waveform = "{waveform}"
{more}
hop = {{ period_s = 0.001, min_deg = -60.0, max_deg = 60.0 }}
"""
_N_ANGLES = 16
_SNAPSHOTS = 64
_TONES = 12
_GRID_DEG = np.linspace(-90.0, 90.0, 721)


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the simulator's array hears of one wave at a time: covariances and channel responses with their directions."""

    covariance: NDArray[np.complex128]
    covariance_deg: NDArray[np.float64]
    csi: NDArray[np.complex64]
    csi_deg: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]


@pytest.fixture(scope="module")
def learned(shared_hil: Any) -> tuple[Calibration, Heard, StreamInfo]:
    """The calibration of `hil learn` on hops of a QPSK emitter, and what the same array hears."""
    hil = shared_hil
    (hil.folder / "hop.toml").write_text(_SCENE.format(waveform="qpsk", more="offset_hz = 1.0e5"))
    done = hil.here(
        "capture", "sim:hop.toml?free", "hop.sigmf-meta", "--seconds", 1.0, "--array", "ula:8:0.5"
    )
    assert done.code == 0, done
    done = hil.here("learn", "hop.sigmf-meta", "--support", "-60:60", "--out", "array.h5")
    assert done.code == 0, done
    ofdm = hil.folder / "ofdm.toml"
    ofdm.write_text(_SCENE.format(waveform="ofdm", more=""))
    csi = scene_csi(ofdm, DataSettings(array="ula:8:0.5"), None, None, 3)
    rows = scene_covariances(ofdm, DataSettings(array="ula:8:0.5"), None, 3)
    some = np.unique(csi.angle_deg[:, 0], return_index=True)[1][2:-2]
    some = some[np.linspace(0, len(some) - 1, _N_ANGLES).astype(int)]
    heard = Heard(
        rows.values[:_N_ANGLES].astype(np.complex128), rows.angle_deg[:_N_ANGLES, 0], csi.values[some].astype(np.complex64),
        csi.angle_deg[some, 0], csi.frequency_hz,
    )  # fmt: skip
    return store.load(hil.folder / "array.h5"), heard, stream_of("ula:8:0.5")


#: Direction of each row with one array.
Method = Callable[[Calibration, Heard, StreamInfo], NDArray[np.float64]]


def _music(array: Calibration, heard: Heard, stream: StreamInfo) -> NDArray[np.float64]:
    found = DoaFinder(array, stream.fc_hz).find_many(heard.covariance, 1)
    return np.array([f[0] for f in found])


def _diffmusic(array: Calibration, heard: Heard, stream: StreamInfo) -> NDArray[np.float64]:
    finder = SoftMusic(array, stream.fc_hz)
    return np.array([finder.find(r, 1)[0] for r in heard.covariance])


def _vae(array: Calibration, heard: Heard, stream: StreamInfo) -> NDArray[np.float64]:
    finder = VaeFinder(stream, array, _GRID_DEG)
    return np.array([finder.look(r, _SNAPSHOTS, 1).doa_deg[0] for r in heard.covariance])


def _gpi(array: Calibration, heard: Heard, stream: StreamInfo) -> NDArray[np.float64]:
    assert stream.geometry is not None
    out = [
        find_paths(h[None], stream.geometry.positions_m, stream.fc_hz, heard.frequency_hz, calibration=array, direct="no",
                   max_paths=1).paths[0].angle_deg
        for h in heard.csi
    ]  # fmt: skip
    return np.array(out)


def _omp(array: Calibration, heard: Heard, stream: StreamInfo) -> NDArray[np.float64]:
    omp = EchoOmp(array, stream.fc_hz, heard.frequency_hz, 0.0, _GRID_DEG)
    return np.array([omp.look(h[None]).doa_deg[0] for h in heard.csi])


def _rms_deg(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((found - truth) ** 2)))


#: With the calibration: rms error in degrees at most. 8 elements, 20 dB.
_LIMITS_DEG = {
    "MUSIC": 0.3, "diffMUSIC": 0.3, "dual-path VAE": 0.3, "GPI": 0.3, "differentiable OMP": 0.3, "MoD-DNN": 0.5,
}  # fmt: skip


def test_every_method_finds_better_directions_with_the_same_calibration_file(
    learned: tuple[Calibration, Heard, StreamInfo], capsys: pytest.CaptureFixture[str]
) -> None:
    calibration, heard, stream = learned
    nominal = replace(calibration, impairments=ideal(8))
    tones = heard.frequency_hz[:: len(heard.frequency_hz) // _TONES][:_TONES]
    network = mod_dnn(belongs_of(calibration.positions_m, stream.fc_hz, calibration), tones, steps=25)

    def deep(array: Calibration, heard: Heard, stream: StreamInfo) -> NDArray[np.float64]:
        return network.estimate(heard.csi, heard.frequency_hz, array, stream.fc_hz)[0]

    methods: dict[str, Method] = {
        "MUSIC": _music, "diffMUSIC": _diffmusic, "dual-path VAE": _vae, "GPI": _gpi, "differentiable OMP": _omp,
        "MoD-DNN": deep,
    }  # fmt: skip
    table = {}
    for name, method in methods.items():
        truth = heard.csi_deg if method in (_gpi, _omp, deep) else heard.covariance_deg
        table[name] = tuple(_rms_deg(method(array, heard, stream), truth) for array in (nominal, calibration))
    rows = [f"{name:20} {before:9.2f} {after:9.3f}" for name, (before, after) in table.items()]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", "rms error / degrees    nominal calibrated", *rows, ""]))
    for name, (before, after) in table.items():
        assert after < before / 3, name
        assert after < _LIMITS_DEG[name], name
