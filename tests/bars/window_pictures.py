"""Pictures of the window for the documentation: the walk-through under a display, into docs/images/window.

python tests/bars/window_pictures.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "images" / "window"


def main() -> int:
    """Walk, then keep the pictures without their numbers."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"QT_QPA_PLATFORM": "xcb", "PYTHONPATH": str(ROOT)}
        walk = [sys.executable, str(ROOT / "tests" / "gui" / "walkthrough.py"), folder]
        display = ["xvfb-run", "--auto-servernum", "--server-args", "-screen 0 1366x768x24"]
        done = subprocess.run([*display, *walk], env=environment, cwd=folder, check=False)
        if done.returncode:
            return done.returncode
        told = json.loads((Path(folder) / "walkthrough.json").read_text(encoding="utf-8"))
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        for step in told["steps"]:
            shutil.copy(Path(folder) / step["picture"], OUT / f"{step['name']}.png")
        (OUT / "walkthrough.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
