"""Every fault that the simulator can inject, through the whole station in real time: the right lamp says so, and what to do."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from gui.lamps import LAMP_OF, Lamp, Level, lamps
from gui.station import Station
from tests.physics.health_cases import SAMPLE_CASES, Case, draw_array
from tests.physics.health_scenes import SimStream

_SEED = 7100
_DEADLINE_S = 60.0
#: One for each lamp and kind of evidence in every run; all of them in the long ones.
_QUICK = ("LO phase jump", "clipped channel", "dead channel, zeros", "I and Q exchanged")


def _lit(station: Station, name: str) -> Lamp:
    return next(lamp for lamp in lamps(station.facts()) if lamp.name == name)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=() if case.name.startswith(_QUICK) else pytest.mark.slow)
        for case in SAMPLE_CASES
    ],
)
def test_an_injected_fault_lights_its_lamp(case: Case, tmp_path: Path) -> None:
    array = draw_array(_SEED, waveforms=case.waveforms, least_snr_db=10.0, least_elements=case.least_elements)
    text = array.toml + "[faults]\n" + case.faults(array, np.random.default_rng([_SEED, 78]))
    (tmp_path / "scene.toml").write_text(text, encoding="utf-8")
    known = SimStream(text, error_deg=0.3, seed=_SEED)
    known.close()
    station = Station(accepting="when asked")
    wanted = {LAMP_OF[name] for name in case.names}
    try:
        station.use(known.calibration, forced="the truth of the scene")
        station.connect(f"sim:{tmp_path / 'scene.toml'}", None)
        station.start()
        told: list[str] = []
        end = time.monotonic() + _DEADLINE_S
        while True:
            station.poll()
            station.picture()
            told += station.health()
            kinds = {event.kind for event in station.facts().health}
            if kinds & set(case.names):
                break
            assert time.monotonic() < end, f"{array}: {told}, {station.done()}"
            time.sleep(0.02)
        lit = [_lit(station, name) for name in sorted(wanted)]
        assert any(lamp.level in (Level.WARN, Level.BAD) and lamp.remedy for lamp in lit), (lit, told)
    finally:
        assert station.close()
