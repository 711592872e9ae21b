"""The learner beside a running capture: own process, new epochs, and every way in which it may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from calib.metrics import manifold_error
from hil.core.device import RxConfig
from hil.core.errors import CalibrationError, ConfigError
from hil.core.frame import Frame
from hil.core.geometry import parse_array
from hil.evaluation.truth_match import known_array
from hil.learning.batch import to_calibration
from hil.learning.live import LiveLearner
from hil.learning.settings import LearnSettings
from hil.session import Session, open_session
from sim_backend.truth import read_truth

SETTINGS = LearnSettings(support_deg=(-60.0, 60.0))


def _session(uri: str) -> Session:
    return open_session(uri, lambda fc_hz: parse_array("ula:4:0.5", fc_hz), lambda n: RxConfig())


def _offer_to(learner: LiveLearner) -> Callable[[Frame, object], None]:
    def on_frame(frame: Frame, clipped: object) -> None:
        del clipped
        learner.offer(frame)

    return on_frame


def _next_good(learner: LiveLearner, epoch: int, until: Any) -> Any:
    def good() -> Any:
        update = learner.poll(0.05)
        if not update or update.tracked or update.epoch_counter != epoch or not update.result:
            return None
        return update if update.result.converged else None

    return until(good, 60.0)


def test_it_starts_again_at_a_retune_and_learns_the_new_carrier(
    tmp_path: Path, board: Any, scene_text: Any, until: Any
) -> None:
    with (
        board(scene_text(4, seed=8), free_running=True) as server,
        _session(f"iio:{server.iio[0]}") as session,
    ):
        with LiveLearner(session.stream, SETTINGS) as learner:
            session.start(on_frame=_offer_to(learner))
            started = session.stream.epoch.counter
            first = _next_good(learner, until(lambda: session.stream.epoch.counter, 5.0) or started, until)
            # a third lower: wavelengths of the old carrier would be wrong by a third
            stream = session.configure(RxConfig(fc_hz=1.7e9))
            assert stream.epoch.counter > first.epoch_counter
            second = _next_good(learner, stream.epoch.counter, until)
            assert second.first_sample > first.last_sample
            later = _next_good(learner, stream.epoch.counter, until)
            assert later.last_sample > second.last_sample  # it keeps learning
            summary = session.stop()
            session.raise_error()
        counts = learner.edge.counts()
        truth = read_truth(server.truth)
    for update, fc_hz in ((first, 2.45e9), (later, 1.7e9)):
        at = replace(session.stream, config=replace(session.stream.config, fc_hz=fc_hz))
        learned = to_calibration(update.result, at, SETTINGS)
        sample = truth.opens[-1][1] + update.last_sample - 1
        actual = known_array(truth, learned.geometry, fc_hz, sample)
        compared = manifold_error(
            lambda rad, a=actual, f=fc_hz: a.steering(np.rad2deg(rad), f),
            lambda rad, a=learned, f=fc_hz: a.steering(np.rad2deg(rad), f),
            is_line=True, field_deg=(-60.0, 60.0),
        )  # fmt: skip
        assert compared.error < 1e-3, f"{fc_hz / 1e9} GHz"
    assert counts.produced == counts.delivered + counts.dropped + counts.superseded + counts.in_flight
    assert counts.delivered > 0
    edge = summary.edges["reader -> dsp"]
    assert edge["produced"] == edge["delivered"] + edge["dropped"] + edge["superseded"] + edge["in_flight"]


def test_close_is_idempotent_and_leaves_no_process_or_memory(tmp_path: Path, scene_text: Any) -> None:
    scene = tmp_path / "s.toml"
    scene.write_text(scene_text(4))
    with _session(f"sim:{scene}?free") as session:
        learner = LiveLearner(session.stream, SETTINGS)
        learner.start()
        pid, memory = learner._process.pid, Path("/dev/shm") / learner.edge.spec.name
        assert psutil.pid_exists(pid or 0)
        # behind everything that must not be late
        assert psutil.Process(pid).nice() >= psutil.Process().nice()
        learner.close()
        learner.close()
        assert learner.poll() is None
    assert not psutil.pid_exists(pid or 0)
    assert not memory.exists()


def test_a_killed_learner_is_a_clear_error_and_never_a_silent_end(
    tmp_path: Path, scene_text: Any, until: Any
) -> None:
    scene = tmp_path / "s.toml"
    scene.write_text(scene_text(4))
    with _session(f"sim:{scene}?free") as session:
        for ask in ("poll", "finish"):
            with LiveLearner(session.stream, SETTINGS) as learner:
                os.kill(learner._process.pid or 0, signal.SIGKILL)
                with pytest.raises(
                    CalibrationError, match=r"learner process has died \(exit code -9\)"
                ) as caught:
                    learner.finish(20.0) if ask == "finish" else until(
                        lambda learner=learner: learner.poll(0.1), 20.0
                    )
                assert caught.value.exit_code == 3
                assert caught.value.hint


def test_killing_the_learner_of_a_running_command_exits_3(hil: Any, scene_text: Any, until: Any) -> None:
    (hil.folder / "s.toml").write_text(scene_text(4))
    process = hil.start(
        "learn", "sim:s.toml", "--array", "ula:4:0.5", "--seconds", 20, "--support", "-60:60", "--out", "x.h5",
        "--json", "-",
    )  # fmt: skip

    def learner() -> Any:
        return next((c for c in psutil.Process(process.pid).children() if _is_learner(c)), None)

    child = until(learner)
    child.kill()
    done = hil.finish(process)
    assert done.code == 3
    assert done.json["reason"].startswith("the learner process "), done
    assert not (hil.folder / "x.h5").exists()


def _is_learner(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_the_learner_dies_with_its_parent(tmp_path: Path, scene_text: Any, until: Any) -> None:
    scene = tmp_path / "s.toml"
    scene.write_text(scene_text(4))
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from hil.core.device import RxConfig
        from hil.core.geometry import parse_array
        from hil.learning.live import LiveLearner
        from hil.learning.settings import LearnSettings
        from hil.session import open_session

        if __name__ == "__main__":
            session = open_session(sys.argv[1], lambda fc: parse_array("ula:4:0.5", fc), lambda n: RxConfig())
            learner = LiveLearner(session.stream, LearnSettings(support_deg=(-60.0, 60.0)))
            learner.start()
            session.start(on_frame=lambda frame, clipped: learner.offer(frame))
            while learner.poll(1.0) is None:
                pass
            print(learner._process.pid, flush=True)
            session.wait(600)
        """)
    )
    with subprocess.Popen(
        [sys.executable, str(script), f"sim:{scene}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 20.0)


def test_what_no_data_can_change_is_refused_before_anything_starts(tmp_path: Path) -> None:
    scene = tmp_path / "pluto.toml"
    scene.write_text('[array]\nn_elements = 2\n[receiver]\nboard = "pluto"\n[[emitter]]\nangle_deg = 0.0\n')
    with (
        open_session(f"sim:{scene}?free", lambda fc_hz: parse_array("ula:2:0.5", fc_hz)) as session,
        pytest.raises(ConfigError, match="at least 3 elements, this array has 2"),
    ):
        LiveLearner(session.stream, SETTINGS)


def test_offering_never_waits_for_the_learner(tmp_path: Path, scene_text: Any) -> None:
    """A stopped learner: the slots are overwritten, counted as superseded, and the frames go on."""
    scene = tmp_path / "s.toml"
    scene.write_text(scene_text(4))
    with _session(f"sim:{scene}?free") as session, LiveLearner(session.stream, SETTINGS) as learner:
        os.kill(learner._process.pid or 0, signal.SIGSTOP)
        try:
            session.start(on_frame=_offer_to(learner), n_samples=1_000_000)
            assert session.wait(60.0)
            session.stop()
            session.raise_error()
            counts = learner.edge.counts()
        finally:
            os.kill(learner._process.pid or 0, signal.SIGCONT)
    assert counts.superseded > 0
    assert counts.produced == counts.delivered + counts.superseded + counts.in_flight
