"""The transmitters' conformance kit on the board at HIL_HW_URI. It sends: it exists only with
HIL_HW_TRANSMIT=terminated, which says that every transmit connector has a load or attenuators (docs/hardware.md).

The disconnect check is left out: pull the cable by hand.
"""

from __future__ import annotations

import os

import pytest

from drivers.conformance_tx import TX_CHECKS, TxCase
from drivers.conformance_tx_cases import open_transceiver

pytestmark = pytest.mark.hardware

if os.environ.get("HIL_HW_TRANSMIT") == "terminated":

    @pytest.mark.parametrize("check", [name for name in TX_CHECKS if name != "disconnect"])
    def test_transmitter_conforms(check: str) -> None:
        uri = os.environ["HIL_HW_URI"]
        TX_CHECKS[check](TxCase(uri, lambda: open_transceiver(uri)))
