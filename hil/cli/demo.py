"""`hil demo`: the main job on the embedded simulated array."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hil.cli.output import JsonOption, console, emit, print_problem, print_table


def demo(
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="Draw another array (default: the scene's seed)."),
    ] = None,
    scene: Annotated[
        Path | None, typer.Option("--scene", metavar="FILE", help="Scene file; without it the default scene.")
    ] = None,
    no_gui: Annotated[
        bool, typer.Option("--no-gui", help="Do not open a window, even where there is a display.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for recording, calibration and report.")
    ] = Path("hil-demo"),
    json: JsonOption = None,
) -> int:
    """Simulated array, real IIO network, capture, MUSIC, learning without labels, MUSIC again.

    Starts the array of the scene (eight elements over two FMComms5 by default, every phase random as after a
    retune) behind a real IIO network context, captures through libiio and pyadi-iio, shows that MUSIC is wrong,
    learns gains, phases and positions from the unlabelled signal, shows that MUSIC is right, and leaves a
    recording, a calibration file and a report. Needs about 500 MB of disk and 15 seconds.

    \b
    Examples:
      hil demo
      hil demo --seed 3 --no-gui --json -
    """
    from hil.jobs.demo import run_demo
    from sim_backend.scene import load_scene

    loaded = load_scene(scene)
    for words in loaded.not_simulated:
        console.print(f"without effect in this version: {words}", markup=False)
    if seed is not None:
        loaded = replace(loaded, seed=seed)
    result = run_demo(loaded, out, lambda text: console.print(text, highlight=False, markup=False))
    errors = (result.outcome.before, result.outcome.after, result.outcome.known)
    rows = [
        (label, *(f"{error[key]:.4g}" for error in errors))
        for label, key in (
            ("direction error / degrees rms", "doa_rmspe_deg"),
            ("manifold error", "manifold_error"),
        )
    ]
    print_table(("", "nominal array", "learned", "true array"), rows)
    for name, path in result.files.items():
        console.print(f"{name:>12}: {path}", highlight=False)
    emit(json, result.as_dict())
    if result.problem is not None:
        print_problem(result.problem)
        return 4
    if not no_gui:
        from hil.cli.gui import open_after_demo

        open_after_demo(result)
    return 0
