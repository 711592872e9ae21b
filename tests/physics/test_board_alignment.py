"""Offsets between boards are exact to the sample whatever the emitters do, and no slip is seen where none is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.alignment import SEGMENT, find_offset, fine_offset, samples_needed, slip
from drivers.array_intake import has_slipped
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene

_HOP = "hop = { period_s = 0.01, min_deg = -60.0, max_deg = 60.0 }\n"
_SCENES = {
    "one hopping": f"[[emitter]]\n{_HOP}",
    "two hopping, bands overlap": f"[[emitter]]\n{_HOP}[[emitter]]\noffset_hz = -3e5\n{_HOP}",
    "two hopping, one weak": f"[[emitter]]\n{_HOP}[[emitter]]\npower_db = -10.0\noffset_hz = -3e5\n{_HOP}",
    "two standing": "[[emitter]]\nangle_deg = 10.0\n[[emitter]]\npower_db = -3.0\noffset_hz = -3e5\nangle_deg = -30.0\n",
    "multipath": f"[[emitter]]\n{_HOP}paths = [{{ angle_deg = 30.0, delay_s = 1e-7, power_db = -6.0 }}]\n",
}
_REACH = 75_000


def _complex(engine: ArrayEngine, board: int, first: int, n: int) -> np.ndarray:
    return np.ascontiguousarray(engine.read(board, first, n).astype(np.float32)).view(np.complex64)


@pytest.mark.parametrize("name", _SCENES)
def test_exact_to_the_sample(name: str) -> None:
    n = samples_needed(_REACH, 16)
    for seed, offset in ((1, 5514), (2, -3021), (3, 0), (5, 41_234)):
        engine = ArrayEngine(replace(parse_scene(_SCENES[name]), seed=seed), free_running=True)
        found = find_offset(
            _complex(engine, 0, 1_000_000, n), _complex(engine, 1, 1_000_000 + offset, n), _REACH, 16
        )
        assert found.clear
        assert found.offset == offset, f"seed {seed}: {found}"
        assert abs(found.fraction) < 0.05


@pytest.mark.parametrize("name", _SCENES)
def test_aligned_boards_have_not_slipped_and_slipped_ones_have(name: str) -> None:
    n = samples_needed(SEGMENT // 2, 2)
    for seed in range(6):
        engine = ArrayEngine(replace(parse_scene(_SCENES[name]), seed=seed), free_running=True)
        reference = _complex(engine, 0, 1_000_000, n)
        assert slip(reference, _complex(engine, 1, 1_000_000, n)) == 0
        assert slip(reference, _complex(engine, 1, 1_000_000 + 700, n)) in (0, 700)


def _bands(
    rng: np.random.Generator, bands: list[tuple[float, float]], shift: float, noise: float, segments: int
) -> tuple[np.ndarray, np.ndarray]:
    """(reference, other) (n, 2): one emitter in each band, with phases of its own, the other board `shift` later."""
    n = segments * SEGMENT
    f = np.fft.fftfreq(n + SEGMENT)
    x, y = (noise * _noise(rng, n, 2) for _ in range(2))
    for low, high in bands:
        spectrum = np.fft.fft(_noise(rng, n + SEGMENT)) * ((f > low) & (f < high))
        spectrum *= np.sqrt((n + SEGMENT) / np.sum(np.abs(spectrum) ** 2)) * np.sqrt(n + SEGMENT)
        gains = np.exp(2j * np.pi * rng.random((2, 2)))
        for out, late, gain in ((x, 0.0, gains[0]), (y, shift, gains[1])):
            signal = np.fft.ifft(spectrum * np.exp(2j * np.pi * f * late))
            out += signal[SEGMENT // 2 : SEGMENT // 2 + n, None] * gain
    return x.astype(np.complex64), y.astype(np.complex64)


def _noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


_BANDS = [
    ([(-0.4, 0.4)], 1.0),
    ([(-0.3, -0.05), (0.05, 0.3)], 1.0),
    ([(-0.2, 0.1), (0.0, 0.3)], 0.1),
    ([(-0.2, 0.1), (0.0, 0.3)], 1.0),
]


@pytest.mark.parametrize(("bands", "noise"), _BANDS)
def test_parts_of_a_sample_come_with_a_true_sigma(bands: list[tuple[float, float]], noise: float) -> None:
    rng = np.random.default_rng(5)
    worst = []
    for _ in range(6):
        shift = rng.uniform(-0.5, 0.5)
        found = fine_offset(*_bands(rng, bands, shift, noise, 33), 0)
        if found is not None:
            worst.append(abs(found[0] - shift) / found[1])
    assert len(worst) >= 3
    assert max(worst) < 5.0  # more is taken for sure, and corrected


def test_a_slip_of_few_samples_is_seen_and_a_part_of_a_sample_is_none() -> None:
    rng = np.random.default_rng(6)
    for shift, want in ((1, 1), (-3, -3), (16, 16), (0, 0), (0.55, 0), (-0.6, 0)):
        reference, other = _bands(rng, [(-0.4, 0.4)], shift, 0.1, samples_needed(SEGMENT // 2, 2) // SEGMENT)
        assert slip(reference, other) == want


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_samples_that_say_nothing_have_no_fine_offset(value: float) -> None:
    x = np.full((4 * SEGMENT, 2), value, np.complex64)
    assert fine_offset(x, x, 0) is None


def test_a_slip_of_few_samples_counts_when_it_stays() -> None:
    assert has_slipped((0, 700), ())
    assert has_slipped((0, -2), (0, -2))
    assert not has_slipped((0, -2), ())
    assert not has_slipped((0, -2), (0, 1))
    assert not has_slipped((0, 0), (3, 3))


@pytest.mark.parametrize("delays", [(12, 21, 37), (9, 30, 64), (150, 300, 700)])
def test_equal_echoes_beside_a_strong_direct_path_do_not_hide_the_offset(delays: tuple[int, ...]) -> None:
    """What an array hears of the noise that it sends: each pair of paths makes a peak of its own."""
    n, offset = samples_needed(_REACH, 16), 5514
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sent = (rng.standard_normal((n + 20_000, 2)) @ np.array([1, 1j])).astype(np.complex64)

        def heard(first: int, rng: np.random.Generator = rng, sent: np.ndarray = sent) -> np.ndarray:
            out = 0.03 * rng.standard_normal((n, 2, 2)) @ np.array([1, 1j])
            for delay, level in zip((0, *delays), (10**0.5, 1.0, 1.0, 1.0), strict=True):
                turn = np.exp(2j * np.pi * rng.random(2))
                out = out + level * sent[first - delay : first - delay + n, None] * turn
            return out.astype(np.complex64)

        found = find_offset(heard(8_000), heard(8_000 + offset), _REACH, 16)
        assert found.clear
        assert found.offset == offset
