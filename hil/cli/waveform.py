"""`hil waveform`: make, show and derive the waveforms that transmitter and receiver share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hil.cli.output import JsonOption, console, emit
from hil.core.errors import ConfigError
from hil.core.units import format_si, parse_quantity

if TYPE_CHECKING:
    from hil.core.waveform import Waveform

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
app = typer.Typer(
    help="Make, show and derive waveforms: small files that transmitter and receiver share.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_CONTEXT,
)
new = typer.Typer(
    help="Write a new waveform: .toml holds its settings, .sigmf-meta also its samples.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_CONTEXT,
)
app.add_typer(new, name="new")

Out = Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .toml or .sigmf-meta.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="F.png", help="Draw spectrum, samples and constellation to a picture."),
]
Spacing = Annotated[
    str | None, typer.Option("--spacing", metavar="HZ", help="Between subcarriers; default 15 kHz.")
]
Fs = Annotated[
    str | None,
    typer.Option(
        "--fs",
        metavar="HZ",
        help="Sample rate, a whole multiple of the spacing; default: the least power of two of it that leaves a "
        "fifth of the band free, 16 or more.",
    ),
]
Backoff = Annotated[
    str | None,
    typer.Option("--backoff", metavar="DB", help="Of the greatest |I| or |Q| under full scale; default 1."),
]
#: Settings that one option makes each, by their key in files: errors name what was typed.
_OPTION = {
    "n_subcarriers": "--subcarriers", "spacing_hz": "--spacing", "cp_samples": "--cp", "n_fft": "--fs",
    "n_symbols": "--symbols", "modulation": "--modulation", "seed": "--seed", "pilots": "--pilots",
    "pilot_spacing": "--pilot-spacing", "backoff_db": "--backoff", "comb": "--comb", "comb_offset": "--comb-offset",
    "cyclic_shift": "--cyclic-shift", "n_ports": "--ports", "port": "--port", "n_id": "--n-id", "v": "--v",
    "sequence": "--sequence", "fs_hz": "--fs", "offset_hz": "--offset", "bandwidth_hz": "--bandwidth",
    "n_samples": "--samples",
}  # fmt: skip


@new.command("ofdm")
def new_ofdm(
    out: Out,
    subcarriers: Annotated[int | None, typer.Option("--subcarriers", metavar="N", help="How many are sent; default 64.")] = None,
    spacing: Spacing = None,
    fs: Fs = None,
    cp: Annotated[int | None, typer.Option("--cp", metavar="N", help="Samples of the cyclic prefix, at most those of the symbol, fs / spacing; default: an eighth of them.")] = None,
    symbols: Annotated[int | None, typer.Option("--symbols", metavar="N", help="OFDM symbols of a period; default 10.")] = None,
    modulation: Annotated[str | None, typer.Option("--modulation", metavar="M", help="qpsk or 16qam; default qpsk.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Draws the symbols; default 0.")] = None,
    pilots: Annotated[str | None, typer.Option("--pilots", metavar="P", help="all, or comb: the receiver knows every --pilot-spacing-th only; default all.")] = None,
    pilot_spacing: Annotated[int | None, typer.Option("--pilot-spacing", metavar="N", help="Subcarriers from comb pilot to comb pilot; default 4.")] = None,
    dc: Annotated[bool, typer.Option("--dc", help="Send the subcarrier at the carrier, too.")] = False,
    backoff: Backoff = None,
    overwrite: Overwrite = False,
    plot: Plot = None,
    json: JsonOption = None,
) -> None:  # fmt: skip
    """CP-OFDM with known QPSK or 16-QAM symbols.

    \b
    Examples:
      hil waveform new ofdm w.toml --subcarriers 64 --spacing 15k --cp 16
      hil waveform new ofdm w.toml --subcarriers 600 --spacing 30k --fs 30.72M --cp 72 --plot w.png
    """
    settings = {
        "n_subcarriers": subcarriers, "cp_samples": cp, "n_symbols": symbols, "modulation": modulation,
        "seed": seed, "pilots": pilots, "pilot_spacing": pilot_spacing, "dc": dc or None,
    }  # fmt: skip
    _write("ofdm", settings | _rates(spacing, fs, backoff), out, overwrite, plot, json)


@new.command("srs")
def new_srs(
    out: Out,
    subcarriers: Annotated[int | None, typer.Option("--subcarriers", metavar="N", help="Width of the band in subcarriers, a multiple of the comb; default 96.")] = None,
    spacing: Spacing = None,
    fs: Fs = None,
    cp: Annotated[int | None, typer.Option("--cp", metavar="N", help="Samples of the cyclic prefix, at most those of the symbol, fs / spacing; default: 9/128 of them.")] = None,
    comb: Annotated[int | None, typer.Option("--comb", metavar="N", help="2, 4 or 8: every N-th subcarrier is sent; default 2.")] = None,
    comb_offset: Annotated[int | None, typer.Option("--comb-offset", metavar="N", help="First of them, below the comb; default 1.")] = None,
    cyclic_shift: Annotated[int | None, typer.Option("--cyclic-shift", metavar="N", help="Below 8, 12, 6 for comb 2, 4, 8; default 0.")] = None,
    ports: Annotated[int | None, typer.Option("--ports", metavar="N", help="Antenna ports: 1, 2 or 4; default 1.")] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="N", help="The port of this waveform, counted from 0; default 0.")] = None,
    n_id: Annotated[int | None, typer.Option("--n-id", metavar="N", help="Sequence identity 0..1023; default 0.")] = None,
    sequence: Annotated[str | None, typer.Option("--sequence", metavar="S", help="38.211, or zadoff-chu for other lengths; default 38.211.")] = None,
    symbols: Annotated[int | None, typer.Option("--symbols", metavar="N", help="Equal symbols of a period: 1, 2, 4, 8 or 12; default 1.")] = None,
    backoff: Backoff = None,
    overwrite: Overwrite = False,
    plot: Plot = None,
    json: JsonOption = None,
) -> None:  # fmt: skip
    """Sounding reference signal of 5G (3GPP TS 38.211, 6.4.1.4): low crest factor.

    \b
    Examples:
      hil waveform new srs w.toml --subcarriers 1248 --spacing 30k --fs 61.44M
      hil waveform new srs tx2.toml --comb 4 --subcarriers 144 --ports 2 --port 1
    """
    settings = {
        "n_subcarriers": subcarriers, "cp_samples": cp, "comb": comb, "comb_offset": comb_offset,
        "cyclic_shift": cyclic_shift, "n_ports": ports, "port": port, "n_id": n_id, "sequence": sequence,
        "n_symbols": symbols,
    }  # fmt: skip
    _write("srs", settings | _rates(spacing, fs, backoff), out, overwrite, plot, json)


@new.command("cw")
def new_cw(
    out: Out,
    fs: Annotated[str, typer.Option("--fs", metavar="HZ", help="Sample rate.")],
    offset: Annotated[
        str, typer.Option("--offset", metavar="HZ", help="From the carrier, at most fs / 2.")
    ] = "0",
    backoff: Backoff = None,
    overwrite: Overwrite = False,
    plot: Plot = None,
    json: JsonOption = None,
) -> None:
    """A carrier, a whole number of cycles long.

    \b
    Example:
      hil waveform new cw tone.toml --fs 2.5M --offset 100k
    """
    settings = {"fs_hz": _number(fs, "--fs"), "offset_hz": _number(offset, "--offset")}
    _write("cw", settings | _rates(None, None, backoff), out, overwrite, plot, json)


@new.command("chirp")
def new_chirp(
    out: Out,
    fs: Annotated[str, typer.Option("--fs", metavar="HZ", help="Sample rate.")],
    bandwidth: Annotated[str, typer.Option("--bandwidth", metavar="HZ", help="Swept, at most fs; negative: downwards.")],
    samples: Annotated[int | None, typer.Option("--samples", metavar="N", help="Samples of a sweep; default 4096.")] = None,
    backoff: Backoff = None,
    overwrite: Overwrite = False,
    plot: Plot = None,
    json: JsonOption = None,
) -> None:  # fmt: skip
    """A linear sweep around the carrier whose phase does not jump where it repeats.

    \b
    Example:
      hil waveform new chirp sweep.toml --fs 30.72M --bandwidth 20M --samples 8192
    """
    settings = {
        "fs_hz": _number(fs, "--fs"), "bandwidth_hz": _number(bandwidth, "--bandwidth"), "n_samples": samples,
    }  # fmt: skip
    _write("chirp", settings | _rates(None, None, backoff), out, overwrite, plot, json)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Waveform: .toml or .sigmf-meta.")],
    plot: Plot = None,
    json: JsonOption = None,
) -> None:
    """Describe a waveform, and draw it with --plot.

    \b
    Example:
      hil waveform show w.toml --plot w.png
    """
    from hil.core.waveform import load_waveform

    _report(load_waveform(file), {}, plot, json)


@app.command("from-scene")
def from_scene(
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="Scene file (TOML).")],
    out: Out,
    emitter: Annotated[
        int | None,
        typer.Option("--emitter", metavar="K", help="Which one, from 0; default: the first that fits."),
    ] = None,
    overwrite: Overwrite = False,
    plot: Plot = None,
    json: JsonOption = None,
) -> None:
    """The waveform that an "ofdm" or "srs" emitter of a scene sends at the scene's rate.

    Without such an emitter: OFDM with the [ofdm] table and the seed of the scene, to be transmitted.

    \b
    Example:
      hil waveform from-scene my.toml w.toml && hil angle-delay rec.sigmf-meta --waveform w.toml
    """
    from sim_backend.drawn import stream
    from sim_backend.scene import load_scene
    from sim_backend.signals import emitter_waveform

    loaded = load_scene(scene)
    fits = [k for k, e in enumerate(loaded.emitters) if e.waveform in ("ofdm", "srs")]
    if emitter is not None and emitter not in fits:
        raise ConfigError(
            f'emitter {emitter} sends neither "ofdm" nor "srs"',
            where=str(scene),
            hint=f"emitters that do: {', '.join(map(str, fits)) or 'none'}",
        )
    chosen = emitter if emitter is not None else fits[0] if fits else None
    kind = "ofdm" if chosen is None else loaded.emitters[chosen].waveform
    fs_hz = loaded.receiver.fs_hz
    made = emitter_waveform(loaded.ofdm, kind, fs_hz, stream(loaded.seed, "waveform", chosen or 0))
    if abs(made.fs_hz / fs_hz - 1) > 1e-9:
        spacing_hz = loaded.ofdm.spacing_hz
        raise ConfigError(
            f"the rate {fs_hz:g} is no multiple of [ofdm] spacing_hz = {spacing_hz:g} that holds its subcarriers",
            where=str(scene),
            hint=f"set fs_hz = {made.fs_hz:g}, or spacing_hz to a fraction of fs_hz such as fs_hz / 128",
        )
    _save(made, out, overwrite)
    _report(made, {"emitter": chosen, "files": {"waveform": str(out)}}, plot, json)


def _rates(spacing: str | None, fs: str | None, backoff: str | None) -> dict[str, Any]:
    """Settings of --spacing, --fs and --backoff."""
    spacing_hz = 15e3 if spacing is None else _number(spacing, "--spacing")
    out: dict[str, Any] = {}
    if spacing is not None:
        out["spacing_hz"] = spacing_hz
    if fs is not None:
        fs_hz = _number(fs, "--fs")
        if not spacing_hz > 0:
            raise ConfigError("must be positive", where="--spacing")
        ratio = fs_hz / spacing_hz
        if not 1 <= ratio <= 65536 or abs(ratio - round(ratio)) > 1e-9 * ratio:
            fitting = min(max(1, round(ratio)), 65536)
            raise ConfigError(
                f"{fs_hz:.12g} is not a whole multiple (1 to 65536) of the spacing {spacing_hz:.12g}",
                where="--fs",
                hint=f"for example {spacing_hz * fitting:.12g}",
            )
        out["n_fft"] = round(ratio)
    if backoff is not None:
        out["backoff_db"] = parse_quantity(backoff, where="--backoff", unit="dB")
    return out


def _number(text: str, where: str) -> float:
    return parse_quantity(text, where=where, unit="Hz")


def _write(
    kind: str, settings: dict[str, Any], out: Path, overwrite: bool, plot: Path | None, json: str | None
) -> None:
    from hil.core.waveform import make

    given = {key: value for key, value in settings.items() if value is not None}
    try:
        made = make(kind, given)
    except ConfigError as err:
        words = str(err).removeprefix(f"{err.where}: ")
        raise ConfigError(words, where=_OPTION.get(err.where, err.where), hint=err.hint) from err
    _save(made, out, overwrite)
    _report(made, {"files": {"waveform": str(out)}}, plot, json)


def _save(waveform: Waveform, out: Path, overwrite: bool) -> None:
    from hil.core.waveform import save_waveform

    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists", hint="choose another name, or --overwrite")
    save_waveform(waveform, out)


def describe_waveform(waveform: Waveform) -> dict[str, Any]:
    """The JSON object of a waveform."""
    layout = waveform.layout
    summary: dict[str, Any] = {
        "kind": waveform.kind,
        "fs_hz": waveform.fs_hz,
        "samples": len(waveform.samples),
        "duration_s": waveform.duration_s,
        "crest_factor_db": waveform.crest_factor_db,
        "rms_dbfs": waveform.rms_dbfs,
        "settings": waveform.settings,
        "layout": None,
    }
    if layout is not None:
        summary["layout"] = {
            "n_fft": layout.n_fft,
            "spacing_hz": layout.spacing_hz,
            "cp_samples": layout.cp_samples,
            "n_symbols": len(layout.grid),
            "n_subcarriers": len(layout.subcarriers),
            "first_subcarrier": layout.subcarriers[0],
            "last_subcarrier": layout.subcarriers[-1],
            "columns": len(layout.columns),
            "column_spacing_hz": layout.column_spacing_hz,
            "bandwidth_hz": len(layout.columns) * layout.column_spacing_hz,
            "unambiguous_delay_s": 1 / layout.column_spacing_hz,
            "prefix_s": layout.cp_samples / waveform.fs_hz,
        }
    return summary


def _report(waveform: Waveform, more: dict[str, Any], plot: Path | None, json: str | None) -> None:
    """Description on stderr, JSON, and the picture."""
    layout = waveform.layout
    summary = describe_waveform(waveform) | more
    if plot is not None:
        from hil.cli.waveform_plot import draw_waveform

        draw_waveform(waveform, plot)
        summary["files"] = dict(summary.get("files", {})) | {"plot": str(plot)}
    emit(json, summary)
    console.print(
        f"{waveform.kind}: {len(waveform.samples)} samples at {format_si(waveform.fs_hz, 'S/s')} "
        f"({format_si(waveform.duration_s, 's')}), {waveform.rms_dbfs:.1f} dBFS, "
        f"crest factor {waveform.crest_factor_db:.1f} dB",
        markup=False,
        highlight=False,
    )
    if layout is not None:
        console.print(
            f"{len(layout.grid)} symbols of {layout.n_fft} + {layout.cp_samples} samples; "
            f"{len(layout.subcarriers)} subcarriers {layout.subcarriers[0]}..{layout.subcarriers[-1]}, "
            f"CSI columns {format_si(layout.column_spacing_hz, 'Hz')} apart",
            markup=False,
            highlight=False,
        )
    for name, path in summary.get("files", {}).items():
        console.print(f"{name}: {path}", markup=False)
