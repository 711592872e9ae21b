"""Every driver that transmits, every check of the transmitters' kit, with the real client libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from drivers.conformance_tx import TX_CHECKS, TxCase
from drivers.conformance_tx_cases import TX_CASES, TxCaseSpec

SPECS = [spec for cases in TX_CASES.values() for spec in cases()]
PAIRS = [
    pytest.param(
        spec,
        check,
        id=f"{spec.name}-{check}".replace(" ", "-"),
        marks=pytest.mark.xdist_group(
            f"tx {spec.name}"
        ),  # one emulator for all checks, also in parallel runs
    )
    for spec in SPECS
    for check in spec.checks
]


@pytest.fixture(scope="module")
def enter() -> Iterator[Callable[[TxCaseSpec], TxCase]]:
    """Sets a case up; it stays until another one is asked for: an emulator starts once, not for each check."""
    with ExitStack() as stack:
        present: list[tuple[TxCaseSpec, TxCase]] = []

        def enter_case(spec: TxCaseSpec) -> TxCase:
            if not present or present[0][0] is not spec:
                stack.pop_all().close()
                present[:] = [(spec, stack.enter_context(spec.enter()))]
            return present[0][1]

        yield enter_case


@pytest.mark.parametrize(("spec", "check"), PAIRS)
def test_transmitter_conforms(enter: Callable[[TxCaseSpec], TxCase], spec: TxCaseSpec, check: str) -> None:
    TX_CHECKS[check](enter(spec))
