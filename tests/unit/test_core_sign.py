"""The sign convention, pinned by cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.geometry import ArrayGeometry, parse_array, uca, ula
from hil.core.steering import steering_vectors, unit_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S

FC = 2.45e9
WAVELENGTH = SPEED_OF_LIGHT_M_S / FC


def test_source_to_the_right_reaches_the_right_element_first() -> None:
    # Half a wavelength apart, source at +30: path difference 0.25 wavelength, the +x element leads by 90 degrees.
    a = steering_vectors(ula(2, WAVELENGTH / 2).positions_m, FC, np.deg2rad(30.0))[:, 0]
    assert a[1] / a[0] == pytest.approx(1j, abs=1e-12)


def test_plus_30_is_sigmf_plus_30_matlab_minus_30_and_60_from_the_axis() -> None:
    u = unit_vectors(np.deg2rad(30.0))[:, 0]
    # By hand: (sin 30, cos 30, 0). The angle from the array axis +x is acos(u_x) = 60.
    assert u == pytest.approx([0.5, 0.8660254037844386, 0.0])
    assert np.degrees(np.arccos(u[0])) == pytest.approx(60.0)
    # SigMF: +x boresight, +y left; its point is (y, -x, z) of ours; clockwise azimuth +30 = (0.866, -0.5, 0).
    sigmf = ArrayGeometry(u[None, :]).to_sigmf_points()[0]
    assert sigmf == pytest.approx([0.8660254037844386, -0.5, 0.0])
    assert -np.degrees(np.arctan2(sigmf[1], sigmf[0])) == pytest.approx(30.0)
    # MATLAB (counter-clockwise from +x towards +y in the same frame): -30; 120 degrees from its +y axis.
    assert np.degrees(np.arctan2(sigmf[1], sigmf[0])) == pytest.approx(-30.0)
    assert np.degrees(np.arccos(sigmf[1])) == pytest.approx(120.0)


def test_azimuth_counts_from_y_towards_x_and_elevation_towards_z() -> None:
    assert unit_vectors(np.pi / 2)[:, 0] == pytest.approx([1, 0, 0], abs=1e-15)
    assert unit_vectors(0.0)[:, 0] == pytest.approx([0, 1, 0], abs=1e-15)
    assert unit_vectors(0.0, np.pi / 2)[:, 0] == pytest.approx([0, 0, 1], abs=1e-15)


def test_circle_element_positions() -> None:
    p = uca(4, 2.0).positions_m
    assert p == pytest.approx(np.array([[2, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0]]), abs=1e-12)


def test_ports_put_elements_on_their_channels(tmp_path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('kind = "positions"\npositions_m = [[0,0,0],[1,0,0],[2,0,0]]\nports = [2,0,1]\n')
    geometry = parse_array(str(file), FC)
    # Element 0 (x=0) hangs on channel 2, element 1 (x=1) on channel 0, element 2 on channel 1.
    assert geometry.positions_m[:, 0] == pytest.approx([1, 2, 0])
    assert geometry.labels == ("E2", "E3", "E1")
