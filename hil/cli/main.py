"""Entry point of `hil`: finds the subcommand, loads only its file, and turns errors into exit codes."""

from __future__ import annotations

import os

# One native thread per process, before numpy is loaded: on two cores a BLAS that spins on both makes
# captures lose samples for seconds (docs/adr/0007).
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import contextlib
import importlib
import logging
import signal
import sys
import tempfile
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import typer
import typer.core

from hil import __version__
from hil.cli.output import console, devnull_stdout, emit_failure, failure_details
from hil.core.errors import HilError, UnsupportedSetting

#: name -> (module, attribute, one line of help). `app` is a group of its own, anything else one command.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("hil.cli.demo", "demo", "The main job on a simulated array behind a real IIO network context."),
    "doctor": ("hil.cli.doctor", "doctor", "Check libraries, devices and display; say what is missing."),
    "devices": ("hil.cli.devices", "devices", "List the devices that can be opened."),
    "scene": ("hil.cli.scene", "app", "Write, check and draw scene files."),
    "waveform": ("hil.cli.waveform", "app", "Make and show the waveforms that both ends share."),
    "sim": ("hil.cli.sim", "app", "Serve a simulated array on the network."),
    "capture": ("hil.cli.capture", "capture", "Record samples of a device."),
    "info": ("hil.cli.info", "info", "Show what a recording or calibration contains."),
    "spectrum": ("hil.cli.spectrum", "spectrum", "Directions of arrival of a device or recording."),
    "angle-delay": (
        "hil.cli.angle_delay",
        "angle_delay",
        "Directions and distances from a known OFDM waveform.",
    ),
    "learn": ("hil.cli.learn", "learn", "Learn the array's errors without labels."),
    "identify": (
        "hil.cli.identify",
        "identify",
        "Say what data or a plan can show about an array, and what not.",
    ),
    "diagnose": (
        "hil.cli.diagnose",
        "diagnose",
        "Find swapped ports, bad cables and channels, multipath, lobes.",
    ),
    "calib": ("hil.cli.calib", "app", "Show, check, compare, apply and export calibrations."),
    "sweep": ("hil.cli.sweep", "sweep", "Turn the table through a plan and record every angle."),
    "campaign": ("hil.cli.campaign", "app", "Show and process turntable campaigns; make training sets."),
    "train": ("hil.cli.train", "train", "Train a network for directions from recordings of known angles."),
    "evaluate": ("hil.cli.evaluate", "evaluate", "Judge a method on recordings of known angles."),
    "reproduce": ("hil.cli.reproduce", "reproduce", "Run a published experiment again and compare."),
    "report": ("hil.cli.report", "report", "Write a self-contained HTML report."),
    "bench": ("hil.cli.bench", "bench", "Measure the speed of every stage on this machine."),
    "gui": ("hil.cli.gui", "gui", "Open the desktop application."),
}

#: What the options of a device set, by the name that drivers give it.
_OPTION_OF = {
    "fc_hz": "--fc", "fs_hz": "--fs", "gain_db": "--gain", "attenuation_db": "--tx-attenuation",
    "channels": "--tx-channel",
}  # fmt: skip

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_HINT = "hil --help lists the commands, hil COMMAND --help their options"


class _Interrupted(Exception):
    """Ctrl-C in a command: the command line parser would make a bare exit code of KeyboardInterrupt."""


class LazyGroup(typer.core.TyperGroup):
    """Loads a subcommand's module only when it is called: `hil --help` must not import torch."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of work."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The subcommand, imported now."""
        del ctx
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand. Raises _Interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise _Interrupted from stop

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


def load_command(name: str) -> Any:
    """Import one subcommand and wrap it for the command line parser."""
    module_name, attribute, text = COMMANDS[name]
    target = getattr(importlib.import_module(module_name), attribute)
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, context_settings=_CONTEXT, rich_markup_mode=None)
        single.command(name)(target)
        target = single
    command = typer.main.get_command(target)
    command.name = name
    command.short_help = text
    return command


root = typer.Typer(cls=LazyGroup, no_args_is_help=True, context_settings=_CONTEXT, rich_markup_mode=None)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"hil {__version__}")
        raise typer.Exit


@root.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log progress in detail to stderr."),
) -> None:
    """Hardware-in-the-loop for coherent multichannel SDR arrays: capture, MUSIC, and array errors
    learned without labels.

    \b
    Start here:
      hil demo                       the whole job on a simulated array
      hil doctor                     what is missing on this machine
      hil capture iio:ip:192.168.2.1 rec.sigmf-meta --seconds 2 --array ula:4:0.5
      hil learn rec.sigmf-meta --out array.h5
      hil spectrum rec.sigmf-meta --calibration array.h5 --plot spectrum.png
    """
    del version
    if verbose:
        logging.getLogger().setLevel(logging.INFO)
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(relativeCreated)8.0f ms %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)


def run(argv: Sequence[str] | None = None) -> None:
    """Run `hil` and leave the process with the exit code of contract.md."""
    args = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _interrupt)
    hang_up = getattr(signal, "SIGHUP", None)  # a closed terminal must not leave a transmitter on
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:  # ignored: nohup
        signal.signal(hang_up, _interrupt)
    code = call(args)
    try:
        if sys.stdout is not None:  # closed by `>&-`
            sys.stdout.flush()
    except OSError:
        devnull_stdout()
    sys.exit(code)


def _interrupt(signum: int, frame: Any) -> None:
    del signum, frame
    raise KeyboardInterrupt


def call(args: list[str]) -> int:
    """Run one command line and return its exit code; never raises for anything a user can do."""
    try:
        result = typer.main.get_command(root).main(args=args, prog_name="hil", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    except (typer.Abort, KeyboardInterrupt, _Interrupted):
        return _fail(args, "interrupted", "", 130, status="interrupted")
    except typer.TyperException as err:
        message = err.format_message() if hasattr(err, "format_message") else str(err)  # pyright: ignore
        if type(err).__name__ == "NoArgsIsHelpError":
            console.print(message, markup=False, highlight=False)
            return 2
        return _fail(args, message.replace("\n", " "), _HINT, 2)
    except HilError as err:
        return _fail(args, _as_typed(err, args), err.hint, err.exit_code, **failure_details(err))
    except BrokenPipeError:
        devnull_stdout()
        return 0
    except SystemExit:  # the command line parser's own answer to a broken pipe
        devnull_stdout()
        return 0
    except Exception as err:  # noqa: BLE001 - the top of the program: log it and say where
        where = _log_unexpected(args)
        return _fail(args, f"unexpected {type(err).__name__}: {err}", f"please report this with {where}", 3)


def _as_typed(err: HilError, args: list[str]) -> str:
    """The message; what a device cannot do is named by the option that asked for it."""
    if not isinstance(err, UnsupportedSetting) or err.field not in _OPTION_OF:
        return str(err)
    option, asked = _OPTION_OF[err.field], err.requested
    if not any(arg == option or arg.startswith(f"{option}=") for arg in args):
        return str(err)
    shown = (" ".join(f"{value:.10g}" for value in asked) or "''") if isinstance(asked, tuple) else asked
    return f"{option} {shown}: the device allows {err.allowed}"


def _json_target(args: list[str]) -> str | None:
    for i, arg in enumerate(args):
        if arg == "--json" and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith("--json="):
            return arg.removeprefix("--json=")
    return None


def _fail(args: list[str], reason: str, hint: str, exit_code: int, **more: Any) -> int:
    console.print(f"[bold red]hil:[/] {_escape(reason)}" + (f"\n  [dim]{_escape(hint)}[/]" if hint else ""))
    with contextlib.suppress(HilError, BrokenPipeError):
        emit_failure(_json_target(args), reason, hint, exit_code, **more)
    return exit_code


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


def _log_unexpected(args: list[str]) -> Path:
    folder = Path(os.environ.get("HIL_HOME", "") or tempfile.gettempdir())
    path = folder / "hil-errors.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=1_000_000, backupCount=2, encoding="utf-8")
    except OSError:
        return Path("<no log: cannot write to the log folder>")
    record = logging.getLogger("hil.unexpected")
    record.addHandler(handler)
    record.propagate = False
    record.error("hil %s %s", __version__, args, exc_info=True)
    handler.close()
    return path


if __name__ == "__main__":
    run()
