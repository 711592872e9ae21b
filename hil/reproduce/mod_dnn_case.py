"""One case of the MoD-DNN experiment: methods that learned from one kind of material, tested as that protocol says."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calib.methods.mod_dnn.deep_music import DeepMusic
from calib.methods.mod_dnn.network import MoDDNN, Shape
from calib.methods.mod_dnn.tones import normalised
from calib.methods.mod_dnn.train import TrainPlan, train
from hil.reproduce.mod_dnn_channels import CHANNELS, draw_channel, hall
from hil.reproduce.mod_dnn_data import FIELD_DEG, bound_deg, draw, manifold
from hil.reproduce.mod_dnn_learn import SEARCHED, TABLES, Learned, learn
from hil.reproduce.mod_dnn_looks import autoencoder_responses, model_spectra, network_spectra
from hil.reproduce.mod_dnn_material import N_HELD, TABLE_SNR_DB, material
from hil.reproduce.mod_dnn_score import distributed, scored, spread_by_epoch

SNRS_DB = (10, 15, 20, 25, 30)
RHOS = (0.0, 0.25, 0.5, 0.75, 1.0)
RHO_SNR_DB = 20.0
HALF_DEG = np.arange(FIELD_DEG[0] + 0.5, FIELD_DEG[1])
ODD_DEG = np.arange(FIELD_DEG[0] + 1, FIELD_DEG[1], 2.0)
_CHANNEL_SNR_DB = 25.0
_TIMED = 100
_BATCH = 256


def run_protocol(
    protocol: str,
    methods: list[str],
    count: int,
    seed: int = 1,
    steps: int = 0,
    rho: float = 1.0,
    variant: str = "fast",
) -> dict[str, Any]:
    """Learn each method and test it.

    protocol : simulated (SNR, other rho, channels, spectra, timing), few (SNR), chamber, held-out, parking, or rho (errors at
    that rho). count : test samples at each SNR. seed, steps, variant : of networks.
    """
    given = material(protocol, rho)
    out: dict[str, Any] = {}
    for method in methods:
        learned = learn(method, given, seed=seed, steps=steps, variant=variant)
        result: dict[str, Any] = {
            "seconds": learned.seconds,
            "parameters": learned.parameters,
            "samples": learned.samples,
        }
        if protocol in ("simulated", "few"):
            result["snr"] = {str(s): _off_grid(learned, count, s) for s in SNRS_DB}
        if protocol == "simulated":
            result |= _simulated(learned, count)
        elif protocol == "chamber":
            result |= _chamber(learned, count)
        elif protocol == "held-out":
            result |= _held_out(learned, count)
        elif protocol == "parking":
            result |= _parking(learned, count)
        elif protocol == "rho":
            result["rho"] = {f"{rho:g}": _off_grid(learned, count, RHO_SNR_DB, rho)}
        if isinstance(learned.network, MoDDNN):
            net = learned.network
            result["responses"] = autoencoder_responses(net.autoencoder, net.shape.regions.of)
            result["gate_parameters"] = sum(p.numel() for p in net.autoencoder.parameters())
        if learned.network is not None:
            result["epochs"] = spread_by_epoch(learned.history)
            result["last_loss"] = learned.history[-1][1]
        out[method] = result
    return {"protocol": protocol, "seed": seed, "steps": steps, "variant": variant, "methods": out}


def run_models(protocol: str, count: int, rho: float = 1.0) -> dict[str, Any]:
    """Methods without training; for `simulated` also their spectra."""
    out = run_protocol(protocol, [*SEARCHED, *TABLES], count, rho=rho)
    if protocol == "simulated":
        out["spectra"] = model_spectra()
    return out


def run_shared_autoencoder(steps: int, seed: int = 1) -> dict[str, Any]:
    """Autoencoder II: one set of weights for all tones."""
    torch.manual_seed(seed)
    shape = Shape(diverse=False)
    net = MoDDNN(shape, manifold(shape.regions.grid_deg).swapaxes(0, 1))
    begin = time.process_time()
    plan = TrainPlan(gate_steps=steps, steps=100, seed=seed)
    train(net, material("simulated").source, plan, on_step=lambda stage, share, loss: stage != "gate")
    parameters = sum(p.numel() for p in net.autoencoder.parameters())
    return {
        "shared_autoencoder": autoencoder_responses(net.autoencoder, net.shape.regions.of), "steps": steps,
        "seconds": time.process_time() - begin, "parameters": parameters,
    }  # fmt: skip


def _off_grid(learned: Learned, count: int, snr_db: float, rho: float = 1.0) -> dict[str, float]:
    """Random angles inside the field; every method meets the same blocks."""
    rng = np.random.default_rng([8, 20, int(snr_db)])
    angle = rng.uniform(*FIELD_DEG, count)
    found = learned.angles(normalised(draw(angle, rng, snr_db, rho)))
    return scored(found, angle, bound_deg(angle, snr_db, rho))


def _simulated(learned: Learned, count: int) -> dict[str, Any]:
    out: dict[str, Any] = {
        "other_rho": {f"{r:g}": _off_grid(learned, count, RHO_SNR_DB, r) for r in RHOS},
        "channels": {name: _channel(learned, name, count) for name in CHANNELS},
        "distribution": _distribution(learned, count),
        "timing": _timed(learned),
    }
    net = learned.network
    if isinstance(net, (MoDDNN, DeepMusic)):
        out["spectra"] = network_spectra(net)
    return out


def _channel(learned: Learned, name: str, count: int) -> dict[str, float]:
    rng = np.random.default_rng([8, 30, list(CHANNELS).index(name)])
    angle = rng.uniform(*FIELD_DEG, count)
    return scored(learned.angles(normalised(draw_channel(name, angle, rng, _CHANNEL_SNR_DB))), angle)


def _distribution(learned: Learned, count: int) -> dict[str, Any]:
    rng = np.random.default_rng([8, 40])
    angle = rng.uniform(*FIELD_DEG, count)
    return distributed(learned.angles(normalised(draw(angle, rng, TABLE_SNR_DB))), angle)


def _chamber(learned: Learned, count: int) -> dict[str, Any]:
    """Another 50 symbols at the 121 angles that were recorded, as many at the half degrees between them, and the hall."""
    each = max(min(N_HELD, count // 60), 1)
    whole = np.repeat(np.arange(FIELD_DEG[0], FIELD_DEG[1] + 0.5), each)
    return {
        "chamber": _turntable(learned, whole, 50),
        "half": _turntable(learned, np.repeat(HALF_DEG, each), 51),
        **_parking(learned, count),
    }


def _held_out(learned: Learned, count: int) -> dict[str, Any]:
    """Odd and half degrees after even ones were recorded."""
    angles = np.concatenate((ODD_DEG, HALF_DEG))
    repeated = np.repeat(angles, max(count // len(angles), 1))
    rng = np.random.default_rng([8, 60])
    out = {}
    for snr_db in SNRS_DB:
        found = learned.angles(normalised(draw(repeated, rng, snr_db)))
        out[str(snr_db)] = scored(found, repeated, bound_deg(repeated, snr_db))
    return {"held_out": out, "held_out_distribution": _turntable(learned, repeated, 61)}


def _turntable(learned: Learned, angle_deg: NDArray[np.float64], purpose: int) -> dict[str, Any]:
    tones = normalised(draw(angle_deg, np.random.default_rng([8, purpose]), TABLE_SNR_DB))
    bound = float(np.sqrt(np.mean(bound_deg(angle_deg, TABLE_SNR_DB) ** 2)))
    return {**distributed(learned.angles(tones), angle_deg), "bound": bound}


def _parking(learned: Learned, count: int) -> dict[str, Any]:
    place = hall()
    kept = np.flatnonzero(place.held_out)
    positions = np.repeat(kept, max(count // len(kept), 1))
    tones = normalised(place.symbols(positions, np.random.default_rng([8, 70])))
    angle = place.angle_deg[positions]
    found = learned.angles(tones)
    out = distributed(found, angle)
    for name, part in (("clear", ~place.blocked[positions]), ("blocked", place.blocked[positions])):
        out[name] = scored(found[part], angle[part])
    return {"parking": out}


def _timed(learned: Learned) -> dict[str, float | None]:
    """Milliseconds of processor time: a block alone (median), and a block of a batch; and operations."""
    rng = np.random.default_rng([8, 80])
    tones = normalised(draw(rng.uniform(*FIELD_DEG, _BATCH), rng, 20.0))
    learned.angles(tones)
    single = []
    for i in range(_TIMED):
        begin = time.process_time()
        learned.angles(tones[i : i + 1])
        single.append(time.process_time() - begin)
    batch = []
    for _ in range(5):
        begin = time.process_time()
        learned.angles(tones)
        batch.append((time.process_time() - begin) / _BATCH)
    times = {"single_ms": 1e3 * float(np.median(single)), "batch_ms": 1e3 * float(np.median(batch))}
    return {**times, "gflop": learned.gflop}
