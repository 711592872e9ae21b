"""A beam over several transmit channels: their gains are measured first, in the same run of the session.

    each channel alone -> echoes -> transmit gains -> weights of the beam -> what is recorded

Nothing retunes or stops between the measurement and the beam, so that the gains hold: in another run, process or epoch
the phases of the transmit chains are others, and a beam from them would point anywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.isac.transmit_gains import TransmitGains, beam_weights, transmit_gains
from hil import store
from hil.core.calibration import Calibration
from hil.core.device import TxConfig
from hil.core.errors import CalibrationMismatch, ConfigError
from hil.core.frame import Block, Frame, FrameFlag, StreamInfo
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.core.waveform import Waveform
from hil.dsp.angle_delay_channel import known_channel
from hil.dsp.sounding import read_sounding, sounding
from hil.recorder import RecordingSummary
from hil.session import Session
from hil.session_stages import BlockSink

_SOUNDING_S = 0.2
_SOUNDING_VALUES = 8 << 20
_LEAST_PERIODS = 6
#: What may still lie in buffers of the receiver when the transmitter changes.
_STALE_S = 0.5
_TIMEOUT_S = 60.0
_FULL_SCALE = 0.999
_BETWEEN_BOARDS = {"iio": ",", "soapy": ";"}


@dataclass(frozen=True, slots=True)
class BeamRequest:
    """What is to be lit.

    Attributes
    ----------
    calibration : file of the array: receive gains and learned positions. sector_deg : (low, high) for sensing.
    communication_deg : (low, high) of a receiver of data, or None: sensing alone. eta : share of sensing in the power, 0..1.
    phi_deg : phase of the communication beam against it. stale_ok : reason to use a calibration that may be stale.
    """

    calibration: Path
    sector_deg: tuple[float, float]
    communication_deg: tuple[float, float] | None = None
    eta: float = 1.0
    phi_deg: float = 0.0
    stale_ok: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """What was made of a request. weights (C,) complex128 that the waveform is multiplied by. gains : measured."""

    request: BeamRequest
    weights: NDArray[np.complex128]
    gains: TransmitGains
    calibration_id: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the recording."""
        r, g = self.request, self.gains
        return {
            "sector_deg": list(r.sector_deg),
            "communication_deg": None if r.communication_deg is None else list(r.communication_deg),
            "eta": r.eta,
            "phi_deg": r.phi_deg,
            "weights_re": self.weights.real.tolist(),
            "weights_im": self.weights.imag.tolist(),
            "tx_gain_re": g.gain.real.tolist(),
            "tx_gain_im": g.gain.imag.tolist(),
            "tx_sigma_deg": np.rad2deg(g.sigma).tolist(),
            "echoes": g.n_echoes,
            "misfit": g.misfit,
            "calibration_id": self.calibration_id,
        }


@dataclass(slots=True)
class Passing:
    """`on_frame` of a session: gathers samples while a sounding goes on, then passes frames to `then`."""

    wanted: int
    then: Callable[[Frame, NDArray[np.int64]], None] | None = None
    skip: int = 0
    _parts: list[NDArray[np.complex64]] = field(default_factory=list)
    _have: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """In the DSP thread."""
        if self._done.is_set():
            if self.then is not None:
                self.then(frame, clipped)
            return
        if frame.flags & (FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW):
            self._parts, self._have = [], 0  # periods must follow each other
        self.skip -= frame.samples.shape[1]
        if self.skip >= 0:
            return
        self._parts.append(frame.samples.copy())
        self._have += frame.samples.shape[1]
        if self._have >= self.wanted:
            self._done.set()

    def samples(self, session: Session) -> NDArray[np.complex64]:
        """(M, wanted), waited for. Raises what ended the session, CalibrationMismatch if nothing unbroken comes."""
        end = time.monotonic() + _TIMEOUT_S
        while not self._done.wait(0.05):
            session.wait(0.0)
            if session.finished or time.monotonic() > end:
                raise CalibrationMismatch(
                    "the transmit gains could not be measured: no unbroken samples came", field="transmit gains",
                    hint="lower the rate (--fs), or close other programs",
                )  # fmt: skip
        return np.concatenate(self._parts, axis=1)[:, : self.wanted]


class FirstSamples:
    """Passes the first `wanted` samples of a run to a recorder."""

    def __init__(self, recorder: BlockSink, wanted: int) -> None:
        self._recorder, self._left = recorder, wanted
        self.done = threading.Event()

    def write(self, block: Block) -> None:
        """Take a block."""
        if self._left <= 0:
            return
        self._recorder.write(
            block if block.n <= self._left else replace(block, wire=block.wire[: self._left])
        )
        self._left -= block.n
        if self._left <= 0:
            self.done.set()

    def close(self) -> RecordingSummary:
        """Finish the recorder."""
        return self._recorder.close()


def _array_for(request: BeamRequest, stream: StreamInfo) -> Calibration:
    """The calibration of the request, if it may be used on this stream. Raises CalibrationMismatch, ConfigError."""
    calibration = store.load(request.calibration)
    store.require_usable(calibration, stream, stale_ok=request.stale_ok or "")
    if calibration.geometry.kind != "line":
        raise ConfigError("beams are made for lines along x", where="--tx-beam")
    return calibration


def sounding_length(waveform: Waveform, n_channels: int, stream: StreamInfo) -> int:
    """Samples per channel that gains are measured from."""
    period = (2 * n_channels + 1) * len(waveform.samples)
    most = min(round(_SOUNDING_S * stream.fs_hz), _SOUNDING_VALUES // stream.n_channels)
    return max(most, _LEAST_PERIODS * period)


def begin_sounding(session: Session, waveform: Waveform, want: TxConfig) -> tuple[TxConfig, Passing]:
    """Let each channel send alone; returns the settings read back and what gathers the samples.

    Raises ConfigError : channels of several boards. What `Session.transmit` raises.
    """
    channels = want.channels or ()
    _require_one_board(session, channels)
    taken = session.transmit(sounding(waveform, len(channels)), want)
    n = sounding_length(waveform, len(channels), session.stream)
    return taken, Passing(n, skip=round(_STALE_S / 10 * session.stream.fs_hz))


def _require_one_board(session: Session, channels: tuple[int, ...]) -> None:
    """Boards begin to send milliseconds apart: their waveforms do not add up to a beam."""
    info = session.device.info
    boards = info.uri.count(_BETWEEN_BOARDS.get(info.driver, "\0")) + 1
    each = max(session.device.caps.n_channels // boards, 1)
    if len({channel // each for channel in channels}) > 1:
        raise ConfigError(
            "a beam is sent over the channels of one board", where="--tx-channel",
            hint=f"{each} channels from a multiple of {each} on: the boards of an array begin milliseconds apart",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What can be worked out before anything is sent. x (M,), tx_x (C,) : places in wavelengths. beam (C,) : wanted on the air."""

    request: BeamRequest
    calibration: Calibration
    x: NDArray[np.float64]
    tx_x: NDArray[np.float64]
    beam: NDArray[np.complex128]


def plan_beam(request: BeamRequest, channels: tuple[int, ...], stream: StreamInfo) -> Plan:
    """The beam of the learned array. Before the stream starts: it keeps a processor busy.

    Raises CalibrationMismatch : a calibration that may not be used. ConfigError : channels without an element, no line.
    """
    import torch

    from calib.isac.beam import beams_of, isac_beams

    calibration = _array_for(request, stream)
    x = calibration.positions_m[:, 0] * stream.fc_hz / SPEED_OF_LIGHT_M_S
    x = x - x.mean()
    if not 0 <= min(channels) <= max(channels) < len(x):
        raise ConfigError(
            f"channel {max(channels)} has no element", where="--tx-channel",
            hint=f"the array has elements 0 to {len(x) - 1}",
        )  # fmt: skip
    tx_x = x[list(channels)]
    beam = torch.from_numpy(beams_of(tx_x, _sector_u(request.sector_deg)))
    if request.communication_deg is not None:
        other = torch.from_numpy(beams_of(tx_x, _sector_u(request.communication_deg)))
        beam = isac_beams(beam, other, request.eta, float(np.deg2rad(request.phi_deg)))
    return Plan(request, calibration, x, tx_x, beam[0].numpy())


def measured_beam(samples: NDArray[np.complex64], waveform: Waveform, plan: Plan, stream: StreamInfo) -> Beam:
    """Gains from samples (M, N) of a sounding, and the weights of the beam.

    Raises CalibrationMismatch : gains cannot be measured. NotIdentifiable : a channel is not heard.
    """
    heard = read_sounding(samples, waveform, len(plan.tx_x))
    imp = plan.calibration.impairments
    response = imp.gain[:, None] * known_channel(plan.calibration, heard.frequency_hz)
    csi = heard.csi / response[None, :, None, :]
    if not np.array_equal(imp.coupling, np.eye(imp.n_elements)):
        csi = np.einsum("mn,bnks->bmks", np.linalg.inv(imp.coupling), csi)
    gains = transmit_gains(csi, heard.frequency_hz, plan.x, plan.tx_x, heard.window_s, stream.epoch)
    weights = beam_weights(plan.beam, gains, stream.epoch)
    peak = float(np.max(np.abs(np.outer(weights, waveform.samples).view(float))))
    weights = weights * min(1.0, _FULL_SCALE / peak)
    return Beam(plan.request, weights, gains, plan.calibration.id)


def send_beam(session: Session, waveform: Waveform, beam: Beam, want: TxConfig) -> None:
    """Send it in the place of the sounding. Raises CalibrationMismatch if an epoch has begun meanwhile."""
    session.transmit((beam.weights[:, None] * waveform.samples).astype(np.complex64), want)
    beam_weights(beam.weights, beam.gains, session.stream.epoch)


def wait_until_new(session: Session) -> None:
    """Until what is received was received after now."""
    mark = session.samples + round(_STALE_S * session.stream.fs_hz)
    while session.samples < mark and not session.wait(0.02):
        pass


def _sector_u(sector_deg: tuple[float, float]) -> NDArray[np.float64]:
    return np.sin(np.deg2rad(np.array([sector_deg])))
