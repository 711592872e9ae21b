"""`hil identify`: what the data, or a plan, can show about an array, and what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hil.cli.options import ArrayOption, FcOption, SourcesOption, is_device
from hil.cli.output import JsonOption, console, emit, print_problem, print_table
from hil.core.errors import ConfigError
from hil.core.units import parse_quantity

_DEFAULT_FC_HZ = 2.45e9


def identify(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT_OR_ARRAY",
            help="A recording, or an array for a plan: ula:8:0.5, uca:8:0.6, F.toml.",
        ),
    ],
    array: ArrayOption = None,
    sources: SourcesOption = "1",
    positions: Annotated[
        float,
        typer.Option(
            "--position-std", metavar="WAVELENGTHS", help="Spread of position errors; 0: positions are exact."
        ),
    ] = 0.1,
    coupling: Annotated[
        str,
        typer.Option(
            "--coupling", metavar="KIND", help="Unknown coupling: none, toeplitz:L (L distances), free."
        ),
    ] = "none",
    support: Annotated[
        str | None,
        typer.Option("--support", metavar="A:B", help="The emitters' directions fill A to B degrees evenly."),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            "--anchor", metavar="DEG[@T0:T1]", help="A known direction (from T0 to T1 seconds); repeatable."
        ),
    ] = None,
    angles: Annotated[
        str | None,
        typer.Option("--angles", metavar="A:B:STEP", help="Plan: directions to be seen, or a list A,B,C."),
    ] = None,
    elevations: Annotated[
        str | None,
        typer.Option(
            "--elevations", metavar="A:B:STEP", help="Plan: elevations, unknown as well (planar arrays)."
        ),
    ] = None,
    blocks: Annotated[
        int,
        typer.Option(
            "--blocks",
            metavar="N",
            min=1,
            max=1_000_000,
            help="Plan: blocks of 256 snapshots for each direction.",
        ),
    ] = 1,
    snr: Annotated[
        str | None, typer.Option("--snr", metavar="DB", help="Plan: per element and sample; default 20.")
    ] = None,
    turntable: Annotated[
        bool, typer.Option("--turntable", help="Plan: one standing source, the array turns by known steps.")
    ] = False,
    fc: FcOption = None,
    json: JsonOption = None,
) -> int:
    """Say in words what can be known about the array, how exactly, and which direction would tell most.

    For a recording the array is learned first; for an array nothing is measured: the plan is judged. Bounds are
    Cramer-Rao: no unbiased method does better.

    \b
    Examples:
      hil identify rec.sigmf-meta --support -60:60
      hil identify ula:8:0.5 --angles -60:60:5 --snr 20
      hil identify ula:8:0.5 --angles 0,20,40 --turntable
      hil identify uca:8:0.6 --elevations 0:60:20
    """
    from hil.jobs.identify import Plan, identify_array, identify_recording, is_array_spec, parse_angles
    from hil.learning.settings import LearnSettings, parse_flat_anchors, parse_sources, parse_support

    if not 0 <= positions < 10:
        raise ConfigError("must be between 0 and 10 wavelengths", where="--position-std")
    settings = LearnSettings(
        n_sources=parse_sources(sources), support_deg=parse_support(support), anchors_deg=parse_flat_anchors(anchor),
        position_std_wavelengths=positions,
    )  # fmt: skip
    if is_array_spec(source) and not is_device(source):
        if array is not None:
            raise ConfigError("the array is given already", where="--array", hint="leave the option out")
        plan = Plan(
            parse_angles(angles, "--angles"), parse_angles(elevations, "--elevations"), blocks,
            20.0 if snr is None else parse_quantity(snr, where="--snr", unit="dB"), turntable=turntable,
        )  # fmt: skip
        if not -100 <= plan.snr_db <= 100:
            raise ConfigError("must be between -100 and 100 dB", where="--snr")
        if any(abs(e) > 90 for e in plan.elevations_deg or ()):
            raise ConfigError("elevations lie between -90 and 90 degrees", where="--elevations")
        fc_hz = _DEFAULT_FC_HZ if fc is None else parse_quantity(fc, where="--fc", unit="Hz")
        if not fc_hz > 0:
            raise ConfigError("must be positive", where="--fc")
        done = identify_array(source, fc_hz, settings, plan, coupling)
    else:
        if is_device(source) and not source.startswith("replay:"):
            raise ConfigError(
                "a device cannot be judged before it has been recorded", where=source,
                hint="hil capture DEVICE rec.sigmf-meta --seconds 5, then hil identify rec.sigmf-meta",
            )  # fmt: skip
        planned = {
            "--angles": angles,
            "--elevations": elevations,
            "--snr": snr,
            "--fc": fc,
            "--turntable": turntable,
            "--blocks": blocks != 1,
        }
        for option, value in planned.items():
            if value:
                raise ConfigError(
                    "a recording is as it was recorded",
                    where=option,
                    hint="plans start with an array: ula:8:0.5",
                )
        with console.status("learning") as status:
            done = identify_recording(
                Path(source.removeprefix("replay:")), settings, array=array, coupling=coupling,
                progress=lambda p: status.update(f"learning: {p.stage}, excess {p.excess:+.2f}, {p.seconds:.1f} s"),
            )  # fmt: skip
    emit(json, done.as_dict())
    _show(done)
    return 4 if done.problem is not None else 0


def _show(done: object) -> None:
    from hil.jobs.identify import Identified

    assert isinstance(done, Identified)
    if done.problem is not None:
        print_problem(done.problem)
    found = done.found
    if found is None:
        return
    for line in found.text().splitlines():
        console.print(line, highlight=False, markup=False)
    rows = []
    for m in range(done.n_elements):
        values = (found.sigma.gain_db[m], found.sigma.phase_deg[m], *(1e3 * found.sigma.position_m[m]))
        rows.append([str(m), *("-" if np.isnan(v) else f"{v:.2g}" for v in values)])
    names = ("element", "gain / dB", "phase / degrees", "x / mm", "y / mm", "z / mm")
    print_table(names, rows, title="one standard deviation")
    console.print(f"({found.gauge})", highlight=False, markup=False)
