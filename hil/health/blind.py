"""What the watch cannot see at the moment, and why."""

from __future__ import annotations

from collections.abc import Collection

from hil.core.calibration import Calibration
from hil.health.catalogue import KINDS


def not_watched(
    n_channels: int,
    n_sources: int,
    calibration: Calibration | None,
    *,
    sending: bool,
    breaking: Collection[str],
    integers: bool,
    emitters: bool,
) -> list[str]:
    """One sentence each.

    sending : the device transmits. breaking : kinds that are there and hide the phases. integers : samples are
    integers. emitters : some are seen.
    """
    out: list[str] = []
    named = ", ".join(kind for kind, entry in KINDS.items() if entry.needs == "a calibration")
    if calibration is None:
        out.append(f"Not watched without a calibration: {named}.")
    elif n_channels < 3 or n_sources >= n_channels:
        out.append(f"Not watched with {n_channels} channels and {n_sources} emitters: {named}.")
    elif sending:
        out.append(
            f"Not watched while the device transmits: {named}, new-emitter, weak-channel, carrier-drift."
        )
    elif breaking:
        out.append(f"Not watched while {', '.join(sorted(breaking))} lasts: {named}.")
    elif calibration.geometry.kind == "line":
        out.append(
            "A phase ramp along the line moves all directions alike and cannot be seen without an anchor."
        )
    if not integers:
        out.append("Not watched in samples that are no integers: stuck-bit.")
    if not n_sources or not emitters:
        out.append("No emitter is seen: only the transport and the levels are watched.")
    return out
