"""Core types refuse what is wrong, keep arrays read-only and follow epochs and gauges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.epoch import EpochEvent, EpochScope, EpochTracker, new_epoch
from hil.core.errors import CalibrationMismatch, ConfigError, ShapeError
from hil.core.gauge import Gauge, affine_line, canonical, rotate_planar
from hil.core.geometry import ArrayGeometry, parse_array, uca, ula
from hil.core.impairments import ideal
from hil.core.steering import steering_vectors
from hil.core.units import format_si, parse_quantity

FC = 2.45e9


def _calibration(rng: np.random.Generator, n: int = 4) -> Calibration:
    errors = replace(
        ideal(n),
        gain=rng.normal(size=n) + 1j * rng.normal(size=n),
        position_error_m=rng.normal(size=(n, 3)) * 0.01,
    )
    return Calibration(ula(n, 0.06), errors, unknown_sigma(n), Gauge(), FC, Validity(2e9, 3e9), "test")


def test_steering_is_gain_times_moved_array() -> None:
    cal = _calibration(np.random.default_rng(1))
    expected = cal.impairments.gain[:, None] * steering_vectors(
        cal.positions_m, FC, np.deg2rad([-20.0, 35.0])
    )
    assert cal.steering([-20.0, 35.0]) == pytest.approx(expected)


def test_angle_table_is_interpolated_and_not_extrapolated() -> None:
    cal = _calibration(np.random.default_rng(2))
    table = replace(
        cal.impairments, angle_table_deg=np.array([-10.0, 10.0]), angle_response=np.ones((4, 2)) * [1.0, 3.0]
    )
    cal2 = replace(cal, impairments=table)
    assert cal2.steering([0.0]) == pytest.approx(2 * cal.steering([0.0]))
    with pytest.raises(CalibrationMismatch, match="outside the learned table"):
        cal2.steering([11.0])


@given(st.integers(0, 10_000))
def test_canonical_gauge_leaves_the_manifold_alone(seed: int) -> None:
    cal = _calibration(np.random.default_rng(seed), 5)
    fixed = replace(cal, impairments=canonical(cal.impairments, 2))
    g = fixed.impairments.gain
    assert g[2].imag == pytest.approx(0.0, abs=1e-12)
    assert g[2].real > 0
    assert np.sum(np.abs(g) ** 2) == pytest.approx(5.0)
    assert fixed.impairments.position_error_m.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
    a, b = cal.steering(np.linspace(-80, 80, 9)), fixed.steering(np.linspace(-80, 80, 9))
    match = np.abs(np.sum(a.conj() * b, axis=0)) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    assert match == pytest.approx(np.ones(9), abs=1e-9)


@given(st.floats(0.8, 1.25), st.floats(-0.2, 0.2), st.floats(-0.7, 0.7))
def test_affine_gauge_moves_the_source_and_nothing_else(al: float, be: float, u: float) -> None:
    rng = np.random.default_rng(3)
    g, x = rng.normal(size=6) + 1j * rng.normal(size=6), rng.normal(size=6)
    g2, x2 = affine_line(g, x, al, be)
    assert g2 * np.exp(2j * np.pi * x2 * (al * u + be)) == pytest.approx(
        g * np.exp(2j * np.pi * x * u), abs=1e-9
    )


def test_rotation_of_a_plane_turns_azimuths() -> None:
    p = uca(5, 0.1).positions_m
    az = np.array([0.3, 2.0, -1.0])
    assert steering_vectors(rotate_planar(p, 0.4), FC, az + 0.4) == pytest.approx(steering_vectors(p, FC, az))


def test_epochs_follow_the_scope_of_the_event() -> None:
    scopes = {EpochEvent.LO: EpochScope.GROUP_PHASES, EpochEvent.GAIN: EpochScope.NOTHING}
    tracker = EpochTracker(new_epoch("S1"), scopes)
    first = tracker.epoch
    assert tracker.record(EpochEvent.GAIN) == first
    retuned = tracker.record(EpochEvent.LO)
    assert retuned.change_since(first) is EpochScope.GROUP_PHASES
    assert retuned.cause == "lo"
    again = tracker.record(EpochEvent.RECONNECT)  # not in the board's table: the cautious one rules
    assert again.change_since(retuned) is EpochScope.EVERYTHING
    assert retuned.change_since(again) is EpochScope.EVERYTHING
    assert again.change_since(again) is EpochScope.NOTHING
    assert new_epoch("S1").change_since(first) is None


def test_types_are_checked_and_frozen() -> None:
    with pytest.raises(ShapeError, match=r"positions_m: shape \(3,\)"):
        ArrayGeometry(np.zeros(3))
    with pytest.raises(ShapeError, match="not finite"):
        ArrayGeometry(np.array([[0, 0, np.nan]]))
    with pytest.raises(ShapeError, match="none of them zero"):
        replace(ideal(2), gain=np.zeros(2))
    with pytest.raises(ShapeError, match="4 elements for an array of 3"):
        replace(_calibration(np.random.default_rng(0)), geometry=ula(3, 0.06))
    with pytest.raises(ValueError, match="read-only"):
        ula(3, 0.1).positions_m[0, 0] = 1.0


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.45 GHz", 2.45e9), ("2,45e9", 2.45e9), ("30.72M", 30.72e6), ("30.72 MS/s", 30.72e6), ("-12 dB", -12.0), (5, 5.0), ("1e-9s", 1e-9)],
)  # fmt: skip
def test_quantities_as_people_type_them(text: str | float, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "fast", "1.2.3", "2.4 Gfoo", "nan", "1e999"])
def test_bad_quantities_name_the_place(text: str) -> None:
    with pytest.raises(ConfigError, match="--fc"):
        parse_quantity(text, where="--fc")


def test_si_formatting() -> None:
    assert format_si(2.45e9, "Hz") == "2.45 GHz"
    assert format_si(0.0, "s") == "0 s"
    assert format_si(-3e-9, "s") == "-3 ns"


@pytest.mark.parametrize("spec", ["ula", "ula:x:1", "circle:3:1", "ula:0:0.5", "ula:4:-1"])
def test_bad_arrays_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError):
        parse_array(spec, FC)


def test_sigmf_points_round_trip() -> None:
    geometry = uca(5, 0.2)
    assert ArrayGeometry.from_sigmf_points(geometry.to_sigmf_points()).equals(geometry)
    assert geometry.kind == "planar"
    assert ula(3, 0.1).kind == "line"
