"""The race: same blocks for all, held-out judges, ties, methods that break."""

from __future__ import annotations

import numpy as np
import pytest

from calib.learn import learn
from calib.race import Entry, race, rank
from calib.race_split import part_of, split_blocks
from calib.registry import METHODS
from calib.result import GaugeRequest, LearnResult
from hil.core.calibration import unknown_sigma
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.gauge import Gauge
from hil.core.impairments import ideal
from tests.physics.array_scenes import FC_HZ, make_scene, uniform_line

SUPPORT = GaugeRequest("support", (-60.0, 60.0))


def _breaks(*args: object, **options: object) -> LearnResult:
    raise ZeroDivisionError("a bug")


def _refuses(*args: object, **options: object) -> LearnResult:
    raise NotIdentifiable("cannot be known", parameters=["gain"])


def _boasts(obs, geometry, fc_hz, n_sources, gauge, **options) -> LearnResult:
    """Says it converged, with an array that is wrong."""
    n = obs.n_elements
    return LearnResult(ideal(n), unknown_sigma(n), Gauge(angle_sigma_deg=1e-3), True, score=-10.0, excess=0.0)


def _again(*args, **options) -> LearnResult:
    return learn(*args, **options)


@pytest.fixture(autouse=True)
def methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("breaks", "refuses", "boasts", "again"):
        monkeypatch.setitem(METHODS, name, f"{__name__}:_{name}")


@pytest.fixture(scope="module")
def scene():
    return make_scene(9000, uniform_line(4), 1, 300, blocks_per_dwell=2)


def test_methods_that_break_are_listed_and_a_boaster_is_found_out(scene, monkeypatch) -> None:
    monkeypatch.setattr("calib.registry.importlib.import_module", lambda name: _modules(name))
    stages: list[str] = []
    names = ("breaks", "refuses", "boasts", "weiss-friedlander", "again", "cold-start")
    found = race(
        scene.observations, scene.geometry, FC_HZ, 1, SUPPORT, methods=names,
        progress=lambda p: stages.append(p.stage),
    )  # fmt: skip
    by_name = {e.method: e for e in found.entries}
    assert set(by_name) == set(names)
    assert by_name["breaks"].reason == "ZeroDivisionError: a bug"
    assert by_name["refuses"].reason == "cannot be known"
    assert not by_name["boasts"].converged
    assert "held-out" in by_name["boasts"].reason
    assert by_name["boasts"].held_out_excess > 3
    winner = found.winner
    assert winner is not None
    # the same array twice: a tie that ends in the order of the table
    assert winner.method == "cold-start"
    assert found.tied == ("again",)
    assert "again ties with it" in found.offer
    assert "has not been applied" in found.offer
    assert abs(winner.held_out_excess) < 0.4
    assert found.entries[0] is winner
    text = found.table()
    assert text.splitlines()[1].startswith("*cold-start")
    assert "breaks: ZeroDivisionError: a bug" in text
    assert {s.split(":")[0] for s in stages} == set(names)
    # dwells of two blocks stay together
    assert "dwells is held out" in found.held_out
    assert found.n_training + found.n_held_out == 300


def _modules(name: str):
    import importlib
    import sys

    return sys.modules[__name__] if name == __name__ else importlib.__import__(name, fromlist=["x"])


def test_nobody_converges(scene, monkeypatch) -> None:
    monkeypatch.setattr("calib.registry.importlib.import_module", lambda name: _modules(name))
    found = race(
        scene.observations, scene.geometry, FC_HZ, 1, SUPPORT, methods=("breaks", "weiss-friedlander")
    )
    assert found.winner is None
    assert found.best is not None
    assert found.best.method == "weiss-friedlander"
    assert found.offer.startswith("no method converged")


def test_whole_dwells_are_held_out(scene) -> None:
    split = split_blocks(scene.observations, 1, 0.2)
    taught = set(np.round(scene.angle_deg[split.training, 0], 9))
    judged = set(np.round(scene.angle_deg[split.held_out, 0], 9))
    assert not taught & judged
    assert 0.15 < len(split.held_out) / 300 < 0.25
    assert len(set(split.training) | set(split.held_out)) == 300
    assert part_of(scene.observations, split.held_out).n_blocks == len(split.held_out)


def test_a_fixed_cycle_of_hops_does_not_show_the_judges_one_angle_only() -> None:
    cycle = np.tile(np.linspace(-50, 50, 5), 60)[:, None]  # every fifth dwell comes back to the same angle
    scene = make_scene(9002, uniform_line(4), 1, 300, angle_deg=cycle)
    split = split_blocks(scene.observations, 1, 0.2)
    assert len(set(np.round(scene.angle_deg[split.held_out, 0]))) >= 3


def test_gliding_emitters_are_split_by_time() -> None:
    angle = 55 * np.sin(np.linspace(0, 9, 400))[:, None]
    glide = make_scene(9001, uniform_line(4), 1, 400, angle_deg=angle)
    split = split_blocks(glide.observations, 1, 0.2)
    assert "stretches of time" in split.words
    # stretches, not single blocks
    assert np.mean(np.diff(split.held_out) == 1) > 0.8


def test_refusals(scene) -> None:
    obs, geometry = scene.observations, scene.geometry
    with pytest.raises(ConfigError, match="held_out"):
        race(obs, geometry, FC_HZ, 1, SUPPORT, held_out=0.9)
    with pytest.raises(ConfigError, match="unknown method 'nobody'"):
        race(obs, geometry, FC_HZ, 1, SUPPORT, methods=("nobody",))
    with pytest.raises(ConfigError, match="needs covariances"):
        race(None, geometry, FC_HZ, 1, SUPPORT)
    with pytest.raises(NotIdentifiable, match="too few"):
        race(part_of(obs, np.arange(12)), geometry, FC_HZ, 1, SUPPORT)
    from calib.csi import ChannelResponses

    with pytest.raises(ShapeError, match="blocks of channel responses"):
        race(obs, geometry, FC_HZ, 1, SUPPORT, csi=ChannelResponses(np.ones((3, 4, 8), complex), 15e3))


def test_stop_ends_the_race_and_judges_what_was_run(scene) -> None:
    ran: list[str] = []
    found = race(
        scene.observations, scene.geometry, FC_HZ, 1, SUPPORT, methods=("cold-start", "weiss-friedlander"),
        progress=lambda p: ran.append(p.stage), stop=lambda: "cold-start: polish" in ran,
    )  # fmt: skip
    assert found.winner is not None
    assert {e.method: e.reason for e in found.entries}["weiss-friedlander"] == "stopped before its turn"


def _entry(name: str, excess: float, sigma: float, *, spread: float = 0.0, converged: bool = True) -> Entry:
    rng = np.random.default_rng(len(name))
    peaks = (
        np.random.default_rng(1).normal(0, 0.4, (200, 1)) + excess + spread * rng.standard_normal((200, 1))
    )
    result = LearnResult(ideal(4), unknown_sigma(4), Gauge(), converged, n_angles=100)
    return Entry(name, result, converged, "", excess, -10.0, -10.0, 0.0, 1.0, 1, sigma, per_peak=peaks)


@pytest.mark.parametrize(
    ("second", "winner"),
    [
        (_entry("bb", 0.005, 0.1), "bb"),  # within 1 %: the smaller angle sigma
        (_entry("bb", 0.03, 0.1), "a"),  # the same peaks, 3 % shallower all along: significant
        (_entry("bb", 0.03, 0.1, spread=0.4), "bb"),  # scattered: within the statistical error
        (_entry("bb", 0.005, 0.5), "a"),
        (_entry("bb", -0.5, 0.1, converged=False), "a"),  # not converged never wins
    ],
)
def test_ties_go_to_the_smaller_sigma(second: Entry, winner: str) -> None:
    ranked, _ = rank([_entry("a", 0.0, 0.2), second])
    assert ranked[0].method == winner
    assert [e.winner for e in ranked] == [True, False]
