"""Each lamp says what the facts are, and every one that is not good says why and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gui.facts import CalibrationFacts, Facts, RecordingFacts, TableFacts, TransmitFacts
from gui.lamps import LAMP_OF, Lamp, Level, lamps
from hil.core.errors import ConnectionLost
from hil.health.catalogue import KINDS, make_event
from hil.health.event import Severity
from hil.store.status import CalibrationStatus

GOOD = Facts(
    link="streaming", uri="sim:", epoch=3, clipped=(0.0,) * 4, level_dbfs=(-20.0,) * 4, snr_db=21.0, n_sources=1,
    calibration=CalibrationFacts("abc", CalibrationStatus("valid", age_s=240.0), 0.06), learning="following",
    recording=RecordingFacts("run", 10.0, 320_000_000, 32e6, 200_000_000_000), lag_ms=40.0, rate_hz=30.0,
    table=TableFacts(12.0, None, False, 0.1),
)  # fmt: skip


def _lamp(facts: Facts, name: str) -> Lamp:
    return next(lamp for lamp in lamps(facts) if lamp.name == name)


SENDING = TransmitFacts("on", "sim:", "made", (30.0, 30.0), (0, 1), 2.45e9)


def test_the_strip_has_the_order_of_the_manual_and_all_is_well() -> None:
    strip = lamps(GOOD)
    assert [lamp.name for lamp in strip] == [
        "LOCK", "EPOCH", "DROPS", "OVERLOAD", "SNR", "CAL", "LEARN", "TABLE", "TX", "REC", "LAG",
    ]  # fmt: skip
    assert {lamp.name for lamp in strip if lamp.level is not Level.GOOD} == {"TX"}  # nothing is sent
    assert _lamp(GOOD, "CAL").word == "4 min ±0.06°"
    assert _lamp(GOOD, "EPOCH").word == "#3"


def test_before_anything_is_connected_nothing_is_red() -> None:
    assert all(lamp.level in (Level.IDLE, Level.WARN) for lamp in lamps(Facts()))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fault_of_the_watch_lights_its_lamp(kind: str) -> None:
    event = make_event(kind, 0, 1, channels=(2,), value=1.0)
    lamp = _lamp(replace(GOOD, health=(event,)), LAMP_OF[kind])
    if event.severity is Severity.INFO:
        assert lamp.level is Level.GOOD
        return
    assert lamp.level is (Level.BAD if event.severity is Severity.FAULT else Level.WARN)
    assert event.remedy in lamp.remedy
    assert "ch 2" in lamp.word
    others = [other for other in lamps(replace(GOOD, health=(event,))) if other.name != lamp.name]
    assert {other.level for other in others} == {Level.GOOD, Level.IDLE}


@pytest.mark.parametrize(
    ("change", "name", "level", "word"),
    [
        ({"link": "lost", "error": ConnectionLost("no answer", uri="x", hint="check it")}, "LOCK", Level.BAD, "LOST"),
        ({"link": "none"}, "LOCK", Level.IDLE, "NO DEVICE"),
        ({"transmit": SENDING}, "TX", Level.WARN, "ON 30 dB"),
        ({"transmit": replace(SENDING, state="unsure", words="no answer")}, "TX", Level.BAD, "STILL ON?"),
        ({"transmit": replace(SENDING, state="off")}, "TX", Level.IDLE, "-"),
        ({"level_dbfs": (-20.0, -20.0, -110.0, -20.0)}, "LOCK", Level.BAD, "SILENT ch 2"),
        ({"lost": 4096, "gaps": 1}, "DROPS", Level.BAD, "4,096"),
        ({"lost": 10, "gaps": 1, "lost_exact": False}, "DROPS", Level.BAD, "≥10"),
        ({"skipped": 70_000}, "DROPS", Level.WARN, "SLOW PC"),
        ({"clipped": (0.0, 0.2, 0.0, 0.01)}, "OVERLOAD", Level.BAD, "ch 1, 3"),
        ({"snr_db": 5.0}, "SNR", Level.WARN, "5 dB"),
        ({"n_sources": 0}, "SNR", Level.WARN, "no signal"),
        ({"calibration": None}, "CAL", Level.WARN, "NONE"),
        ({"calibration": CalibrationFacts("a", CalibrationStatus("phases-expired", "epoch", "retuned", "learn again"), 0.1)},
         "CAL", Level.BAD, "STALE"),
        ({"calibration": CalibrationFacts("a", CalibrationStatus("mismatch", "fc", "other carrier", "learn"), 0.1)},
         "CAL", Level.BAD, "MISMATCH"),
        ({"calibration": CalibrationFacts("a", CalibrationStatus("valid", age_s=60.0), 0.1, residual_deg=8.0)},
         "CAL", Level.BAD, "off 8.0°"),
        ({"calibration": CalibrationFacts("a", CalibrationStatus("valid", age_s=90_000.0), 0.1)}, "CAL", Level.WARN, "25 h"),
        ({"calibration": CalibrationFacts("a", CalibrationStatus("valid", age_s=60.0), 1.2)}, "CAL", Level.WARN, "±1.2°"),
        ({"learning": "dead", "learning_words": "it died"}, "LEARN", Level.BAD, "DIED"),
        ({"table": TableFacts(3.0, 9.0, True, 0.1)}, "TABLE", Level.WARN, "3.0° →"),
        ({"table": TableFacts(3.0, 9.0, True, 0.1, "it stalls")}, "TABLE", Level.BAD, "FAULT"),
        ({"recording": RecordingFacts("run", 1.0, 1, 32e6, 1_000_000_000)}, "REC", Level.BAD, "1 GB"),
        ({"lag_ms": 450.0}, "LAG", Level.WARN, "450 ms"),
    ],
)  # fmt: skip
def test_lamps_follow_the_facts(change: dict[str, object], name: str, level: Level, word: str) -> None:
    lamp = _lamp(replace(GOOD, **change), name)
    assert lamp.level is level
    assert word in lamp.word
    if level in (Level.WARN, Level.BAD) and not (name == "TABLE" and level is Level.WARN):
        assert lamp.remedy
        assert "What to do" in lamp.explanation


def test_a_fault_does_not_hide_a_worse_fact() -> None:
    event = make_event("drift", 0, 1, value=3.0)  # a warning
    stale = CalibrationFacts("a", CalibrationStatus("expired", "epoch", "restarted", "learn again"), 0.1)
    assert _lamp(replace(GOOD, health=(event,), calibration=stale), "CAL").word == "STALE"
