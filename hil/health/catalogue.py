"""Every kind of fault that the watch can name: what the user is told, and what seeing it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hil.health.event import HealthEvent, Severity


@dataclass(frozen=True, slots=True)
class Kind:
    """cause, remedy : sentences, with {where} and {size}. clears : over as soon as it is no longer seen.
    needs : "" or what must be there to see it. breaks : phases are not watched while it lasts. lasts : its end is
    seen, and until then it is told again and again as still there. sending : to be added to the remedy while the
    device transmits."""

    cause: str
    remedy: str
    severity: Severity = Severity.FAULT
    clears: bool = False
    needs: str = ""
    breaks: bool = False
    lasts: bool = False
    sending: str = ""


_CALIBRATION = "a calibration"
_RELEARN = "Learn again, or only the phases of the groups with --relearn-phase"

#: In the order of the documentation.
KINDS: dict[str, Kind] = {
    "lo-phase-jump": Kind(
        "The LO phase of {where} jumped by {size} degrees",
        _RELEARN + "; if nobody retuned, check the reference clock and the PLL lock",
        needs=_CALIBRATION,
    ),
    "phase-flip": Kind(
        "The phase of {where} flipped by 180 degrees",
        "Learn again; if it comes back, use manual gain and switch off the chip's automatic tracking",
        needs=_CALIBRATION,
    ),
    "phase-jump": Kind(
        "The phase of {where} jumped by {size} degrees",
        "Check the cable and its connector, then learn again",
        needs=_CALIBRATION,
    ),
    "swapped-ports": Kind(
        "{where} have been exchanged",
        "Put the cables back, or state the new order with --array",
        needs=_CALIBRATION,
    ),
    "drift": Kind(
        "The phases have drifted by {size} degrees rms since the calibration",
        "Learn again or follow the drift live, and let the receiver warm up",
        Severity.WARNING,
        needs=_CALIBRATION,
    ),
    "multipath": Kind(
        "A coherent copy of the emitter arrives from another direction (multipath)",
        "Move the emitter or the array away from reflecting surfaces, or widen the bandwidth",
        Severity.WARNING,
        clears=True,
        needs=_CALIBRATION,
        breaks=True,
        lasts=True,
    ),
    "array-changed": Kind(
        "The array no longer behaves as before, and no single cause explains it",
        "Check cables and antennas, then learn again",
        breaks=True,
    ),
    "slip": Kind(
        "{where} slipped by {size} samples against the others",
        "Restart the stream so that the channels are aligned again, and lower the rate if it comes back",
        breaks=True,
        needs="an emitter with bandwidth",
    ),
    "swapped-iq": Kind(
        "I and Q of {where} are exchanged",
        "Exchange I and Q of this channel: cables, or the driver's channel map",
        breaks=True,
    ),
    "dead-channel": Kind(
        "{where} went silent",
        "Check its power, cable and gain setting",
        breaks=True,
        lasts=True,
    ),
    "no-numbers": Kind(
        "{where} delivered values that are no numbers (NaN, infinite or absurdly large)",
        "Restart the stream, and check the device's driver and sample format",
        breaks=True,
        lasts=True,
    ),
    "weak-channel": Kind(
        "{where} lost {size} dB of the signal while its noise stayed",
        "Check its antenna and the cable to it",
    ),
    "unlocked-channel": Kind(
        "{where} has nothing in common with the others any more",
        "Check its antenna cable and the common clock and LO, then restart the stream",
        breaks=True,
        lasts=True,
    ),
    "agc-step": Kind(
        "The gain of {where} changed by {size} dB without being asked",
        "Set the gain mode to manual and learn again",
    ),
    "clipped": Kind(
        "Clipping: {size} % of the samples of {where} are at full scale",
        "Lower the gain of this channel or the emitter's power",
        clears=True,
        lasts=True,
        sending=", or attenuate the own transmitter more (--tx-attenuation)",
    ),
    "stuck-bit": Kind(
        "Bit {size} of the converter of {where} never changes",
        "Leave this channel out, and have the converter and its data lines checked",
        needs="integer samples",
        breaks=True,
        lasts=True,
    ),
    "new-emitter": Kind(
        "One more emitter than before is seen, or a copy of one with a long delay",
        "If it is expected, raise --sources; else look for an interferer",
        Severity.INFO,
        clears=True,
        breaks=True,
        lasts=True,
    ),
    "carrier-drift": Kind(
        "The carrier of the signal moved by {size} Hz",
        "Check the emitter's oscillator and the receiver's reference clock",
        Severity.WARNING,
    ),
    "retune": Kind(
        "A new coherence epoch began ({size}): the phases between coherent groups may be new",
        _RELEARN,
        Severity.INFO,
    ),
    "overflow": Kind(
        "The device lost {size} samples because they were not fetched in time",
        "Lower the rate, close other programs, or use a faster link; directions after the gap stay valid",
        Severity.WARNING,
        clears=True,
    ),
    "dropped-blocks": Kind(
        "Missing samples in the stream ({size}), and the device reported no overflow",
        "Check the link and the driver; the gap is marked and later samples stay in step",
        Severity.WARNING,
        clears=True,
    ),
    "slow-computer": Kind(
        "This computer skipped {size} samples in processing because it was too slow; they are recorded if a recorder runs",
        "Close other programs or lower the rate",
        Severity.WARNING,
        clears=True,
    ),
    "slow-network": Kind(
        "The link delivers only {size} % of the sample rate",
        "Lower the rate or the number of channels, or use a faster link",
        Severity.WARNING,
        clears=True,
    ),
    "stall": Kind(
        "No samples came for {size} s",
        "Check cable and power of the board, and that no other program holds it",
        Severity.FAULT,
        clears=True,
    ),
    "disconnect": Kind(
        "The connection to the device was closed, between two replies or in the middle of one",
        "Check cable and power of the board, then start again",
    ),
    "half-reply": Kind(
        "The device stopped in the middle of the stream: it stalls, or a reply was cut in half",
        "Reconnect; if it comes back, restart the board's server",
    ),
    "protocol": Kind(
        "The device answered with something that cannot be understood",
        "Reconnect; if it comes back, check the versions of both sides with hil doctor",
    ),
}


def words_of(channels: Iterable[int], groups: Iterable[int] = ()) -> str:
    """ "channel 1", "channels 0 and 2", "group 1 (channels 2 and 3)"."""
    channels, groups = list(channels), list(groups)
    text = _listed("channel", channels)
    if groups:
        return f"{_listed('group', groups)} ({text})" if channels else _listed("group", groups)
    return text or "all channels"


def _listed(noun: str, numbers: list[int]) -> str:
    if not numbers:
        return ""
    if len(numbers) == 1:
        return f"{noun} {numbers[0]}"
    return f"{noun}s {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def make_event(
    kind: str,
    first_sample: int,
    last_sample: int,
    *,
    channels: Iterable[int] = (),
    groups: Iterable[int] = (),
    value: float | None = None,
    size: Any = None,
    severity: Severity | None = None,
    sending: bool = False,
) -> HealthEvent:
    """An event with the catalogue's sentences; size : text for {size}, default from value; sending : the device
    transmits."""
    entry = KINDS[kind]
    channels, groups = tuple(channels), tuple(groups)
    if size is None:
        size = (
            "an unknown number of"
            if value is None
            else f"{value:.3g}"
            if abs(value) < 100
            else f"{value:.0f}"
        )
    where = words_of(channels, groups)
    cause = entry.cause.format(where=where, size=size)
    remedy = entry.remedy + (entry.sending if sending else "")
    return HealthEvent(
        kind, cause[:1].upper() + cause[1:], remedy.format(where=where, size=size), severity or entry.severity,
        first_sample, last_sample, channels, groups, value,
    )  # fmt: skip
