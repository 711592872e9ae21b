"""What happens when a part of the VAE is taken away or put back as printed; landscapes, sizes and times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from calib.methods.dual_path_vae.channel_path import Architecture
from calib.methods.dual_path_vae.labels import LABEL_KINDS, Labeller
from calib.methods.dual_path_vae.phases import DualPath, PhaseData, PhasePlan, Variant, train_phases
from calib.methods.dual_path_vae.posterior import ChannelPrior, Channels, estimated_prior
from calib.methods.dual_path_vae.refine import refine
from hil.reproduce.dual_path_vae_data import SECTOR_DEG, Real, Recordings, Setting, believed, bound_deg, draw
from hil.reproduce.dual_path_vae_methods import (
    ML_STEPS,
    WELL_BUILT,
    estimated_deg,
    kr_music_deg,
    material,
    music_deg,
    trained,
)
from hil.reproduce.dual_path_vae_score import (
    bound_scored,
    channel_bound_scored,
    channel_scored,
    degrees,
    scored,
)

_MEANS = (0.0, 0.7)
_RATE = 1e-3
#: plain networks learn this much in a minute
_N, _K, _SEPARATION_DEG = 16, 2, 15.0
#: users whose aliases at one wavelength lie outside +-29 degrees
_NARROW_DEG, _WIDE_DEG, _FIELD_DEG = (-25.0, 25.0), (-90.0, 90.0), (-24.0, 24.0)
_SPACINGS = (0.5, 1.0)
_BATCH = 128


def run_labels(seed: int, train: int, test: int, epochs: int) -> dict[str, Any]:
    """Fig. 7: each kind of pseudo-label alone, with the network trained on it, with 20 likelihood steps; and no label at all."""
    rows: dict[str, Any] = {}
    for mean in _MEANS:
        setting = Setting(mean=mean)
        array = believed(setting)
        learned, given = (
            draw(setting, c, np.random.default_rng([8, seed, 3 + i])) for i, c in enumerate((train, test))
        )
        for kind in LABEL_KINDS:
            row = {
                "label": estimated_deg(array, given, None, 0, kind),
                "ml": estimated_deg(array, given, None, ML_STEPS, kind),
            }
            if not mean:
                data = material(array, learned, kind)
                for part, truth in (("net", None), ("told", learned.u)):
                    path = trained(array, data, epochs, seed, truth).path
                    row[part] = estimated_deg(array, given, path, 0, kind)
            rows[f"{kind} {mean:g}"] = {part: scored(found, given.theta_deg) for part, found in row.items()}
        if not mean:
            rows["random 0"] = {
                part: scored(found, given.theta_deg)
                for part, found in _from_random(setting, given, seed).items()
            }
    return {"kind": "labels", "seed": seed, "rows": rows}


def _from_random(setting: Setting, given: Recordings, seed: int) -> dict[str, Real]:
    """No initialisation: likelihood steps, free to go anywhere, from random directions."""
    rng = np.random.default_rng([8, seed, 5])
    start = np.sort(np.sin(np.deg2rad(rng.uniform(*SECTOR_DEG, given.theta_deg.shape))), axis=1)
    array, r = believed(setting), torch.as_tensor(given.covariance)
    prior = estimated_prior(r, setting.k, array)
    end = refine(array, r, torch.as_tensor(start), prior, n_steps=10 * ML_STEPS, reach=2.0)
    return {"label": degrees(start), "ml": degrees(end)}


def run_networks(
    variant: str, rho: float, seed: int, train: int, test: int, first: int, epochs: int
) -> dict[str, Any]:
    """The published training in a size for a CPU: both paths are plain networks, `first` epochs of initialisation, then `epochs`."""
    setting = Setting(_N, _K, separation_deg=_SEPARATION_DEG, rho=rho)
    array = believed(setting)
    learned, given = (
        draw(setting, c, np.random.default_rng([8, seed, 6 + i])) for i, c in enumerate((train, test))
    )
    torch.manual_seed(seed)
    model = DualPath(array, setting.k, setting.m)
    # turns in place of the phase that is left out: every variant has the same number of epochs
    starts = 0 if variant == "no-initialisation" else first
    # after an initialisation the quick rate would leave its start
    plan = PhasePlan(
        starts, first + epochs - starts, init_lr=_RATE, lr=_RATE / 10 if starts else _RATE, elbo="exact",
        variant=cast(Variant, variant), seed=seed,
    )  # fmt: skip
    begin = time.process_time()
    history = train_phases(model, _phase_data(setting, learned), plan)
    seconds = time.process_time() - begin
    u, h = model.estimate(torch.as_tensor(given.y).to(torch.complex64))
    found = degrees(u.numpy())
    error = _channels(h, given)
    return {
        "kind": "networks", "variant": variant, "rho": rho, "seed": seed, "samples": train, "epochs": first + epochs,
        "seconds": seconds, "history": history, "aoa": scored(found, given.theta_deg), "channel": error,
        "closed": channel_scored(array, given, found, "posterior"),
        "bound": {"aoa": bound_scored(bound_deg(setting, given.theta_deg)), "channel": channel_bound_scored(array, given, setting)},
        "music": scored(music_deg(array, given.covariance, setting.k, WELL_BUILT), given.theta_deg),
        "parameters": {
            "directions": sum(p.numel() for p in model.directions.parameters()),
            "channels": sum(p.numel() for p in model.channels.parameters()),
        },
    }  # fmt: skip


def _channels(h: torch.Tensor, given: Recordings) -> dict[str, float]:
    from calib.methods.dual_path_vae.channels import channel_errors

    errors = channel_errors(h, torch.as_tensor(given.h).to(h))
    return {
        "nmse_db": 10 * float(np.log10(errors.nmse)),
        "gain": errors.gain,
        "phase_rad2": errors.phase_rad2,
    }


def _phase_data(setting: Setting, learned: Recordings) -> PhaseData:
    """With labels of SOMP, as a CPU-sized stand-in for the published ones; the truth for the variants that are told."""
    array = believed(setting)
    r = torch.as_tensor(learned.covariance)
    prior = estimated_prior(r, setting.k, array)
    labels = Labeller(array, setting.k, SECTOR_DEG).of_covariance("somp", r.numpy(), prior)
    single = ChannelPrior(prior.covariance.to(torch.complex64), prior.noise.float())
    return PhaseData(
        torch.as_tensor(learned.y).to(torch.complex64), torch.as_tensor(labels).float(), single,
        torch.as_tensor(learned.u).float(), torch.as_tensor(learned.h).to(torch.complex64),
    )  # fmt: skip


def run_sectors(seed: int, count: int) -> dict[str, Any]:
    """Fig. 7's "no sectors": users within +-24 degrees, searched there or everywhere, at half and one wavelength."""
    rows: dict[str, Any] = {}
    for spacing in _SPACINGS:
        setting = Setting(spacing=spacing, field_deg=_FIELD_DEG)
        array, given = believed(setting), draw(setting, count, np.random.default_rng([8, seed, 8]))
        for name, sector in (("sector", _NARROW_DEG), ("everywhere", _WIDE_DEG)):
            found = estimated_deg(array, given, None, ML_STEPS, sector_deg=sector)
            rows[f"{spacing:g} {name}"] = scored(found, given.theta_deg)
    return {"kind": "sectors", "seed": seed, "rows": rows}


def run_sizes(batches: int) -> dict[str, Any]:
    """Parameters and seconds of a training batch of 128 for the networks; nothing is trained to an end."""
    setting = Setting()
    learned = draw(setting, _BATCH, np.random.default_rng([8, 1, 9]))
    data = _phase_data(setting, learned)
    out: dict[str, Any] = {}
    for architecture in ("small", "resnet18"):
        model = DualPath(
            believed(setting), setting.k, setting.m, architecture=cast(Architecture, architecture)
        )
        seconds: dict[str, float] = {}
        for phase in ("directions", "channels"):
            begin = time.process_time()
            for _ in range(batches):
                _step(model, data, phase)
            seconds[phase] = (time.process_time() - begin) / batches
        out[architecture] = {
            "directions": {"parameters": _size(model.directions), "batch_s": seconds["directions"]},
            "channels": {"parameters": _size(model.channels), "batch_s": seconds["channels"]},
        }
    return {"kind": "sizes", "architectures": out, "batch": _BATCH}


def _step(model: DualPath, data: PhaseData, phase: str) -> None:
    """Forward and backward of one path; the loss costs nothing beside it."""
    model.zero_grad()
    if phase == "directions":
        loss = model.directions_of(data.y).square().sum()
    else:
        channels: Channels = model.channels(data.y)
        loss = channels.mean.abs().square().sum() + channels.covariance.abs().square().sum()
    loss.backward()


def _size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def run_timing(n: int, k: int, count: int) -> dict[str, Any]:
    """Milliseconds of one thread for a recording of a batch, and for one alone."""
    setting = Setting(n=n, k=k, separation_deg=160.0 / n)
    array, given = believed(setting), draw(setting, count, np.random.default_rng([8, n, 10]))
    path = trained(array, material(array, given), 1, 1).path
    ways: dict[str, Callable[[Recordings], Any]] = {
        "music": lambda g: music_deg(array, g.covariance, k, WELL_BUILT),
        "kr-music": lambda g: kr_music_deg(array, g),
        "labels": lambda g: estimated_deg(array, g, None, 0),
        "net": lambda g: estimated_deg(array, g, path, 0),
        "net-ml": lambda g: estimated_deg(array, g, path, ML_STEPS),
        "ml": lambda g: estimated_deg(array, g, None, ML_STEPS),
    }
    data = material(array, given)
    out = {
        name: {"batch_ms": _ms(way, given) / count, "single_ms": _alone(way, given)}
        for name, way in ways.items()
    }

    def forward(_: Recordings) -> torch.Tensor:
        with torch.no_grad():
            return path(data.covariance, data.labels)

    out["forward"] = {"batch_ms": _ms(forward, given) / count}
    return {"kind": "timing", "n": n, "k": k, "count": count, "methods": out}


def _ms(way: Callable[[Recordings], Any], given: Recordings) -> float:
    begin = time.process_time()
    way(given)
    return 1e3 * (time.process_time() - begin)


def _alone(way: Callable[[Recordings], Any], given: Recordings) -> float:
    """Median of 20."""
    ones = [
        Recordings(given.theta_deg[i : i + 1], given.h[i : i + 1], given.y[i : i + 1])
        for i in range(min(20, len(given.y)))
    ]
    return float(np.median([_ms(way, one) for one in ones]))
