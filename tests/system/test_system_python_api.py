"""The Python interface that scripts may rely on, and the pytest plugin inside somebody else's project."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import drivers
from hil import store
from hil.core.device import RxConfig
from hil.core.frame import Frame
from hil.core.steering import steering_vectors
from hil.dsp.correction import apply
from hil.dsp.doa import music_spectrum
from hil.evaluation.truth_match import true_directions
from hil.learning.batch import learn_batch, to_calibration
from hil.learning.observe import CovarianceTap, join
from hil.learning.settings import LearnSettings
from hil.session import Session, open_session
from sim_backend.truth import read_truth


@pytest.fixture(scope="module")
def learned(shared_hil: Any, shared_board: Any, scene_text: Any) -> Any:
    """Frames of a network device, learned with the library alone; (calibration, frames, true directions)."""
    from hil.core.geometry import parse_array

    frames: list[Frame] = []

    def keep(frame: Frame, clipped: object) -> None:
        del clipped
        frames.append(Frame(frame.samples.copy(), *(getattr(frame, n) for n in _HEADER)))

    with shared_board(scene_text(4, seed=77), free_running=True) as server:
        uri = f"iio:{server.iio[0]}"
        with drivers.open_device(uri) as device:
            assert device.info.driver == "iio"
            assert device.caps.n_channels == 4
        with open_session(
            uri, lambda fc_hz: parse_array("ula:4:0.5", fc_hz), lambda n: RxConfig()
        ) as session:
            assert isinstance(session, Session)
            session.start(on_frame=keep, n_samples=2_000_000)
            assert session.wait(60.0)
            summary = session.stop()
            session.raise_error()
            stream = session.stream
        truth = read_truth(server.truth)
    assert summary.samples == 2_000_000
    tap = CovarianceTap()
    settings = LearnSettings(support_deg=(-60.0, 60.0))
    batch = join(tap.take(f) for f in frames)
    assert stream.geometry is not None
    result = learn_batch(batch, stream.geometry, stream.fc_hz, settings)
    assert result.converged
    calibration = to_calibration(result, stream, settings)
    file = shared_hil.folder / "api.h5"
    store.save(calibration, file)
    actual = true_directions(truth, batch.first_sample, truth.opens[-1][1], stream.fs_hz)[:, 0]
    ends = true_directions(truth, batch.first_sample + 255, truth.opens[-1][1], stream.fs_hz)[:, 0]
    return store.load(file), frames, batch, actual, actual == ends


_HEADER = [f for f in Frame.__dataclass_fields__ if f != "samples"]


def test_music_with_and_without_the_calibration(learned: Any) -> None:
    calibration, frames, batch, actual, steady = learned
    fc_hz, grid = calibration.fc_hz, np.linspace(-90, 90, 1801)
    errors: dict[str, list[float]] = {"nominal": [], "learned": []}
    by_index = {int(f.first_sample): f for f in frames}
    for b in np.flatnonzero(steady)[:400:20]:
        first = int(batch.first_sample[b])
        frame = by_index[max(i for i in by_index if i <= first)]
        x = frame.samples[:, first - frame.first_sample :][:, :256]
        for name, cal in (("nominal", None), ("learned", calibration)):
            spectrum = music_spectrum(x, calibration.geometry.positions_m, fc_hz, grid, 1, calibration=cal)
            assert spectrum.shape == grid.shape
            assert spectrum.dtype == np.float64
            errors[name].append(abs(grid[spectrum.argmax()] - actual[b]))
    assert np.median(errors["learned"]) < 0.5
    assert np.median(errors["nominal"]) > 5 * np.median(errors["learned"])


def test_steering_is_the_nominal_one_times_what_was_learned(learned: Any) -> None:
    calibration = learned[0]
    angles_deg = np.array([-40.0, 0.0, 25.0])
    a = calibration.steering(angles_deg, calibration.fc_hz)
    assert (a.shape, a.dtype) == ((4, 3), np.complex128)
    errors = calibration.impairments
    places = calibration.geometry.positions_m + errors.position_error_m
    expected = errors.gain[:, None] * steering_vectors(places, calibration.fc_hz, np.deg2rad(angles_deg))
    np.testing.assert_allclose(a, expected, rtol=1e-9)


def test_applying_the_calibration_divides_by_the_gains(learned: Any) -> None:
    calibration, frames = learned[:2]
    frame = frames[3]
    corrected = apply(frame, calibration)
    assert corrected.samples.dtype == np.complex64
    expected = frame.samples / calibration.impairments.gain[:, None]
    np.testing.assert_allclose(corrected.samples, expected, rtol=1e-4, atol=1e-6)
    assert corrected.first_sample == frame.first_sample


PROJECT = """
import subprocess
import sys


def test_a_script_of_theirs(hil_sim):
    import drivers

    assert drivers.THEIRS  # their folder, not ours
    with hil_sim(iio="{address}", free_running=True) as server:
        import iio

        context = iio.Context(server.iio[0])
        assert context.find_device("cf-ad9361-A") is not None
        assert server.truth.is_file()
        pid = server.process.pid
    assert server.process.returncode is not None
    assert not [m for m in sys.modules if m.split(".")[0] in ("sim_backend", "calib", "torch")]
"""


def test_the_pytest_plugin_works_beside_a_drivers_folder_of_theirs(tmp_path: Path) -> None:
    from hil.sim_server import free_address

    theirs = tmp_path / "drivers"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("THEIRS = True\n")
    (tmp_path / "sim_backend.py").write_text("raise RuntimeError('shadowed')\n")
    (tmp_path / "test_theirs.py").write_text(PROJECT.format(address=free_address()))
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent("""
        import pathlib, sys
        sys.path.insert(0, str(pathlib.Path(__file__).parent))
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "test_theirs.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
