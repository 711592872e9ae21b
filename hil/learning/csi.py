"""OFDM channel responses as the input of a learner: from a file, or from a capture that carries a known waveform."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.channel.fit import ChannelFit
from calib.channel.looks import ArrayModel, SourceLook, channels_of_looks, leads_s, separation_loss
from calib.csi import ChannelResponses, load
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import Epoch
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.core.impairments import Impairments
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay_direct import DirectChoice
from hil.dsp.angle_delay_foreign import whitener_of, words_on_others
from hil.dsp.angle_delay_looks import Look, Separated, hears_only_itself, separate
from hil.learning.csi_anchor import anchored, span_s
from hil.learning.csi_ghosts import without_ghosts
from hil.learning.csi_recording import CsiCapture
from hil.learning.csi_skew import centre_hz, level, without_rough_skew
from hil.learning.csi_speeds import speeds_m_s, what_was_used
from hil.learning.observe import CovarianceBatch
from hil.learning.settings import LearnSettings

_DEFAULT_BLOCK_S = 1e-3
_MOST_SAMPLES = 2.0**62
#: Share of a look's energy in one constant vector from which it counts as standing still.
_STILL = 0.95
#: A scene that stands still is averaged to this many blocks: enough for every test, each with little noise.
_STILL_BLOCKS = 96
#: Part of its energy that each look must keep in longer blocks.
_KEPT = 0.8
#: Phase at the band's edge from the array's own size, from which on it is taken out and the array learned again.
_WIDE_RAD = 0.1
#: Neighbouring blocks of one direction differ by no more than this (one minus squared correlation) beyond noise.
_ALIKE = 1e-3
#: Below this share at fixed delays the delays are not fixed.
_MOST_EXPLAINED = 0.9
#: Sources lie at delay zero to a small part of a bin; the search window is half of one on each side.
_WINDOW_BINS = 0.5


def is_csi(path: Path) -> bool:
    """True for files of channel responses."""
    return path.suffix == ".npz"


def read_csi(path: Path, array: str | None, fc_hz: float | None) -> tuple[ChannelResponses, StreamInfo, str]:
    """Channel responses, the stream that they stand for, SHA-256 of the file.

    Raises ConfigError if array or carrier are not given, CalibrationError if the file is not what it should be.
    """
    if array is None:
        raise ConfigError(
            "channel responses do not say what the array is", where="--array", hint="--array ula:8:0.5"
        )
    if fc_hz is None:
        raise ConfigError("channel responses do not say their carrier", where="--fc", hint="--fc 2.45G")
    csi = load(path)
    peak = float(np.abs(csi.csi).max())
    if not 0 < peak < np.inf:
        raise ConfigError(
            "all channel responses are zero" if peak == 0 else "values are too large", where=str(path)
        )
    csi = replace(csi, csi=csi.csi / peak)  # their scale has no meaning; squares must not overflow
    geometry = parse_array(array, fc_hz)
    m = csi.n_elements
    if geometry.n_elements != m:
        raise ShapeError(
            f"--array: {geometry.n_elements} elements, the channel responses have {m}",
            hint="give an array with as many elements as the responses",
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    band_hz = csi.subcarrier_spacing_hz * csi.n_subcarriers
    config = RxConfig(
        fc_hz=fc_hz, fs_hz=band_hz, bandwidth_hz=band_hz, gain_db=(0.0,) * m, channels=tuple(range(m))
    )
    device = DeviceInfo(
        str(path), "file", "channel responses", "", "", tuple((i,) for i in range(m)), WireFormat.CF32, 16
    )
    return csi, StreamInfo(config, device, Epoch("", digest[:32], cause="file"), geometry), digest


def batch_of(csi: ChannelResponses, stream: StreamInfo) -> CovarianceBatch:
    """Covariances over the subcarriers, one block per response."""
    if csi.n_subcarriers <= csi.n_elements:
        raise ShapeError(
            f"csi: {csi.n_subcarriers} subcarriers are too few for {csi.n_elements} elements",
            hint="more subcarriers than elements are needed",
        )
    obs = csi.covariances()
    b = csi.n_blocks
    time_s = csi.time_s if csi.time_s is not None else _DEFAULT_BLOCK_S * np.arange(b)
    if not (time_s[-1] - time_s[0]) * stream.fs_hz < _MOST_SAMPLES:
        raise ConfigError(
            f"time_s: {time_s[-1] - time_s[0]:.3g} s at {stream.fs_hz:.3g} Hz bandwidth is no capture",
            hint="time_s in seconds, subcarrier_spacing_hz in Hz",
        )
    first = np.round((time_s - time_s[0]) * stream.fs_hz).astype(np.int64)
    return CovarianceBatch(obs.covariance, first, obs.n_snapshots, stream.fs_hz, stream.epoch.counter)


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What a learner gets from a capture: one source per block, moved to delay zero.

    csi : looks one after the other, each with all its blocks; time_s counts on from look to look. settings : with the
    anchors moved to the times of their look. removed_s (M,) : delays that were taken out of the channels around
    centre_hz, the middle of the band, so that one gain each is left: the channels' own and, of zero mean, what the
    directions add. looks : the same blocks on the subcarriers frequency_hz (S,) that were sent, still with those
    that are used; `measure_channels` tells delays and directions apart. loss (M,) : of `separation_loss`.
    """

    csi: ChannelResponses
    settings: LearnSettings
    removed_s: NDArray[np.float64]
    centre_hz: float
    looks: tuple[SourceLook, ...]
    frequency_hz: NDArray[np.float64]
    loss: NDArray[np.float64]
    notes: tuple[str, ...]


def lessons_of(
    capture: CsiCapture,
    settings: LearnSettings,
    *,
    direct: DirectChoice,
    own: bool = False,
    anchor_range_m: float | None = None,
) -> Lessons:
    """Blocks with one source each out of the channel responses of a capture, the direct path removed.

    Targets that stand still at K delays are K looks at the array. A source that moves in angle is one look whose blocks
    differ. own : the array's own transmitter was on: a single component is its direct path. anchor_range_m : which target an anchor without times speaks of; None: the strongest.

    Raises
    ------
    NotIdentifiable : nothing but a direct path. ConfigError : an anchor that cannot be assigned.
    """
    geometry = capture.stream.geometry
    assert geometry is not None
    exact = settings.position_std_wavelengths == 0

    def parted(of: CsiCapture) -> Separated:
        apart = separate(
            of.csi,
            geometry.positions_m,
            of.stream.fc_hz,
            of.frequency_hz,
            direct=direct,
            exact_positions=exact,
        )
        return without_ghosts(apart, of.csi, of.frequency_hz, _STILL)

    found = parted(capture)
    found, capture, levelled_s = without_rough_skew(found, capture, parted)
    if hears_only_itself(found, direct, own=own):
        direct = "yes"
        found = parted(capture)
    still = all(look.still > _STILL for look in found.looks)
    others = words_on_others(whitener_of(capture.csi / found.deviation[:, None])[1])
    run = capture.longest
    speeds, most_m_s = speeds_m_s(
        [replace(look, values=look.values[run]) for look in found.looks],
        capture.time_s[run],
        capture.stream.fc_hz,
    )
    if not still and len(found.looks) > 1 and _explained(found, capture) < _MOST_EXPLAINED:
        return _wandering(found, capture, settings, levelled_s)
    blocks = _STILL_BLOCKS
    while still and found.looks and len(capture) > blocks:
        few = capture.averaged(blocks)
        trial = parted(few)
        # what moves towards the array or away turns its phase: then longer means lose it
        if _all_kept(found, trial):
            capture, found = few, trial
            break
        blocks *= 2
    if not found.looks:
        raise NotIdentifiable(
            "these data show a direct path and no target or emitter", parameters=["gain", "phase"],
            hint="; ".join(
                [*others, "capture with targets in view, longer or with more power; --no-direct-path if there is none"]
            ),
        )  # fmt: skip
    found, capture, removed = level(found, capture, parted)
    removed = removed + levelled_s
    notes = [*capture.notes, *found.notes, *others]
    responses = found.responses * found.deviation[:, None]
    csi, time_s = _stacked(responses, capture)
    used = what_was_used(speeds, most_m_s, still=still, own=own)
    notes += [used] if used else []
    settings, told = anchored(settings, found, capture, anchor_range_m, still=still)
    whole = np.stack([_whole(look) for look in found.looks])
    looks = tuple(
        SourceLook(part[kept], at_zero=True, still=look.still > _STILL)
        for part, kept, look in zip(responses, whole, found.looks, strict=True)
    )
    kept = whole.ravel()
    if not kept.all():
        notes.append(
            f"{np.count_nonzero(~kept)} of {len(kept)} blocks, in which the source moved, were left out"
        )
        csi, time_s = csi[kept], time_s[kept]
    window = _WINDOW_BINS / (capture.spacing_hz * csi.shape[2])
    return Lessons(
        ChannelResponses(csi, capture.spacing_hz, time_s, None, (-window, window)), settings, removed,
        centre_hz(capture) + capture.carrier_offset_hz, looks, _heard_hz(capture), _loss(found, capture, still=still), (*notes, *told),
    )  # fmt: skip


def _all_kept(found: Separated, trial: Separated) -> bool:
    """Whether each look is still there with most of its energy."""
    if len(trial.looks) != len(found.looks):
        return False
    before, after = (
        [look.energy for look in sorted(of.looks, key=lambda look: look.delay_s)] for of in (found, trial)
    )
    return all(b > _KEPT * a for a, b in zip(before, after, strict=True))


def _loss(found: Separated, capture: CsiCapture, *, still: bool) -> NDArray[np.float64]:
    delays = np.array([look.delay_s for look in found.looks])
    vectors = np.stack([look.vector for look in found.looks])
    others = np.array([] if found.direct is None else [found.direct.delay_s])
    return separation_loss(capture.frequency_hz, delays, vectors, others, still=still)


def _heard_hz(capture: CsiCapture) -> NDArray[np.float64]:
    """(S,) where the receivers hear the subcarriers, from their own carrier."""
    return capture.frequency_hz + capture.carrier_offset_hz


def _whole(look: Look) -> NDArray[np.bool_]:
    """(B,) False for blocks with two directions in them: a hop in the middle agrees with neither neighbour."""
    values = look.values
    if look.still > _STILL or len(values) < 3:
        return np.ones(len(values), bool)
    energy = np.maximum(np.sum(np.abs(values) ** 2, axis=1), 1e-9)
    cross = np.abs(np.sum(values[1:] * values[:-1].conj(), axis=1)) ** 2
    noise = values.shape[1] * (1 / energy[1:] + 1 / energy[:-1])
    alike = 1 - cross / (energy[1:] * energy[:-1]) < _ALIKE + 3 * noise
    whole = np.concatenate(([False], alike)) | np.concatenate((alike, [False]))
    return whole if np.mean(whole) > 0.3 else np.ones(len(values), bool)


def _without_direct(found: Separated, capture: CsiCapture) -> NDArray[np.complex128]:
    """(B, M, S) the capture, delay zero at the direct path, and what is constant there removed."""
    csi = capture.csi.astype(np.complex128)
    if found.direct is None:
        return csi
    csi = csi * np.exp(2j * np.pi * capture.frequency_hz * found.direct.delay_s)
    return csi - csi.mean(axis=(0, 2))[:, None]


def _explained(found: Separated, capture: CsiCapture) -> float:
    """Share of the energy above noise, without the direct path, that lies at the delays of the looks."""
    rest = _without_direct(found, capture) / found.deviation[:, None]
    total = float(np.sum(np.abs(rest) ** 2)) - rest.size
    return sum(look.energy for look in found.looks) / max(total, 1e-9)


def _wandering(
    found: Separated, capture: CsiCapture, settings: LearnSettings, removed_s: NDArray[np.float64]
) -> Lessons:
    """One source whose delay changes with its angle: blocks as they are, the learner finds the delay of each."""
    rest = _without_direct(found, capture)
    csi, time_s = _stacked(rest[None], capture)
    m, s = csi.shape[1:]
    period_s = 1 / capture.spacing_hz
    bin_s = period_s / s
    zero = found.direct.delay_s if found.direct is not None else 0.0
    high = period_s - 2 * bin_s
    if capture.prefix is not None:
        high = min(high, capture.prefix.clean_s[1] - zero)
    low = _WINDOW_BINS * bin_s if found.direct is not None else max(-bin_s, high - period_s)
    notes = (*capture.notes, *found.notes[:1], "the source changes its delay: each block is searched for it")
    look = SourceLook(rest, at_zero=False, still=False)
    return Lessons(
        ChannelResponses(csi, capture.spacing_hz, time_s, None, (low, max(high, low + bin_s))), settings,
        removed_s, centre_hz(capture) + capture.carrier_offset_hz, (look,), _heard_hz(capture), np.ones(m), notes,
    )  # fmt: skip


def _stacked(
    responses: NDArray[np.complex128], capture: CsiCapture
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """(L B, M, S) on all columns, gaps filled (the source is at delay zero: flat), and times look after look."""
    looks, blocks, m, _ = responses.shape
    f = capture.frequency_hz
    place = np.rint((f - f[0]) / capture.spacing_hz).astype(int)
    full = np.zeros((looks, blocks, m, int(place[-1]) + 1), complex)
    full[..., place] = responses
    for gap in np.setdiff1d(np.arange(full.shape[-1]), place):
        near = place[np.argsort(np.abs(place - gap), kind="stable")[:2]]
        full[..., gap] = full[..., near].mean(axis=-1)
    time_s = capture.time_s - capture.time_s[0]
    each_s = span_s(capture)
    return full.reshape(looks * blocks, m, -1), np.concatenate([time_s + k * each_s for k in range(looks)])


def without_leads(
    lessons: Lessons,
    fit: ChannelFit,
    impairments: Impairments,
    stream: StreamInfo,
    *,
    planar_sources: bool = False,
) -> Lessons | None:
    """Lessons without the array's own delays r.u/c, which a wide band shows; None where they do not matter."""
    csi = lessons.csi
    model = _model(impairments, stream, planar_sources)
    band_hz = csi.subcarrier_spacing_hz * csi.n_subcarriers
    reach_s = float(np.ptp(model.positions_m, axis=0).max()) / SPEED_OF_LIGHT_M_S
    if not all(look.at_zero for look in lessons.looks) or np.pi * band_hz * reach_s / 2 < _WIDE_RAD:
        return None
    rest_s = fit.delay_s - lessons.removed_s
    late_s = np.concatenate([rest_s - leads_s(look, lessons.frequency_hz, model) for look in lessons.looks])
    late_s -= late_s.mean(axis=1, keepdims=True)
    steps = csi.subcarrier_spacing_hz * np.arange(csi.n_subcarriers)
    f = lessons.frequency_hz[0] - lessons.centre_hz + steps
    turned = csi.csi * np.exp(2j * np.pi * late_s[:, :, None] * f)
    return replace(lessons, csi=replace(csi, csi=turned))


def measure_channels(
    lessons: Lessons, impairments: Impairments, stream: StreamInfo, *, planar_sources: bool = False
) -> ChannelFit:
    """Delays and responses of the channels, the array being known now. Raises NotIdentifiable."""
    model = _model(impairments, stream, planar_sources)
    fit = channels_of_looks(lessons.looks, lessons.frequency_hz, model)
    removed = lessons.removed_s - lessons.removed_s[fit.reference]
    loss = np.maximum(lessons.loss, lessons.loss[fit.reference])
    return replace(fit, delay_s=fit.delay_s + removed, delay_sigma_s=fit.delay_sigma_s * loss)


def _model(impairments: Impairments, stream: StreamInfo, planar_sources: bool) -> ArrayModel:
    geometry = stream.geometry
    assert geometry is not None
    positions = geometry.positions_m + impairments.position_error_m
    return ArrayModel(positions, stream.fc_hz, impairments, planar_sources)
