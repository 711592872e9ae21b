"""The positioner kit over every driver and over Hamlib's own rotctld; and that the kit finds what is wrong."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from drivers.conformance_case import NonConformance
from drivers.positioner import conformance
from drivers.positioner.families import FAMILIES
from drivers.positioner.positioner import ReadBack
from drivers.positioner.registry import POSITIONERS, open_positioner
from drivers.positioner.simulated import SimulatedPositioner
from sim_backend.rotators.server import PORTS
from sim_backend.turntable import TableSpec, Turntable

sys.path.insert(0, str(Path(__file__).parent))
from positioner_rigs import RIGS


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_HOME", str(tmp_path))


def test_every_driver_has_a_rig_and_every_family_a_simulator() -> None:
    assert set(POSITIONERS) == {name for name in RIGS if " " not in name}
    assert set(FAMILIES) == set(PORTS) == set(POSITIONERS) - {"sim"}
    assert {name: family.port for name, family in FAMILIES.items()} == PORTS


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "without" in name else ()) for name in RIGS]
)
def test_it_keeps_the_rules(name: str) -> None:
    with cast("AbstractContextManager[conformance.Rig]", RIGS[name]()) as rig:
        if "without" not in name:
            conformance.check_positioner(rig)
            return
        for check in ("moves", "stop", "stall", "bad_lines"):  # what confirmation can change
            conformance.CHECKS[check](rig)


class _Wrong(SimulatedPositioner):
    """A table with a fault."""

    fault = ""

    def move_to(self, azimuth_deg: float) -> None:
        if self.fault == "limits":
            self._table.move_to(min(max(azimuth_deg, -10), 10) if azimuth_deg == azimuth_deg else 0.0)
        else:
            super().move_to(azimuth_deg)

    def read_back(self) -> ReadBack:
        back = super().read_back()
        return replace(back, moving=False) if self.fault == "moves" else back

    def stop(self) -> None:
        if self.fault != "stop":
            super().stop()

    def close(self) -> None:
        if self.fault != "close":
            super().close()


@pytest.mark.parametrize("fault", ["limits", "moves", "stop", "close", "one_commander"])
def test_the_kit_finds_what_is_wrong(fault: str) -> None:
    table = Turntable(TableSpec(speed=30.0, acceleration=200.0))

    def make() -> Any:
        made = _Wrong(table)
        made.fault = fault
        return made

    with pytest.raises(NonConformance):
        conformance.CHECKS[fault](conformance.Rig("wrong", make))


def test_a_second_commander_is_told_where_the_first_one_is() -> None:
    with cast("AbstractContextManager[conformance.Rig]", RIGS["rotctld"]()) as rig, rig.make():
        with pytest.raises(Exception, match="another commander has this table") as caught:
            open_positioner(rig.uri.replace("?deadline=0.8", ""))
        assert "process" in str(caught.value)
