"""Every driver of the table, every check of the kit, with the real client libraries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drivers.conformance import CHECKS, Case
from drivers.conformance_cases import CaseSpec
from drivers.registry import DRIVERS, load

SPECS: list[CaseSpec] = [
    spec for entry in DRIVERS.values() if not entry.planned for spec in load(entry.cases)()
]


PAIRS = [pytest.param(s, check, id=f"{s.name}-{check}".replace(" ", "-")) for s in SPECS for check in s.checks]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with request.param.enter() as entered:
        yield entered


def test_every_driver_has_conformance_cases() -> None:
    for entry in DRIVERS.values():
        assert entry.planned or (entry.cases and load(entry.cases)()), f"{entry.scheme}: no cases"


@pytest.mark.parametrize(("case", "check"), PAIRS, indirect=["case"])
def test_driver_conforms(case: Case, check: str) -> None:
    CHECKS[check](case)
