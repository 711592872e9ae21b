"""The driver conformance kit on the board at HIL_HW_URI, e.g. `HIL_HW_URI=iio:ip:192.168.2.1 pytest -m hardware`.

The disconnect check is left out: pull the cable by hand (see the bring-up checklist in the documentation).
"""

from __future__ import annotations

import os

import pytest

from drivers import open_device
from drivers.conformance import CHECKS, Case

pytestmark = pytest.mark.hardware


@pytest.fixture(scope="module")
def case() -> Case:
    uri = os.environ["HIL_HW_URI"]
    library = "iio" if uri.startswith("iio:") else ""
    return Case(uri, lambda: open_device(uri), real_time=True, library=library)


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "disconnect"])
def test_board_conforms(case: Case, check: str) -> None:
    CHECKS[check](case)
