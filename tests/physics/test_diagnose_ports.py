"""Swapped and mirrored ports, and coherent paths: rates over random arrays, and refusals where nobody can know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.diagnose.coherence import coherence_meter
from calib.diagnose.fitted import fit_array
from calib.diagnose.mirror import orientation
from calib.diagnose.port_order import order_from_positions
from calib.diagnose.ports import diagnose_ports
from calib.learn import GaugeRequest, Observations
from calib.model import Model
from hil.core.errors import NotIdentifiable
from tests.physics.array_scenes import FC_HZ, WAVELENGTH_M, ArrayScene, circle, make_scene, uniform_line


def permuted(scene: ArrayScene, place: np.ndarray) -> Observations:
    """What is seen if port i is connected to element place[i]."""
    cov = scene.covariance[:, place[:, None], place[None, :]]
    return Observations(cov, scene.n_snapshots, scene.observations.time_s)


def exchanged(n: int, seed: int) -> np.ndarray:
    place = np.arange(n)
    i, j = np.random.default_rng(seed).choice(n, 2, replace=False)
    place[[i, j]] = place[[j, i]]
    return place


@pytest.mark.parametrize(("n", "k"), [(8, 1), pytest.param(6, 2, marks=pytest.mark.slow)])
def test_two_exchanged_ports_of_a_line_are_found_and_healthy_lines_are_not_accused(n: int, k: int) -> None:
    found, alarms = 0, 0
    for seed in range(8100, 8120):
        scene = make_scene(seed, uniform_line(n), k, n_blocks=200)
        place = exchanged(n, seed)
        report = diagnose_ports(permuted(scene, place), scene.geometry, FC_HZ, k, time_limit_s=20)
        mirror = tuple((n - 1 - place).tolist())
        found += (
            report.finding.fault
            and report.order is not None
            and report.order.place in (tuple(place.tolist()), mirror)
        )
        if seed % 2:
            healthy = diagnose_ports(scene.observations, scene.geometry, FC_HZ, k, time_limit_s=20)
            alarms += healthy.finding.fault
            assert healthy.finding.confidence > 0.9
    assert found >= 19
    assert alarms == 0


@pytest.mark.slow
def test_exchanged_ports_of_a_circle_up_to_its_symmetry() -> None:
    distance = np.linalg.norm(circle()[:, None] - circle(), axis=-1)
    found = 0
    for seed in range(8140, 8146):
        scene = make_scene(seed, circle(), 1, n_blocks=200, limits_deg=(-180.0, 180.0), position_std=0.05)
        place = exchanged(8, seed)
        std_m = 0.05 * WAVELENGTH_M
        report = diagnose_ports(
            permuted(scene, place), scene.geometry, FC_HZ, 1, position_std_m=std_m, time_limit_s=20
        )
        if report.order is not None:
            order = np.array(report.order.place)
            found += np.allclose(distance[np.ix_(order, order)], distance[np.ix_(place, place)])
        healthy = diagnose_ports(
            scene.observations, scene.geometry, FC_HZ, 1, position_std_m=std_m, time_limit_s=20
        )
        assert not healthy.finding.fault, healthy.finding.words
    assert found >= 5


def test_order_from_positions_knows_its_open_frame() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        n = int(rng.integers(4, 12))
        nominal = uniform_line(n)[:, :1]
        place = exchanged(n, int(rng.integers(1000)))
        learned = nominal[place] + 0.06 * rng.standard_normal((n, 1))
        order = order_from_positions(learned * rng.choice([-1.3, 0.8, 1.2]) + 0.3, nominal, 0.1)
        assert order.place in (tuple(place.tolist()), tuple((n - 1 - place).tolist()))
    straight = order_from_positions(nominal, nominal, 0.1)
    assert straight.moved == ()
    assert straight.log_ratio > 5


# Mirror


def turned_scene(seed: int, nominal=None, mirrored: bool = False):
    """One standing emitter seen at 13 headings: the scene, and the turns as stated."""
    nominal = uniform_line(8) if nominal is None else nominal
    heading = np.arange(-60, 61, 10.0).repeat(20)
    source = np.random.default_rng(seed).uniform(-10, 10)
    scene = make_scene(seed, nominal, angle_deg=(source - heading)[:, None])
    if mirrored:
        scene.covariance = scene.covariance[:, ::-1, ::-1]
    rotations = tuple((float(h), 0.02 * i, 0.02 * i + 0.0195) for i, h in enumerate(np.unique(heading)))
    return scene, rotations


def asked(scene: ArrayScene, request: GaugeRequest, **options):
    fitted = fit_array(scene.observations, scene.geometry, FC_HZ, scene.angle_deg.shape[1], time_limit_s=20)
    assert fitted.fits
    return orientation(fitted, request, **options)


def test_the_sense_of_a_tables_turns_shows_a_mirrored_line() -> None:
    for seed in range(8160, 8165):
        for mirrored in (False, True):
            scene, rotations = turned_scene(seed, mirrored=mirrored)
            assert asked(scene, GaugeRequest("none", rotations=rotations)).mirrored == mirrored


def test_an_anchor_off_broadside_shows_it_when_the_field_is_lit() -> None:
    for seed in range(8180, 8186):
        angles = np.random.default_rng(seed).uniform(-60, 60, (300, 1))
        angles[:20] = 45.0
        scene = make_scene(seed, uniform_line(8), angle_deg=angles)
        if seed % 2:
            scene.covariance = scene.covariance[:, ::-1, ::-1]
        request = GaugeRequest("none", anchors_deg=((45.0, 0.0, 0.0195),))
        assert asked(scene, request).mirrored == bool(seed % 2)


def test_an_asymmetric_support_shows_it_and_a_symmetric_one_does_not() -> None:
    for seed in range(8200, 8206):
        scene = make_scene(seed, uniform_line(8), limits_deg=(-10.0, 70.0))
        if seed % 2:
            scene.covariance = scene.covariance[:, ::-1, ::-1]
        assert asked(scene, GaugeRequest("none", (-10.0, 70.0))).mirrored == bool(seed % 2)
        even = make_scene(seed, uniform_line(8))
        with pytest.raises(NotIdentifiable) as refusal:
            asked(even, GaugeRequest("none", (-60.0, 60.0)))
        assert "--anchor" in refusal.value.hint


def test_nobody_can_know_without_evidence() -> None:
    scene = make_scene(8210, uniform_line(8))
    with pytest.raises(NotIdentifiable, match="mirror image"):
        asked(scene, GaugeRequest("none"))
    angles = np.random.default_rng(1).uniform(-60, 60, (300, 1))
    angles[:20] = 0.0  # an anchor at broadside looks the same from behind the mirror
    with pytest.raises(NotIdentifiable, match="known angle"):
        asked(
            make_scene(8211, uniform_line(8), angle_deg=angles),
            GaugeRequest("none", anchors_deg=((0.0, 0.0, 0.0195),)),
        )


def test_a_circle_needs_turns_or_two_anchors() -> None:
    for mirrored in (False, True):
        heading = np.arange(0, 360, 20.0).repeat(20)
        scene = make_scene(
            8220, circle(), angle_deg=((50.0 - heading + 180) % 360 - 180)[:, None], position_std=0.05
        )
        rotations = tuple((20.0 * i, 0.02 * i, 0.02 * i + 0.0195) for i in range(18))
        if mirrored:  # y -> -y exchanges elements m and -m
            back = (-np.arange(8)) % 8
            scene.covariance = scene.covariance[:, back[:, None], back]
        assert asked(scene, GaugeRequest("none", rotations=rotations)).mirrored == mirrored
    with pytest.raises(NotIdentifiable):
        asked(scene, GaugeRequest("none"))


# Multipath


def met(scene: ArrayScene, n_sources: int | None = None):
    n = len(scene.gain)
    dims = 1 if scene.is_line else 2
    model = Model(scene.gain, scene.positions_m[:, :dims] / WAVELENGTH_M).normalised()
    assert model.n_elements == n
    return coherence_meter(scene.observations, n_sources, model)


@pytest.mark.parametrize("nominal", [uniform_line(8), circle()], ids=["line", "circle"])
def test_coherent_paths_are_told_from_independent_ones(nominal: np.ndarray) -> None:
    right = 0
    for seed in range(8300, 8320):
        rng = np.random.default_rng(seed)
        first = rng.uniform(-50, 20, (16, 1))
        angles = np.concatenate((first, first + rng.uniform(18, 40, (16, 1))), axis=1)
        coherent = met(make_scene(seed, nominal, angle_deg=angles, coherent=True, position_std=0.08), 2)
        plain = met(make_scene(seed, nominal, angle_deg=angles, position_std=0.08), 2)
        right += (coherent.rank, coherent.paths, coherent.finding.fault) == (
            1,
            2,
            True,
        ) and coherent.coherence > 0.95
        assert (plain.rank, plain.paths, plain.finding.fault) == (2, 2, False), plain.finding.words
        assert plain.coherence < 0.3
    assert right >= 19


def test_one_source_is_one_wave_and_a_wrong_array_is_not_explained() -> None:
    for seed in range(8330, 8350):
        scene = make_scene(seed, uniform_line(8), n_blocks=25)
        one = met(scene, 1)
        assert (one.rank, one.paths, one.finding.fault) == (1, 1, False)
        wrong = met(replace(scene, gain=np.ones(8, complex)))
        assert wrong.finding.fault
        assert wrong.paths is None
    assert coherence_meter(scene.observations, 2).finding.fault
    assert not coherence_meter(scene.observations, 1).finding.fault
