"""`hil reproduce dual-path-vae`: directions and channels of several users, learned without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hil.reproduce.dual_path_vae_checks import checks
from hil.reproduce.dual_path_vae_notes import notes
from hil.reproduce.dual_path_vae_pictures import pictures
from hil.reproduce.dual_path_vae_rows import SCENES, SNRS, gather
from hil.reproduce.dual_path_vae_tables import tables
from hil.reproduce.experiment import Case, Plan, Report

_CASE, _PARTS = "hil.reproduce.dual_path_vae_case", "hil.reproduce.dual_path_vae_parts"
_LANDSCAPE = "hil.reproduce.dual_path_vae_landscape"
#: (antennas, users, separation) besides the main size
_OTHER = ((8, 2, 15.0), (16, 3, 10.0))
_CNN = (("apart", 0.0), ("apart", 10.0), ("apart", 20.0), ("correlated", 10.0), ("free", 20.0))
_VARIANTS = (
    ("proposed", 0.0), ("no-initialisation", 0.0), ("supervised", 0.0), ("learned-decoder", 0.0), ("aoa-labels", 0.0),
    ("proposed", 0.8), ("aoa-labels", 0.8),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Size:
    """train, test : recordings of a setting; epochs of the anchored path. seeds : of a setting; supervision : of users apart.
    cnn, networks : (recordings, epochs) there. others : SNRs of the scenes beside users apart."""

    train: int
    test: int
    epochs: int
    seeds: int
    supervision: int
    cnn: tuple[int, int]
    networks: tuple[int, int]
    labels: int
    points: int
    others: tuple[float, ...]


_FULL = _Size(3000, 1500, 15, 3, 5, (3000, 20), (3000, 40), 2000, 121, SNRS)
_QUICK = _Size(1500, 700, 8, 1, 1, (1000, 6), (1500, 16), 600, 81, (10.0, 20.0))

INTRO = """
A base station with 32 antennas half a wavelength apart hears three users in a sector of 120 degrees, 40 snapshots with a new channel
in each. One network path estimates the users' directions from the covariance, another the channels from the samples; a decoder that
knows the array, and nothing of which is learned, turns both back into samples. The loss needs neither angles nor channels.

"VAE" is the anchored form: pseudo-labels (the likelier of simultaneous OMP and MUSIC for each recording), a network of 88 067
parameters that moves each label by at most a beam, the channels' exact posterior instead of a second network. With the posterior
exact the loss is the likelihood of the recording. "+ 20 ML steps" goes on from there on the same loss. The form as published, two plain
networks, is among the ablations in a size for a CPU. A network for each SNR, as in the paper; all methods meet the same recordings.

"MUSIC, well built" has a grid of 0.05 degrees that goes 4 degrees beyond the sector, and a parabola. Two others are built as they
probably were where MUSIC is found much worse: blind for a user at the sector's edge, or on a coarse grid.
"""


class DualPathVae:
    """Figures 2 to 7 of the paper, classical methods beside them, other sizes and a calibrated decoder."""

    name = "dual-path-vae"
    title = "Dual-path VAE: directions and channels without labels"
    source = (
        "Guo, Xiao, Chen, unsupervised angle-of-arrival and channel estimation with a dual-path knowledge-aware variational "
        "auto-encoder (Sun Yat-sen University and University of Hawaii)"
    )
    intro = INTRO

    def cases(self, plan: Plan) -> list[Case]:
        """One per setting and seed, network variant, part and picture."""
        size = _QUICK if plan.quick else _FULL
        out: list[Case] = []
        for scene, ((separation_deg, rho), _) in SCENES.items():
            apart = scene == "apart"
            seeds = plan.seeds or (size.supervision if apart else size.seeds)
            for snr_db in SNRS if apart else size.others:
                out += [
                    _setting(scene, (32, 3), snr_db, separation_deg, rho, s, size)
                    for s in range(1, seeds + 1)
                ]
        seeds = range(1, (plan.seeds or size.seeds) + 1)
        for n, k, separation_deg in _OTHER:
            out += [_setting(f"size-{n}-{k}", (n, k), 10.0, separation_deg, 0.0, s, size) for s in seeds]
        out += [_cnn(scene, snr_db, size) for scene, snr_db in (_CNN[1:2] if plan.quick else _CNN)]
        out += [_network(variant, rho, size) for variant, rho in _VARIANTS]
        for s in seeds:
            arguments = {
                "snr_db": 10.0,
                "seed": s,
                "train": size.train,
                "test": size.test,
                "epochs": size.epochs,
            }
            weight = round(2.5e-3 * (size.train + size.test), 1)
            out.append(Case(f"calibrated-{s}", f"{_CASE}:run_calibrated", arguments, weight))
            few = {"seed": s, "train": size.labels, "test": size.labels // 2, "epochs": size.epochs}
            out.append(Case(f"labels-{s}", f"{_PARTS}:run_labels", few, round(22e-3 * size.labels, 1)))
        batches = 1 if plan.quick else 3
        out += [
            Case("sectors", f"{_PARTS}:run_sectors", {"seed": 1, "count": size.labels // 2}, round(4e-3 * size.labels, 1)),
            Case("sizes", f"{_PARTS}:run_sizes", {"batches": batches}, 1.5 + batches),
            Case("landscape", f"{_LANDSCAPE}:run_landscape", {"points": size.points}, 0.5),
        ]  # fmt: skip
        out += [
            Case(f"timing-{n}-{k}", f"{_PARTS}:run_timing", {"n": n, "k": k, "count": 200}, 3.0)
            for n, k in ((8, 2), (16, 3), (32, 3))
        ]
        return out

    def report(self, plan: Plan, results: dict[str, dict[str, Any]]) -> Report:
        """Tables, figures and checks."""
        del plan
        found = gather(results)
        return Report(
            tables(found, results), pictures(found, results), checks(found, results), notes(found, results)
        )


def _setting(
    name: str,
    shape: tuple[int, int],
    snr_db: float,
    separation_deg: float,
    rho: float,
    seed: int,
    size: _Size,
) -> Case:
    arguments = {
        "n": shape[0], "k": shape[1], "snr_db": snr_db, "separation_deg": separation_deg, "rho": rho, "seed": seed,
        "train": size.train, "test": size.test, "epochs": size.epochs,
    }  # fmt: skip
    weight = 1e-3 * (2 * size.train + 7 * size.test) * (shape[0] / 32)
    return Case(f"{name}-{snr_db:g}dB-{seed}", f"{_CASE}:run_setting", arguments, round(weight, 1))


def _cnn(scene: str, snr_db: float, size: _Size) -> Case:
    (separation_deg, rho), _ = SCENES[scene]
    train, epochs = size.cnn
    arguments = {
        "snr_db": snr_db, "separation_deg": separation_deg, "rho": rho, "seed": 1, "train": train, "test": size.test, "epochs": epochs,
    }  # fmt: skip
    return Case(f"cnn-{scene}-{snr_db:g}dB", f"{_CASE}:run_cnn", arguments, round(0.5e-3 * train * epochs, 1))


def _network(variant: str, rho: float, size: _Size) -> Case:
    train, epochs = size.networks
    arguments = {
        "variant": variant, "rho": rho, "seed": 1, "train": train, "test": size.test // 2, "first": 2 * epochs // 3,
        "epochs": epochs - 2 * epochs // 3,
    }  # fmt: skip
    key = f"network-{variant}" + "-correlated" * (rho > 0)
    return Case(key, f"{_PARTS}:run_networks", arguments, round(0.45e-3 * train * epochs, 1))


EXPERIMENT = DualPathVae()
