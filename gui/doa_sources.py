"""The list of methods that give directions from live samples. Each adds itself: `register(DoaSource(...))`.

A source is made once for an array, a calibration and a grid, in the DSP thread, and is then asked for its spectrum and
its directions some 30 times a second. What it imports only for its work it imports in `make`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import ConfigError, ShapeError
from hil.core.frame import Frame, StreamInfo
from hil.dsp.doa import DoaFinder, Method
from hil.dsp.doa_accuracy import doa_sigma_deg
from hil.dsp.response import ArrayResponse

if TYPE_CHECKING:
    from gui.echo_map import EchoMap
    from gui.echoes import Echoes
    from gui.networks import Networks

Need = Literal["waveform", "calibration", "network"]
#: What the user has to do where a need is not met.
NEEDS: dict[Need, str] = {
    "waveform": "a known waveform: choose the one that is sent",
    "calibration": "a calibrated array: learn it, or load a calibration",
    "network": "a trained network: Load network in the menu Calibration, or hil gui --network; hil train makes one",
}
#: No directions, no standard deviations.
NOTHING = (np.zeros(0), np.zeros(0))
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What stays from picture to picture.

    stream : of the samples. response : of the array, nominal or calibrated. grid_deg : (G,) degrees, ascending.
    calibration : whose response it is, None for the nominal array. echoes : what is known from a waveform, None if nothing can be.
    networks : that are loaded. kept : channels that the response is of, None: all.
    """

    stream: StreamInfo
    response: ArrayResponse
    grid_deg: NDArray[np.float64]
    calibration: Calibration | None = None
    echoes: Echoes | None = None
    networks: Networks | None = None
    kept: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One moment: the newest frame as received; the covariance of the last n_snapshots samples of the channels that the
    response is of, delays, images and DC that the calibration knows undone; n_sources of them, 0 if nothing is heard."""

    frame: Frame
    covariance: NDArray[np.complex128]
    n_snapshots: int
    n_sources: int


class Solver(Protocol):
    """A source at work on one array. A HilError says in a line why it has no answer."""

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        """(G,) dB relative to the peak, over the grid of the setup; None if nothing is heard."""
        ...

    def find(self, look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Directions (K,) in degrees, best first, and their standard deviations with what the calibration leaves open, NaN
        where the method has none."""
        ...


@dataclass(frozen=True, slots=True)
class DoaSource:
    """name : as `--method` has it. label : on screen. words : one line. needs : what it cannot work without.

    apart : it takes milliseconds or large libraries: it works in a thread of its own, with the calibration if there is one, and
    is shown beside MUSIC. Its looks have no samples.
    """

    name: str
    label: str
    words: str
    make: Callable[[Setup], Solver]
    needs: tuple[Need, ...] = ()
    apart: bool = False


_SOURCES: dict[str, DoaSource] = {}


def register(source: DoaSource) -> None:
    """Add a source to the list. Raises ConfigError if the name is taken."""
    if source.name in _SOURCES:
        raise ConfigError(f"there is a method {source.name!r} already", where="method")
    _SOURCES[source.name] = source


def doa_sources() -> tuple[DoaSource, ...]:
    """All of them, in the order in which they were added."""
    return tuple(_SOURCES.values())


def get_source(name: str) -> DoaSource:
    """The source of that name. Raises ConfigError for an unknown one."""
    if name not in _SOURCES:
        raise ConfigError(
            f"unknown method {name!r}", where="method", hint=f"one of {', '.join(sorted(_SOURCES))}"
        )
    return _SOURCES[name]


def make_solver(name: str, setup: Setup) -> Solver:
    """The source at work. Raises ConfigError for an unknown name, and where something that it needs is missing."""
    source = get_source(name)
    check_needs(source, setup)
    return source.make(setup)


def check_needs(source: DoaSource, setup: Setup) -> None:
    """Raises ConfigError, with what to do, where something that a source needs is missing."""
    known = setup.echoes is not None and setup.echoes.waveform is not None
    network = None if setup.networks is None else setup.networks.get(source.name)
    have: dict[Need, object] = {
        "waveform": known or None, "calibration": setup.calibration, "network": network
    }  # fmt: skip
    for need in source.needs:
        if have[need] is None:
            raise ConfigError(f"{source.label} needs {NEEDS[need]}")


def relative_db(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """dB against the largest value, (G,)."""
    peak = max(float(power.max()), np.finfo(float).tiny)
    return 10 * np.log10(np.maximum(power / peak, _FLOOR))


def sigma_deg(setup: Setup, look: Look, doa_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation (K,) of directions that are as good as those of MUSIC."""
    sigma = doa_sigma_deg(
        look.covariance, setup.response, setup.stream.fc_hz, doa_deg, look.n_snapshots, look.n_sources
    )
    return sigma if setup.calibration is None else np.hypot(sigma, setup.calibration.gauge.angle_sigma_deg)


class _Searched:
    """Peaks of a spectrum. unbiased : also beside other sources; if not, one source alone has a standard deviation."""

    def __init__(
        self, setup: Setup, method: Method, *, unbiased: bool, finder: DoaFinder | None = None
    ) -> None:
        self._setup, self._unbiased = setup, unbiased
        self._finder = finder or DoaFinder(setup.response, setup.stream.fc_hz, setup.grid_deg, method=method)

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        return relative_db(self._finder.spectrum(look.covariance, look.n_sources)) if look.n_sources else None

    def find(self, look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not look.n_sources:
            return NOTHING
        doa = self._finder.find(look.covariance, look.n_sources)
        if not (self._unbiased or look.n_sources == 1):
            return doa, np.full(len(doa), np.nan)
        return doa, sigma_deg(self._setup, look, doa)


class _Rooted(_Searched):
    """MUSIC's spectrum with the directions of its polynomial."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, "music", unbiased=True)

    def find(self, look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from hil.dsp.root_music import root_music

        array = self._setup.calibration or self._setup.stream.geometry
        assert array is not None
        if not look.n_sources:
            return NOTHING
        try:
            doa = root_music(look.covariance, array, self._setup.stream.fc_hz, look.n_sources)
        except ShapeError:
            raise ConfigError(
                "root-MUSIC needs equal spacing, and the elements are not where that says",
                hint="choose MUSIC",
            ) from None
        return doa, sigma_deg(self._setup, look, doa)


class _Echoing:
    """The angle-delay map of the echoes, the highest over the delays; directions are its paths."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        made, setup = self._map(), self._setup
        if made is None:
            return None
        level = made.level_db.max(axis=1)
        period = 360.0 if setup.response.limits_deg[1] - setup.response.limits_deg[0] >= 360.0 else None
        over = np.interp(setup.grid_deg, made.angles_deg, level, period=period)
        return over - float(over.max())

    def find(self, look: Look) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        made = self._map()
        paths = () if made is None else made.paths
        return np.array([p.angle_deg for p in paths]), np.array([p.angle_sigma_deg for p in paths])

    def _map(self) -> EchoMap | None:
        """The newest one, if it is of this array."""
        echoes, calibration = self._setup.echoes, self._setup.calibration
        assert echoes is not None
        made = echoes.latest()
        if made is None:
            raise ConfigError(f"{echoes.reason.words} {echoes.reason.remedy}".strip())
        return made if made.calibration_id == ("" if calibration is None else calibration.id) else None


def _greedy(setup: Setup) -> Solver:
    from gui.doa_omp import Greedy

    return Greedy(setup)


def _soft(setup: Setup) -> Solver:
    from hil.jobs.doa_diffmusic import SoftMusic

    finder = SoftMusic(setup.response, setup.stream.fc_hz, setup.grid_deg)
    return _Searched(setup, "music", unbiased=True, finder=finder)


def _echo_pursuit(setup: Setup) -> Solver:
    from gui.doa_echo_omp import EchoPursuit

    return EchoPursuit(setup)


def _mod_dnn(setup: Setup) -> Solver:
    from gui.doa_networks import Unrolled

    return Unrolled(setup)


def _dual_path(setup: Setup) -> Solver:
    from gui.doa_networks import Likelihood

    return Likelihood(setup)


register(DoaSource(
    "music", "MUSIC", "Where the steering vector leaves the noise subspace: sharp; echoes of one signal confuse it",
    lambda setup: _Searched(setup, "music", unbiased=True),
))  # fmt: skip
register(DoaSource(
    "capon", "Capon", "The power that is left from a direction with all others suppressed: heights are powers",
    lambda setup: _Searched(setup, "capon", unbiased=False),
))  # fmt: skip
register(DoaSource(
    "bartlett", "Bartlett", "The power in a beam turned round: robust, as wide as the beam",
    lambda setup: _Searched(setup, "bartlett", unbiased=False),
))  # fmt: skip
register(DoaSource(
    "root-music", "root-MUSIC", "MUSIC by a polynomial: closer pairs than the spectrum shows; uniform lines only", _Rooted,
))  # fmt: skip
register(DoaSource(
    "omp", "OMP", "One direction after the other, each taken out before the next: also for echoes of one signal", _greedy,
))  # fmt: skip
register(DoaSource(
    "gpi", "GPI", "Echoes of a known waveform, matched in angle and delay with the gains and phases that were learned",
    _Echoing, needs=("waveform",),
))  # fmt: skip
register(DoaSource(
    "diffmusic", "diffMUSIC", "MUSIC with the soft maximum that differentiable MUSIC trains with, over windows of 0.6 degrees", _soft,
))  # fmt: skip
register(DoaSource(
    "differentiable-omp", "differentiable OMP", "Echoes of a known waveform picked one after the other in angle and delay, each read softly",
    _echo_pursuit, needs=("waveform",), apart=True,
))  # fmt: skip
register(DoaSource(
    "mod-dnn", "MoD-DNN", "A trained network on the responses of a known waveform: one direction, with errors that turn with the angle",
    _mod_dnn, needs=("waveform", "network"), apart=True,
))  # fmt: skip
register(DoaSource(
    "dual-path-vae", "dual-path VAE", "The likeliest directions, also of echoes of one signal; a trained network gives it its start",
    _dual_path, apart=True,
))  # fmt: skip
