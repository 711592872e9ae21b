"""The main job: simulated array -> IIO network -> capture -> learn without labels -> calibration, report.

The capture is one stream. Its first four fifths are offered to the live learner as they arrive, the last
fifth is held out; nothing of the truth reaches the learner. The array streams in real time; where the machine
is too busy for that and samples are lost, the capture is made once more at the pace of the machine.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from drivers.sigmf_files import open_recording
from drivers.sim import SimDevice
from hil import store
from hil.core.calibration import Calibration
from hil.core.device import RxConfig, RxDevice
from hil.core.errors import (
    CalibrationError,
    CaptureOverrun,
    ConfigError,
    ConnectionLost,
    DriverUnavailable,
    NotIdentifiable,
)
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.evaluation.outcome import Outcome, evaluate, report_content, spectrum_picture
from hil.evaluation.scoring import held_out
from hil.evaluation.truth_match import scene_offset
from hil.health.event import HealthEvent
from hil.jobs.live import LiveOutcome, Say, run_live
from hil.learning.batch import require_good, require_learnable, to_calibration
from hil.learning.observe import observe_recording
from hil.learning.process import LearnUpdate
from hil.learning.settings import LearnSettings
from hil.recorder import Recorder
from hil.reporting import plots
from hil.reporting.page import write_report
from hil.session import SessionSummary, open_session
from hil.sim_server import free_address, serve
from sim_backend.engine import ArrayEngine
from sim_backend.scene import Scene
from sim_backend.truth import read_truth

#: Length of the capture; four fifths of it are learned from, in under 5 s of streaming.
CAPTURE_S = 5.5


@dataclass(slots=True)
class DemoResult:
    """What `hil demo` reports; `problem` is what exit code 4 stands for.

    real_time : False if the machine was too busy and the samples came at its own pace.
    """

    transport: str
    stream: StreamInfo
    session: SessionSummary
    update: LearnUpdate
    learn_seconds: float
    calibration: Calibration | None
    outcome: Outcome
    files: dict[str, str]
    problem: CalibrationError | None = None
    real_time: bool = True
    assumptions: list[str] = field(default_factory=list)
    health: list[HealthEvent] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of contract.md."""
        result = self.update.result
        status: dict[str, Any] = {}
        if self.problem is not None:
            status = {
                "status": "failed",
                "reason": str(self.problem),
                "hint": self.problem.hint,
                "exit_code": 4,
            }
        return status | {
            "transport": self.transport,
            "device": self.stream.device.model,
            "n_elements": self.stream.n_channels,
            "samples_captured": self.session.samples,
            "samples_lost": self.session.lost,
            "lost_exact": self.session.lost_exact,
            "real_time": self.real_time,
            "converged": bool(result and result.converged),
            "learn_seconds": self.learn_seconds,
            "compute_seconds": self.update.seconds,
            "learn_blocks": self.update.n_blocks,
            "independent_angles": result.n_angles if result else 0,
            "score": result.score if result else None,
            "predicted_score": result.predicted_score if result else None,
            "angle_sigma_deg": result.gauge.angle_sigma_deg if result else None,
            "not_identifiable": result.not_identifiable if result else list(self.update.parameters),
            **self.outcome.as_dict(),
            "assumptions": self.assumptions,
            "edges": self.session.edges,
            "health": [event.as_dict() for event in self.health],
            "files": self.files,
        }


def run_demo(
    scene: Scene, out: Path, say: Say = lambda text: None, capture_s: float = CAPTURE_S
) -> DemoResult:
    """Run the whole job in the folder `out`.

    Raises
    ------
    DeviceError, CaptureError : the simulated array could not be captured. CalibrationError with exit code 3 :
        the learner's process failed.
    """
    settings = LearnSettings(n_sources=scene.sources, support_deg=scene.support_deg, seed=scene.seed)
    require_learnable(settings, scene.n_elements)
    scene_file = out / "scene.toml"
    try:
        out.mkdir(parents=True, exist_ok=True)
        scene_file.write_text(scene.to_toml(), encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"cannot write to {out}: {err.strerror}", where="--out") from err
    recording_file = out / "recording.sigmf-meta"

    def attempt(*, real_time: bool) -> tuple[LiveOutcome, str, Path]:
        with _simulated_array(scene, scene_file, out, say, real_time=real_time) as (uri, transport, truth):
            say(f"capturing {capture_s:g} s from {uri if isinstance(uri, str) else uri.info.uri}")
            return (
                _capture_and_learn(uri, scene, recording_file, settings, capture_s, say, real_time),
                transport,
                truth,
            )

    real_time = True
    try:
        captured, transport, truth_path = attempt(real_time=True)
    except CaptureOverrun as err:
        say(f"{err}: this machine is too busy for real time; once more, as fast as it can take the samples")
        real_time = False
        captured, transport, truth_path = attempt(real_time=False)
    truth = read_truth(truth_path)
    geometry = captured.stream.geometry
    assert geometry is not None
    with open_recording(recording_file) as recording:
        samples_hash = recording.sha256()
        batch = observe_recording(recording, held_out(recording.n_samples))
    calibration, problem = _accept(captured.update, captured.stream, settings, samples_hash)
    say("comparing with the truth on the held-out fifth")
    outcome = evaluate(
        batch, truth, scene_offset(truth), geometry, captured.stream.fc_hz, calibration, scene.support_deg
    )
    files = {"recording": str(recording_file), "truth": str(truth_path), "scene": str(scene_file)}
    result = DemoResult(
        transport, captured.stream, captured.summary, captured.update, captured.learn_seconds, calibration, outcome,
        files, problem, real_time, _assumptions(settings, captured.update), captured.health,
    )  # fmt: skip
    if calibration is not None:
        _save(result, calibration, out)
    return result


def _save(result: DemoResult, calibration: Calibration, out: Path) -> None:
    metrics = {f"{when}_{name}": value
               for when, row in (("before", result.outcome.before), ("after", result.outcome.after)) for name, value in row.items()}  # fmt: skip
    calibration = replace(calibration, metrics=metrics)
    result.calibration = calibration
    store.save(calibration, out / "calibration.h5")
    content = report_content(result.outcome, "Array learned without labels", result.stream.fc_hz)
    content.assumptions = result.assumptions
    learned = result.update.result
    if learned is not None:
        content.not_identifiable = learned.not_identifiable
        content.score_history = [calibration.predicted_score + excess for _, excess in learned.history]
    content.files = [(name, path) for name, path in result.files.items()]
    write_report(out / "report.html", calibration, content)
    plots.save(spectrum_picture(result.outcome, 0, result.stream.fc_hz), out / "spectra.png")
    result.files |= {
        "calibration": str(out / "calibration.h5"),
        "report": str(out / "report.html"),
        "spectra": str(out / "spectra.png"),
    }


def _assumptions(settings: LearnSettings, update: LearnUpdate) -> list[str]:
    words = []
    if settings.n_sources is not None:
        words.append(f"{settings.n_sources} emitter(s) at a time")
    words.append(
        f"element positions are within about {settings.position_std_wavelengths:g} wavelengths of the nominal ones"
    )
    if update.result is not None and update.result.gauge.assumes:
        words.append(update.result.gauge.assumes)
    return words


def _accept(
    update: LearnUpdate, stream: StreamInfo, settings: LearnSettings, samples_hash: str
) -> tuple[Calibration | None, CalibrationError | None]:
    if update.result is None:
        return None, NotIdentifiable(update.problem, parameters=update.parameters, hint=update.hint)
    calibration = None
    if math.isfinite(update.result.score):  # else nothing was searched: there is no array to store
        calibration = to_calibration(update.result, stream, settings, captures=[samples_hash])
    try:
        require_good(update.result, settings, calibration)
    except CalibrationError as problem:
        return calibration, problem
    return calibration, None


@contextlib.contextmanager
def _simulated_array(
    scene: Scene, scene_file: Path, out: Path, say: Say, *, real_time: bool
) -> Iterator[tuple[str | RxDevice, str, Path]]:
    """(URI or device, "iio" or "sim", truth file); in-process only if libiio is missing."""
    try:
        from drivers.iio.context import import_iio

        import_iio()
    except DriverUnavailable as err:
        say(f"libiio is missing ({err}; {err.hint}): the simulated array runs in this process instead")
        truth = out / "truth.jsonl"
        with contextlib.closing(ArrayEngine(scene, truth=truth, free_running=not real_time)) as engine:
            yield SimDevice(engine, f"sim:{scene_file}", free_running=not real_time), "sim", truth
        return
    say("starting the simulated array behind an IIO network context")
    try:
        with serve(out, scene=scene_file, iio=free_address(), free_running=not real_time) as server:
            truth = out / "truth.jsonl"
            truth.unlink(missing_ok=True)
            server.truth.rename(truth)  # the open file moves with its name
            yield "iio:" + ",".join(server.iio), "iio", truth
    except RuntimeError as err:
        raise ConnectionLost(str(err), hint="run hil sim serve by hand to see more") from err


def _capture_and_learn(
    uri: str | RxDevice,
    scene: Scene,
    recording: Path,
    settings: LearnSettings,
    capture_s: float,
    say: Say,
    real_time: bool,
) -> LiveOutcome:
    receiver = scene.receiver
    session = open_session(
        uri,
        lambda fc_hz: scene_geometry(scene),
        lambda n: RxConfig(fc_hz=receiver.fc_hz, fs_hz=receiver.fs_hz, block_samples=32768),
    )
    with session:
        total = round(capture_s * session.stream.fs_hz)
        recorder = Recorder(recording, session.stream, overwrite=True, expected_samples=total)
        return run_live(
            session, settings, total, held_out(total), recorder=recorder, say=say, source_waits=not real_time
        )


def scene_geometry(scene: Scene) -> ArrayGeometry:
    """The nominal array of a scene, in channel order."""
    from sim_backend.drawn import element_positions

    return ArrayGeometry(element_positions(scene), name=f"{scene.array.kind}:{scene.n_elements}")
