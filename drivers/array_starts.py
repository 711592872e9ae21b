"""How the starts of an array's boards relate, and what happens when they cannot be brought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivers.alignment import NotAligned
from drivers.board_blocks import Interrupted
from hil.core.errors import CaptureError

if TYPE_CHECKING:
    from drivers.array_intake import ArrayIntake

REALIGNMENTS = 8
_STARTS = 3


@dataclass(frozen=True, slots=True)
class Alignment:
    """How the boards' first samples relate after one start of the buffers.

    Attributes
    ----------
    method : "single", "common start" (sync_start_enable), "hardware time" (clocks set by one time source) or
        "correlation".
    first_sample : count of the stream at which this start begins.
    offsets : per board: its sample j and sample j + offset of the first board are simultaneous.
    skipped : per board: samples received after OPEN and dropped before the first one handed out.
    ratios : per board: correlation peak over the next best (0: not measured).
    fractions : per board: what is left of a sample beyond `offsets` (0: not measured). corrected : whether that
        board's samples are delayed by it (fractional_delay).
    sounded : noise was sent instead of the waveform meanwhile (drivers.sounding).
    """

    method: str
    first_sample: int
    offsets: tuple[int, ...]
    skipped: tuple[int, ...]
    ratios: tuple[float, ...]
    fractions: tuple[float, ...] = ()
    corrected: tuple[bool, ...] = ()
    sounded: bool = False

    def as_dict(self, uris: list[str]) -> dict[str, Any]:
        """For JSON."""
        fractions = self.fractions or (0.0,) * len(uris)
        corrected = self.corrected or (False,) * len(uris)
        rows = zip(uris, self.offsets, self.skipped, self.ratios, fractions, corrected, strict=False)
        boards = [
            {
                "uri": u, "offset_samples": o, "offset_fraction": round(float(f), 4), "fraction_corrected": done,
                "skipped_samples": s, "peak_ratio": r,
            }
            for u, o, s, r, f, done in rows
        ]  # fmt: skip
        return {
            "method": self.method,
            "first_sample": self.first_sample,
            "sounded": self.sounded,
            "boards": boards,
        }


def misaligned(uri: str) -> CaptureError:
    """What `read` of an array raises after REALIGNMENTS tries."""
    return CaptureError(
        f"{uri}: the devices lose samples faster than they can be aligned",
        hint="lower the rate, or read from fewer devices",
    )


def aligned(opened: Callable[[], ArrayIntake], first_sample: int, interrupted: Interrupted) -> Alignment:
    """Align the streams that `opened` opens; some times, for a busy computer may start boards too far apart."""
    for left in reversed(range(_STARTS)):
        intake = opened()
        try:
            return intake.align(first_sample, interrupted)
        except NotAligned as err:
            if not left:
                raise CaptureError(str(err), hint=err.hint) from err
            intake.close()
    raise AssertionError
