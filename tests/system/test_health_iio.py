"""Faults over IIOD, named by the commands and written into the recording."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hil.sim_server import free_address
from tests.physics.health_transport import NETWORK_CASES, TRANSPORT_CASES, run_transport


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("dropped blocks", "soapy"), ("disconnect", "iio"), ("0/180 flip of a channel", "soapy")],
)
def test_a_fault_is_told_by_its_name(name: str, protocol: str, tmp_path: Path) -> None:
    found = run_transport(name, tmp_path, free_address(), seed=3, protocol=protocol)
    assert found.early == []
    assert found.events
    assert found.events[-1].kind in (TRANSPORT_CASES | NETWORK_CASES)[name].names, found.events
    assert found.events[-1].remedy


def run_hil(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "hil.cli", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_capture_names_a_slip_and_annotates_it(tmp_path: Path) -> None:
    scene, out = tmp_path / "scene.toml", tmp_path / "rec.sigmf-meta"
    scene.write_text(
        "seed = 5\n[array]\nn_elements = 4\n[receiver]\nfs_hz = 1.0e6\n"
        "[faults]\nslip_samples_at_s = 1.5\nslip_samples = 2\nslip_channel = 3\n"
    )
    done = run_hil("capture", f"sim:{scene}", str(out), "--seconds", "2.5", "--json", "-")
    assert done.returncode == 0, done.stderr
    (event,) = json.loads(done.stdout)["health"]
    assert (event["kind"], event["channels"], event["value"]) == ("slip", [3], 2.0)
    (noted,) = json.loads(out.read_text())["annotations"]
    assert (noted["core:label"], noted["hil:fault"], noted["hil:channels"]) == ("slip", "slip", [3])
    assert abs(noted["core:sample_start"] - event["first_sample"]) < 1
    assert "slipped" in done.stderr.replace("\n", " ")
