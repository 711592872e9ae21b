"""The null space against the table of what unlabelled data leave unknown, and what is said to settle it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.fisher.array import ArrayPoint, Unknowns
from calib.fisher.information import Looks
from calib.fisher.looks import looks_at, plan_looks
from calib.identifiability import Identifiability, identify, identify_plan, identify_result
from calib.result import GaugeRequest
from hil.core.errors import NotIdentifiable
from hil.core.geometry import ula
from tests.physics.array_scenes import FC_HZ, WAVELENGTH_M, circle, make_scene, uniform_line

N = 8


def array_at(rng, positions, coupling=None) -> ArrayPoint:
    n = len(positions)
    gain = (1 + 0.2 * rng.standard_normal(n)) * np.exp(2j * np.pi * rng.random(n))
    r = np.zeros((n, 3))
    r[:, : positions.shape[1]] = positions
    return ArrayPoint(gain, r - r.mean(axis=0), np.eye(n) if coupling is None else coupling)


def line(rng, std=0.05) -> np.ndarray:
    return uniform_line(N)[:, :1] + std * rng.standard_normal((N, 1))


def plane(rng) -> np.ndarray:
    return circle(N) + 0.05 * rng.standard_normal((N, 2))


def toeplitz(*values) -> np.ndarray:
    c = np.eye(N, dtype=complex)
    for lag, value in enumerate(values, 1):
        c += value * (np.eye(N, k=lag) + np.eye(N, k=-lag))
    return c


def full_coupling(rng) -> np.ndarray:
    c = 0.1 * (rng.standard_normal((N, N)) + 1j * rng.standard_normal((N, N)))
    np.fill_diagonal(c, 1)
    return c


def in_plane(rng, k, sector_deg, kind) -> Looks:
    low, high = np.deg2rad(sector_deg)
    return looks_at(rng.uniform(low, high, (60, k)), kind=kind)


def open_names(found: Identifiability) -> list[str]:
    return sorted(
        d.name for d in found.null if d.name not in ("scale", "phase", "shift-x", "shift-y", "shift-z")
    )


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("unknowns", "coupled", "names"),
    [
        (Unknowns(True, None), "", ["ramp-x"]),
        (Unknowns(True, "x"), "", ["ramp-x", "stretch"]),
        (Unknowns(False, "x"), "", ["stretch"]),
        (Unknowns(True, None, "free"), "equal free", ["ramp-x", "warp", "warp"]),
        (Unknowns(True, None, "free"), "free", ["ramp-x"]),
        (Unknowns(True, None, "toeplitz:2"), "banded", []),
        (Unknowns(True, "x", "toeplitz:2"), "banded", ["stretch"]),
    ],
)
def test_line_leaves_open_what_the_table_says(unknowns, coupled, names, seed, k) -> None:
    rng = np.random.default_rng(seed)
    coupling = toeplitz(0.15 * np.exp(1j), 0.05 * np.exp(-2j)) if "banded" in coupled else None
    if "free" in coupled:
        coupling = full_coupling(rng)
    point = array_at(rng, line(rng, 0.0 if "equal" in coupled else 0.05), coupling)
    found = identify(point, unknowns, in_plane(rng, k, (-60, 60), "line"))
    assert open_names(found) == names
    assert found.n_open == len(names)
    if "banded" in coupled:
        weakest = found.weak[0]
        assert weakest.name == "ramp-x"
        assert 3e-3 < weakest.relative < 3e-2
        assert "offset of sin(angle)" in found.weak_words[0]


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("unknowns", "count", "names"),
    [
        (Unknowns(True, None), 0, []),
        (Unknowns(True, "xy"), 1, ["rotation-xy"]),
        (Unknowns(True, None, elevation=True), 2, ["ramp-x", "ramp-y"]),
        (
            Unknowns(True, "xy", elevation=True),
            6,
            ["map-xx", "map-xy", "ramp-x", "ramp-y", "rotation-xy", "stretch"],
        ),
    ],
)
def test_plane_leaves_open_what_the_table_says(unknowns, count, names, seed, k) -> None:
    rng = np.random.default_rng(seed)
    point = array_at(rng, plane(rng))
    azimuth = rng.uniform(-np.pi, np.pi, (60, k))
    elevation = rng.uniform(-1.2, 1.2, (60, k)) if unknowns.elevation else None
    found = identify(point, unknowns, looks_at(azimuth, elevation, kind="planar"))
    assert found.n_open == count
    assert open_names(found) == names


def test_volume_leaves_three_rotations() -> None:
    rng = np.random.default_rng(0)
    point = array_at(rng, 0.6 * rng.standard_normal((N, 3)))
    looks = looks_at(rng.uniform(-3, 3, (60, 1)), rng.uniform(-1.2, 1.2, (60, 1)), kind="volume")
    found = identify(point, Unknowns(True, "xyz", elevation=True), looks)
    assert open_names(found) == ["rotation-xy", "rotation-xz", "rotation-yz"]
    assert "rotation of the whole array in space" in found.null_space[0]


def test_a_sector_sees_a_circle_badly() -> None:
    """All round every other direction is seen well; over 60 degrees the next one is under 1e-3 of the largest."""
    rng = np.random.default_rng(0)
    point = array_at(rng, plane(rng))
    whole = identify(point, Unknowns(True, "xy"), in_plane(rng, 1, (-180, 180), "planar"))
    sector = identify(point, Unknowns(True, "xy"), in_plane(rng, 1, (-30, 30), "planar"))
    assert whole.n_open == sector.n_open == 1
    assert whole.weak == ()
    assert sector.weak[0].relative < 1e-3
    assert abs(sector.next_angle_deg) > 90


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_null_space_leaves_the_covariances_as_they_are(seed) -> None:
    """An exact change of the array together with the angles, from each open direction of a line."""
    rng = np.random.default_rng(seed)
    point = array_at(rng, line(rng))
    found = identify(point, Unknowns(True, "x"), in_plane(rng, 1, (-60, 60), "line"))
    ramp = next(d.vector for d in found.null if d.name == "ramp-x")
    stretch = next(d.vector for d in found.null if d.name == "stretch")
    x = point.positions[:, 0]
    np.testing.assert_allclose(abs(ramp[N : 2 * N]), abs(x) / np.linalg.norm(x), atol=1e-9)
    np.testing.assert_allclose(abs(stretch[2 * N :]), abs(x) / np.linalg.norm(x), atol=1e-9)


# --- the words say what settles it: so it must


def planned(**options) -> Identifiability:
    angles = options.pop("angles", list(range(-60, 61, 10)))
    return identify_plan(ula(N, WAVELENGTH_M / 2), FC_HZ, angles, **options)


def anchors(*degrees) -> GaugeRequest:
    return GaugeRequest("anchor", anchors_deg=tuple((d, None, None) for d in degrees))


def test_two_known_angles_settle_a_line_and_one_does_not() -> None:
    assert planned().null_space == (
        "on this line a common offset and scale of sin(angle) cannot be known from these data: give two known angles, "
        "or three table positions",
    )
    assert planned(gauge=anchors(-40)).n_open == 1
    assert "one more known angle" in planned(gauge=anchors(-40)).null_space[0]
    assert planned(gauge=anchors(-40, 30)).n_open == 0
    assert planned(position_std_wavelengths=0.0, gauge=anchors(20)).n_open == 0


def test_three_table_positions_settle_a_line_and_two_do_not() -> None:
    hopping = plan_looks(ula(N, WAVELENGTH_M / 2), list(range(-60, 61, 10)))
    for steps, left in (([0, 25], 1), ([0, 25, 50], 0), ([-20, 0, 20], 0)):
        table = plan_looks(ula(N, WAVELENGTH_M / 2), steps, turntable=True)
        both = Looks(*(
            np.concatenate((getattr(hopping, f), getattr(table, f))) if f != "n_snapshots" else 256
            for f in Looks.__slots__
        ))  # fmt: skip
        point = ArrayPoint(np.ones(N), ula(N, 0.5).positions_m, np.eye(N))
        assert identify(point, Unknowns(True, "x"), both).n_open == left


def test_three_known_angles_settle_free_coupling_on_equal_spacing() -> None:
    rng = np.random.default_rng(4)
    point = array_at(rng, line(rng, 0.0), full_coupling(rng))
    looks = in_plane(rng, 1, (-60, 60), "line")
    for count, left in ((1, 2), (2, 1), (3, 0)):
        known = looks.known_sigma_rad.copy()
        known[:count] = 0.0
        found = identify(point, Unknowns(True, None, "free"), replace(looks, known_sigma_rad=known))
        assert found.n_open == left


@pytest.mark.parametrize(
    ("unknowns", "needed", "open_"),
    [(Unknowns(True, "xy"), 1, 1), (Unknowns(True, "xy", elevation=True), 3, 6)],
)
def test_known_directions_settle_a_plane(unknowns, needed, open_) -> None:
    rng = np.random.default_rng(5)
    elevation = rng.uniform(-1.2, 1.2, (60, 1)) if unknowns.elevation else None
    looks = looks_at(rng.uniform(-np.pi, np.pi, (60, 1)), elevation, kind="planar")
    point = array_at(rng, plane(rng))
    for count in range(needed + 1):
        known = looks.known_sigma_rad.copy()
        known[:count] = 0.0
        found = identify(point, unknowns, replace(looks, known_sigma_rad=known))
        assert found.n_open == open_ * (needed - count) // needed


def test_a_support_settles_a_line_as_well_as_its_edges_are_known() -> None:
    """67 / n degrees rms over +-60 degrees (exponential gaps at both edges)."""
    angles = list(np.linspace(-60, 60, 601))
    found = planned(angles=angles, gauge=GaugeRequest("support", (-60.0, 60.0)))
    assert found.n_open == 0
    assert found.crb_doa_deg["learned"] == pytest.approx(67 / 601, rel=0.15)


def test_a_still_emitter_leaves_nearly_everything_open() -> None:
    found = planned(angles=[10.0, 10.0, 10.0])
    # one direction shows 2 (N - 1) numbers less one for its angle; 3 N less 3 conventions are wanted
    assert found.n_open == 3 * N - 3 - (2 * (N - 1) - 1)
    assert any("the emitter must move" in words for words in found.null_space)
    assert open_names(planned(angles=[-50.0, 10.0])) == ["ramp-x", "stretch"]


# --- from data


def test_a_learned_line_is_described() -> None:
    scene = make_scene(3, uniform_line(N), 1, 300)
    gauge = GaugeRequest("support", (-60.0, 60.0))
    result = scene.learn(gauge)
    obs = scene.observations
    found = identify_result(result, obs, scene.geometry, FC_HZ)
    assert open_names(found) == ["ramp-x", "stretch"]
    truth = array_at(np.random.default_rng(0), scene.positions_m[:, :1] / WAVELENGTH_M)
    truth = replace(truth, gain=scene.gain)
    ideal = identify(
        truth,
        Unknowns(True, "x"),
        looks_at(np.deg2rad(scene.angle_deg), kind="line"),
        wavelength_m=WAVELENGTH_M,
    )
    assert found.crb_doa_deg["known"] == pytest.approx(ideal.crb_doa_deg["known"], rel=0.1)
    np.testing.assert_allclose(found.sigma.position_m[:, 0], ideal.sigma.position_m[:, 0], rtol=0.1)
    # the learner's own sigma of the gain is the same number by another way
    np.testing.assert_allclose(found.sigma.gain_db, result.sigma.gain_db, rtol=0.25)
    assumed = identify_result(result, obs, scene.geometry, FC_HZ, gauge=gauge)
    assert assumed.n_open == 0
    assert "fill -60 to 60" in assumed.text()
    with pytest.raises(NotIdentifiable, match="33"):
        identify_result(
            result, obs, scene.geometry, FC_HZ, gauge=GaugeRequest("anchor", anchors_deg=((33.0, 0.0, 1e-3),))
        )


def test_a_learned_circle_is_described() -> None:
    scene = make_scene(4, circle(), 2, 200, limits_deg=(-180, 180), position_std=0.05)
    result = scene.learn(GaugeRequest("prior"))
    found = identify_result(result, scene.observations, scene.geometry, FC_HZ)
    assert open_names(found) == ["rotation-xy"]
    assert found.null_space[0].endswith("give one known azimuth")
