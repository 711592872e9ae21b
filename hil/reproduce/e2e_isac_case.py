"""One case of the ISAC experiment: one learner on one array, tested on the scenes that all learners meet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.isac.symbols import decide, symbol_error_rate
from hil.reproduce.e2e_isac_data import (
    MAX_TARGETS,
    MODELS,
    NOMINAL,
    RANGE_M,
    Links,
    Scenes,
    TrueArray,
    draw_array,
    draw_links,
    draw_scenes,
    window_basis,
)
from hil.reproduce.e2e_isac_learn import learn
from hil.reproduce.e2e_isac_method import Method, from_positions
from hil.reproduce.e2e_isac_multi import RECEIVERS, curves, map_of
from hil.reproduce.e2e_isac_neural import NeuralMethod
from hil.reproduce.e2e_isac_single import Found, find_single, scored

SECTOR_DEG = (-40.0, -20.0)
UNSEEN_DEG = (-20.0, 20.0)
FALSE_ALARM = 1e-2
ETAS = tuple(float(v) for v in np.linspace(0, 1, 8))
PHIS = tuple(float(v) for v in np.linspace(0, 7 * np.pi / 4, 8))
_N_LINKS = 1000


def run_method(
    model: str, draw: int, learner: str, single: int = 0, sweep: int = 0, multi: int = 0, multi_sweep: int = 0
) -> dict[str, Any]:
    """Learn array `draw` of a model, then test.

    single, multi : scenes of one and of up to five targets with the sensing beam. sweep : scenes of one target for each
    of the 64 beams of Fig. 5, and in the unseen sector. multi_sweep : scenes of up to five targets for each of the 8
    beams of Fig. 9. 0 leaves a part out.
    """
    array, basis = draw_array(model, draw), window_basis()
    learned = learn(learner, model, array, basis, [draw, 7, MODELS.index(model)])
    method = learned.method
    links = draw_links(_rng(model, draw, 1), array, _N_LINKS)
    out: dict[str, Any] = {"model": model, "draw": draw, "learner": learner, "match": _match(method, array)}
    out |= {"seconds": learned.seconds, "blocks": learned.blocks, "parameters": learned.parameters}
    out["ser_half"] = _ser(links, method.isac_beam(SECTOR_DEG, 0.5, 0.0))
    if single:
        for part, sector_deg in (("single", SECTOR_DEG), ("single_unseen", UNSEEN_DEG)):
            beams = [method.sector_beam(sector_deg)]
            found, scenes = _found(method, array, basis, _rng(model, draw, 2), single, sector_deg, beams)
            out[part] = scored(found, scenes, 0, FALSE_ALARM)
    if sweep:
        out["sweep"] = _swept(method, array, basis, links, _rng(model, draw, 3), sweep, SECTOR_DEG)
        out["unseen"] = _swept(method, array, basis, links, _rng(model, draw, 4), sweep, UNSEEN_DEG)
    if isinstance(method, NeuralMethod):  # one target is all it can find
        return out
    if multi:
        scenes = draw_scenes(
            _rng(model, draw, 5), array, basis, multi, max_targets=MAX_TARGETS, sector_deg=SECTOR_DEG
        )
        out["multi"] = curves(method, scenes, basis, method.sector_beam(SECTOR_DEG), FALSE_ALARM)
    if multi_sweep:
        scenes = draw_scenes(
            _rng(model, draw, 6), array, basis, multi_sweep, max_targets=MAX_TARGETS, sector_deg=SECTOR_DEG
        )
        out["multi_sweep"] = [
            {"eta": eta, "ser": _ser(links, beam)} | curves(method, scenes, basis, beam, FALSE_ALARM)["at"]
            for eta in ETAS
            for beam in [method.isac_beam(SECTOR_DEG, eta, 0.0)]
        ]
    return out


def run_receivers(model: str, draw: int, multi: int) -> dict[str, Any]:
    """Fig. 7: OMP and differentiable OMP, its dictionary over the sector or over all angles; the array is known."""
    array, basis = draw_array(model, draw), window_basis()
    method = from_positions(-array.positions)
    scenes = draw_scenes(
        _rng(model, draw, 5), array, basis, multi, max_targets=MAX_TARGETS, sector_deg=SECTOR_DEG
    )
    beam = method.sector_beam(SECTOR_DEG)
    return {"model": model, "draw": draw} | {
        receiver: curves(method, scenes, basis, beam, FALSE_ALARM, receiver) for receiver in RECEIVERS
    }


def run_map(model: str, draw: int, learner: str) -> dict[str, Any]:
    """Fig. 3: maps of one scene with four targets at 20 dB: an ideal array, the array ignored, the array learned."""
    array, basis = draw_array(model, draw), window_basis()
    learned = learn(learner, model, array, basis, [draw, 7, MODELS.index(model)])
    nominal = from_positions(-NOMINAL)
    ideal = TrueArray(NOMINAL, np.zeros_like(array.ripple))
    maps, truth = [], None
    assert isinstance(learned.method, Method)
    for real, method in ((ideal, nominal), (array, nominal), (array, learned.method)):
        scenes = draw_scenes(
            _rng(model, draw, 8),
            real,
            basis,
            1,
            max_targets=4,
            min_targets=4,
            sector_deg=SECTOR_DEG,
            snr=100.0,
        )
        truth = scenes
        maps.append(map_of(method, scenes, basis, method.sector_beam(SECTOR_DEG)))
    assert truth is not None
    top = maps[0].max()
    return {
        "maps": [np.round(m.astype(float) / top, 5).tolist() for m in maps],
        "theta_deg": np.rad2deg(truth.theta_rad[0]).tolist(),
        "range_m": truth.range_m[0].tolist(),
        "extent": [*SECTOR_DEG, *RANGE_M],
    }


def _found(
    method: Method | NeuralMethod,
    array: TrueArray,
    basis: NDArray[np.complex128],
    rng: np.random.Generator,
    count: int,
    sector_deg: tuple[float, float],
    beams: list[NDArray[np.complex128]],
) -> tuple[Found, Scenes]:
    """`count` scenes of one target, and what is found in them with each beam."""
    scenes = draw_scenes(rng, array, basis, count, max_targets=1, min_targets=1, sector_deg=sector_deg)
    if isinstance(method, NeuralMethod):
        return method.find_single(scenes, beams), scenes
    return find_single(method, scenes, basis, beams), scenes


def _swept(
    method: Method | NeuralMethod,
    array: TrueArray,
    basis: NDArray[np.complex128],
    links: Links,
    rng: np.random.Generator,
    count: int,
    sector_deg: tuple[float, float],
) -> list[dict[str, float]]:
    """All 64 beams; at eta 0 and 1 all phi are one beam."""
    pairs = [(eta, phi) for eta in ETAS for phi in (PHIS if 0 < eta < 1 else PHIS[:1])]
    beams = [method.isac_beam(sector_deg, eta, phi) for eta, phi in pairs]
    found, scenes = _found(method, array, basis, rng, count, sector_deg, beams)
    return [
        {"eta": pair[0], "phi": pair[1], "ser": _ser(links, beam), **scored(found, scenes, q, FALSE_ALARM)}
        for q, (pair, beam) in enumerate(zip(pairs, beams, strict=True))
    ]


def _ser(links: Links, beam: NDArray[np.complex128]) -> float:
    return symbol_error_rate(links.symbols, decide(links.received(beam), links.state(beam)))


def _match(method: Method | NeuralMethod, array: TrueArray) -> float | None:
    """Mean of |a^H a_true| over the norms between -70 and 70 degrees; networks have no steering vectors."""
    if isinstance(method, NeuralMethod):
        return None
    inside = np.abs(method.grid_rad) < np.deg2rad(70)
    true, own = array.steering(method.grid_rad[inside]).T, method.dictionary[:, inside]
    norms = np.linalg.norm(true, axis=0) * np.linalg.norm(own, axis=0)
    return float(np.mean(np.abs(np.sum(own.conj() * true, axis=0)) / norms))


def _rng(model: str, draw: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([draw, 11, MODELS.index(model), purpose])
