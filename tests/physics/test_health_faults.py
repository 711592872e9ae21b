"""The health watch on simulated arrays: one array per fault here, ten and more in tests/bars/fault_table.py."""

from __future__ import annotations

import numpy as np
import pytest

from hil.health.watch import HealthWatch
from tests.physics.health_cases import AT_S, SAMPLE_CASES, Case, draw_array, run_case
from tests.physics.health_scenes import SimStream


@pytest.mark.parametrize("case", SAMPLE_CASES, ids=lambda c: c.name)
def test_a_fault_is_told_by_its_name(case: Case) -> None:
    outcome = run_case(case, seed=2)
    assert outcome.early == 0
    assert outcome.event is not None, outcome.array
    assert outcome.event.kind in case.names, outcome
    slow = case.names[0] in ("drift", "carrier-drift")
    assert outcome.blocks < (200 if slow else 12)


def watch_scene(text: str, seconds: float, *, calibrated: bool = True, n_sources: int | None = None):
    """Events and the watch."""
    stream = SimStream(text, error_deg=0.3)
    watch = HealthWatch(stream.stream, stream.calibration if calibrated else None, n_sources)
    try:
        return [e for f, c in stream.frames(seconds) for e in watch.frame(f, c)], watch
    finally:
        stream.close()


BASE = "seed = 21\n[array]\nn_elements = 8\n[receiver]\nfs_hz = 0.6e6\n[[emitter]]\noffset_hz = 3e4\nsymbol_rate_hz = 1.2e5\n"
HOP = "hop = {period_s = 0.01, min_deg = -60.0, max_deg = 60.0}\n"


@pytest.mark.parametrize("seed", range(6))
def test_clean_streams_raise_no_alarm(seed: int) -> None:
    """Short; 10 000 blocks are in the table of docs/faults.md."""
    array = draw_array(300 + seed)
    events, watch = watch_scene(array.toml, 1.5, calibrated=bool(seed % 3))
    assert events == [], array
    assert watch.status()["state"] == "good"


def test_channel_size_and_sense_are_right() -> None:
    faults = "[faults]\nslip_samples_at_s = 1.0\nslip_samples = 3\nslip_board = 1\nslip_channel = 2\n"
    (event,), _ = watch_scene(BASE + HOP + faults, 1.3)
    assert (event.kind, event.channels, event.value) == ("slip", (6,), 3.0)
    assert event.first_sample == pytest.approx(0.6e6, abs=8192)
    faults = "[faults]\nagc_step_at_s = 1.0\nagc_step_db = -3.0\nagc_step_channel = 0\n"
    (event,), _ = watch_scene(BASE + HOP + faults, 1.3)
    assert (event.kind, event.channels) == ("agc-step", (0,))
    assert event.value == pytest.approx(-3.0, abs=0.3)
    faults = (
        "[faults]\nphase_jump_at_s = 1.0\nphase_jump_deg = 75.0\nphase_jump_board = 1\nphase_jump_chip = 0\n"
    )
    (event,), _ = watch_scene(BASE + HOP + faults, 1.3)
    assert (event.kind, event.groups, event.channels) == ("lo-phase-jump", (2,), (4, 5))
    assert event.value == pytest.approx(75.0, abs=2.0)


def test_two_faults_one_after_the_other_are_both_named() -> None:
    """What a jump and exchanged ports mean is taken into the calibration, so that the watch goes on."""
    faults = (
        "[faults]\nflip_at_s = 1.0\nflip_channel = 2\nswap_at_s = 2.0\nswap_channels = [0, 5]\n"
        "phase_jump_at_s = 3.0\nphase_jump_deg = 120.0\nphase_jump_chip = 1\n"
    )
    events, watch = watch_scene(BASE + HOP + faults, 3.6)
    assert [(e.kind, e.channels) for e in events] == [
        ("phase-flip", (2,)), ("swapped-ports", (0, 5)), ("lo-phase-jump", (2, 3))
    ]  # fmt: skip
    assert {k for k, _ in watch.active} == {"phase-flip", "swapped-ports", "lo-phase-jump"}
    watch.calibrate(None)
    assert watch.active == {}


def test_a_fault_that_passes_is_over_and_nothing_is_told_at_its_end() -> None:
    faults = "[faults]\nclip_at_s = 1.0\nclip_s = 0.4\nclip_channel = 3\n"
    events, watch = watch_scene(BASE + HOP + faults, 2.4)
    assert [(e.kind, e.channels) for e in events] == [("clipped", (3,))]
    assert watch.active == {}
    assert watch.status()["state"] == "good"


def test_a_calibration_that_does_not_fit_from_the_start_is_told() -> None:
    faults = "[faults]\nflip_at_s = 0.0\nflip_channel = 1\n"
    events, _ = watch_scene(BASE + HOP + faults, 0.8)
    assert [(e.kind, e.channels) for e in events] == [("phase-flip", (1,))]


def test_without_a_calibration_what_is_not_watched_is_said() -> None:
    faults = "[faults]\nflip_at_s = 1.0\n"
    events, watch = watch_scene(BASE + HOP + faults, 1.4, calibrated=False)
    assert events == []
    (text,) = [t for t in watch.status()["not_watched"] if "without a calibration" in t]
    assert "phase-flip" in text
    assert "lo-phase-jump" in text
    faults = "[faults]\nslip_samples_at_s = 1.0\n"
    events, _ = watch_scene(BASE + HOP + faults, 1.4, calibrated=False)
    assert [(e.kind, e.channels) for e in events] == [("slip", (1,))]


def test_a_ramp_of_phases_along_the_line_cannot_be_seen() -> None:
    """The gauge of a line: it moves every direction, and no null is shallower for it."""
    stream = SimStream(BASE + HOP + "[impairments]\nposition_std_wavelengths = 0.0\n")
    watch = HealthWatch(stream.stream, stream.calibration)
    ramp = np.exp(0.3j * np.arange(8)).astype(np.complex64)
    events = []
    for i, (frame, clipped) in enumerate(stream.frames(1.6)):
        if i > 100:
            frame.samples[:] *= ramp[:, None]
        events += watch.frame(frame, clipped)
    stream.close()
    assert events == []
    assert any("ramp" in text for text in watch.not_watched())


def test_the_fault_time_lies_inside_a_block() -> None:
    assert AT_S * 0.6e6 % 8192
