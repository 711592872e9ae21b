"""What every subcommand prints: one JSON object where asked, everything else on stderr.

Contract: `--json -` writes exactly one JSON object to stdout and nothing else there, also on failure:
`status`, `reason`, `hint`, `exit_code`.
"""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hil.core.errors import ConfigError, HilError

console = Console(stderr=True, soft_wrap=True)

JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Write the result as one JSON object to FILE, or to stdout with '-'."
    ),
]


def plain(value: Any) -> Any:
    """Turn numpy values, paths and NaN into what JSON can hold (NaN and infinities become null)."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    return value if isinstance(value, str) or value is None else str(value)


def emit(json_target: str | None, payload: dict[str, Any]) -> None:
    """Write `payload` as one JSON object to the file or, for "-", to stdout; nothing for None."""
    if json_target is None:
        return
    text = json.dumps(plain({"status": "ok", "exit_code": 0} | payload), allow_nan=False)
    if json_target == "-":
        write_line(text)
        return
    path = Path(json_target)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}", where="--json") from err


def write_line(text: str) -> None:
    """One line on stdout. Raises BrokenPipeError if its reader has gone, ConfigError if it cannot be written."""
    if sys.stdout is None:  # `hil ... >&-`
        raise ConfigError("stdout is closed", where="--json", hint="give a file: --json result.json")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as err:
        devnull_stdout()  # what waits in the buffer must not fail again at exit
        raise ConfigError(f"cannot write to stdout: {err.strerror}", where="--json") from err


def print_values(values: Mapping[str, str]) -> None:
    """Names and texts, one below the other, broken between words; a word that is too long is left whole."""
    indent = 2 + max(map(cell_len, values), default=0)
    for name, text in values.items():
        console.print(
            textwrap.fill(
                text or "-", max(console.width - 1, indent + 20), initial_indent=f"{name:<{indent}}",
                subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
            ),
            markup=False, highlight=False,
        )  # fmt: skip


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table that loses nothing in a narrow terminal: columns that do not fit follow in a table below.

    Every part repeats the first column. A single column wider than the terminal is broken inside it.
    """
    widths = [
        max(
            cell_len(line)
            for text in (name, *(row[k] for row in rows))
            for line in (text.splitlines() or [""])
        )
        for k, name in enumerate(names)
    ]
    for part in _parts(widths, console.width):
        table = Table(title=title or None, title_justify="left")
        for k in part:
            table.add_column(Text(names[k]), overflow="fold")
        for row in rows:
            table.add_row(*(Text(row[k]) for k in part))
        console.print(table, soft_wrap=False)


def _parts(widths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Columns of each part: as many as fit `width` with their frame of three cells a column and one more."""
    part, used = [0], widths[0] + 4
    for k in range(1, len(widths)):
        if used + widths[k] + 3 > width and len(part) > 1:
            yield part
            part, used = [0], widths[0] + 4
        part.append(k)
        used += widths[k] + 3
    yield part


def print_problem(problem: HilError) -> None:
    """What exit code 4 stands for, on stderr."""
    console.print(str(problem), style="yellow", markup=False, highlight=False)
    if problem.hint:
        console.print(f"  {problem.hint}", markup=False, highlight=False)


def emit_failure(json_target: str | None, reason: str, hint: str, exit_code: int, **more: Any) -> None:
    """The JSON object of a command that failed."""
    emit(json_target, {"status": "failed", "reason": reason, "hint": hint, "exit_code": exit_code} | more)


def failure_details(error: HilError) -> dict[str, Any]:
    """What an error knows beyond its message, for the JSON object."""
    names = ("where", "uri", "field", "requested", "allowed", "parameters", "gaps")
    found = {name: getattr(error, name) for name in names if getattr(error, name, None)}
    return {"error": type(error).__name__} | found


def devnull_stdout() -> None:
    """Keep the interpreter from complaining when the reader of stdout has gone (`hil ... | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
