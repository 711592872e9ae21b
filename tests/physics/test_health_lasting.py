"""Faults that are there from the start, that last, and that end; slips while references are taken."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.device import TxConfig
from hil.health.event import HealthEvent
from hil.health.watch import HealthWatch
from tests.physics.health_scenes import SimStream

FS_HZ = 0.6e6
BASE = "seed = 21\n[array]\nn_elements = 4\n[receiver]\nfs_hz = 0.6e6\n{receiver}"
EMITTER = "[[emitter]]\noffset_hz = 3e4\nsymbol_rate_hz = 1.2e5\nhop = {period_s = 0.01, min_deg = -60.0, max_deg = 60.0}\n"


def followed(
    faults: str, seconds: float, *, receiver: str = "", calibrate_at_s: float | None = None
) -> tuple[list[HealthEvent], list[tuple[float, set[str]]]]:
    """Events, and (time, kinds) whenever what lasts changes."""
    text = BASE.format(receiver=receiver) + EMITTER + faults
    stream = SimStream(text, error_deg=0.3)
    watch = HealthWatch(stream.stream, stream.calibration if calibrate_at_s is None else None)
    events: list[HealthEvent] = []
    lasting: list[tuple[float, set[str]]] = [(0.0, set())]
    try:
        for frame, clipped in stream.frames(seconds):
            at_s = (frame.first_sample + frame.samples.shape[1]) / FS_HZ
            events += watch.frame(frame, clipped)
            if calibrate_at_s is not None and at_s >= calibrate_at_s:
                watch.calibrate(stream.calibration)
                calibrate_at_s = None
            now = {e.kind for e in watch.lasting()}
            if now != lasting[-1][1]:
                lasting.append((at_s, now))
    finally:
        stream.close()
    return events, lasting


@pytest.mark.parametrize(("peak_dbfs", "least_percent"), [(3.0, 60.0), (20.0, 95.0)])
def test_an_overload_from_the_start_is_told_once_and_lasts(peak_dbfs: float, least_percent: float) -> None:
    (event,), lasting = followed("", 1.0, receiver=f"peak_dbfs = {peak_dbfs}\n")
    assert (event.kind, event.channels) == ("clipped", (0, 1, 2, 3))
    assert least_percent < (event.value or 0.0) <= 100.0
    assert "--tx-attenuation" not in event.remedy
    assert lasting[-1][1] == {"clipped"}


def test_the_end_of_an_overload_from_the_start_is_seen_and_no_fault() -> None:
    events, lasting = followed("[faults]\nclip_at_s = 0.0\nclip_s = 1.0\nclip_channel = 3\n", 2.0)
    assert [(e.kind, e.channels) for e in events] == [("clipped", (3,))]
    assert [kinds for _, kinds in lasting] == [set(), {"clipped"}, set()]
    assert 1.0 < lasting[-1][0] < 1.2


@pytest.mark.parametrize("leaves", ["noise", "zero"])
@pytest.mark.parametrize("at_s", [0.0, 0.9])
def test_a_dead_channel_lasts_until_it_hears_again(leaves: str, at_s: float) -> None:
    faults = (
        f"[faults]\ndead_at_s = {at_s}\ndead_s = 0.8\ndead_channel = 2\ndead_leaves = '{leaves}'\n"
        "flip_at_s = 2.4\nflip_channel = 1\n"
    )
    events, lasting = followed(faults, 2.7)
    if leaves == "noise" and at_s == 0.0:
        assert "dead-channel" not in {e.kind for e in events}  # nothing shows that it ever heard something
        return
    assert [(e.kind, e.channels) for e in events] == [("dead-channel", (2,)), ("phase-flip", (1,))]
    assert [kinds for _, kinds in lasting] == [set(), {"dead-channel"}, set()]
    assert at_s + 0.8 < lasting[-1][0] < at_s + 1.05


def test_a_stuck_bit_and_multipath_last() -> None:
    events, lasting = followed("[faults]\nstuck_bit_at_s = 0.6\nstuck_bit = 5\nstuck_bit_channel = 1\n", 1.4)
    assert [e.kind for e in events] == ["stuck-bit"]
    assert lasting[-1][1] == {"stuck-bit"}
    events, lasting = followed("[faults]\nmultipath_at_s = 0.6\nmultipath_s = 0.8\n", 1.8)
    assert [e.kind for e in events] == ["multipath"]
    assert [kinds for _, kinds in lasting] == [set(), {"multipath"}, set()]


def test_events_do_not_last() -> None:
    events, lasting = followed(
        "[faults]\nagc_step_at_s = 0.6\nslip_samples_at_s = 1.2\nslip_samples = 3\n", 1.8
    )
    assert [e.kind for e in events] == ["agc-step", "slip"]
    assert lasting == [(0.0, set())]


@pytest.mark.parametrize("at_s", [0.1, 0.2, 0.3])
def test_a_slip_while_references_are_taken_is_told(at_s: float) -> None:
    faults = f"[faults]\nslip_samples_at_s = {at_s}\nslip_samples = 2\nslip_channel = 3\n"
    (event,), _ = followed(faults, 0.8)
    assert (event.kind, event.channels, event.value) == ("slip", (3,), 2.0)
    assert abs(event.first_sample / FS_HZ - at_s) < 0.03


@pytest.mark.parametrize("at_s", [0.42, 0.5, 0.64])
def test_a_calibration_does_not_make_the_watch_blind(at_s: float) -> None:
    """The blocks at hand are its reference: else a slip of the next third of a second would be part of one."""
    faults = f"[faults]\nslip_samples_at_s = {at_s}\nslip_channel = 1\n"
    (event,), _ = followed(faults, 1.0, calibrate_at_s=0.4)
    assert (event.kind, event.channels) == ("slip", (1,))
    assert 0 < event.last_sample / FS_HZ - at_s < 0.15


def test_overload_by_the_own_transmitter_speaks_of_it() -> None:
    stream = SimStream(BASE.format(receiver="") + EMITTER + "[transmit]\nleakage_db = 40.0\n")
    watch = HealthWatch(stream.stream)
    transmitter = stream.device.transmitter()
    transmitter.configure(TxConfig(attenuation_db=0.0, channels=(0,)))
    transmitter.send_cyclic(np.full((1, 1024), 0.9, np.complex64))
    events = [e for frame, clipped in stream.frames(0.8) for e in watch.frame(frame, clipped)]
    stream.close()
    (event,) = events
    assert event.kind == "clipped"
    assert "--tx-attenuation" in event.remedy
