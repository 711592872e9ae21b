"""Pictures of a report for the documentation: a sweep of the simulated chamber, learned with and without labels, reported.

python tests/bars/report_pictures.py
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "images" / "report"
SCENE = """seed = 11
[array]
n_elements = 8
[receiver]
snr_db = 15.0
[impairments]
position_std_wavelengths = 0.05
[[emitter]]
angle_deg = 0.0
"""
COMMANDS = (
    "sweep sim:chamber.toml?free --positioner sim:?speed=200&hurry=20 --array ula:8:0.5 --angles=-60:60:4 --samples 32768"
    " --emitter 0 --settle 0 --out night",
    "learn night --method pilot --out pilot.h5",
    "learn night --method cold-start --out blind.h5",
    "report night --calibration pilot.h5 --calibration blind.h5 --out night.html --out night.pdf",
)
PICTURES = ("geometry", "spectra", "residual", "distribution", "sectors", "elements")


class _Pictures(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[bytes] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src")
        if tag == "img" and source:
            self.found.append(base64.b64decode(source.partition(",")[2]))


def main() -> int:
    """Measure, learn, report; keep the pictures of the page."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "chamber.toml").write_text(SCENE, encoding="utf-8")
        for line in COMMANDS:
            command = [sys.executable, "-P", "-m", "hil.cli", *line.split()]
            code = subprocess.run(command, cwd=folder, check=False).returncode
            if code:
                return code
        page = _Pictures()
        page.feed(Path(folder, "night.html").read_text(encoding="utf-8"))
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        for name, picture in zip(PICTURES, page.found, strict=True):
            (OUT / f"{name}.png").write_bytes(picture)
        shutil.copy(Path(folder, "night.pdf"), OUT / "night.pdf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
