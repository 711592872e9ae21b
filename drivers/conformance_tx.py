"""What every transmitter must do, as checks that need no test framework.

`check_tx_device(make)` runs all of them on devices that `make()` opens, and raises NonConformance at the first
that fails. They send: on a real board only into a dummy load or a cable with attenuators (docs/hardware.md).
"""

from __future__ import annotations

from collections.abc import Callable

from drivers.conformance_case import NonConformance
from drivers.conformance_tx_case import TxCase, TxOutside
from drivers.conformance_tx_samples import (
    check_any_period,
    check_cyclic,
    check_disconnect,
    check_end_of_device,
    check_full_scale,
    check_leaks,
    check_rate_change,
    check_receiver_goes_on,
    check_stream,
    check_underflow,
    check_write_timeout,
)
from drivers.conformance_tx_settings import (
    check_channels,
    check_opens_quiet,
    check_order_of_calls,
    check_range_edges,
    check_read_back,
    check_taken_or_refused,
    check_wrong_samples,
)
from hil.core.device import Transceiver

__all__ = ["TX_CHECKS", "NonConformance", "TxCase", "TxOutside", "check_tx_device"]

TX_CHECKS: dict[str, Callable[[TxCase], None]] = {
    "opens_quiet": check_opens_quiet,
    "read_back": check_read_back,
    "taken_or_refused": check_taken_or_refused,
    "range_edges": check_range_edges,
    "channels": check_channels,
    "wrong_samples": check_wrong_samples,
    "order_of_calls": check_order_of_calls,
    "cyclic": check_cyclic,
    "any_period": check_any_period,
    "full_scale": check_full_scale,
    "receiver_goes_on": check_receiver_goes_on,
    "rate_change": check_rate_change,
    "stream": check_stream,
    "underflow": check_underflow,
    "write_timeout": check_write_timeout,
    "end_of_device": check_end_of_device,
    "leaks": check_leaks,
    "disconnect": check_disconnect,  # last: the device is gone afterwards
}


def check_tx_device(make: Callable[[], Transceiver] | TxCase) -> None:
    """Run all checks. Raises NonConformance, whose message begins with the name of the check.

    Parameters
    ----------
    make : opens a fresh device that can transmit, or a TxCase that says more about it.
    """
    case = make if isinstance(make, TxCase) else TxCase("transmitter", make)
    for name, check in TX_CHECKS.items():
        try:
            check(case)
        except NonConformance as err:
            raise NonConformance(f"{case.name}: {name}: {err}") from err
