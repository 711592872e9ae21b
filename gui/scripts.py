"""The command that does what a click does: "copy as script"."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from calib.registry import CSI_METHODS
from gui.echo_map import EchoView
from gui.echoes import SCENE_WAVEFORM
from gui.facts import TransmitFacts
from hil.campaign.plan_file import CampaignFile
from hil.core.device import TxConfig
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.core.waveform import Waveform
from hil.learning.settings import LearnSettings


def capture_script(uri: str, array: str | None, path: Path | None = None, seconds: float = 10.0) -> str:
    """`hil capture`."""
    return _join(
        "hil", "capture", uri, str(path or "capture.sigmf-meta"), "--seconds", f"{seconds:g}", *_array(array)
    )


def learn_script(uri: str, array: str | None, settings: LearnSettings, seconds: float = 5.0) -> str:
    """`hil learn` on the device; for methods on echoes, on a recording of them."""
    words = ["hil", "learn", uri, "--seconds", f"{seconds:g}", *_array(array), "--method", settings.method]
    before = ""
    if settings.method in CSI_METHODS:
        before = capture_script(uri, array, Path("echoes.sigmf-meta"), 1.0)
        words = ["hil", "learn", "echoes.sigmf-meta", "--waveform", "w.toml", "--method", settings.method]
    words += ["--sources", "auto" if settings.n_sources is None else str(settings.n_sources)]
    if settings.support_deg is not None:
        low, high = settings.support_deg
        words += ["--support", f"{low:g}:{high:g}"]
    heights = settings.anchor_elevations_deg or (0.0,) * len(settings.anchors_deg)
    for (degrees, begin, end), height in zip(settings.anchors_deg, heights, strict=True):
        at = "" if begin is None or end is None else f"@{begin:g}:{end:g}"
        words += ["--anchor", f"{degrees:g}" + (f"/{height:g}" if height else "") + at]
    return _after(before, _join(*words, "--out", "array.h5"))


def angle_delay_script(
    uri: str,
    stream: StreamInfo,
    waveform: Waveform,
    name: str,
    view: EchoView,
    sent: TransmitFacts | None = None,
    *,
    calibrated: bool = False,
) -> str:
    """`hil angle-delay` on the device, after the command that makes the waveform if it is no file. sent : meanwhile."""
    make, file = waveform_script(uri, waveform, name)
    words = ["hil", "angle-delay", uri, *_array(array_words(stream)), *_tuning(stream)]
    words += ["--waveform", file] if sent is None else ["--transmit", file, *_sending(sent)]
    if calibrated:
        words += ["--calibration", "array.h5"]
    if view.max_range_m is not None:
        words += ["--max-range", f"{view.max_range_m:g}"]
    if view.reference != "auto":
        words += ["--reference", view.reference]
    return _after(make, _join(*words, "--plot", "map.png"))


def transmit_script(uri: str, stream: StreamInfo, waveform: Waveform, name: str, want: TxConfig) -> str:
    """`hil capture` while it is sent, after the command that makes the waveform if it is no file."""
    make, file = waveform_script(uri, waveform, name)
    words = ["hil", "capture", uri, "echoes.sigmf-meta", "--seconds", "0.25"]
    words += [*_array(array_words(stream)), *_tuning(stream), "--transmit", file]
    level = want.attenuation_db
    if level is not None:
        words += [
            "--tx-attenuation",
            " ".join(f"{v:g}" for v in (level if isinstance(level, tuple) else (level,))),
        ]
    if want.channels is not None:
        words += ["--tx-channel", ",".join(map(str, want.channels))]
    return _after(make, _join(*words))


def waveform_script(uri: str, waveform: Waveform, name: str) -> tuple[str, str]:
    """(command that makes the waveform's file or "", file)."""
    if name.endswith((".toml", ".sigmf-meta")):
        return "", name
    if name == SCENE_WAVEFORM:
        return _join(
            "hil", "waveform", "from-scene", uri.removeprefix("sim:").split("?")[0], "w.toml"
        ), "w.toml"
    given = waveform.settings
    words = ["hil", "waveform", "new", waveform.kind, "w.toml", "--fs", f"{waveform.fs_hz:.10g}"]
    words += ["--spacing", f"{given['spacing_hz']:.12g}", "--subcarriers", str(given["n_subcarriers"])]
    words += ["--cp", str(given["cp_samples"]), "--symbols", str(given["n_symbols"])]
    if waveform.kind == "ofdm":
        words += ["--seed", str(given["seed"])]
    else:
        words += ["--sequence", str(given["sequence"])]
    return _join(*words), "w.toml"


def sweep_script(file: CampaignFile | None, folder: Path) -> str:
    """`hil sweep`; file None: going on with the campaign in the folder."""
    if file is None:
        return _join("hil", "sweep", "--out", str(folder), "--resume")
    plan, angles = file.plan, ",".join(f"{a:g}" for a in file.plan.angles_deg)
    words = [
        "hil",
        "sweep",
        file.device or "sim:",
        "--positioner",
        file.positioner or "sim:",
        f"--angles={angles}",
    ]
    words += _array(file.array)
    words += ["--samples", str(plan.samples), "--order", plan.order, "--approach", plan.approach]
    words += ["--settle", f"{plan.settle_s:g}", f"--reference={plan.reference_deg:g}"]
    if plan.emitters_deg:
        words.append("--emitter=" + ",".join(f"{a:g}" for a in plan.emitters_deg))
    if plan.note:
        words += ["--note", plan.note]
    for option, value in (("--fc", file.fc_hz), ("--fs", file.fs_hz)):
        words += [] if value is None else [option, f"{value:.10g}"]
    if isinstance(file.gain_db, tuple):
        words += ["--gain", _gains(file.gain_db)]
    return _join(*words, "--out", str(folder))


def array_words(stream: StreamInfo) -> str:
    """The array as --array takes it; array.toml for one that needs a file."""
    geometry = stream.geometry
    if geometry is None or geometry.n_elements < 2:
        return "array.toml"
    m, wavelength_m = geometry.n_elements, SPEED_OF_LIGHT_M_S / stream.fc_hz
    spacing_m = float(np.ptp(geometry.positions_m[:, 0])) / (m - 1)
    radius_m = float(np.linalg.norm(geometry.positions_m[0]))
    for kind, size_m in (("ula", spacing_m), ("uca", radius_m)):
        spec = f"{kind}:{m}:{size_m / wavelength_m:.6g}"
        if size_m > 0 and parse_array(spec, stream.fc_hz).equals(geometry, 1e-5 * wavelength_m):
            return spec
    return "array.toml"


def _tuning(stream: StreamInfo) -> list[str]:
    return [
        "--fc",
        f"{stream.fc_hz:.10g}",
        "--fs",
        f"{stream.fs_hz:.10g}",
        "--gain",
        _gains(stream.gains_db),
    ]


def _gains(gains_db: tuple[float, ...]) -> str:
    """As --gain takes them: one number where all are alike."""
    return " ".join(f"{g:g}" for g in (gains_db[:1] if len(set(gains_db)) == 1 else gains_db))


def _sending(sent: TransmitFacts) -> list[str]:
    levels = " ".join(f"{v:g}" for v in sent.attenuation_db)
    return ["--tx-attenuation", levels, "--tx-channel", ",".join(map(str, sent.channels))]


def _after(make: str, command: str) -> str:
    return f"{make} && {command}" if make else command


def _array(array: str | None) -> list[str]:
    return [] if array is None else ["--array", array]


def _join(*words: str) -> str:
    return shlex.join(words)
