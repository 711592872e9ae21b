"""Options of `hil learn` that do not go together, told before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from hil.jobs.learn_labels import LabelSource


def require_responses(method: str) -> None:
    """Methods on OFDM channel responses need such an input. Raises ConfigError."""
    from calib.registry import CSI_METHODS

    if method in CSI_METHODS:
        raise ConfigError(
            f"{method} learns from OFDM channel responses", where="--method",
            hint="give a recording with --waveform F, or their file as INPUT: responses.npz",
        )  # fmt: skip


def refuse_receivers(calibration: Path | None, stale_ok: str | None, method: str, labels: str | None) -> None:
    """Known receivers belong to methods on channel responses. Raises ConfigError."""
    from calib.registry import CSI_METHODS

    if calibration is None:
        if stale_ok is not None:
            raise ConfigError("only with --calibration", where="--stale-ok", hint="leave the option out")
    elif method not in CSI_METHODS or labels is not None:
        raise ConfigError(
            f"{'known directions' if labels is not None else method} and known receivers do not go together",
            where="--calibration", hint=f"--method {' or '.join(CSI_METHODS)}",
        )  # fmt: skip


def refuse_waveform(waveform: Path | None, why: str, hint: str) -> None:
    """A waveform where it has no use. Raises ConfigError."""
    if waveform is not None:
        raise ConfigError(why, where="--waveform", hint=hint)


def refuse_without_waveform(
    waveform: Path | None, direct_path: bool | None, anchor_range: float | None
) -> None:
    """Options that only a waveform gives a meaning. Raises ConfigError."""
    for option, value in (("--direct-path", direct_path), ("--anchor-range", anchor_range)):
        if value is not None and waveform is None:
            raise ConfigError("only with --waveform", where=option, hint="leave the option out")


def refuse_with_responses(truth: Path | None, seconds: str | None) -> None:
    """Options that a file of channel responses cannot serve. Raises ConfigError."""
    for option, value in (("--truth", truth), ("--seconds", seconds)):
        if value is not None:
            raise ConfigError("not for channel responses", where=option, hint="leave the option out")


def refuse_for_campaign(
    known: LabelSource | None, turns: bool, seconds: str | None, waveform: Path | None, method: str
) -> None:
    """Options that a campaign answers itself. Raises ConfigError."""
    require_responses(method)
    refuse_waveform(waveform, "a campaign is learned from without its waveform", "leave the option out")
    for option, given in (("--anchor or --rotations", turns), ("--seconds", seconds is not None)):
        if given:
            raise ConfigError(
                "a campaign says itself where its table stood and for how long", where=option,
                hint="leave the option out; known directions are those that hil sweep --emitter states: --labels recording",
            )  # fmt: skip
    if known is not None and known.rows is not None:
        raise ConfigError(
            "a campaign says itself where its table stood",
            where="--labels",
            hint="--labels recording or rotation",
        )
