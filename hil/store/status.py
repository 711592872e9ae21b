"""May this calibration be used on this stream? The rules of the coherence epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from hil.core.calibration import Calibration
from hil.core.epoch import EpochScope
from hil.core.errors import CalibrationMismatch
from hil.core.frame import StreamInfo

_FC_TOLERANCE_HZ = 1.0
_GAIN_TOLERANCE_DB = 0.01
_POSITION_TOLERANCE_WAVELENGTHS = 1e-4
_RELEARN = "learn again from live data (hil learn), or give a reason with --stale-ok"
_RELEARN_PHASE = "relearn the group phases from live data (--relearn-phase), or give a reason with --stale-ok"


@dataclass(frozen=True, slots=True)
class CalibrationStatus:
    """Result of `check`.

    Attributes
    ----------
    status : "valid" (same epoch), "unverified" (another process or epoch unknown: not confirmed by data yet),
        "phases-expired" (the phases between coherent groups may have changed), "expired" (everything may
        have), "mismatch" (of another device, array, frequency or gain).
    field : what does not fit, "" otherwise. reason, hint : one line each.
    age_s : since it was created, NaN if not known.
    """

    status: str
    field: str = ""
    reason: str = ""
    hint: str = ""
    age_s: float = math.nan

    @property
    def usable(self) -> bool:
        """It may be used without asking; "unverified" results carry that word."""
        return self.status in ("valid", "unverified")


def parse_utc(text: str) -> datetime | None:
    """Time of an ISO 8601 text (UTC where it names no zone), None if it is not one."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def check(calibration: Calibration, stream: StreamInfo, now_utc: datetime | None = None) -> CalibrationStatus:
    """Compare a calibration with a stream. What is not known on either side is not compared."""
    now = now_utc or datetime.now(UTC)
    created = parse_utc(calibration.created_utc)
    age_s = math.nan if created is None else (now - created).total_seconds()

    def found(status: str, field: str = "", reason: str = "", hint: str = "") -> CalibrationStatus:
        return CalibrationStatus(status, field, reason, hint, age_s)

    mismatch = _mismatch(calibration, stream)
    if mismatch is not None:
        return found("mismatch", *mismatch)
    expires = parse_utc(calibration.valid.expires_utc)
    if calibration.valid.expires_utc and expires is None:
        return found(
            "expired", "expires_utc", f"expiry {calibration.valid.expires_utc[:40]!r} is not a time", _RELEARN
        )
    if expires is not None and now >= expires:
        return found(
            "expired", "expires_utc", f"expired on {expires.isoformat(timespec='seconds')}", _RELEARN
        )
    if calibration.epoch is None:
        return found("unverified", "epoch", "the calibration does not say its coherence epoch",
                     "live data can confirm it")  # fmt: skip
    change = stream.epoch.change_since(calibration.epoch)
    if change is None:
        return found("unverified", "epoch", "learned by another process or on another opening of the device",
                     "live data can confirm it")  # fmt: skip
    cause = f"{stream.epoch.cause} since it was learned ({calibration.epoch.id} -> {stream.epoch.id})"
    if change is EpochScope.EVERYTHING:
        return found("expired", "epoch", f"everything may have changed: {cause}", _RELEARN)
    if change is EpochScope.GROUP_PHASES and _groups_used(stream) > 1:
        return found("phases-expired", "epoch", f"group phases may have changed: {cause}", _RELEARN_PHASE)
    return found("valid")


def require_usable(
    calibration: Calibration,
    stream: StreamInfo,
    now_utc: datetime | None = None,
    *,
    stale_ok: str = "",
    relearn_phase: bool = False,
) -> CalibrationStatus:
    """`check`, and refuse what must not be used.

    stale_ok : the user's reason to use it all the same (to be stored in the result). relearn_phase : the
    caller will learn the group phases anew.

    Raises
    ------
    CalibrationMismatch : (exit code 4) with field and hint. A wrong number of elements cannot be excused.
    """
    status = check(calibration, stream, now_utc)
    if status.usable:
        return status
    excused = bool(stale_ok.strip()) and status.field != "n_elements"
    if excused or (relearn_phase and status.status == "phases-expired"):
        return status
    raise CalibrationMismatch(
        f"calibration {status.status}: {status.reason}", field=status.field, hint=status.hint
    )


def _groups_used(stream: StreamInfo) -> int:
    """Coherent groups that the selected channels lie in; a channel in no group is one of its own."""
    channels = stream.config.channels or tuple(range(stream.n_channels))
    groups = stream.device.coherent_groups
    return len({next((i for i, g in enumerate(groups) if c in g), -1 - c) for c in channels})


def _mismatch(c: Calibration, stream: StreamInfo) -> tuple[str, str, str] | None:
    """(field, reason, hint) of the first thing that does not fit."""
    m = c.geometry.n_elements
    if not c.converged:
        return (
            "converged",
            "it has not converged",
            "learn again (hil learn), or give a reason with --stale-ok",
        )
    if m != stream.n_channels:
        return ("n_elements", f"calibration of {m} elements for {stream.n_channels} channels",
                "use a calibration of this array")  # fmt: skip
    for field, have, want in (
        ("device_serial", c.device_serial, stream.device.serial),
        ("device_model", c.device_model, stream.device.model),
    ):
        if have and want and have != want:
            return (
                field,
                f"calibration of {field[7:]} {have!r}, this is {want!r}",
                "use a calibration of this device",
            )
    fc_hz = stream.config.fc_hz
    low, high = c.valid.fc_min_hz, c.valid.fc_max_hz
    if fc_hz is not None and not low - _FC_TOLERANCE_HZ <= fc_hz <= high + _FC_TOLERANCE_HZ:
        return ("fc_hz", f"learned for {low / 1e6:.6f} to {high / 1e6:.6f} MHz, the receiver is at {fc_hz / 1e6:.6f} MHz",
                "tune back, or learn at this frequency")  # fmt: skip
    if stream.geometry is not None:
        tolerance_m = _POSITION_TOLERANCE_WAVELENGTHS * 299_792_458.0 / c.fc_hz
        if not c.geometry.equals(stream.geometry, tolerance_m):
            return ("geometry", "calibration of an array with other nominal positions", "check --array")
    return _gain_mismatch(c, stream)


def _gain_mismatch(c: Calibration, stream: StreamInfo) -> tuple[str, str, str] | None:
    """A common change of all gains is a matter of the epoch; channels against each other are not."""
    have, want = c.valid.gains_db, stream.config.gain_db
    if have is None or want is None or isinstance(want, int | float):
        return None
    steps = [w - h for h, w in zip(have, want, strict=True)] if len(have) == len(want) else [0.0, math.inf]
    if max(steps) - min(steps) <= _GAIN_TOLERANCE_DB:
        return None
    return (
        "gains_db",
        "learned with other gains of the channels",
        "set the gains as they were, or learn again",
    )
