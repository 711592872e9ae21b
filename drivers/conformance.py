"""What every receiver driver must do, as checks that need no test framework.

`check_rx_device(make)` runs all of them on devices that `make()` opens, and raises NonConformance at the first
that fails. The checks by name are in CHECKS, so that a test suite can list them one by one. Deadlines that
guard against a hang are asserted at ten times the figure of the contract.
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.conformance_case import Case, NonConformance
from drivers.conformance_settings import (
    check_channels,
    check_identity,
    check_illegal_order,
    check_range_edges,
    check_read_back,
    check_taken_or_refused,
    check_wrong_buffer,
)
from drivers.conformance_stream import (
    check_close,
    check_counting,
    check_disconnect,
    check_missing_library,
    check_no_stale_samples,
    check_retune,
    check_samples,
    check_slow_reader,
    check_stop_unblocks,
    check_timeout,
)
from hil.core.device import RxDevice

__all__ = ["CHECKS", "Case", "NonConformance", "check_rx_device"]

CHECKS: dict[str, Callable[[Case], None]] = {
    "identity": check_identity,
    "read_back": check_read_back,
    "taken_or_refused": check_taken_or_refused,
    "range_edges": check_range_edges,
    "channels": check_channels,
    "illegal_order": check_illegal_order,
    "wrong_buffer": check_wrong_buffer,
    "samples": check_samples,
    "counting": check_counting,
    "stop_unblocks": check_stop_unblocks,
    "timeout": check_timeout,
    "close": check_close,
    "retune": check_retune,
    "no_stale_samples": check_no_stale_samples,
    "slow_reader": check_slow_reader,
    "missing_library": check_missing_library,
    "disconnect": check_disconnect,  # last: the device is gone afterwards
}


def check_rx_device(make: Callable[[], RxDevice] | Case) -> None:
    """Run all checks. Raises NonConformance, whose message begins with the name of the check.

    Parameters
    ----------
    make : opens a fresh device, or a Case that says more about it.
    """
    case = make if isinstance(make, Case) else Case("device", make)
    for name, check in CHECKS.items():
        try:
            check(case)
        except NonConformance as err:
            raise NonConformance(f"{case.name}: {name}: {err}") from err
