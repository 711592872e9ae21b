"""`hil scene`: write, check and draw scene files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from sim_backend.scene import Scene

app = typer.Typer(
    help="Write, check and draw scene files: the simulated array, its errors and its emitters.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SceneFile = Annotated[Path, typer.Argument(metavar="FILE", help="Scene file (TOML).")]

_NEW = """\
# A scene for the simulated array. Every key is optional; unknown keys are an error. These are the defaults.
# Angles in degrees: broadside angle of a line (positive towards +x), azimuth from +y towards +x of other arrays.
seed = 7                            # draws the array's errors, the emitters' symbols and hops, and the noise
duration_s = 60.0

[array]
kind = "ula"                        # "ula" (on x), "uca" (in x, y), "positions"
n_elements = 8
spacing_wavelengths = 0.5           # ula; uca: radius_wavelengths; positions: positions_m = [[x, y, z], ...]
# ports = [0, 1, 2, 3, 4, 5, 6, 7]  # element i is connected to receiver channel ports[i]

[receiver]
board = "fmcomms5"                  # "pluto" 2, "fmcomms5" 4, "adrv9009" 2, "adrv9009-zu11eg" 4 channels
fc_hz = 2.45e9
fs_hz = 2.5e6                       # ADRV9009: a rate of its profiles, such as 30.72e6
snr_db = 20.0                       # per element and sample, strongest emitter
peak_dbfs = -12.0                   # RMS level of the strongest emitter at the board's nominal gain
adc_bits = 12

[impairments]                       # drawn once from the seed
gain_std = 0.3                      # of |dg| around 1, complex normal
phase_std_deg = "uniform"           # extra random phase per element; or degrees
position_std_wavelengths = 0.1
coupling_db = -200.0                # nearest neighbour
delay_std_s = 0.0
iq_image_db = -200.0
dc_dbfs = -200.0
relock_phase = true                 # new random phase per chip at LO and rate writes; default: as the board does
drift_deg_per_minute = 0.0
angle_dependent_phase_deg = 0.0     # greatest error within +-60 degrees

[[emitter]]                         # one table for each emitter; `emitter = []` for none
angle_deg = 0.0                     # where it stands if it neither hops nor tracks
elevation_deg = 0.0
power_db = 0.0
waveform = "qpsk"                   # "cw", "noise", "qpsk", "ofdm", "srs"; or instead file = "x.sigmf-meta"
offset_hz = 1.0e5                   # from the LO, and follows it; or instead rf_hz = absolute
symbol_rate_hz = 5.0e5
hop = { period_s = 0.01, min_deg = -60.0, max_deg = 60.0 }            # a new random angle every period
# track = { rate_deg_per_s = 5.0, min_deg = -60.0, max_deg = 60.0 }   # or to and fro
# paths = [ { angle_deg = 30.0, delay_s = 1.0e-7, power_db = -6.0 } ] # coherent multipath
# (two "cw" emitters at one frequency are coherent, too: give them different offsets)

[learn]
support_deg = [-60.0, 60.0]         # what the learner may assume; default: the emitters' range
sources = 1                         # or "auto"

# [[target]]
# angle_deg = 10.0                  # echoes what the array itself transmits; without [[emitter]] nothing else is heard
# elevation_deg = 0.0
# range_m = 30.0
# rcs_db = 0.0                      # 0: a transmission of -12 dBFS arrives at peak_dbfs, whatever the range
# phase_deg = 0.0                   # of the reflection
# speed_m_s = 0.0                   # positive: receding
# hop = { period_s = 0.01, min_deg = -60.0, max_deg = 60.0, min_m = 10.0, max_m = 40.0 } # or track, as an emitter
# [transmit]                        # the array's own transmitters
# leakage_db = 10.0                 # straight into the receivers, relative to an echo of rcs_db = 0
# leakage_spread_db = 2.0           # every pair of channels has a level within +- this, and a phase of its own
# leakage_delay_s = 0.0
# gain_std = 0.0                    # of the transmit chains
# phase_std_deg = "uniform"
# [ofdm]
# n_subcarriers = 64
# spacing_hz = 15e3
# cp_samples = 16
# [faults]                          # in scene seconds; X_at_s: one, [a, list] or { every_s, first_s, count };
#                                   # boards and channels count from 0 (channels on their board), -1: all
# phase_jump_at_s = [5.0]           # LO phase of phase_jump_chip = 0 of phase_jump_board = 0 jumps, unasked,
# phase_jump_deg = "random"         # by so many degrees
# flip_at_s = [5.0]                 # sign of flip_channel = 1 of flip_board = 0 changes
# agc_step_at_s = [5.0]             # gain of agc_step_channel = 1 of agc_step_board = 0 steps up, then back, by
# agc_step_db = 6.0                 # and its phase by agc_step_phase_deg = 3.0
# drift_at_s = [5.0]                # phase of drift_channel = 1 of drift_board = 0 turns at
# drift_deg_per_s = 5.0             # for drift_s = 0.0 (for good)
# slip_samples_at_s = [5.0]         # channel slip_channel = 1 of slip_board = 0 slips by slip_samples = 1
# swap_at_s = [5.0]                 # the antennas of swap_channels = [0, 1] (over all boards) change places
# clip_at_s = [5.0]                 # clip_channel = 1 of clip_board = 0 is driven to clip_dbfs = 20.0
# clip_s = 0.1                      # for so long
# dead_at_s = [5.0]                 # dead_channel = 1 of dead_board = 0 hears nothing for dead_s = 0.0 (for good)
# dead_leaves = "noise"             # or "zero"
# iq_swap_at_s = [5.0]              # I and Q of iq_swap_channel = 1 of iq_swap_board = 0 change places
# stuck_bit_at_s = [5.0]            # bit stuck_bit = 7 of stuck_bit_channel = 1 of stuck_bit_board = 0 reads 1
# multipath_at_s = [5.0]            # emitter multipath_emitter = 0 also comes from multipath_angle_deg = 30.0,
# multipath_power_db = -3.0         # multipath_delay_s = 0.0, multipath_phase_deg = 0.0, multipath_s = 0.0 (for good)
# carrier_drift_at_s = [5.0]        # carrier of carrier_drift_emitter = -1 (all) moves at
# carrier_drift_hz_per_s = 1000.0   # for carrier_drift_s = 10.0
# garbage_after_retune = 2048       # samples
#                                   # from here on: of the network servers only
# overflow_every_s = 1.0            # overflow_board = -1 loses overflow_samples = 4096 and sets its overflow bit
# drop_blocks_at_s = [5.0]          # drop_blocks = 1 blocks of drop_blocks_board = 0 vanish, and nothing says so
# disconnect_at_s = [5.0]           # disconnect_board = -1
# stall_at_s = [5.0]                # stall_board = -1 answers no reads for stall_s = 5.0
# half_reply_at_s = [5.0]           # half_reply_board = 0 sends half a reply, waits half_reply_hang_s = 0.0, closes
# network_mbit_s = 10.0             # slow network, with network_latency_s = 0.0, from network_from_s = 0.0 on
# short_reads = true
# [chamber]
# positioner = ""                   # or, instead of steps_deg, a table that is commanded: "rotctld", "maturo", "scpi" or
#                                   # "ets" for `hil sim serve --rotator`, "sim" for `sim:`; with these properties:
# speed_deg_per_s = 6.0
# acceleration_deg_per_s2 = 12.0    # default: twice the speed
# backlash_deg = 0.0
# min_deg = -180.0
# max_deg = 180.0
# steps_deg = [0.0, 10.0, 20.0]     # the array turns clockwise (seen from above) to these headings,
# step_s = 0.2                      # so many seconds each; the last one is kept
"""

_CHAMBER = """\
# An anechoic chamber for the simulated array: one emitter that stands still, and a turntable under the array.
# `hil scene new` writes a scene with a comment on every key; what is not named here has its default.
seed = 7

[array]
n_elements = 8

[[emitter]]
angle_deg = 0.0                     # in the room; the array hears it at this minus the table's angle

[learn]
support_deg = [-60.0, 60.0]         # what the table's sweep covers
sources = 1

[chamber]
positioner = "rotctld"              # served by `hil sim serve --rotator 127.0.0.1:4533`; from this program: sim:
speed_deg_per_s = 6.0
min_deg = -180.0
max_deg = 180.0
"""


@app.command("new")
def new(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Scene file to write.")],
    chamber: Annotated[
        bool, typer.Option("--chamber", help="One emitter that stands still, and a turntable.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
    json: JsonOption = None,
) -> None:
    """Write the default scene with a comment on every key, or with --chamber a scene for turntable sweeps.

    \b
    Examples:
      hil scene new my.toml && hil scene show my.toml --plot my.png
      hil scene new chamber.toml --chamber
    """
    try:
        with out.open("w" if overwrite else "x", encoding="utf-8") as file:
            file.write(_CHAMBER if chamber else _NEW)
    except FileExistsError:
        raise ConfigError(f"{out} exists", hint="choose another name, or --overwrite") from None
    except (OSError, ValueError) as err:
        raise ConfigError(f"cannot write: {err}", where=str(out)) from err
    emit(json, {"files": {"scene": str(out)}})
    console.print(f"Wrote {out}. Next: hil scene show {out}", markup=False)


@app.command("check")
def check(file: SceneFile, json: JsonOption = None) -> None:
    """Check a scene file: keys, types, ranges, and that it can be simulated.

    \b
    Example:
      hil scene check my.toml --json -
    """
    scene = _simulable(file)
    emit(json, _summary(scene))
    console.print(f"{file}: no error", markup=False)
    for words in scene.not_simulated:
        console.print(f"without effect in this version: {words}", markup=False)


@app.command("show")
def show(
    file: SceneFile,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="F.png", help="Draw array, ports, emitters and angles.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Describe a scene, and draw it with --plot.

    \b
    Example:
      hil scene show my.toml --plot my.png
    """
    scene = _simulable(file)
    summary = _summary(scene)
    if plot is not None:
        from hil.cli.scene_plot import draw_scene

        draw_scene(scene, plot)
        summary["files"] = {"plot": str(plot)}
    emit(json, summary)
    for line in _lines(scene):
        console.print(line, markup=False, highlight=False)
    if plot is not None:
        console.print(f"Drawn in {plot}", markup=False)


def _simulable(file: Path) -> Scene:
    """Load a scene and make sure that the engine takes it (recordings, delays, coupling)."""
    from sim_backend.engine import ArrayEngine
    from sim_backend.scene import load_scene

    scene = load_scene(file)
    ArrayEngine(scene, free_running=True).close()
    return scene


def _summary(scene: Scene) -> dict[str, Any]:
    from sim_backend.drawn import draw

    emitters = [
        {"waveform": e.waveform, "range_deg": e.range_deg, "power_db": e.power_db,
         "motion": "hop" if e.hop else "track" if e.track else "static", "n_paths": len(e.paths)}
        for e in scene.emitters
    ]  # fmt: skip
    return {
        "board": scene.receiver.board,
        "n_boards": scene.n_boards,
        "n_elements": scene.n_elements,
        "fc_hz": scene.receiver.fc_hz,
        "fs_hz": scene.receiver.fs_hz,
        "snr_db": scene.receiver.snr_db,
        "seed": scene.seed,
        "duration_s": scene.duration_s,
        "positions_m": draw(scene).positions_m,
        "ports": list(scene.array.ports) or list(range(scene.n_elements)),
        "emitters": emitters,
        "support_deg": scene.support_deg,
        "sources": "auto" if scene.sources is None else scene.sources,
        "n_targets": len(scene.targets),
        "targets": [
            {
                "range_deg": t.range_deg,
                "range_m": t.range_m,
                "rcs_db": t.rcs_db,
                "speed_m_s": t.speed_m_s,
                "motion": "hop" if t.hop else "track" if t.track else "static",
            }
            for t in scene.targets
        ],
        "not_simulated": list(scene.not_simulated),
        "faults": scene.faults.any,
        "fault_kinds": list(scene.faults.kinds),
    }


def _lines(scene: Scene) -> list[str]:
    from hil.core.units import format_si

    r, a = scene.receiver, scene.array
    size = {
        "ula": f"spacing {a.spacing_wavelengths:g} wavelengths",
        "uca": f"radius {a.radius_wavelengths:g} wavelengths",
        "positions": "listed positions",
    }[a.kind]
    lines = [
        f"array     {a.kind} of {scene.n_elements} elements, {size}",
        f"receiver  {scene.n_boards} x {r.board}, {format_si(r.fc_hz, 'Hz')}, {format_si(r.fs_hz, 'S/s')}, "
        f"{r.adc_bits} bits, SNR {r.snr_db:g} dB, {r.peak_dbfs:g} dBFS",
    ]
    for k, e in enumerate(scene.emitters):
        low, high = e.range_deg
        if e.hop:
            move = f"hops in {low:g}..{high:g} deg every {format_si(e.hop.period_s, 's')}"
        elif e.track:
            move = f"moves to and fro in {low:g}..{high:g} deg at {e.track.rate_deg_per_s:g} deg/s"
        else:
            move = f"stands at {low:g} deg"
        paths = f", {len(e.paths)} more paths" if e.paths else ""
        offset_hz = e.offset_hz if e.rf_hz is None else e.rf_hz - r.fc_hz
        if abs(offset_hz) > r.fs_hz / 2:
            paths += f" - OUT OF BAND: {format_si(offset_hz, 'Hz')} from the LO"
        lines.append(f"emitter {k} {e.file or e.waveform} {e.power_db:+g} dB, {move}{paths}")
    if scene.faults.any:
        lines.append(f"faults    {', '.join(scene.faults.kinds)}")
    for k, t in enumerate(scene.targets):
        low, high = t.range_deg
        where = f"at {low:g} deg" if low == high else f"in {low:g}..{high:g} deg"
        hop = t.hop
        far = f"{hop.min_m:g}..{hop.max_m:g}" if hop and hop.min_m and hop.max_m else f"{t.range_m:g}"
        speed = f", {t.speed_m_s:+g} m/s" if t.speed_m_s else ""
        lines.append(f"target {k}  {t.rcs_db:+g} dB, {where}, {far} m{speed}")
    if scene.targets:
        lines.append(f"transmit  leakage {scene.transmit.leakage_db:+g} dB of an echo of 0 dB")
    support = scene.support_deg
    lines.append(
        "learner   "
        + (f"may assume {support[0]:g}..{support[1]:g} deg" if support else "no support declared")
    )
    return lines
