"""One answer of a detector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector says.

    Attributes
    ----------
    kind : name of the detector, e.g. "swapped-ports". fault : True if something is wrong.
    words : what was found, for the user. advice : what to do next, may be empty.
    confidence : probability that `words` is right, 0..1, or NaN where it is not a matter of chance.
    channels : receiver channels concerned, counted from 0.
    """

    kind: str
    fault: bool
    words: str
    advice: str = ""
    confidence: float = float("nan")
    channels: tuple[int, ...] = ()
