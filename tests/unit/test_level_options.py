"""Levels on the command line: a comma is never guessed to be a decimal point or a separator."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.cli.capture import transmit_request
from hil.cli.options import decibels
from hil.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("40", 40.0), ("40.5", 40.5), ("40 50", (40.0, 50.0)), ("40;50", (40.0, 50.0)), ("1,2,3", (1.0, 2.0, 3.0)),
     ("40.5,50", (40.5, 50.0)), ("20 dB", None)],
)  # fmt: skip
def test_numbers_for_one_or_all_channels(text: str, expected: object) -> None:
    if expected is None:
        with pytest.raises(ConfigError):
            decibels(text, "--gain")
    else:
        assert decibels(text, "--gain") == expected


@pytest.mark.parametrize("text", ["40,50", "12,5", ""])
def test_what_could_be_two_things_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        transmit_request(Path("w.toml"), text, "0,1")
    assert caught.value.where == "--tx-attenuation"
