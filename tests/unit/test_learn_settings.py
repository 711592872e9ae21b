"""What people type is read as they mean it, or refused with the option's name."""

from __future__ import annotations

import pytest

from hil.cli.options import is_device, rx_config
from hil.core.errors import ConfigError
from hil.learning.settings import (
    LearnSettings,
    parse_anchors,
    parse_flat_anchors,
    parse_sources,
    parse_support,
)


def test_support_anchor_sources() -> None:
    assert parse_support("-60:60") == (-60.0, 60.0)
    assert parse_support("-20,5:40") == (-20.5, 40.0)
    assert parse_anchors(["20", "-35@1.5:2"]) == ((20.0, None, None), (-35.0, 1.5, 2.0))
    assert parse_sources("2") == 2
    assert parse_sources("auto") is None


@pytest.mark.parametrize(
    ("function", "text", "option"),
    [
        (parse_support, "60", "--support"), (parse_support, "60:-60", "--support"), (parse_support, "a:b", "--support"),
        (parse_support, "-200:10", "--support"), (parse_sources, "0", "--sources"), (parse_sources, "many", "--sources"),
        (lambda t: parse_anchors([t]), "200", "--anchor"), (lambda t: parse_anchors([t]), "20@2:1", "--anchor"),
        (lambda t: parse_anchors([t]), "x@1:2", "--anchor"),
    ],
)  # fmt: skip
def test_bad_text_names_the_option(function, text: str, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        function(text)


def test_gauge_follows_what_is_given_and_settings_hash_changes() -> None:
    anchored = ((0.0, None, None),)
    assert LearnSettings().gauge_kind(line=True) == "prior"
    assert LearnSettings(support_deg=(-60, 60)).gauge_kind(line=True) == "support"
    assert LearnSettings(anchors_deg=anchored).gauge_kind(line=True) == "anchor"
    assert LearnSettings(support_deg=(-60, 60), anchors_deg=anchored).gauge_kind(line=True) == "support"
    assert LearnSettings(support_deg=(-60, 60), anchors_deg=anchored).gauge_kind(line=False) == "anchor"
    assert LearnSettings().hash() != LearnSettings(seed=1).hash()
    assert LearnSettings().hash() == LearnSettings().hash()


def test_rx_config_from_the_command_line() -> None:
    want = rx_config("2.45 GHz", "2,5M", "20 22.5", 2)
    assert (want.fc_hz, want.fs_hz, want.gain_db, want.channels) == (2.45e9, 2.5e6, (20.0, 22.5), (0, 1))
    assert rx_config(None, None, "20.5,5").gain_db == (20.5, 5.0)
    assert rx_config(None, None, "30").gain_db == 30.0
    with pytest.raises(ConfigError, match="could be one number or two"):
        rx_config(None, None, "20,5")
    with pytest.raises(ConfigError, match="--fc"):
        rx_config("-1", None, None)


def test_a_path_is_not_a_device() -> None:
    assert is_device("sim:")
    assert is_device("iio:ip:1.2.3.4")
    assert not is_device("recording.sigmf-meta")
    assert not is_device("./sim")


def test_an_elevation_is_refused_where_it_would_not_count() -> None:
    assert parse_flat_anchors(["20@1:2"]) == ((20.0, 1.0, 2.0),)
    with pytest.raises(ConfigError, match="elevation"):
        parse_flat_anchors(["20", "5/10"])
