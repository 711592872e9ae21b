"""The status strip: facts in, lamps out. Every lamp that is not good says why, against which limit, and what to do.

Channels are counted from 0, as on the command line and in every file.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from gui.facts import Facts
from hil.health.event import HealthEvent, Severity
from hil.store.status import CalibrationStatus

#: Limits of the lamps; shown with them.
CLIPPED_SHARE = 1e-4
LOW_SNR_DB, BAD_SNR_DB = 10.0, 3.0
OPEN_SIGMA_DEG = 0.5
OLD_CALIBRATION_S = 3600.0
RESIDUAL_DEG = 3.0
DISK_LEFT_S, DISK_BAD_S = 600.0, 60.0
LAG_MS, BAD_LAG_MS = 200.0, 1000.0
LOW_LEVEL_DBFS = -80.0


class Level(enum.Enum):
    """How a lamp looks: its shape says it without colour."""

    GOOD = "●"
    WARN = "▲"
    BAD = "■"
    IDLE = "○"


@dataclass(frozen=True, slots=True)
class Lamp:
    """name and word are on the strip; cause, value, limit and remedy are what a click shows ("" where none)."""

    name: str
    level: Level
    word: str
    cause: str
    value: str = ""
    limit: str = ""
    remedy: str = ""

    @property
    def explanation(self) -> str:
        """All of it, in lines."""
        lines = [self.cause]
        if self.value:
            lines.append(f"Now: {self.value}" + (f" (limit {self.limit})" if self.limit else ""))
        if self.remedy:
            lines.append(f"What to do: {self.remedy}")
        return "\n".join(lines)


#: Which lamp tells a fault of the health watch.
LAMP_OF = {
    "lo-phase-jump": "CAL", "phase-flip": "CAL", "phase-jump": "CAL", "swapped-ports": "CAL", "drift": "CAL",
    "multipath": "SNR", "array-changed": "CAL", "slip": "LOCK", "swapped-iq": "LOCK", "dead-channel": "LOCK", "no-numbers": "LOCK",
    "weak-channel": "LOCK", "unlocked-channel": "LOCK", "agc-step": "OVERLOAD", "clipped": "OVERLOAD",
    "stuck-bit": "OVERLOAD", "new-emitter": "SNR", "carrier-drift": "SNR", "retune": "EPOCH", "overflow": "DROPS",
    "dropped-blocks": "DROPS", "slow-computer": "DROPS", "slow-network": "DROPS", "stall": "LOCK", "disconnect": "LOCK",
    "half-reply": "LOCK", "protocol": "LOCK",
}  # fmt: skip
_SHORT = {
    "lo-phase-jump": "JUMP", "phase-flip": "FLIP", "phase-jump": "JUMP", "swapped-ports": "SWAPPED", "drift": "DRIFT",
    "multipath": "ECHO", "array-changed": "CHANGED", "slip": "SLIP", "swapped-iq": "I/Q", "dead-channel": "DEAD", "no-numbers": "NaN",
    "weak-channel": "WEAK", "unlocked-channel": "ALONE", "agc-step": "GAIN STEP", "clipped": "CLIP", "stuck-bit": "BIT",
    "new-emitter": "NEW", "carrier-drift": "CARRIER", "retune": "NEW", "overflow": "OVERFLOW",
    "dropped-blocks": "GAP", "slow-computer": "SLOW PC", "slow-network": "SLOW NET", "stall": "STALL",
    "disconnect": "LOST", "half-reply": "HANGS", "protocol": "NONSENSE",
}  # fmt: skip
_ORDER = {Level.IDLE: 0, Level.GOOD: 1, Level.WARN: 2, Level.BAD: 3}


def lamps(facts: Facts) -> tuple[Lamp, ...]:
    """All lamps in the order of the strip."""
    own = [make(facts) for make in _MAKERS]
    return tuple(_with_health(lamp, facts.health) for lamp in own)


def _with_health(lamp: Lamp, events: tuple[HealthEvent, ...]) -> Lamp:
    """The worse of the lamp and the newest of the worst faults that it stands for."""
    mine = [e for e in events if LAMP_OF.get(e.kind, "LOCK") == lamp.name]
    for event in reversed(mine):
        told = _of_event(lamp.name, event)
        if _ORDER[told.level] > _ORDER[lamp.level]:
            lamp = told
    return lamp


def _of_event(name: str, event: HealthEvent) -> Lamp:
    level = {Severity.FAULT: Level.BAD, Severity.WARNING: Level.WARN, Severity.INFO: Level.GOOD}[
        event.severity
    ]
    word = _SHORT.get(event.kind, event.kind.upper())
    if len(event.channels) == 1:
        word += f" ch {event.channels[0]}"
    return Lamp(name, level, word, f"{event.cause}.", remedy=f"{event.remedy}.")


def _lock(f: Facts) -> Lamp:
    if f.link == "lost":
        cause = str(f.error) if f.error is not None else "The connection was lost."
        hint = f.error.hint if f.error is not None and f.error.hint else "check cable and power of the device"
        return Lamp("LOCK", Level.BAD, "LOST", cause, remedy=f"{hint}; then press Connect")
    if f.link == "connecting":
        return Lamp("LOCK", Level.WARN, "CONNECTING", f"Waiting for {f.uri}.")
    if f.link == "none":
        return Lamp(
            "LOCK",
            Level.IDLE,
            "NO DEVICE",
            "Nothing is connected.",
            remedy="choose a source and press Connect",
        )
    if f.link == "ready":
        return Lamp(
            "LOCK", Level.IDLE, "READY", f"{f.uri} is connected and does not stream.", remedy="press Start"
        )
    quiet = [i for i, level in enumerate(f.level_dbfs) if level < LOW_LEVEL_DBFS]
    if quiet:
        names = ", ".join(str(i) for i in quiet)
        return Lamp(
            "LOCK", Level.BAD, f"SILENT ch {names}", f"Channel {names} delivers next to nothing.",
            f"{f.level_dbfs[quiet[0]]:.0f} dBFS", f"{LOW_LEVEL_DBFS:g} dBFS", "check its cable, power and gain setting",
        )  # fmt: skip
    return Lamp(
        "LOCK", Level.GOOD, "STREAMING", f"{f.uri} streams; all {len(f.level_dbfs)} channels deliver samples."
    )


def _epoch(f: Facts) -> Lamp:
    if f.epoch is None:
        return Lamp("EPOCH", Level.IDLE, "-", "No stream yet.")
    cause = f"Phases between channels hold since coherence epoch {f.epoch} began"
    return Lamp(
        "EPOCH", Level.GOOD, f"#{f.epoch}", cause + (f" ({f.epoch_cause})." if f.epoch_cause else ".")
    )


def _drops(f: Facts) -> Lamp:
    if f.link not in ("streaming", "lost"):
        return Lamp("DROPS", Level.IDLE, "-", "No stream yet.")
    if f.lost == 0 and f.lost_exact and f.gaps == 0:
        if f.skipped:
            return Lamp(
                "DROPS", Level.WARN, "SLOW PC", "No sample was lost, but the display skipped some: this computer is late.",
                f"{f.skipped:,} samples", "0", "close other programs or lower the rate; recordings are complete",
            )  # fmt: skip
        return Lamp("DROPS", Level.GOOD, "0", "Every sample has arrived.", "0", "0")
    word = f"{f.lost:,}" if f.lost_exact else f"≥{f.lost:,}"
    return Lamp(
        "DROPS", Level.BAD, word, "Samples are missing in the stream; the gaps are marked, later samples stay in step.",
        f"{word} samples in {f.gaps} gaps", "0", "lower the rate or the number of channels, or use a faster link",
    )  # fmt: skip


def _overload(f: Facts) -> Lamp:
    if not f.clipped or f.link != "streaming":
        return Lamp("OVERLOAD", Level.IDLE, "-", "No samples yet.")
    over = [i for i, share in enumerate(f.clipped) if share > CLIPPED_SHARE]
    worst = max(f.clipped)
    if not over:
        return Lamp(
            "OVERLOAD", Level.GOOD, "none", "No channel reaches full scale.", f"{100 * worst:.2g} %",
            f"{100 * CLIPPED_SHARE:g} %",
        )  # fmt: skip
    names = ", ".join(str(i) for i in over)
    return Lamp(
        "OVERLOAD", Level.BAD, f"ch {names}" if len(over) <= 3 else f"{len(over)} ch",
        f"Channel {names} reaches full scale: levels and directions are wrong.",
        f"{100 * worst:.2g} % of the samples", f"{100 * CLIPPED_SHARE:g} %", "lower the gain, or the emitter's power",
    )  # fmt: skip


def _snr(f: Facts) -> Lamp:
    if math.isnan(f.snr_db) or f.link != "streaming":
        return Lamp("SNR", Level.IDLE, "-", "Not known yet.")
    if f.n_sources == 0:
        return Lamp(
            "SNR",
            Level.WARN,
            "no signal",
            "No emitter stands out of the noise.",
            remedy="switch an emitter on, or raise the gain",
        )
    level = Level.GOOD if f.snr_db >= LOW_SNR_DB else Level.WARN if f.snr_db >= BAD_SNR_DB else Level.BAD
    remedy = "" if level is Level.GOOD else "raise the gain or the emitter's power, or average longer"
    return Lamp(
        "SNR", level, f"{f.snr_db:.0f} dB", "Signal over noise of the strongest emitter, in one channel.",
        f"{f.snr_db:.1f} dB", f"{LOW_SNR_DB:g} dB", remedy,
    )  # fmt: skip


def _cal(f: Facts) -> Lamp:
    c = f.calibration
    if c is None:
        return Lamp(
            "CAL", Level.WARN, "NONE", "Directions are those of the nominal array.",
            remedy="learn (Start learning), or load a calibration",
        )  # fmt: skip
    age = age_words(c.status.age_s)
    if c.status.status not in ("valid", "unverified"):
        word = "STALE" if "expired" in c.status.status else "MISMATCH"
        forced = f" It is used all the same: {c.forced}." if c.forced else " It is not applied."
        return Lamp(
            "CAL", Level.BAD, word, f"{c.status.reason}.{forced}", age, remedy=calibration_remedy(c.status)
        )
    if c.residual_deg > RESIDUAL_DEG:
        return Lamp(
            "CAL", Level.BAD, f"off {c.residual_deg:.1f}°", "The data no longer fit the calibration.",
            f"{c.residual_deg:.2g} degrees rms", f"{RESIDUAL_DEG:g} degrees", "learn again",
        )  # fmt: skip
    word = f"{age} ±{c.sigma_deg:.2g}°"
    if c.status.status == "unverified":
        return Lamp(
            "CAL",
            Level.WARN,
            word,
            "Made by another process or opening: no data have confirmed it yet.",
            age,
            remedy=calibration_remedy(c.status),
        )
    if c.sigma_deg > OPEN_SIGMA_DEG or math.isnan(c.sigma_deg):
        return Lamp(
            "CAL", Level.WARN, word, "Angles are open by more than wanted.", f"{c.sigma_deg:.2g} degrees",
            f"{OPEN_SIGMA_DEG:g} degrees", "more directions narrow it, or an anchor",
        )  # fmt: skip
    if c.status.age_s > OLD_CALIBRATION_S:
        return Lamp(
            "CAL",
            Level.WARN,
            word,
            "The calibration is old: phases drift.",
            age,
            age_words(OLD_CALIBRATION_S),
            "learn again, or let the learner follow",
        )
    return Lamp(
        "CAL",
        Level.GOOD,
        word,
        f"Calibration {c.id[:12]} fits this stream.",
        f"{c.sigma_deg:.2g} degrees",
        f"{OPEN_SIGMA_DEG:g} degrees",
    )


def calibration_remedy(status: CalibrationStatus) -> str:
    """What to do about it in the window, where options of commands do not exist."""
    if status.field == "geometry":
        return "check the array in the controls"
    if "--" in status.hint:
        return "learn again (Start learning), or use it all the same in Calibrations with a reason"
    return status.hint


def _learn(f: Facts) -> Lamp:
    words = f.learning_words or "Nothing is being learned."
    level, word = {
        "off": (Level.IDLE, "off"), "starting": (Level.WARN, "starting"), "learning": (Level.WARN, "learning"),
        "converged": (Level.GOOD, "ready"), "following": (Level.GOOD, "follows"), "refused": (Level.WARN, "refused"),
        "paused": (Level.IDLE, "paused"), "dead": (Level.BAD, "DIED"),
    }[f.learning]  # fmt: skip
    remedy = f.learning_remedy or ("press Start learning" if f.learning in ("off", "dead") else "")
    return Lamp("LEARN", level, word, words, remedy=remedy)


def _table(f: Facts) -> Lamp:
    t = f.table
    if t is None:
        return Lamp("TABLE", Level.IDLE, "-", "No turntable is connected.")
    if t.problem:
        return Lamp(
            "TABLE", Level.BAD, "FAULT", t.problem, remedy="press STOP, check the controller, connect again"
        )
    word = f"{t.azimuth_deg:.1f}°"
    if t.sweep:
        return Lamp(
            "TABLE", Level.WARN, f"{word} {t.sweep}", f"A sweep runs: {t.sweep} points are finished.",
            remedy="STOP or Esc ends it; it can be resumed",
        )  # fmt: skip
    if t.moving:
        return Lamp(
            "TABLE",
            Level.WARN,
            f"{word} →",
            f"Moves to {t.target_deg:.1f} degrees." if t.target_deg is not None else "Moves.",
        )
    return Lamp(
        "TABLE", Level.GOOD, word, "Stands still.", f"{t.azimuth_deg:.2f} ± {t.sigma_deg:.2g} degrees"
    )


def _tx(f: Facts) -> Lamp:
    t = f.transmit
    if t is None or t.state in ("none", "off"):
        return Lamp("TX", Level.IDLE, "-", "Nothing is sent." if t is None else f"{t.sentence}.")
    if t.state == "unsure":
        return Lamp(
            "TX",
            Level.BAD,
            "STILL ON?",
            t.sentence,
            remedy="take the power from the device, or connect and stop",
        )
    word = f"ON {min(t.attenuation_db):g} dB" if t.attenuation_db else "ON"
    return Lamp("TX", Level.WARN, word, f"{t.sentence}.", remedy="STOP in Transmit ends it")


def _rec(f: Facts) -> Lamp:
    r = f.recording
    if r is None:
        return Lamp("REC", Level.IDLE, "-", "Nothing is being recorded.")
    left_s = r.free_bytes / r.bytes_per_s if r.bytes_per_s > 0 else math.inf
    level = Level.GOOD if left_s > DISK_LEFT_S else Level.WARN if left_s > DISK_BAD_S else Level.BAD
    remedy = "" if level is Level.GOOD else "stop the recording, or make room on the disk"
    return Lamp(
        "REC", level, f"{r.name} {r.free_bytes / 1e9:.0f} GB", f"{r.seconds:.0f} s recorded, {r.bytes / 1e6:.0f} MB.",
        f"room for {age_words(left_s)}", age_words(DISK_LEFT_S), remedy,
    )  # fmt: skip


def _lag(f: Facts) -> Lamp:
    if math.isnan(f.lag_ms) or f.link != "streaming":
        return Lamp("LAG", Level.IDLE, "-", "Nothing is shown yet.")
    level = Level.GOOD if f.lag_ms <= LAG_MS else Level.WARN if f.lag_ms <= BAD_LAG_MS else Level.BAD
    remedy = "" if level is Level.GOOD else "close other programs, hide panels, or lower the rate"
    value = f"{f.lag_ms:.0f} ms" + ("" if math.isnan(f.rate_hz) else f", {f.rate_hz:.0f} pictures a second")
    return Lamp(
        "LAG", level, f"{f.lag_ms:.0f} ms", "Age of the samples on screen.", value, f"{LAG_MS:g} ms", remedy
    )


def age_words(seconds: float) -> str:
    """Two digits are enough: 40 s, 4 min, 3 h, 12 d."""
    if math.isnan(seconds):
        return "age unknown"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if math.isfinite(seconds) else "long"
    return f"{seconds:.0f} s"


_MAKERS: tuple[Callable[[Facts], Lamp], ...] = (
    _lock, _epoch, _drops, _overload, _snr, _cal, _learn, _table, _tx, _rec, _lag
)  # fmt: skip
