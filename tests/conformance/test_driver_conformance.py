"""Every driver of the table, every check of the kit, with the real client libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from drivers.conformance import CHECKS, Case
from drivers.conformance_cases import CaseSpec
from drivers.registry import DRIVERS, load

SPECS: list[CaseSpec] = [
    spec for entry in DRIVERS.values() if not entry.planned for spec in load(entry.cases)()
]
PAIRS = [
    pytest.param(
        spec,
        check,
        id=f"{spec.name}-{check}".replace(" ", "-"),
        marks=pytest.mark.xdist_group(spec.name),  # one emulator for all checks, also in parallel runs
    )
    for spec in SPECS
    for check in spec.checks
]


@pytest.fixture(scope="module")
def enter() -> Iterator[Callable[[CaseSpec], Case]]:
    """Sets a case up; it stays until another one is asked for: an emulator starts once, not for each check."""
    with ExitStack() as stack:
        present: list[tuple[CaseSpec, Case]] = []

        def enter_case(spec: CaseSpec) -> Case:
            if not present or present[0][0] is not spec:
                stack.pop_all().close()
                present[:] = [(spec, stack.enter_context(spec.enter()))]
            return present[0][1]

        yield enter_case


def test_every_driver_has_conformance_cases() -> None:
    for entry in DRIVERS.values():
        assert entry.planned or (entry.cases and load(entry.cases)()), f"{entry.scheme}: no cases"


@pytest.mark.parametrize(("spec", "check"), PAIRS)
def test_driver_conforms(enter: Callable[[CaseSpec], Case], spec: CaseSpec, check: str) -> None:
    CHECKS[check](enter(spec))
