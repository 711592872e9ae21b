"""Every method of the experiment behind one interface: tones in, angles out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from calib.methods.mod_dnn.deep_music import DeepMusic, train_deep_music
from calib.methods.mod_dnn.network import MoDDNN
from calib.methods.mod_dnn.plain_cnn import PlainCnn, train_plain_cnn
from calib.methods.mod_dnn.searched import Searched, SearchKind
from calib.methods.mod_dnn.train import TrainPlan, train
from calib.response.bias import bias_table
from hil.core.errors import ConfigError
from hil.reproduce.mod_dnn_data import N_ELEMENTS, N_TONES, manifold
from hil.reproduce.mod_dnn_material import Material
from hil.reproduce.mod_dnn_variants import network

Angles = Callable[[NDArray[np.complex64]], NDArray[np.float64]]
Network = MoDDNN | PlainCnn | DeepMusic

SEARCHED: tuple[SearchKind, ...] = ("music", "dbf", "cdbf")
TABLES = ("bias", "lut")
NEURAL = ("cnn", "deep-music", "mod-dnn")
#: MUSIC reads beyond the field: an error of 7 degrees there must not be cut off, or a bias table has no inverse
_SEARCH_DEG = np.linspace(-80, 80, 1601)
_CHUNK = 500
_MAX_GATE_STEPS = 1500


@dataclass(frozen=True, slots=True)
class Learned:
    """angles : normalised tones (B, K, M) to degrees (B,). seconds : processor time of training. samples : trained on.
    history : [step, loss] of the part that finds angles. gflop : 1e9 operations a direction, None if not counted."""

    angles: Angles
    parameters: int = 0
    samples: int = 0
    seconds: float = 0.0
    history: list[list[float]] = field(default_factory=list)
    network: Network | None = None
    gflop: float | None = None


def learn(method: str, given: Material, *, seed: int = 1, steps: int = 0, variant: str = "fast") -> Learned:
    """A method ready to use. seed, steps : of the neural ones. Raises ConfigError for an unknown one."""
    begin = time.process_time()
    for kind in SEARCHED:
        if method == kind:
            return Learned(searched(kind).angles_deg, gflop=searched_gflop())
    if method == "bias":
        music = searched("music")
        table = bias_table(given.angle_deg, music.angles_deg(given.tones))
        if table is None:
            raise ConfigError("what MUSIC reads does not grow with the angle everywhere: no bias table")
        low, high = table.seen_deg[[0, -1]]
        seconds = time.process_time() - begin
        # noise takes readings past the last angle of the table: they belong to that angle
        return Learned(
            lambda tones: table.corrected(np.clip(music.angles_deg(tones), low, high)),
            len(table.angle_deg), len(given.angle_deg), seconds, gflop=searched_gflop(),
        )  # fmt: skip
    if method == "lut":
        measured = given.table()
        n_angles = len(np.unique(given.angle_deg))
        return Learned(
            lambda tones: _in_parts(measured.angles_deg, tones), n_angles * N_TONES * (N_ELEMENTS - 1), len(given.angle_deg),
            time.process_time() - begin,
        )  # fmt: skip
    if method in NEURAL:
        return _neural(method, given, seed, steps, variant)
    raise ConfigError(f"unknown method {method!r}")


def searched(kind: SearchKind, grid_deg: NDArray[np.float64] = _SEARCH_DEG) -> Searched:
    """MUSIC, DBF or coarray DBF with the ideal array."""
    return Searched(kind, manifold(grid_deg), grid_deg)


def _neural(method: str, given: Material, seed: int, steps: int, variant: str) -> Learned:
    torch.manual_seed(seed)
    history: list[list[float]] = []
    seen = [0]

    def source(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        seen[0] += len(angle_deg)
        return given.source(angle_deg, rng)

    def told(stage: str, share: float, loss: float) -> bool:
        if stage != "gate":
            history.append([round(share * steps), loss])
        return False

    begin = time.process_time()
    if method == "mod-dnn":
        net = network(variant)
        plan = TrainPlan(gate_steps=max(min(steps // 3, _MAX_GATE_STEPS), 50), steps=steps, seed=seed)
        train(net, source, plan, on_step=told)
    elif method == "cnn":
        net = PlainCnn(N_TONES, N_ELEMENTS)
        train_plain_cnn(net, source, steps=steps, seed=seed, on_step=told)
    else:
        net = DeepMusic(manifold)
        train_deep_music(net, source, steps=steps, seed=seed, on_step=told)
    seconds = time.process_time() - begin
    net.eval()
    return Learned(
        network_angles(net),
        sum(p.numel() for p in net.parameters()),
        seen[0],
        seconds,
        history,
        net,
        network_gflop(net),
    )


def network_angles(net: Network) -> Angles:
    """Its directions from numpy to numpy."""

    def part(tones: NDArray[np.complex64]) -> NDArray[np.float64]:
        with torch.no_grad():
            return net.angles_deg(torch.as_tensor(tones)).double().numpy()

    return lambda tones: _in_parts(part, tones)


def _in_parts(angles: Angles, tones: NDArray[np.complex64]) -> NDArray[np.float64]:
    return np.concatenate([angles(tones[low : low + _CHUNK]) for low in range(0, len(tones), _CHUNK)])


def network_gflop(net: Network, n_tones: int = N_TONES, n_elements: int = N_ELEMENTS) -> float:
    """1e9 operations of one direction, two for each product and sum of a layer, counted by torch from the shapes."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net.angles_deg(torch.ones(1, n_tones, n_elements, dtype=torch.complex64))
    return counter.get_total_flops() / 1e9


def searched_gflop(n_angles: int = len(_SEARCH_DEG)) -> float:
    """Covariance, eigenvectors (ten cubes) and spectrum of a search; a complex product and sum is eight operations."""
    m = N_ELEMENTS
    return 8e-9 * (N_TONES * m**2 + 10 * m**3 + n_angles * m**2)
