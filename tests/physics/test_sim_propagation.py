"""Signs and sizes of what the simulated array receives, against cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import SceneError
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene

C_M_S = 299_792_458.0
IDEAL = """
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
"""


def scene_text(
    array: str, emitter: str, *, board: str = "pluto", receiver: str = "", more: str = IDEAL
) -> str:
    return (
        f"[array]\n{array}\n[receiver]\nboard = '{board}'\nadc_bits = 16\nsnr_db = 100.0\n{receiver}\n"
        f"[[emitter]]\n{emitter}\n{more}"
    )


def samples(text: str, n: int = 65536, first: int = 0, board: int = 0) -> np.ndarray:
    """(C, n) complex128 in LSB."""
    wire = ArrayEngine(parse_scene(text), free_running=True).read(board, first, n).astype(float)
    return wire[:, 0::2].T + 1j * wire[:, 1::2].T


def phase_between(x: np.ndarray, m: int = 1) -> float:
    """Phase of channel m against channel 0."""
    return float(np.angle(np.vdot(x[0], x[m])))


@pytest.mark.parametrize(("angle_deg", "cycles"), [(30.0, 0.25), (-30.0, -0.25), (0.0, 0.0), (90.0, 0.5)])
def test_the_element_further_along_x_leads_for_a_source_at_positive_angles(angle_deg, cycles):
    spacing = 0.5 * C_M_S / 2.45e9 if abs(angle_deg) < 90 else 0.4 * C_M_S / 2.45e9
    x = samples(scene_text(
        f"positions_m = [[0, 0, 0], [{spacing}, 0, 0]]",
        f"angle_deg = {angle_deg}\nwaveform = 'cw'\noffset_hz = 0.0",
    ))  # fmt: skip
    want = cycles if abs(angle_deg) < 90 else 0.4
    assert phase_between(x) / (2 * np.pi) == pytest.approx(want, abs=1e-5)


def test_the_carrier_of_the_steering_phase_is_lo_plus_offset():
    x = samples(scene_text(
        "positions_m = [[0, 0, 0], [10, 0, 0]]", "angle_deg = 30.0\nwaveform = 'cw'\noffset_hz = 9e5",
    ))  # fmt: skip
    cycles = (2.45e9 + 9e5) * 10 * 0.5 / C_M_S
    assert np.exp(1j * phase_between(x)) == pytest.approx(np.exp(2j * np.pi * cycles), abs=1e-4)


@pytest.mark.parametrize(
    ("point", "angles", "leads"),
    [("0, 0.02, 0", "angle_deg = 0.0", 1.0), ("0, 0.02, 0", "angle_deg = 180.0", -1.0),
     ("0.02, 0, 0", "angle_deg = 90.0", 1.0), ("0, 0, 0.02", "elevation_deg = 90.0", 1.0),
     ("0.02, 0, 0", "angle_deg = 90.0\nelevation_deg = 60.0", 0.5)],
)  # fmt: skip
def test_azimuth_counts_from_y_towards_x_and_elevation_towards_z(point, angles, leads):
    emitter = f"{angles}\nwaveform = 'cw'\noffset_hz = 0.0"
    x = samples(scene_text(f"positions_m = [[0, 0, 0], [{point}]]", emitter))
    assert phase_between(x) == pytest.approx(leads * 2 * np.pi * 2.45e9 * 0.02 / C_M_S, abs=1e-4)


def test_array_shapes():
    lam = C_M_S / 2.45e9
    line = ArrayEngine(parse_scene(""), free_running=True).drawn.positions_m
    np.testing.assert_allclose(line[:, 0], (np.arange(8) - 3.5) * lam / 2)
    assert not np.any(line[:, 1:])
    circle = ArrayEngine(
        parse_scene("array = {kind='uca', n_elements=4, radius_wavelengths=1.0}")
    ).drawn.positions_m
    np.testing.assert_allclose(circle[:, :2], lam * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]), atol=1e-12)


def slope_s(x: np.ndarray, fs_hz: float, half_band_hz: float, offset_hz: float) -> float:
    """Delay of channel 1 against channel 0 from the slope of the cross spectrum's phase."""
    f = np.fft.fftfreq(x.shape[1], 1 / fs_hz)
    window = np.hanning(x.shape[1])
    a, b = np.fft.fft(x[0] * window), np.fft.fft(x[1] * window)
    inside = np.abs(f - offset_hz) < half_band_hz
    order = np.argsort(f[inside])
    cross = (b * np.conj(a))[inside][order]
    cross = np.convolve(cross, np.ones(64) / 64, "same")[64:-64]
    phase = np.unwrap(np.angle(cross))
    weight = np.abs(cross)
    return -float(np.polyfit(f[inside][order][64:-64], phase, 1, w=np.sqrt(weight))[0] / (2 * np.pi))


def test_the_envelope_is_early_by_the_same_path_as_the_carrier():
    # 15 m along x, source at +90: the second element hears everything 50.03 ns earlier
    x = samples(scene_text(
        "positions_m = [[0, 0, 0], [15, 0, 0]]",
        "angle_deg = 90.0\noffset_hz = 0.0\nsymbol_rate_hz = 4e6",
        receiver="fs_hz = 8e6",
    ))  # fmt: skip
    assert slope_s(x, 8e6, 1.8e6, 0.0) == pytest.approx(-15 / C_M_S, rel=2e-3)


@pytest.mark.parametrize("offset_hz", [0.0, 1e5, -3e5])
def test_a_positive_channel_delay_is_later_over_the_whole_baseband(offset_hz):
    text = scene_text(
        "positions_m = [[0, 0, 0], [0, 0, 0.001]]",
        f"angle_deg = 0.0\noffset_hz = {offset_hz}\nsymbol_rate_hz = 2e6",
        receiver="fs_hz = 8e6", more=IDEAL + "delay_std_s = 2e-8\n",
    )  # fmt: skip
    delay = ArrayEngine(parse_scene(text), free_running=True).drawn.delay_s
    x = samples(text)
    assert abs(delay[1] - delay[0]) > 1e-9
    assert slope_s(x, 8e6, 0.9e6, offset_hz) == pytest.approx(delay[1] - delay[0], abs=3e-11)
    # and the phase at the emitter's offset is that of the same H(f), with no carrier part
    want = -2 * np.pi * offset_hz * (delay[1] - delay[0])
    assert phase_between(x) == pytest.approx(want, abs=2e-3)  # the centroid of a finite piece is not quite 0


def test_the_narrow_array_matches_a_waveform_sampled_at_the_delayed_instants():
    # the interpolated waveform against the exact shift of a pure tone inside a recording-free qpsk scene
    text = scene_text("n_elements = 2\nspacing_wavelengths = 60.0",
                      "angle_deg = 40.0\nsymbol_rate_hz = 1e6\noffset_hz = 0.0")  # fmt: skip
    engine = ArrayEngine(parse_scene(text), free_running=True)
    x = samples(text, 1 << 16)
    tau = 60 * C_M_S / 2.45e9 * np.sin(np.deg2rad(40)) / C_M_S
    n = x.shape[1]
    f = np.fft.fftfreq(n, 1 / 2.5e6)
    shifted = np.fft.ifft(np.fft.fft(x[0]) * np.exp(2j * np.pi * f * tau)) * np.exp(2j * np.pi * 2.45e9 * tau)
    error = (shifted - x[1])[2000:-2000]
    assert np.mean(np.abs(error) ** 2) < 1e-6 * np.mean(np.abs(x[1]) ** 2)
    assert engine.n_boards == 1


def test_gain_acts_after_coupling():
    text = scene_text(
        "n_elements = 2", "angle_deg = 20.0\nwaveform = 'cw'\noffset_hz = 0.0",
        more="[impairments]\nrelock_phase = false\nposition_std_wavelengths = 0.0\ncoupling_db = -10.0\n",
    )  # fmt: skip
    d = ArrayEngine(parse_scene(text), free_running=True).drawn
    a = np.exp(2j * np.pi * np.array([-0.25, 0.25]) * np.sin(np.deg2rad(20)))
    want = d.gain * (d.coupling @ a)
    assert abs(d.coupling[0, 1]) == pytest.approx(10**-0.5)
    x = samples(text)
    assert np.vdot(x[0], x[1]) / np.vdot(x[0], x[0]) == pytest.approx(want[1] / want[0], rel=1e-4)


def test_coherent_paths_add_with_their_carrier_phase():
    emitter = (
        "angle_deg = 0.0\nwaveform = 'cw'\noffset_hz = 0.0\n"
        "paths = [{ angle_deg = 30.0, delay_s = 1.001e-7, power_db = -6.0 }]"
    )
    x = samples(scene_text("positions_m = [[0, 0, 0], [0.05, 0, 0]]", emitter))
    k = 2 * np.pi * 2.45e9
    b = 10 ** (-6 / 20) * np.exp(-1j * k * 1.001e-7)
    want = (1 + b * np.exp(1j * k * 0.05 * 0.5 / C_M_S)) / (1 + b)
    assert np.vdot(x[0], x[1]) / np.vdot(x[0], x[0]) == pytest.approx(want, abs=1e-3)


def test_a_path_repeats_the_envelope_later():
    emitter = (
        "angle_deg = 0.0\noffset_hz = 0.0\nsymbol_rate_hz = 1e6\n"
        "paths = [{ angle_deg = 0.0, delay_s = 8e-6, power_db = -3.0 }]"
    )
    x = samples(scene_text("n_elements = 2", emitter))[0]
    spectrum = np.fft.fft(x, 2 * len(x))
    correlation = np.abs(np.fft.ifft(np.abs(spectrum) ** 2))
    assert 15 + np.argmax(correlation[15:1000]) == 20  # 8 us at 2.5 MS/s


def test_angle_dependent_phase_has_the_size_asked_for_and_follows_the_angle():
    text = scene_text("n_elements = 2", "angle_deg = 50.0\nwaveform = 'cw'\noffset_hz = 0.0",
                      more=IDEAL + "angle_dependent_phase_deg = 20.0\n")  # fmt: skip
    d = ArrayEngine(parse_scene(text), free_running=True).drawn
    inside = np.abs(d.angle_table_deg) <= 60
    assert np.max(np.abs(d.angle_phase_rad[:, inside])) == pytest.approx(np.deg2rad(20))
    psi = d.angle_phase_rad[1, d.angle_table_deg == 50.0][0]
    assert abs(psi) > 0.01
    want = np.pi * np.sin(np.deg2rad(50)) + psi
    assert np.exp(1j * phase_between(samples(text))) == pytest.approx(np.exp(1j * want), abs=1e-4)


def test_an_absolute_emitter_keeps_its_frequency_when_the_lo_moves():
    text = scene_text("n_elements = 2", "angle_deg = 0.0\nwaveform = 'cw'\nrf_hz = 2450300000.0")
    engine = ArrayEngine(parse_scene(text), free_running=True)
    engine.write_lo(0, 0, 2.4501e9, at=1 << 17)
    engine.write_lo(0, 0, 2.5e9, at=1 << 18)

    def tone_hz(first: int) -> tuple[float, float]:
        wire = engine.read(0, first, 1 << 16).astype(float)
        power = np.abs(np.fft.fft(wire[:, 0] + 1j * wire[:, 1])) ** 2
        return float(np.fft.fftfreq(1 << 16, 1 / 2.5e6)[np.argmax(power)]), float(np.max(power))

    assert tone_hz(0)[0] == pytest.approx(3e5, abs=40)
    assert tone_hz(1 << 17)[0] == pytest.approx(2e5, abs=40)
    assert tone_hz(1 << 18)[1] < 1e-6 * tone_hz(0)[1]  # 50 MHz away: out of band


def test_the_carrier_phase_is_exact_after_ten_minutes():
    offset_hz = 123456.789
    text = scene_text("n_elements = 2", f"angle_deg = 0.0\nwaveform = 'cw'\noffset_hz = {offset_hz}")
    engine = ArrayEngine(parse_scene(text), free_running=True)
    phases = []
    for first in (0, 600 * 2_500_000 + 77):
        wire = engine.read(0, first, 8192).astype(float)
        n = first + np.arange(8192, dtype=np.longdouble)
        turn = np.exp(-2j * np.pi * np.asarray((offset_hz * n / 2.5e6) % 1, dtype=float))
        phases.append(np.angle(np.mean((wire[:, 0] + 1j * wire[:, 1]) * turn)))
    assert phases[1] == pytest.approx(phases[0], abs=1e-4)


def test_delays_that_the_tables_cannot_hold_are_refused():
    text = scene_text("n_elements = 2", "symbol_rate_hz = 2e6", more="impairments = {delay_std_s = 1e-4}\n")
    text = text.replace("impairments = {", "[impairments]\n").replace("}\n", "\n")
    with pytest.raises(SceneError, match="too long for the bandwidth"):
        ArrayEngine(parse_scene(text), free_running=True)
