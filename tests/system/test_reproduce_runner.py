"""Experiments: run, resume, fail, be interrupted, on cores and on a real Dask cluster."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.core.errors import ConfigError, HilError
from hil.reproduce import registry
from hil.reproduce.cache import ResultCache, code_digest
from hil.reproduce.experiment import Case, Plan
from hil.reproduce.job import reproduce_experiment
from hil.reproduce.runner import run_cases
from hil.reproduce.selftest import EXPERIMENT, SelfTest


def test_writes_page_tables_and_pictures_and_uses_other_processes(tmp_path: Path) -> None:
    seen: list[str] = []
    done = reproduce_experiment(
        EXPERIMENT, Plan(), tmp_path, workers=2, progress=lambda total, weight, text: seen.append(text)
    )
    assert done.effort.n_cases == 6
    assert done.effort.failed == {}
    assert len([s for s in seen if s.endswith("done")]) == 6
    page = (tmp_path / "selftest.md").read_text()
    assert "| mean | 1 |" in page
    assert "![Means](means.png)" in page
    assert (tmp_path / "means.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "means.csv").open() as file:
        assert len(list(csv.reader(file))) == 7
    found = done.as_dict()
    assert json.loads(json.dumps(found))["bars_met"] is True
    entries = [json.loads(p.read_text()) for p in (tmp_path / "cases").glob("*.json")]
    assert {e["result"]["threads"] for e in entries} == {"1"}
    assert os.getpid() not in {e["result"]["pid"] for e in entries}


def test_goes_on_where_it_stopped_and_repeats_what_no_longer_fits(tmp_path: Path) -> None:
    first = reproduce_experiment(EXPERIMENT, Plan(quick=True), tmp_path, workers=1)
    assert (first.effort.n_cases, first.effort.n_cached) == (2, 0)
    again = reproduce_experiment(EXPERIMENT, Plan(), tmp_path, workers=1)
    assert (again.effort.n_cases, again.effort.n_cached) == (6, 2)
    path = tmp_path / "cases" / "seed0.json"
    entry = json.loads(path.read_text())
    assert entry["code"] == code_digest()
    path.write_text(json.dumps(entry | {"code": "older"}))
    (tmp_path / "cases" / "seed1.json").write_text('{"result"')  # cut off by a full disk
    cases = EXPERIMENT.cases(Plan())
    left = ResultCache(tmp_path / "cases").split(cases)[1]
    assert {case.key for case in left} == {"seed0", "seed1"}
    assert {c.key for c in ResultCache(tmp_path / "cases", redraw=True).split(cases)[1]} == {"seed1"}


def test_a_failing_case_is_named_and_stops_nothing(tmp_path: Path) -> None:
    done = reproduce_experiment(SelfTest(failing=1), Plan(), tmp_path, workers=1)
    assert done.effort.n_cases == 5
    assert done.effort.failed == {"seed1": "HilError: asked to fail"}
    assert "asked to fail" in (tmp_path / "selftest.md").read_text()


def test_refuses_what_it_should_not_run(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cases")
    twice = [Case("a", "hil.reproduce.selftest:square", {"seed": 1})] * 2
    with pytest.raises(ConfigError, match="the same"):
        run_cases(twice, cache)
    foreign = run_cases([Case("a", "os:system", {"command": "true"})], cache, workers=1)
    assert "not a function of an experiment" in foreign.failed["a"]
    with pytest.raises(ConfigError, match="cannot make"):
        ResultCache(Path("/proc/nowhere"))
    with pytest.raises(ConfigError, match="unknown experiment"):
        registry.get_experiment("nothing")


def test_interrupted_run_ends_its_workers_and_keeps_what_was_done(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from hil.reproduce.experiment import Plan;"
        "from hil.reproduce.job import reproduce_experiment; from hil.reproduce.selftest import SelfTest;"
        "\nif __name__ == '__main__':\n"
        f"    reproduce_experiment(SelfTest(seconds=1.0), Plan(seeds=200), Path({str(tmp_path)!r}), workers=2)\n"
    )
    path = tmp_path / "long_run.py"
    path.write_text(script)
    process = subprocess.Popen([sys.executable, str(path)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cases/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(tmp_path.glob("cases/*.json"))
    assert not list(tmp_path.glob("cases/*.partial"))


def test_runs_on_a_dask_cluster(tmp_path: Path) -> None:
    env = os.environ | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    started: list[subprocess.Popen[bytes]] = []
    file = tmp_path / "scheduler.json"
    base = [sys.executable, "-m", "dask"]
    try:
        started.append(
            subprocess.Popen(
                [*base, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                 "--scheduler-file", str(file)],
                env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        with pytest.raises(HilError, match="has no workers"):
            reproduce_experiment(EXPERIMENT, Plan(quick=True), tmp_path, scheduler=address)
        started.append(
            subprocess.Popen(
                [*base, "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                 "--host", "127.0.0.1", "--local-directory", str(tmp_path / "dask")],
                env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip
        done = None
        while done is None and time.monotonic() < deadline:
            try:
                done = reproduce_experiment(EXPERIMENT, Plan(), tmp_path, scheduler=address)
            except HilError:
                time.sleep(0.2)
        assert done is not None
        assert done.effort.n_cases == 6
        entries = [json.loads(p.read_text()) for p in (tmp_path / "cases").glob("*.json")]
        assert {e["result"]["pid"] for e in entries} == {started[1].pid}
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=30)


def test_says_that_no_cluster_is_there(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cases")
    with pytest.raises(HilError, match="no Dask scheduler"):
        run_cases(EXPERIMENT.cases(Plan()), cache, scheduler="tcp://127.0.0.1:9")
