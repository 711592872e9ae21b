"""`hil gui`: the desktop application."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hil.core.errors import DriverUnavailable

if TYPE_CHECKING:
    from hil.jobs.demo import DemoResult


def gui(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="[DEVICE]",
            help="Device URI: connected, streamed and learned from at once. Without it the window opens on the first "
            "steps with the simulated array.",
        ),
    ] = None,
    array: Annotated[
        str | None,
        typer.Option("--array", metavar="SPEC", help="The array, e.g. ula:8:0.5; else as the source says."),
    ] = None,
    support: Annotated[
        str, typer.Option("--support", metavar="A:B", help="Directions that the emitters fill.")
    ] = "-60:60",
    network: Annotated[
        list[Path] | None,
        typer.Option(
            "--network",
            metavar="FILE",
            help="Trained network of MoD-DNN or the dual-path VAE; may be given twice.",
        ),
    ] = None,
    until_visible: Annotated[bool, typer.Option("--until-visible", hidden=True)] = False,
) -> int:
    """Open the live window: MUSIC with the nominal and the learned array, learned elements, health.

    \b
    Examples:
      hil gui
      hil gui iio:ip:192.168.2.1 --array ula:4:0.5
      hil gui iio:ip:192.168.2.1 --array ula:4:0.5 --network room.safetensors
    """
    if not has_display():
        raise DriverUnavailable(
            "there is no display", hint="work headless (hil learn, hil spectrum), or start under a desktop"
        )
    from gui.app import show

    return show(device, array, support, networks=network or (), until_visible=until_visible)


def has_display() -> bool:
    """True where a window can be opened."""
    if sys.platform in ("win32", "darwin") or os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_after_demo(result: DemoResult) -> None:
    """After `hil demo`: the live window on the same scene, where a display is there."""
    if not has_display():
        return
    from gui.app import show

    support = result.calibration.gauge.support_deg if result.calibration else None
    low, high = support or (-60.0, 60.0)
    # simulated in the window's own process: at a rate that leaves it room
    show(f"sim:{result.files['scene']}", None, f"{low:g}:{high:g}", 1e6)


def run() -> None:
    """Entry point `hil-gui`: the same as `hil gui`."""
    from hil.cli.main import run as run_cli

    run_cli(["gui", *sys.argv[1:]])
