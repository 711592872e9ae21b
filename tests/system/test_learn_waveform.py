"""`hil learn --waveform` and what comes of delays, images and DC afterwards: JSON, tables, certificate, directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil.cli.main import call
from hil.core.waveform import save_waveform, srs
from tests.physics.channel_scenes import Learned, capture, command, learn


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Learned]:
    """Folder of the recording and its calibration, and what was learned."""
    folder = tmp_path_factory.mktemp("channels")
    return folder, learn(folder, capture(folder, 21))


def test_json_states_every_value_with_its_sigma(learned: tuple[Path, Learned]) -> None:
    _, found = learned
    channels = found.json["channels"]
    calibration = found.calibration
    np.testing.assert_allclose(channels["delay_ps"], calibration.impairments.delay_s * 1e12)
    np.testing.assert_allclose(channels["sigma_delay_ps"], calibration.sigma.delay_s * 1e12)
    np.testing.assert_allclose(channels["iq_image_db"], -35.0, atol=2.0)
    np.testing.assert_allclose(channels["dc_dbfs"], -45.0, atol=1.0)
    assert channels["delay_ps"][0] == 0 == channels["sigma_delay_ps"][0]
    assert channels["left_out"] == []
    assert max(channels["sigma_iq_image"]) < 0.002


def test_tables_and_certificate_show_them(
    learned: tuple[Path, Learned], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = learned
    shown = command(f"calib show {folder}/r.h5")
    assert set(shown["elements"][3]) >= {
        "delay_ps",
        "sigma_delay_ps",
        "sigma_iq_image_db",
        "dc_dbfs",
        "sigma_dc_db",
    }
    assert 0 < shown["elements"][3]["sigma_iq_image_db"] < 1
    capsys.readouterr()
    assert call(["calib", "show", f"{folder}/r.h5"]) == 0
    text = capsys.readouterr().err + capsys.readouterr().out
    assert "±" in text
    changed = command(f"calib diff {folder}/r.h5 {folder}/r.h5")["elements"][3]
    assert (changed["delay_change_ps"], changed["iq_image_sigmas"], changed["dc_sigmas"]) == (0, 0, 0)
    assert changed["sigma_delay_ps"] > 0
    command(f"report {folder}/r.h5 --out {folder}/c.html")
    page = (folder / "c.html").read_text(encoding="utf-8")
    assert "delay / ps" in page
    assert "DC / dBFS" in page


def test_paths_are_found_with_them(learned: tuple[Path, Learned]) -> None:
    folder, _ = learned
    found = command(
        f"angle-delay {folder}/r.sigmf-meta --waveform {folder}/w.toml --calibration {folder}/r.h5 --paths 3"
    )
    assert sorted(round(p["angle_deg"]) for p in found["paths"]) == [-33, 17, 41]
    assert found["calibration_status"] == "valid"


def test_a_waveform_that_is_not_there_is_refused(
    learned: tuple[Path, Learned], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = learned
    save_waveform(srs(120, 2.5e6 / 128), folder / "other.toml")
    assert (
        call(
            f"learn {folder}/r.sigmf-meta --waveform {folder}/other.toml --method gain-phase-isac --out {folder}/x.h5".split()
        )
        == 2
    )
    assert "made for 5e+06 S/s" in capsys.readouterr().err
