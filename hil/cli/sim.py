"""`hil sim`: a simulated array on the network, for clients that think it is hardware."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hil.cli.output import console
from hil.core.priority import prefer_this_thread

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

_PARENT_POLL_S = 0.5


@app.callback()
def _sim() -> None:
    """Serve a simulated array on the network."""


@app.command("serve")
def serve(
    scene: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Scene file; default scene without.")
    ] = None,
    iio: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="IIO contexts: address of the first board, the others follow it. "
            "Default 127.0.0.2; none where only --soapy is given.",
        ),
    ] = None,
    soapy: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]", help="SoapyRemote server, default port 55132; port 0: a free one."
        ),
    ] = None,
    rotator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Turntable under the array: a rotctld server (or of the family that the scene's [chamber] names), "
            "default port 4533; port 0: a free one.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was drawn and what happens, as JSON lines."),
    ] = None,
    free_running: Annotated[
        bool, typer.Option("--free-running", help="As fast as clients read, not in real time.")
    ] = False,
    loop: Annotated[
        float | None,
        typer.Option(
            "--loop",
            metavar="S",
            help="Make the first S seconds once and repeat them: no processor time for samples. Later settings change "
            "nothing in them.",
        ),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Also listen on addresses that are not loopback.")
    ] = False,
    parent: Annotated[int | None, typer.Option(hidden=True, metavar="PID")] = None,
) -> None:
    """Serve a simulated array until SIGINT (exit 130) or SIGTERM (exit 0): as IIO network contexts, one per board
    on the address given and the following ones; as a SoapyRemote server; or as both over one scene.

    Prints one JSON line, {"ready": true, "iio": ["ip:127.0.0.2", ...], "soapy": "tcp://HOST:PORT",
    "rotator": "rotctld:HOST:PORT"}, when clients are accepted; "soapy" and "rotator" only with --soapy and --rotator.

    \b
    Examples:
      hil sim serve
      hil sim serve --scene chamber.toml --truth truth.jsonl --iio 127.0.0.2:45001
      hil sim serve --soapy 127.0.0.1:55132
      hil sim serve --scene chamber.toml --rotator 127.0.0.1:4533
      iio_info -u ip:127.0.0.2
      SoapySDRUtil --probe="driver=remote,remote=tcp://127.0.0.1:55132"
    """
    if iio is None and soapy is None:
        iio = "127.0.0.2"
    from sim_backend.scene import load_scene
    from sim_backend.serve import serve as serve_scene

    # an emulator stands for hardware, which is never late
    prefer_this_thread()
    loaded = load_scene(scene)
    for words in loaded.not_simulated:
        console.print(f"without effect in this version: {words}", markup=False)
    if loaded.chamber.positioner and rotator is None:
        console.print("The scene's turntable stands still: --rotator HOST:PORT serves it.", markup=False)
    stop = threading.Event()
    with _stop_signals(stop) as received:
        if parent is not None:
            threading.Thread(target=_watch_parent, args=(parent, stop), daemon=True).start()
        serve_scene(
            loaded,
            iio=iio,
            soapy=soapy,
            rotator=rotator,
            truth_path=truth,
            free_running=free_running,
            loop_s=loop,
            allow_remote=allow_remote,
            stop_event=stop,
            on_ready=_print_ready,
        )
    if signal.SIGINT in received:
        raise typer.Exit(130)


def _print_ready(ready: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    where = [*ready["iio"], *(ready[key] for key in ("soapy", "rotator") if key in ready)]
    console.print("serving " + " ".join(where) + " (Ctrl-C stops)", markup=False)


@contextmanager
def _stop_signals(stop: threading.Event) -> Iterator[list[int]]:
    """Let SIGINT and SIGTERM set `stop` instead of tearing through the servers; yields those that came."""
    received: list[int] = []

    def handler(signum: int, frame: Any) -> None:
        del frame
        received.append(signum)
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _watch_parent(pid: int, stop: threading.Event) -> None:
    """Set `stop` when process `pid` has gone, so that no server outlives the test or demo that started it."""
    is_child = os.getppid() == pid
    while not stop.wait(_PARENT_POLL_S):
        if is_child:
            gone = os.getppid() != pid
        else:
            try:
                os.kill(pid, 0)
                gone = False
            except PermissionError:
                gone = False
            except OSError:
                gone = True
        if gone:
            stop.set()
