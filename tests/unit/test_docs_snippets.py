"""What the documentation shows runs: every page's snippets, in order, in one process and one empty folder.

- ```python blocks run in one namespace per page; with `title="name.py"` they are written to that file instead.
- ```toml blocks with a title are written to that file.
- ```console blocks: lines `$ hil ...` and `$ pytest ...` run and must exit 0; other commands are an error.
- ```text blocks are shown only (real hardware, servers that run until interrupted).

Also run as a script: `python test_docs_snippets.py PAGE` in the folder to work in.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r'^```(\w+)(?: +title="([^"]+)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_HANG_S = 90.0
_RUNS = ("python", "console", "toml")


@dataclass(frozen=True)
class Snippet:
    """One fenced block: language, title ("" if none), text and the line of its first line in the page."""

    language: str
    title: str
    text: str
    line: int


def snippets(page: Path) -> list[Snippet]:
    """The blocks of a page that run or are written to files."""
    text = page.read_text(encoding="utf-8")
    found = [
        Snippet(m[1], m[2] or "", m[3], text.count("\n", 0, m.start(3)) + 1) for m in _FENCE.finditer(text)
    ]
    return [s for s in found if s.language in _RUNS]


def run_page(page: Path) -> None:
    """Run the snippets of a page in the current folder; raises SystemExit at the first that fails."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for snippet in snippets(page):
        if snippet.title:
            Path(snippet.title).write_text(snippet.text, encoding="utf-8")
        elif snippet.language == "toml":
            tomllib.loads(snippet.text)
        elif snippet.language == "python":
            # blank lines in front: tracebacks then name the page's own lines
            exec(compile("\n" * (snippet.line - 1) + snippet.text, str(page), "exec"), namespace)
        else:
            _run_console(page, snippet)


def _run_console(page: Path, snippet: Snippet) -> None:
    from hil.cli.main import call

    commands = [line[2:] for line in snippet.text.splitlines() if line.startswith("$ ")]
    if not commands:
        raise SystemExit(f"{page}:{snippet.line}: no command in a console block")
    for command in commands:
        words = shlex.split(command)
        if words[0] == "hil":
            code = call(words[1:])
        elif words[0] == "pytest":
            options = ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=60"]
            code = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *words[1:]], check=False
            ).returncode
        else:
            raise SystemExit(f"{page}:{snippet.line}: {command!r} is not run here: make the block ```text")
        if code:
            raise SystemExit(f"{page}:{snippet.line}: {command!r} exits {code}")


def run_in(folder: Path, page: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's snippets in a process of its own, in `folder`, with a store of its own."""
    env = os.environ | {
        "HIL_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", __file__, str(page)],
        cwd=folder, env=env, capture_output=True, text=True, timeout=_HANG_S + 30, check=False,
    )  # fmt: skip


if __name__ == "__main__":
    faulthandler.dump_traceback_later(_HANG_S, exit=True)  # says where a page hangs
    run_page(Path(sys.argv[1]))
    sys.exit()

import pytest  # noqa: E402 - the script above needs none of it

RUNNING = [page for page in PAGES if snippets(page)]
_LONG = {"sweep"}


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.stem, marks=pytest.mark.slow if p.stem in _LONG else ()) for p in RUNNING]
)
def test_the_snippets_of_a_page_run(page: Path, tmp_path: Path) -> None:
    done = run_in(tmp_path, page)
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("```python\nvalue = 1\nassert value == 2\n```\n", "AssertionError"),
        ("```console\n$ hil info nothing-here.sigmf-meta\n```\n", "exits 2"),
        ("```console\n$ rm -rf nothing\n```\n", "is not run here"),
        ("```console\nhil devices\n```\n", "no command"),
        ("```toml\nkey = \n```\n", "TOMLDecodeError"),
        ("```python\nx = 1\n```\n\n```python\nassert x == 1, 'one namespace'\nraise RuntimeError(x)\n```\n", "RuntimeError: 1"),
    ],
)  # fmt: skip
def test_a_page_with_a_bad_snippet_fails(block: str, says: str, tmp_path: Path) -> None:
    page = tmp_path / "bad.md"
    page.write_text(f"# Bad\n\n{block}\nEnd.\n", encoding="utf-8")
    done = run_in(tmp_path, page)
    assert done.returncode != 0
    assert says in done.stderr


def test_a_block_that_is_shown_only_does_not_run(tmp_path: Path) -> None:
    page = tmp_path / "good.md"
    page.write_text(
        '```text\n$ rm -rf nothing\n```\n\n```toml title="a.toml"\nx = 1\n```\n', encoding="utf-8"
    )
    assert run_in(tmp_path, page).returncode == 0
    assert (tmp_path / "a.toml").read_text() == "x = 1\n"


def test_no_page_is_without_snippets_by_accident() -> None:
    assert {page.stem for page in RUNNING} >= {"README", "index", "devices", "simulation", "files", "python"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("\n```") % 2 == 0, f"{page.name}: a fence is open"


def test_every_hil_command_that_a_page_names_exists() -> None:
    from hil.cli.main import COMMANDS

    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|\$ |^)hil ([a-z][a-z-]+)", text, re.MULTILINE))
        assert named <= set(COMMANDS), f"{page.name}: {named - set(COMMANDS)}"


def _tables(page: Path) -> dict[str, list[list[str]]]:
    """Rows of the tables under each heading, without header and ruler."""
    out: dict[str, list[list[str]]] = {}
    heading = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith("|---"):
            out.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return {name: rows[1:] for name, rows in out.items()}


def test_the_scene_page_lists_every_key_with_its_default() -> None:
    from sim_backend import scene as s
    from sim_backend.faults import Faults

    tables = _tables(ROOT / "docs" / "simulation.md")
    parts = {
        "[array]": s.ArraySpec(), "[receiver]": s.ReceiverSpec(), "[impairments]": s.ImpairmentSpec(),
        "[[emitter]]": s.Emitter(), "[learn]": s.LearnSpec(), "[ofdm]": s.OfdmSpec(), "[faults]": Faults(),
        "[[target]]": s.Target(), "[transmit]": s.TransmitSpec(), "[chamber]": s.ChamberSpec(),
    }  # fmt: skip
    top = {row[0].strip("`"): tomllib.loads(f"x = {row[2].strip('`')}")["x"] for row in tables["Top level"]}
    assert top == {"seed": s.Scene().seed, "duration_s": s.Scene().duration_s}
    for heading, defaults in parts.items():
        rows = {row[0].strip("`"): row[2] for row in tables[heading]}
        fields = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(defaults)}
        assert set(rows) == set(fields), heading
        for key, cell in rows.items():
            written = None if cell == "none" else tomllib.loads(f"x = {cell.strip('`')}")["x"]
            if key == "phase_std_deg":
                assert (written, fields[key]) == ("uniform", None)
                continue
            want = list(fields[key]) if isinstance(fields[key], tuple) else fields[key]
            assert written == want, f"{heading} {key}: the page says {cell}, the program {want!r}"


def test_the_scene_page_states_hops_tracks_and_paths_as_they_are() -> None:
    from sim_backend import scene as s

    rows = {row[0].strip("`"): row[3] for row in _tables(ROOT / "docs" / "simulation.md")["[[emitter]]"]}
    for key, defaults in (("hop", s.Hop()), ("track", s.Track()), ("paths", s.Multipath())):
        inline = re.search(r"`(\{.*\})`", rows[key])
        assert inline is not None
        assert tomllib.loads(f"x = {inline[1]}")["x"] == dataclasses.asdict(defaults), key


def test_the_scene_files_of_the_pages_are_valid_scenes() -> None:
    from hil.campaign.plan_file import parse_campaign
    from sim_backend.scene import parse_scene

    for page in PAGES:
        for snippet in snippets(page):
            if snippet.title == "campaign.toml":
                parse_campaign(snippet.text, f"{page.name}:{snippet.line}")
            elif snippet.language == "toml" and snippet.title != "array.toml":
                parse_scene(snippet.text, f"{page.name}:{snippet.line}")


def test_the_page_on_files_names_every_key_status_and_format() -> None:
    from hil.export import FORMATS

    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    schema = json.loads((ROOT / "hil" / "schema" / "hil-recording.schema.json").read_text(encoding="utf-8"))
    keys = set(schema["properties"]["global"]["properties"])
    keys |= set(schema["properties"]["captures"]["items"]["properties"])
    assert keys == set(re.findall(r"`(hil:\w+)`", text))
    for name, found in FORMATS.items():
        assert f"`{name}`" in text
        assert f"| `{name}` |" not in text or found.module, f"{name}: listed as ready, but planned"
    for source in ("hil/store/status.py", "hil/learning/using.py"):
        written = (ROOT / source).read_text(encoding="utf-8")
        for status in re.findall(r'(?:found\(|CalibrationInUse\([^"]{0,60})"([a-z-]+)"', written):
            assert f"| `{status}` |" in text, f"{status} of {source}"


def test_the_page_on_devices_states_the_epoch_table_of_the_boards() -> None:
    from drivers.iio.board_table import board_tables

    rows = _tables(ROOT / "docs" / "devices.md")["Coherence epochs"]
    columns = {1: ("pluto", "fmcomms5"), 2: ("adrv9009", "adrv9009-zu11eg")}
    said = {row[0].split("`")[1]: row for row in rows}
    for column, names in columns.items():
        for name in names:
            for event, scope in board_tables()[name].epoch.items():
                assert said[event.value][column].startswith(scope.value.replace("_", " ")), f"{name} {event}"


def test_the_page_with_measured_tables_keeps_its_markers() -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert text.count("<!-- bars:begin -->") == 1
    assert text.index("<!-- bars:begin -->") < text.index("<!-- bars:end -->")


def test_the_page_on_speed_leads_to_the_results_that_are_kept() -> None:
    kept = {p.name for p in (ROOT / "docs" / "reproduced" / "speed").iterdir()}
    assert kept == {"speed.json", "speed.md", "speed.png", "scaling.png"}
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    assert all(f"reproduced/speed/{name}" in text for name in kept)
