"""Angle-delay maps of what streams, live: a known waveform, short looks at the samples, maps and paths. No Qt.

    session DSP thread --offer--> one look (some ms of samples, copied only when one is wanted)
    map thread:   look -> channel responses -> map, several times a second
    paths thread: channel responses -> paths with standard deviations, as often as its share of a core allows

Nothing is copied or computed while nobody asks for `latest`. What goes wrong ends no thread: `reason` says in words why
there is no map and what to do, and the next look is tried.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gui.echo_map import EchoMap, EchoView, MapMaker, estimate_paths
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError, HilError
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.core.waveform import Waveform
from hil.dsp.angle_delay_paths import PathEstimate
from hil.dsp.angle_delay_phase import aligned
from hil.dsp.correction import converter_errors, correct_samples, is_ideal
from hil.learning.csi_recording import CsiCapture, CsiGatherer, Mend
from hil.pipeline.latest import Latest

#: Name of a waveform that comes from the simulated scene itself.
SCENE_WAVEFORM = "the scene's own"
#: Maps a second at most, and shares of a core that maps and paths may take.
MAPS_HZ = 8.0
_MAP_SHARE = 0.25
_PATHS_SHARE = 0.25
#: A look: so long, so many symbols at least, so many values of all channels at most (a search may need more).
_LOOK_S = 8e-3
_LOOK_SYMBOLS = 24
_MOST_VALUES = 1 << 18
_LARGEST_VALUES = 1 << 22
#: Blocks of a look, for Doppler shifts.
_GROUPS = 8
_SEARCHED = 4096
#: Without a question for so long nothing is computed; a map older than this is not shown.
_WATCHED_S = 1.0
#: What a device still holds from before its transmission began or ended is told with the flags of now.
_SETTLE_S = 0.5
_FRESH_S = 1.5
_WAIT_S = 0.2
_JOIN_S = 10.0
_T = TypeVar("_T")
_BROKEN = FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW


@dataclass(frozen=True, slots=True)
class Reason:
    """Why there is no map, and what to do; words "" if there is one."""

    words: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """samples (M, n) of one epoch without gaps. own : the device transmitted. gap : some are missing before them."""

    samples: NDArray[np.complex64]
    first_sample: int
    clipped: NDArray[np.int64]
    t_mono_ns: int
    stream: StreamInfo
    own: bool
    gap: bool


#: What an estimate of paths holds for: epoch, own transmission, waveform, calibrated, reference.
_Key = tuple[str, bool, int, bool, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Responses:
    """Channel responses of a look. key : what estimates must share."""

    capture: CsiCapture
    calibration: Calibration | None
    view: EchoView
    own: bool
    t_mono_ns: int
    key: _Key


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    key: _Key
    estimate: PathEstimate
    t_mono_ns: int


class Echoes:
    """The OFDM side of a station. `offer` belongs to the DSP thread, everything else to any.

    Parameters
    ----------
    calibration : asked for the one in use.

    Attributes
    ----------
    scene : the waveform of the simulated scene that is connected, or None.
    """

    def __init__(self, calibration: Callable[[], Calibration | None] = lambda: None) -> None:
        self._calibration = calibration
        self._looks: Latest[_Look] = Latest("dsp -> map")
        self._responses: Latest[_Responses] = Latest("map -> paths")
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._view = EchoView()
        self._waveform: Waveform | None = None
        self._name = ""
        self.scene: Waveform | None = None
        self._asked = -np.inf
        self._wanted = False
        self._gap, self._next = False, 0
        self._flags, self._settled = FrameFlag.NONE, -np.inf
        self._parts: list[Frame] = []
        self._clipped: NDArray[np.int64] | None = None
        self._gather: tuple[object, CsiGatherer] | None = None
        self._maker = MapMaker()
        self._found: _Found | None = None
        self._refused: _Key | None = None
        self._map: EchoMap | None = None
        self._heard: _Responses | None = None
        self._reason = Reason()

    # ---- any thread ---------------------------------------------------------------------------------

    @property
    def waveform(self) -> Waveform | None:
        """What is looked for."""
        return self._waveform

    @property
    def name(self) -> str:
        """Of the waveform: its file, or where it comes from."""
        return self._name

    @property
    def view(self) -> EchoView:
        """What is wanted."""
        return self._view

    def use(self, waveform: Waveform | None, name: str = "") -> None:
        """Look for this waveform from now on; None: for nothing."""
        self._waveform, self._name = waveform, name
        self._map, self._found, self._heard, self._reason = None, None, None, Reason()
        if waveform is not None and not self._threads and not self._ended.is_set():
            for name_, work in (("map", self._make_maps), ("paths", self._find_paths)):
                thread = threading.Thread(target=work, name=f"hil-echo-{name_}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def opened(self, uri: str) -> None:
        """Another source: its scene's own waveform, unless the user has chosen one."""
        self.scene = scene_waveform(uri)
        if self._waveform is None or self._name == SCENE_WAVEFORM:
            self.use(self.scene, SCENE_WAVEFORM)

    def show(self, view: EchoView) -> None:
        """Other maps and paths from the next look on."""
        self._view = view

    def latest(self) -> EchoMap | None:
        """The newest map, None if there is none or it is old. Keeps the maps coming."""
        self._asked = time.monotonic()
        made = self._map
        if made is None or time.monotonic_ns() - made.t_mono_ns > _FRESH_S * 1e9:
            return None
        return made

    def heard(self) -> tuple[CsiCapture, PathEstimate | None] | None:
        """The newest channel responses, gains and delays of the receivers in them, and the paths found last in ones of their
        kind; None if there are none or they are old. Keeps them coming."""
        self._asked = time.monotonic()
        heard, found = self._heard, self._found
        if heard is None or time.monotonic_ns() - heard.t_mono_ns > _FRESH_S * 1e9:
            return None
        same = found is not None and found.key == heard.key
        return heard.capture, found.estimate if found is not None and same else None

    @property
    def reason(self) -> Reason:
        """Why `latest` has nothing while samples stream."""
        if self._waveform is None:
            return Reason(
                "What is transmitted is not known.",
                "choose the waveform's file, make one in the transmit panel, or connect a simulated scene",
            )
        return self._reason if self._reason.words else Reason("Waiting for samples.")

    def close(self) -> bool:
        """End the threads; True if they have ended. Idempotent."""
        self._ended.set()
        self._looks.close()
        self._responses.close()
        for thread in self._threads:
            thread.join(_JOIN_S)
        return not any(thread.is_alive() for thread in self._threads)

    # ---- in the DSP thread ----------------------------------------------------------------------------

    def offer(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """A frame of the stream. Never waits; copies it only if a look is wanted."""
        waveform, restarted = self._waveform, frame.first_sample < self._next
        if (frame.flags ^ self._flags) & FrameFlag.TRANSMITTING:
            self._settled = time.monotonic() + _SETTLE_S
        self._flags = frame.flags
        self._next = frame.first_sample + frame.samples.shape[1]
        if restarted or frame.flags & _BROKEN:
            self._gap, self._parts = True, []
        now = time.monotonic()
        if waveform is None or not self._wanted or not self._settled <= now <= self._asked + _WATCHED_S:
            self._parts = []
            return
        if self._parts and not _goes_on(self._parts[-1], frame):
            self._parts = []
        n = look_samples(waveform, frame.stream)
        have = sum(part.samples.shape[1] for part in self._parts)
        if not self._parts:
            self._clipped = np.zeros(len(clipped), np.int64)
        assert self._clipped is not None
        self._clipped += clipped
        self._parts.append(replace(frame, samples=frame.samples[:, : n - have].copy()))
        if have + frame.samples.shape[1] >= n:
            self._wanted = False
            self._looks.put(self._gathered(), n)

    def _gathered(self) -> _Look:
        parts, self._parts = self._parts, []
        gap, self._gap = self._gap, False
        first, last = parts[0], parts[-1]
        samples = first.samples if len(parts) == 1 else np.concatenate([p.samples for p in parts], axis=1)
        assert self._clipped is not None
        own = bool(first.flags & FrameFlag.TRANSMITTING)
        return _Look(samples, first.first_sample, self._clipped, last.t_mono_ns, first.stream, own, gap)

    # ---- in the threads of maps and paths -------------------------------------------------------------

    def _make_maps(self) -> None:
        def one(look: _Look) -> None:
            responses = self._heard = self._demodulated(look)
            self._responses.put(responses, 1)
            found = self._found
            if found is None or found.key != responses.key:
                if self._refused != responses.key:
                    self._tell("Measuring the direct path and the echoes.")
                return
            self._map = self._maker.make(
                responses.capture, responses.view, responses.calibration, found.estimate,
                t_mono_ns=responses.t_mono_ns, paths_t_mono_ns=found.t_mono_ns,
            )  # fmt: skip
            self._reason = Reason()

        def ready() -> _Look | None:
            self._wanted = True
            return self._looks.take(_WAIT_S)

        self._work(ready, one, _MAP_SHARE, 1 / MAPS_HZ)

    def _find_paths(self) -> None:
        def one(responses: _Responses) -> None:
            r = responses
            try:
                estimate = estimate_paths(r.capture, r.view, r.calibration, own=r.own)
            except HilError:
                self._refused = r.key  # its reason stays
                raise
            self._refused = None
            self._found = _Found(r.key, estimate, r.t_mono_ns)

        self._work(lambda: self._responses.take(_WAIT_S), one, _PATHS_SHARE, 0.0)

    def _work(
        self, ready: Callable[[], _T | None], one: Callable[[_T], None], share: float, period_s: float
    ) -> None:
        """Do one thing after the other until the end, with pauses that keep to the share of a core."""
        while not self._ended.is_set():
            item = ready()
            if item is None:
                continue
            began, used = time.monotonic(), time.thread_time()
            try:
                one(item)
            except HilError as err:
                self._tell(f"{err}.", err.hint)
            except Exception as err:  # noqa: BLE001 - top level of a thread: told to the user
                self._tell(f"{type(err).__name__}: {err}.", "please report it")
            cost = time.thread_time() - used
            self._ended.wait(max(period_s - (time.monotonic() - began), cost * (1 / share - 1), 0.0))

    def _tell(self, words: str, remedy: str = "") -> None:
        self._reason = Reason(words, remedy)

    def _demodulated(self, look: _Look) -> _Responses:
        """Channel responses of a look. Raises what explains that there are none."""
        stream, waveform, view = look.stream, self._waveform, self._view
        if waveform is None:
            raise ConfigError("what is transmitted is not known", hint="choose the waveform's file")
        if stream.geometry is None:
            raise ConfigError(
                "the array is not known", hint="enter it, for example ula:4:0.5, and connect again"
            )
        if stream.n_channels < 2:
            raise ConfigError("one element has no directions", hint="use two channels or more")
        calibration = self._calibration() if view.calibrated else None
        mend = _mend(calibration, stream)
        key = (
            stream.epoch.id,
            stream.config,
            look.own,
            id(waveform),
            calibration.id if calibration and mend else "",
        )
        if self._gather is None or self._gather[0] != key:
            n = look.samples.shape[1]
            self._gather = key, CsiGatherer(waveform, stream, n, _GROUPS, own=look.own, mend=mend)
        gather = self._gather[1]
        gather.push(look.samples, look.first_sample, gap=look.gap, clipped=look.clipped)
        try:
            capture = gather.take()
        except HilError as err:
            if not look.own:
                err.hint = f"nothing is transmitted by this device: press Transmit, or {err.hint}"
            raise
        about = (stream.epoch.id, look.own, id(waveform), calibration is not None, view.reference)
        capture = replace(capture, csi=aligned(capture.csi)[0]).averaged(_GROUPS)
        return _Responses(capture, calibration, view, look.own, look.t_mono_ns, about)


def look_samples(waveform: Waveform, stream: StreamInfo) -> int:
    """Samples per channel of a look: enough to find the waveform, and no more than can be demodulated in a few ms.

    A waveform without symbols needs one sample only: the receiver says what is wrong with it.
    """
    layout = waveform.layout
    if layout is None:
        return 1
    period = len(waveform.samples)
    search = period * max(2, -(-_SEARCHED // period)) + 2 * layout.symbol_samples
    least = max(search, _LOOK_SYMBOLS * layout.symbol_samples)
    most = max(_MOST_VALUES // stream.n_channels, least)
    return int(np.clip(round(_LOOK_S * stream.fs_hz), min(least, _LARGEST_VALUES // stream.n_channels), most))


def scene_waveform(uri: str) -> Waveform | None:
    """What the first OFDM or SRS emitter of a `sim:` scene sends; without one, its [ofdm] table to be transmitted.

    None for other devices, and where the scene's rate has no such waveform.
    """
    from sim_backend.drawn import stream
    from sim_backend.scene import load_scene
    from sim_backend.signals import emitter_waveform

    if not uri.startswith("sim:"):
        return None
    with contextlib.suppress(HilError):
        scene = load_scene(uri.removeprefix("sim:").split("?")[0] or None)
        sends = [k for k, e in enumerate(scene.emitters) if e.waveform in ("ofdm", "srs")]
        kind = scene.emitters[sends[0]].waveform if sends else "ofdm"
        rng = stream(scene.seed, "waveform", sends[0] if sends else 0)
        made = emitter_waveform(scene.ofdm, kind, scene.receiver.fs_hz, rng)
        return made if abs(made.fs_hz / scene.receiver.fs_hz - 1) < 1e-9 else None
    return None


def _goes_on(last: Frame, frame: Frame) -> bool:
    """Whether a frame follows another one without a gap, change or epoch between them."""
    same = last.stream.epoch.id == frame.stream.epoch.id and last.stream.config == frame.stream.config
    sending = (last.flags ^ frame.flags) & FrameFlag.TRANSMITTING
    return same and not sending and last.first_sample + last.samples.shape[1] == frame.first_sample


def _mend(calibration: Calibration | None, stream: StreamInfo) -> Mend | None:
    """Undoes the IQ images and DC that the calibration knows; None: nothing to undo."""
    if calibration is None or calibration.geometry.n_elements != stream.n_channels:
        return None
    errors = converter_errors(calibration.impairments)
    return None if is_ideal(errors) else lambda samples: correct_samples(samples, errors, stream.fs_hz)
