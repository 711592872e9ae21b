"""Pictures of the window with the two methods that have networks, for the documentation: into docs/images/methods.

python tests/bars/method_pictures.py [OUT]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_WAIT_S = 120.0
_HEAD = """
seed = 5
[array]
n_elements = {n}
[receiver]
fs_hz = 9.6e5
[ofdm]
spacing_hz = 7.5e3
[impairments]
relock_phase = false
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
[[emitter]]
offset_hz = 0.0
"""
#: Elements and emitter: one of a known waveform; one signal over two ways.
_SCENES = {
    "mod-dnn": (4, 'angle_deg = 23.0\nwaveform = "ofdm"\n'),
    "dual-path-vae": (
        8,
        "angle_deg = -14.0\nsymbol_rate_hz = 5.0e5\n"
        "paths = [ { angle_deg = 9.0, delay_s = 2.0e-8, power_db = -2.0 } ]\n",
    ),
}


def main() -> int:
    """One picture for each."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.insert(0, str(ROOT))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "methods"
    out.mkdir(parents=True, exist_ok=True)
    for name, (n, emitter) in _SCENES.items():
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HIL_HOME"] = folder
            scene = Path(folder) / f"{name}.toml"
            scene.write_text(_HEAD.format(n=n) + emitter, encoding="utf-8")
            _picture(name, f"sim:{scene}", n, Path(folder), out / f"{name}.png")
    return 0


def _picture(method: str, uri: str, n: int, folder: Path, out: Path) -> None:
    from PySide6.QtWidgets import QApplication

    from gui.station import Station
    from gui.theme import apply_theme
    from gui.window import StationWindow

    application = QApplication.instance() or QApplication([])
    assert isinstance(application, QApplication)
    apply_theme(application, "dark", 100)
    window = StationWindow(Station(), uri, f"ula:{n}:0.5")
    window.resize(1366, 740)
    window.show()
    station = window.station

    def wait(true: Callable[[], object]) -> None:
        end = time.monotonic() + _WAIT_S
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"{method}: {window.directions.legend.text()}")
            application.processEvents()
            time.sleep(0.005)

    try:
        if method == "mod-dnn":
            window.load_network(_network(uri, n, folder))
        window.controls.connect_button.click()
        wait(lambda: station.facts().link == "ready")
        window.controls.start_or_stop()
        window.controls.method.setCurrentIndex(window.controls.method.findData(method))
        if method == "dual-path-vae":
            window.controls.count.setCurrentIndex(window.controls.count.findData(2))
        end = time.monotonic() + 3.0
        wait(lambda: time.monotonic() > end)
        wait(lambda: window.directions.drawing is not None and window.directions.drawing.n_found)
        window.grab().save(str(out))
    finally:
        window.close()


def _network(uri: str, n: int, folder: Path) -> Path:
    """Trained on the array of the scene for some seconds."""
    import numpy as np

    from gui.echoes import scene_waveform
    from hil.core.geometry import parse_array
    from tests.small_networks import belongs_of, mod_dnn

    waveform = scene_waveform(uri)
    assert waveform is not None
    assert waveform.layout is not None
    tones = np.asarray(waveform.layout.columns * waveform.layout.spacing_hz, float)
    path, fc_hz = folder / "room.safetensors", 2.45e9
    positions_m = parse_array(f"ula:{n}:0.5", fc_hz).positions_m
    mod_dnn(belongs_of(positions_m, fc_hz, None), tones[:: len(tones) // 12][:12], steps=150).save(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
