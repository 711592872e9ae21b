"""`hil report` as users call it: pages, PDF, and one clear line for mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.campaign_folders import make_campaign
from tests.report_cases import ERRORS, calibration, saved


def small_campaign(folder: Path) -> None:
    make_campaign(folder / "night", [-40, -20, 0, 20, 40], samples=4096, errors=ERRORS)
    saved(calibration(folder / "night", held_out=[1, 3]), folder / "pilot.h5")
    saved(calibration(folder / "night", held_out=[1, 3], method="cold-start"), folder / "blind.h5")


def test_page_and_pdf_of_a_campaign_with_two_calibrations(hil: Any) -> None:
    small_campaign(hil.folder)
    done = hil(
        "report",
        "night",
        "--calibration",
        "pilot.h5",
        "--calibration",
        "blind.h5",
        "--out",
        "r.html",
        "--out",
        "r.pdf",
    )
    assert done.code == 0, done
    assert done.json["report"] == "r.html"
    assert done.json["reports"] == ["r.html", "r.pdf"]
    assert done.json["accuracy"]["arrays"].keys() == {"nominal", "pilot", "blind"}
    assert "wrote r.pdf" in done.stderr
    page = (hil.folder / "r.html").read_text(encoding="utf-8")
    for words in (
        "SHA-256",
        "Cramér-Rao",
        "Environment",
        "Geometry",
        "What is assumed",
        "By sector",
        "run-001",
    ):
        assert words in page
    assert (hil.folder / "r.pdf").read_bytes().startswith(b"%PDF-")
    assert not list(hil.folder.glob(".*.part"))


def test_a_calibration_alone(hil: Any) -> None:
    small_campaign(hil.folder)
    done = hil.here("report", "pilot.h5", "--out", "r.pdf")
    assert done.code == 0, done
    assert done.json["report"] == "r.pdf"
    assert done.json["converged"] is True


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("night", "--out", "r.html"), "--calibration"),
        (("night", "--calibration", "pilot.h5", "--out", "r.txt"), "--out"),
        (("night", "--calibration", "pilot.h5", "--out", "none/r.html"), "--out"),
        (("night", "--calibration", "no.h5", "--out", "r.html"), "no.h5"),
        (("pilot.h5", "--calibration", "blind.h5", "--out", "r.html"), "--calibration"),
        (("night", "--calibration", "pilot.h5", "--truth", "t.jsonl", "--out", "r.html"), "--truth"),
        (("empty", "--calibration", "pilot.h5", "--out", "r.html"), "campaign.toml"),
        (("night/campaign.toml", "--out", "r.html"), "campaign.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_one_line_for_mistakes(hil: Any, args: tuple[str, ...], words: str) -> None:
    small_campaign(hil.folder)
    (hil.folder / "empty").mkdir()
    done = hil.here("report", *args)
    assert done.code == 2, done
    assert words in done.json["reason"], done
    assert not (hil.folder / "r.html").exists()
