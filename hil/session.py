"""A receiver at work: reader thread, recorder, DSP, and exact accounts of every sample.

    device -> reader -> ring -> recorder
                     -> ring -> dsp -> on_frame(frame, clipped)

The reader only receives. Settings reach it as commands applied between blocks and answered with a new
StreamInfo. The GUI and the command line are clients of this class.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from drivers.convert import to_block, wire_buffer
from hil import session_stages as stages
from hil.core.device import RxConfig, RxDevice, TxConfig
from hil.core.errors import ConfigError, DeviceError, DeviceStateError, DeviceTimeout, HilError
from hil.core.frame import Block, Frame, StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.core.priority import preferred_process
from hil.core.waveform_types import Waveform
from hil.pipeline.commands import Commands
from hil.pipeline.graph import Graph
from hil.pipeline.ledger import Edge
from hil.pipeline.policy import Policy
from hil.pipeline.ring import BlockRing
from hil.pipeline.stage import Stage
from hil.recorder import RecordingSummary
from hil.session_summary import Accounts, SessionSummary
from hil.transmission import Transmission, join_hints

_READ_TIMEOUT_S = 2.0
_SILENCE_LIMIT_S = 10.0
_COMMAND_TIMEOUT_S = 15.0


class Session:
    """One opened receiver. Not thread-safe except where said; `close` releases the device.

    Parameters
    ----------
    device : an RxDevice; the session owns it from now on.
    geometry : nominal array in channel order, or None.
    """

    def __init__(self, device: RxDevice, geometry: ArrayGeometry | None = None) -> None:
        self.device = device
        self.geometry = geometry
        self._stream: StreamInfo | None = None
        self._graph: Graph | None = None
        self._commands, self._transmission = Commands(), Transmission(device)
        self._finished = threading.Event()
        self._accounts, self._ahead, self._recordings = Accounts(), False, 0
        self._overloads: NDArray[np.int64] = np.zeros(0, np.int64)
        self._fanout, self._conditions = stages.Fanout(), ExitStack()
        self._recorder: stages.BlockSink | None = None
        self._recording: stages.Branch | None = None

    @property
    def stream(self) -> StreamInfo:
        """The StreamInfo in force. Raises DeviceStateError before `configure`."""
        if self._stream is None:
            raise DeviceStateError("the session is not configured", hint="call configure() first")
        return self._stream

    @property
    def running(self) -> bool:
        """True between start and stop."""
        return self._graph is not None

    @property
    def samples(self) -> int:
        """Samples per channel received since start; may be asked from any thread."""
        return self._accounts.samples

    @property
    def losses(self) -> tuple[int, bool]:
        """(samples lost so far at least, whether that is exact); may be asked from any thread."""
        return self._accounts.lost, not self._accounts.lost_unknown

    @property
    def gaps(self) -> int:
        """Discontinuities so far; may be asked from any thread."""
        return self._accounts.gaps

    @property
    def skipped(self) -> int:
        """Samples per channel that on_frame has not seen because it was too slow; may be asked from any thread."""
        return 0 if self._graph is None else sum(c.dropped for c in self._graph.ledger.counts().values())

    @property
    def finished(self) -> bool:
        """True once the asked number of samples has been received or a stage has failed."""
        return self._finished.is_set() or (self._graph is not None and self._graph.error is not None)

    def configure(self, want: RxConfig) -> StreamInfo:
        """Apply settings, also while running (between two blocks); returns what the hardware took."""
        if self._graph is None or self._finished.is_set():
            return self._apply(want)
        m = self.stream.n_channels
        if want.channels is not None and len(want.channels) != m:
            raise DeviceStateError(
                f"{len(want.channels)} channels: the session streams {m}", uri=self.device.info.uri,
                hint="stop it before channels are added or removed",
            )  # fmt: skip
        return self._between_blocks(lambda: self._apply(want))

    def _apply(self, want: RxConfig) -> StreamInfo:
        self._stream = self._located(self.device.configure(want))
        return self._stream

    def _between_blocks(self, work: Callable[[], Any]) -> Any:
        """What `work` returns or raises; while running it runs in the reader's thread."""
        if self._graph is None or self._finished.is_set():
            return work()
        late = DeviceTimeout("the reader did not take the new settings", uri=self.device.info.uri)
        return self._commands.ask(work, self._graph.raise_error, _COMMAND_TIMEOUT_S, late)

    def transmit(self, signal: Waveform | NDArray[np.complex64], want: TxConfig | None = None) -> TxConfig:
        """Send a signal cyclically until `stop_transmitting`, or until the run ends; returns the settings read back.

        signal : a waveform made for the receiver's rate, for every selected channel; or samples (C, n) complex64.
        want : without `attenuation_db` the greatest one stays; without `fc_hz` it is the receiver's carrier, which
            may begin a new epoch: transmit before `start` to have that before the first sample.

        Raises DriverUnavailable, ConfigError (a waveform for another rate), UnsupportedSetting, ShapeError,
        DeviceError; nothing is sent then.
        """
        return self._between_blocks(lambda: self._transmission.send(signal, want, self.stream))

    def stop_transmitting(self) -> None:
        """Silence the transmitter. Idempotent. Raises ConnectionLost if it may go on transmitting."""
        self._between_blocks(self._transmission.stop)

    def start(
        self,
        *,
        recorder: stages.BlockSink | None = None,
        on_frame: stages.FrameSink | None = None,
        n_samples: int | None = None,
        source_waits: bool = False,
    ) -> None:
        """Start streaming. The recorder is closed by `stop`.

        recorder : gets every block; losing one ends the session with CaptureOverrun.
        on_frame : gets every frame and its clip counts (M,) in the DSP thread; too slow, it misses the oldest.
        n_samples : stop receiving after so many samples per channel.
        source_waits : the source waits for its reader, as a simulation can: slow consumers miss nothing.
        """
        if self._graph is not None:
            raise DeviceStateError("the session runs already", hint="stop it first")
        stream = self.stream
        self._ahead = not source_waits and getattr(self.device, "reads_ahead", False)
        self._accounts = Accounts()
        self._overloads = np.zeros(stream.n_channels, np.int64)
        self._finished.clear()
        self._recordings = 0
        self._fanout = fanout = stages.Fanout()
        branches: list[Stage] = []
        rings: list[BlockRing] = []
        if recorder is not None:
            keep = Policy.BLOCK if source_waits else Policy.FAIL
            self._recorder, self._recording = recorder, self._recording_of(recorder, keep, vital=True)
            branches.append(self._recording.stage)
            rings.append(self._recording.ring)
        if on_frame is not None:
            late = Policy.BLOCK if source_waits else Policy.DROP_OLDEST
            dsp = stages.ring_for(stream, "reader -> dsp", late)
            rings.append(dsp)
            branches.append(
                Stage("dsp", lambda stop: stages.process_frames(dsp, on_frame, self._overloads), closes=[dsp])
            )
        for ring in rings:
            fanout.add(ring)
        reader = Stage(
            "reader",
            lambda stop: self._transmission.during(lambda: self._read(stop, n_samples)),
            source=True,
            closes=[fanout],
            unblock=self.device.stop,
        )
        graph = Graph([reader, *branches], rings)
        self.device.start()
        # a BLAS that spins on every core starves the reader: docs/adr/0007
        self._conditions.enter_context(threadpool_limits(1))
        self._conditions.enter_context(preferred_process())
        self._graph = graph
        graph.start()

    def branch(self, name: str, take: Callable[[Block], None]) -> None:
        """Give `take` every block from the next one on, in a thread of its own, until the run ends.

        When it is too slow it misses the oldest ones; a HilError that it raises ends it and nothing else. name : used
        once in a run. Raises DeviceStateError if nothing runs.
        """
        self._grow(stages.Branch(self.stream, name, take, Policy.DROP_OLDEST, vital=False))

    def _grow(self, branch: stages.Branch) -> None:
        self._attach(branch.stage, branch.ring, branch.ring)

    def _attach(self, stage: Stage, edge: Edge, outlet: stages.Outlet) -> None:
        if self._graph is None:
            raise DeviceStateError("the session does not run", hint="start it first")
        self._graph.add(stage, edge)
        self._between_blocks(lambda: self._fanout.add(outlet))

    def newest(self, name: str, take: Callable[[Frame], None], *, n_samples: int, hz: float) -> None:
        """Give `take` the newest samples now and then, in a thread of its own (`session_stages.Newest`), until the run
        ends; `on_frame` does not hold it up. Raises DeviceStateError if nothing runs."""
        newest = stages.Newest(name, take, n_samples, hz)
        self._attach(newest.stage, newest.edge, newest)

    def record(self, recorder: stages.BlockSink) -> None:
        """Record from the next block on, while running. The recorder is closed by `stop_recording` or `stop`.

        Its failure does not end the stream: see `recording_error`. Raises DeviceStateError if nothing runs, or one is
        made already.
        """
        if self._recorder is not None:
            raise DeviceStateError("a recording is made already", hint="stop it first")
        self._grow(branch := self._recording_of(recorder, Policy.FAIL, vital=False))
        self._recorder, self._recording = recorder, branch

    @property
    def recording_error(self) -> HilError | None:
        """What ended the recording that `stop_recording` will close; may be asked from any thread."""
        return None if self._recording is None else self._recording.error

    def stop_recording(self) -> RecordingSummary | None:
        """End the recording after the present block and close it; the stream goes on. None if there is none.

        Raises what the recorder raised.
        """
        if self._recorder is None or self._recording is None or self._graph is None:
            return None
        branch = self._recording
        self._between_blocks(lambda: self._fanout.remove(branch.ring))
        branch.stage.join(_COMMAND_TIMEOUT_S)
        recorder, self._recorder, self._recording = self._recorder, None, None
        summary = recorder.close()
        if branch.error is not None:
            raise branch.error
        return summary

    def _recording_of(self, recorder: stages.BlockSink, policy: Policy, *, vital: bool) -> stages.Branch:
        self._recordings += 1
        name = f"recorder {self._recordings}" if self._recordings > 1 else "recorder"
        return stages.Branch(self.stream, name, recorder.write, policy, vital=vital)

    def wait(self, timeout_s: float) -> bool:
        """True once the asked samples are there; raises what a stage raised."""
        done = self._finished.wait(timeout_s) if self._graph and self._graph.error is None else True
        if self._graph is not None:
            self._graph.raise_error()
        return done

    def stop(self) -> SessionSummary:
        """Stop streaming, silence the transmitter, finish the recording, check the ledger. Does not raise the
        stages' errors (`raise_error` does), so that the summary of a failed capture can be had."""
        edges: dict[str, dict[str, int]] = {}
        if self._graph is not None:
            graph = self._graph
            try:
                edges = {name: asdict(counts) for name, counts in graph.stop(timeout_s=20.0).items()}
            finally:
                self._error = graph.error or self.recording_error
                self._graph = None
                self._conditions.close()
                try:
                    self._error = self._transmission.silenced(self._error)
                finally:
                    self.device.stop()
        recording = self._recorder.close() if self._recorder is not None else None
        self._recorder = self._recording = None
        return self._accounts.summary(self._overloads, edges, recording)

    _error: Exception | None = None

    def raise_error(self) -> None:
        """Raise the error that ended the last run, if any."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop and release the device, transmitter first. Idempotent. Raises ConnectionLost if that may go on."""
        try:
            if self._graph is not None or self._recorder is not None:
                self.stop()
        finally:
            self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DeviceError as err:
            if not isinstance(error, HilError):
                raise
            join_hints(error, err)

    def _located(self, stream: StreamInfo) -> StreamInfo:
        """The device's StreamInfo with our geometry: hardware never knows its geometry."""
        geometry = self.geometry or stream.geometry
        if geometry is not None and geometry.n_elements != stream.n_channels:
            geometry = None
        return replace(stream, geometry=geometry)

    def _read(self, stop: threading.Event, n_samples: int | None) -> None:
        stream = self.stream
        size = stages.block_samples(stream)
        if self._ahead:
            size *= stages.blocks_together(stream)
        buffer = wire_buffer(size, stream.n_channels, stream.device.wire)
        seq = 0
        base: int | None = None
        device_stream: StreamInfo | None = None
        quiet_since = time.monotonic()
        pause = stages.pause_s(stream) if self._ahead else 0.0
        while not stop.is_set() and (n_samples is None or self._accounts.samples < n_samples):
            self._commands.serve()
            room = size if n_samples is None else min(size, n_samples - self._accounts.samples)
            try:
                result = self.device.read(buffer[:room], _READ_TIMEOUT_S)
            except DeviceTimeout:
                if getattr(self.device, "paused", False):
                    quiet_since = time.monotonic()
                if time.monotonic() - quiet_since > _SILENCE_LIMIT_S:
                    raise
                continue
            quiet_since = time.monotonic()
            if result.stream is not device_stream:
                device_stream = result.stream
                self._stream = stream = self._located(result.stream)
                self._accounts.epochs.add(stream.epoch.id)
            if base is None:
                base = stages.skipped(self.device)
            block = replace(
                to_block(buffer, result, seq), stream=stream, first_sample=result.first_sample + base
            )
            seq += 1
            self._accounts.take(block)
            self._fanout.push(block)
            if pause and result.n < room:
                stop.wait(quiet_since + pause - time.monotonic())
        self._finished.set()


def open_session(
    uri: str | RxDevice, array: Callable[[float], ArrayGeometry] | None = None, want: Any = None
) -> Session:
    """Open a device, configure it, and place the array at the carrier that it took.

    Parameters
    ----------
    uri : device URI, or a device that is open already. array : fc_hz -> ArrayGeometry (wavelengths need the carrier), or None.
    want : n_elements (or None) -> RxConfig, or None to leave the device as it is.

    Raises
    ------
    DeviceError : from the driver. ConfigError : the array has more elements than the device has channels.
    """
    from drivers.registry import open_device

    device = open_device(uri) if isinstance(uri, str) else uri
    try:
        session = Session(device)
        geometry = None
        asked: RxConfig = want(None) if want is not None else RxConfig()
        if array is not None:
            # the number of elements decides the channels; their places need the carrier that was taken
            n = array(asked.fc_hz or 1e9).n_elements
            if n > device.caps.n_channels:
                raise ConfigError(
                    f"{n} elements on {device.caps.n_channels} channels", where="--array",
                    hint="give as many elements as there are channels, or add boards: iio:ip:A,ip:B",
                )  # fmt: skip
            asked = replace(asked, channels=tuple(range(n)))
        stream = device.configure(asked)
        if array is not None:
            geometry = array(stream.fc_hz)
        session.geometry = geometry
        session._stream = session._located(stream)
        return session
    except BaseException:
        device.close()
        raise
