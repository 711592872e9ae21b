"""Absolute angles from known turns of a table, nobody knowing an absolute angle; and from the truth."""

from __future__ import annotations

import numpy as np
import pytest

from calib.gauges.line import Anchor, ScalePrior, fit_anchors, fit_support
from calib.gauges.rotation import RotationFit, fit_rotations
from calib.gauges.standing import Sightings
from calib.learn import GaugeRequest, Observations, Prior, learn
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.impairments import Impairments, ideal
from tests.physics.array_scenes import FC_HZ, ArrayScene, circle, make_scene, uniform_line

FIELD = (-np.pi / 3, np.pi / 3)
GRID = np.linspace(*FIELD, 61)


def drawn_line(rng: np.random.Generator, n: int = 8, position_std: float = 0.1):
    """Positions, their prior in a frame of slope 1, and the frame: u_hat = (u - be) kappa."""
    nominal = uniform_line(n)[:, 0]
    true = nominal + position_std * rng.standard_normal(n)
    true -= true.mean()
    kappa = float(true @ nominal / (nominal @ nominal))
    return ScalePrior(true / kappa, nominal, position_std), kappa, 0.05 * rng.standard_normal()


def angle_error(al: float, be: float, kappa: float, shift: float) -> float:
    """Rms angle error over the field of a gauge (al, be) where u_hat = (u - shift) kappa."""
    mapped = al * (np.sin(GRID) - shift) * kappa + be
    return float(np.sqrt(np.mean((np.arcsin(np.clip(mapped, -1, 1)) - GRID) ** 2)))


def on_table(
    rng: np.random.Generator, emitters: int, headings, kappa: float, shift: float, sigma: float,
    *, table_deg: float = 0.0, strays: int = 0,
) -> Sightings:  # fmt: skip
    """Standing emitters at every heading, and strays that stand nowhere."""
    heading = np.deg2rad(np.asarray(headings, float))
    source = np.deg2rad(rng.uniform(-35, 35, emitters)) + heading.mean()
    rows = []
    for k, h in enumerate(heading):
        off = np.deg2rad(table_deg) * rng.standard_normal()
        u = [(np.sin(s - h + off) - shift) * kappa for s in source] + rng.uniform(-0.8, 0.8, strays).tolist()
        rows += [(v + sigma * rng.standard_normal(), h, k) for v in u]
    u, h, k = (np.array(c) for c in zip(*rows, strict=True))
    return Sightings(u, np.eye(len(u)) * sigma**2, h, k.astype(np.intp), len(heading), len(heading))


# What the turns settle: median error as in the Monte Carlo of the cold start's trial (section 4.2), and coverage
CASES = [
    (1, (0, 20, 40), 0.1, 0.0, 0, 0.35),
    (1, tuple(range(0, 81, 10)), 0.1, 0.0, 0, 0.06),
    (8, (0, 20), 0.1, 0.0, 0, 0.08),
    (3, (0, 20, 40), 0.1, 0.0, 0, 0.07),
    (1, tuple(range(0, 81, 10)), 0.1, 0.1, 0, 0.6),
    (1, tuple(range(0, 81, 10)), 0.1, 0.0, 2, 0.06),
    (1, (0, 20, 40), 0.0, 0.0, 0, 0.2),
]


@pytest.mark.parametrize(("emitters", "headings", "position_std", "table_deg", "strays", "bar_deg"), CASES)
def test_error_and_stated_sigma(
    emitters: int, headings, position_std: float, table_deg: float, strays: int, bar_deg: float
) -> None:
    errors, inside = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        prior, kappa, shift = drawn_line(rng, position_std=position_std)
        seen = on_table(rng, emitters, headings, kappa, shift, 2.2e-4, table_deg=table_deg, strays=strays)
        fit = fit_rotations(seen, prior, FIELD)
        assert fit is not None
        errors.append(angle_error(fit.affine.al, fit.affine.be, kappa, shift))
        inside.append(errors[-1] <= fit.affine.angle_sigma_rad)
    assert np.rad2deg(np.median(errors)) < bar_deg
    assert np.mean(inside) >= 0.83  # 0.9 less 1.3 standard errors of 30 runs


def test_one_emitter_agrees_with_the_three_number_linear_fit() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prior, kappa, shift = drawn_line(rng)
        seen = on_table(rng, 1, range(-40, 41, 10), kappa, shift, 1e-4)
        fit = fit_rotations(seen, prior, FIELD)
        design = np.column_stack((np.cos(seen.heading_rad), np.sin(seen.heading_rad), np.ones(len(seen))))
        a, b, c = np.linalg.lstsq(design, seen.angle, rcond=None)[0]
        assert fit is not None
        # the position prior moves the answer by far less than its sigma
        assert fit.affine.al == pytest.approx(1 / np.hypot(a, b), abs=fit.affine.al_sigma)
        assert fit.affine.be == pytest.approx(-c / np.hypot(a, b), abs=fit.affine.be_sigma)
        assert fit.emitters_rad[0] == pytest.approx(np.arctan2(a, -b), abs=3 * fit.affine.be_sigma)


def test_emitters_before_and_after_one_turn_agree_with_the_conic() -> None:
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        prior, kappa, shift = drawn_line(rng)
        seen = on_table(rng, 10, (0, 20), kappa, shift, 1e-5)
        fit = fit_rotations(seen, prior, FIELD)
        x, y, turn = seen.angle[seen.position == 0], seen.angle[seen.position == 1], np.deg2rad(20)
        left = x**2 + y**2 - 2 * x * y * np.cos(turn)
        alpha, beta = np.linalg.lstsq(np.column_stack((np.ones(10), x + y)), left, rcond=None)[0]
        r = -beta / (2 * (1 - np.cos(turn)))
        al = np.sin(turn) / np.sqrt(alpha + 2 * (1 - np.cos(turn)) * r**2)
        assert fit is not None
        conic = angle_error(al, r * al, kappa, shift)
        ours = angle_error(fit.affine.al, fit.affine.be, kappa, shift)
        assert np.rad2deg(conic) < 0.1
        assert np.rad2deg(ours) < 0.02


def test_a_mirrored_line_fits_only_the_opposite_sense() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prior, kappa, shift = drawn_line(rng)
        seen = on_table(rng, 2, (0, 15, 30, 45), kappa, shift, 2e-4)

        def cost(fit: RotationFit | None) -> float:
            return np.inf if fit is None else fit.cost

        assert (
            cost(fit_rotations(seen, prior, FIELD))
            < cost(fit_rotations(seen, prior, FIELD, mirrored=True)) - 8
        )


# Learning with nothing but turns


def turned(
    seed: int,
    headings,
    *,
    nominal=None,
    blocks: int = 20,
    source_deg=(4.0,),
    reference_only: bool = False,
    **options,
) -> tuple[ArrayScene, tuple[tuple[float, float, float], ...]]:
    """Emitters that stand while the table turns (a hopping one beside them if reference_only), and the turns."""
    heading = np.asarray(headings, float).repeat(blocks)
    angles = np.array(source_deg)[None, :] - heading[:, None]
    if reference_only:
        hops = np.random.default_rng(seed).uniform(-60, 60, (len(heading), 1))
        angles = np.concatenate((angles, hops), axis=1)
    if nominal is not None:
        angles = (angles + 180) % 360 - 180
    scene = make_scene(seed, uniform_line(8) if nominal is None else nominal, angle_deg=angles, **options)
    period_s = 1e-3 * blocks
    zero = 37.0  # of the table: arbitrary
    rotations = tuple(
        (float(h) + zero, i * period_s, (i + 1) * period_s - 5e-4) for i, h in enumerate(headings)
    )
    return scene, rotations


def test_one_emitter_and_a_table_calibrate_20_random_arrays() -> None:
    inside, errors = [], []
    for seed in range(8400, 8420):
        source = np.random.default_rng(seed).uniform(-12, 12)
        scene, rotations = turned(seed, np.linspace(-60, 60, 16), source_deg=(source,))
        result = scene.learn(GaugeRequest("rotation", rotations=rotations))
        assert result.converged, result.reason
        assert (result.gauge.kind, result.n_angles) == ("rotation", 16)
        assert "stood still" in result.gauge.assumes
        match = scene.compare(result)
        seen = np.arcsin(np.clip((np.sin(GRID) - match.be) / match.al, -1, 1))
        errors.append(np.rad2deg(np.sqrt(np.mean((seen - GRID) ** 2))))
        inside.append(errors[-1] <= result.gauge.angle_sigma_deg)
    assert np.median(errors) < 0.03
    assert np.mean(inside) >= 0.85


def test_a_standing_reference_beside_a_hopping_emitter_needs_three_positions() -> None:
    for seed in range(8440, 8446):
        scene, rotations = turned(seed, (-25, 0, 25), blocks=120, reference_only=True)
        result = scene.learn(GaugeRequest("rotation", rotations=rotations), 2)
        assert result.converged, result.reason
        assert result.gauge.angle_sigma_deg < 0.5
        assert scene.angle_error_deg(result) < 2 * result.gauge.angle_sigma_deg


def test_emitters_one_after_another_at_every_heading() -> None:
    angles, heading = [], np.linspace(-30, 30, 6)
    for h in heading:  # three emitters take turns of 25 blocks at every heading
        angles += [np.full(25, e - h) for e in (-25.0, 5.0, 30.0)]
    scene = make_scene(8450, uniform_line(6), angle_deg=np.concatenate(angles)[:, None])
    rotations = tuple((float(h), 0.075 * i, 0.075 * (i + 1) - 5e-4) for i, h in enumerate(heading))
    result = scene.learn(GaugeRequest("rotation", rotations=rotations))
    assert result.converged, result.reason
    assert "3 emitters" in result.gauge.assumes
    assert scene.compare(result).gauge_error_deg < 0.1


def test_blocks_during_the_turn_teach_the_array_but_not_the_gauge() -> None:
    scene, rotations = turned(8451, np.linspace(-60, 60, 16))
    part = tuple((h, t0 + 0.006, t1) for h, t0, t1 in rotations)
    for i in range(16):  # the table still moves in the first five blocks of every position
        scene.angle_deg[20 * i : 20 * i + 5, 0] += np.linspace(8, 0, 5, endpoint=False)
    moving = make_scene(8451, uniform_line(8), angle_deg=scene.angle_deg)
    result = moving.learn(GaugeRequest("rotation", rotations=part))
    assert result.converged, result.reason
    assert result.n_angles > 40
    assert moving.angle_error_deg(result) < 0.1


def test_known_positions_leave_only_the_offset() -> None:
    scene, rotations = turned(8452, np.linspace(-60, 60, 16), position_std=0.0)
    result = scene.learn(GaugeRequest("rotation", rotations=rotations), prior=Prior(0.0))
    assert result.converged, result.reason
    assert result.gauge.scale_sigma < 1e-3
    assert scene.angle_error_deg(result) < 0.05


# Refusals


def hopping(seed: int, stand_deg: tuple[float, ...], headings, blocks: int = 60, position_std: float = 0.1):
    """An emitter that hops everywhere, then stands while the table rests at `headings`."""
    hops = np.random.default_rng(seed).uniform(-60, 60, 300)
    stands = np.concatenate([np.full(blocks, s - h) for h in headings for s in stand_deg])
    scene = make_scene(
        seed, uniform_line(8), angle_deg=np.concatenate((hops, stands))[:, None], position_std=position_std
    )
    length = 1e-3 * blocks * len(stand_deg)
    rotations = tuple(
        (float(h), 0.3 + i * length, 0.3 + (i + 1) * length - 5e-4) for i, h in enumerate(headings)
    )
    return scene, rotations


def test_too_small_a_span_says_how_far_to_turn() -> None:
    scene, rotations = hopping(8460, (10.0,), (0, 4, 8))
    result = scene.learn(GaugeRequest("rotation", rotations=rotations))
    assert result.converged
    assert result.gauge.angle_sigma_deg > 0.5
    (note,) = [n for n in result.notes if n.startswith("turn by at least")]
    assert "(it was 8)" in note
    enough = float(note.split()[4])
    assert 15 < enough < 90
    wide, rotations = hopping(8460, (10.0,), (-enough / 2, 0, enough / 2))
    result = wide.learn(GaugeRequest("rotation", rotations=rotations))
    assert result.gauge.angle_sigma_deg < 0.75
    assert "position errors" in result.gauge.assumes or result.gauge.angle_sigma_deg < 0.5


def test_what_two_positions_leave_open_is_refused() -> None:
    scene, rotations = hopping(8461, (10.0,), (0, 40))
    with pytest.raises(NotIdentifiable, match="2 table positions") as refusal:
        scene.learn(GaugeRequest("rotation", rotations=rotations))
    assert "3 positions" in refusal.value.hint
    exact, rotations = hopping(8462, (30.0,), (0, 40), position_std=0.0)
    with pytest.raises(NotIdentifiable, match="two arrangements"):
        exact.learn(GaugeRequest("rotation", rotations=rotations), prior=Prior(0.0))
    three, rotations = hopping(8462, (30.0,), (0, 20, 40), position_std=0.0)
    result = three.learn(GaugeRequest("rotation", rotations=rotations), prior=Prior(0.0))
    assert three.angle_error_deg(result) < 0.2


def test_the_wrong_sense_and_moving_emitters_are_refused() -> None:
    scene, rotations = turned(8463, np.linspace(-60, 60, 16))
    backwards = tuple((-h, t0, t1) for h, t0, t1 in rotations)
    with pytest.raises(NotIdentifiable, match="against the stated turns") as refusal:
        scene.learn(GaugeRequest("rotation", rotations=backwards))
    assert "clockwise" in refusal.value.hint
    restless = make_scene(8464, uniform_line(8))
    steps = tuple((10.0 * i, 0.1 * i, 0.1 * i + 0.09) for i in range(4))
    with pytest.raises(NotIdentifiable, match="no emitter stood still"):
        restless.learn(GaugeRequest("rotation", rotations=steps))


def test_times_without_blocks_and_blocks_without_times() -> None:
    scene, rotations = turned(8465, np.linspace(-60, 60, 16))
    late = tuple((h, t0 + 60, t1 + 60) for h, t0, t1 in rotations)
    with pytest.raises(NotIdentifiable, match="0 of 16 has usable blocks"):
        scene.learn(GaugeRequest("rotation", rotations=late))
    extra = (*rotations, (120.0, 5.0, 6.0))
    result = scene.learn(GaugeRequest("rotation", rotations=extra))
    assert any("1 of 17 table positions" in note for note in result.notes)
    timeless = Observations(scene.covariance, scene.n_snapshots)
    with pytest.raises(ConfigError, match="no times"):
        learn(timeless, scene.geometry, FC_HZ, 1, GaugeRequest("rotation", rotations=rotations))
    with pytest.raises(ConfigError, match="two different"):
        GaugeRequest("rotation", rotations=((10.0, 0.0, 1.0), (10.0, 1.0, 2.0)))


def test_on_a_plane_turns_settle_only_the_mirror() -> None:
    headings = np.arange(0, 360, 20.0)
    scene, rotations = turned(8470, headings, nominal=circle(), position_std=0.05, source_deg=(50.0,))
    prior = Prior(0.05 * 299_792_458.0 / FC_HZ)
    alone = scene.learn(GaugeRequest("rotation", rotations=rotations), prior=prior)
    assert alone.converged, alone.reason
    assert alone.gauge.angle_sigma_deg > 0.5
    assert any("--anchor" in note for note in alone.notes)
    anchored = GaugeRequest("anchor", anchors_deg=((50.0, 0.0, 0.0195),), rotations=rotations)
    result = scene.learn(anchored, prior=prior)
    assert result.converged
    assert scene.compare(result).gauge_error_deg < 0.1
    backwards = tuple((-h, t0, t1) for h, t0, t1 in rotations)
    with pytest.raises(NotIdentifiable, match="against the stated turns"):
        scene.learn(GaugeRequest("rotation", rotations=backwards), prior=prior)


# Oracle


def truth_of(scene: ArrayScene) -> Impairments:
    n = len(scene.gain)
    error = scene.positions_m - scene.geometry.positions_m
    return Impairments(
        scene.gain, np.eye(n, dtype=complex), error, np.zeros(n), np.zeros(n, complex), np.zeros(n, complex)
    )


def test_the_oracle_leaves_no_gauge_error_on_20_arrays() -> None:
    for seed in range(8480, 8500):
        planar = seed % 4 == 0
        nominal = circle() if planar else uniform_line(8)
        limits = (-180.0, 180.0) if planar else (-60.0, 60.0)
        scene = make_scene(seed, nominal, limits_deg=limits, n_blocks=200, position_std=0.05)
        result = scene.learn(GaugeRequest("oracle", truth=truth_of(scene)))
        assert result.converged, result.reason
        assert (result.gauge.kind, result.gauge.angle_sigma_deg) == ("oracle", 0.0)
        assert "diagnosis" in result.gauge.assumes
        assert scene.compare(result).gauge_error_deg < 0.06


def test_the_oracle_wants_the_truth_of_this_array() -> None:
    scene = make_scene(8500, uniform_line(6), n_blocks=200)
    with pytest.raises(ConfigError, match="true impairments"):
        GaugeRequest("oracle")
    with pytest.raises(ShapeError, match="8 elements for 6"):
        scene.learn(GaugeRequest("oracle", truth=ideal(8)))


# The other assumptions, over random arrays: does the stated sigma cover the error in nine of ten?


@pytest.mark.parametrize("known_deg", [(20.0,), (20.0, -35.0), (-50.0, 0.0, 50.0)])
def test_anchors_cover_their_error(known_deg: tuple[float, ...]) -> None:
    inside = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        prior, kappa, shift = drawn_line(rng)
        true = np.sin(np.deg2rad(known_deg))
        anchors = tuple(
            Anchor(float((u - shift) * kappa + 1e-4 * rng.standard_normal()), 1e-4, float(u)) for u in true
        )
        fit = fit_anchors(anchors, prior, FIELD)
        inside.append(angle_error(fit.al, fit.be, kappa, shift) <= fit.angle_sigma_rad)
    assert np.mean(inside) >= 0.84


def test_the_prior_alone_covers_its_error() -> None:
    inside = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        prior, kappa, shift = drawn_line(rng)
        u = np.sort((np.sin(np.deg2rad(rng.uniform(-60, 60, 200))) - shift) * kappa)
        fit = fit_support(u, np.full(200, 1.5e-4), (-np.pi / 2, np.pi / 2), prior, (False, False))
        inside.append(angle_error(fit.al, fit.be, kappa, shift) <= fit.angle_sigma_rad)
    assert np.mean(inside) >= 0.84
