"""`hil train`: networks for directions from turntable campaigns or the simulator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hil.cli.options import ArrayOption, CalibrationOption, StaleOption
from hil.cli.output import JsonOption, console, emit, print_table
from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from hil.jobs.train_score import Score

METHODS = ("mod-dnn", "dual-path-vae")
DatasetArgument = Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Training sets of hil campaign dataset, or one scene (TOML).")]  # fmt: skip
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of everything random.")]


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="mod-dnn or dual-path-vae.")],
    datasets: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", metavar="F.safetensors", help="The network, a new file.")],
    calibration: CalibrationOption = None,
    stale_ok: StaleOption = None,
    array: ArrayOption = None,
    sector: Annotated[str | None, typer.Option("--sector", "--field", metavar="A:B", help="Degrees that the network answers within [default: what the training angles span; a scene: -60:60].")] = None,
    tones: Annotated[int | None, typer.Option("--tones", metavar="K", help="mod-dnn: tones of a sample [default: 16].")] = None,
    steps: Annotated[int | None, typer.Option("--steps", "--epochs", metavar="N", min=1, help="Steps of mod-dnn's heads; epochs of the VAE [default: as usual].")] = None,
    mode: Annotated[str, typer.Option("--mode", metavar="WORD", help="mod-dnn: fast, or paper (the published form; slower and worse).")] = "fast",
    supervised: Annotated[bool, typer.Option("--supervised", help="dual-path-vae: train on the stated directions.")] = False,
    labels: Annotated[str | None, typer.Option("--labels", metavar="KIND", help="dual-path-vae: pseudo-labels to start at: bartlett, somp, music, best [default: best].")] = None,
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="cpu or cuda.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that was interrupted.")] = False,
    time_limit: Annotated[str | None, typer.Option("--time-limit", metavar="S", help="End after so long with what has been reached, e.g. 300 or '10 min'.")] = None,
    json: JsonOption = None,
) -> int:  # fmt: skip
    """Train a network from recordings of known angles, and judge it on angles that it has not seen.

    The validation part of the data ends the training, the test part judges it beside methods without a network. Ctrl-C keeps
    what has been reached: the same command with --resume goes on, to the same weights.

    \b
    Examples:
      hil train mod-dnn csi.h5 --calibration array.h5 --out array-dnn.safetensors
      hil train dual-path-vae night1.h5 night2.h5 --out vae.safetensors
      hil train mod-dnn chamber.toml --out sim.safetensors --time-limit '2 min'
    """
    from hil.jobs.train import TrainSettings
    from hil.jobs.train_data import DataSettings

    if method not in METHODS:
        raise ConfigError(f"{method!r} is unknown", where="METHOD", hint=f"one of {', '.join(METHODS)}")
    _only_of(method, tones=tones is not None, supervised=supervised, labels=labels is not None)
    if mode not in ("fast", "paper"):
        raise ConfigError(f"{mode!r} is unknown", where="--mode", hint="fast or paper")
    settings = TrainSettings(
        out, DataSettings(calibration, stale_ok, array), sector_deg(sector), steps, 16 if tones is None else tones, mode,
        supervised, labels or "best", seed, device, resume, _seconds(time_limit),
    )  # fmt: skip
    with _told(method, out) as told:
        if method == "mod-dnn":
            from hil.jobs.train_mod_dnn import train_mod_dnn as teach
        else:
            from hil.jobs.train_vae import train_vae as teach
        done = teach(datasets, settings, told)
    emit(json, done.as_dict())
    rows = ", ".join(f"{n} {part} rows at {done.angles[part]} angles" for part, n in done.rows.items())
    ending = "" if done.finished else ", ended by the time limit: --resume goes on"
    console.print(f"{out}: {method}, {rows}; {done.seconds:.0f} s{ending}", markup=False, highlight=False)
    show_scores("on the test part", done.scores, done.words, done.notes)
    return 0


def show_scores(title: str, scores: Sequence[Score], words: str, notes: Sequence[str]) -> None:
    """The table on stderr, and what it says. A row that nothing was found in counts as 90 degrees wrong."""
    if scores:
        table = [(s.name, f"{s.rms_deg:.3f}", f"{s.p80_deg:.3f}", f"{100 * s.missed:.1f} %") for s in scores]
        print_table((title, "rms deg", "80 % below deg", "not found"), table)
    for line in (words, *notes):
        console.print(line, markup=False, highlight=False)


def sector_deg(text: str | None) -> tuple[float, float] | None:
    """From "A:B". Raises ConfigError."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
        if -90 <= low < high <= 90:
            return low, high
    except ValueError:
        pass
    raise ConfigError(f"{text!r} is no sector", where="--sector", hint="for example --sector -60:60")


def _only_of(method: str, *, tones: bool, supervised: bool, labels: bool) -> None:
    for given, name, owner in (
        (tones, "--tones", "mod-dnn"), (supervised, "--supervised", "dual-path-vae"), (labels, "--labels", "dual-path-vae"),
    ):  # fmt: skip
        if given and owner != method:
            raise ConfigError(f"belongs to {owner}", where=name, hint="leave the option out")


def _seconds(text: str | None) -> float:
    if text is None:
        return math.inf
    from hil.core.units import parse_quantity

    value = parse_quantity(text, where="--time-limit", unit="s")
    if not value > 0:
        raise ConfigError(f"{text!r} must be positive", where="--time-limit", hint="for example '10 min'")
    return value


@contextmanager
def _told(method: str, out: Path) -> Iterator[Callable[[str, float, float, float], None]]:
    """Progress: a bar on a terminal, a line for every tenth elsewhere."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn()
    )  # fmt: skip
    last: tuple[str, int] = ("", -1)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{method}: reading", total=None)

        def told(stage: str, share: float, loss: float, error_deg: float) -> None:
            nonlocal last
            error = f", validation {error_deg:.3f} deg" if math.isfinite(error_deg) else ""
            words = f"{method}: {stage}, loss {loss:.4g}{error}"
            bar.update(task, total=1.0, completed=share, description=words)
            here = (stage.split()[0], int(10 * share))
            if not console.is_terminal and here != last:
                last = here
                console.print(f"{100 * share:.0f} % {words}", markup=False, highlight=False)

        try:
            yield told
        except KeyboardInterrupt:
            part = out.with_name(out.name + ".part")
            kept = f"{part} keeps what has been reached: the same command with --resume goes on"
            console.print(
                kept if part.exists() else "interrupted before there was anything to keep", markup=False
            )
            raise
