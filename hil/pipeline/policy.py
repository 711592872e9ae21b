"""What a full queue does."""

from __future__ import annotations

import enum


class Policy(enum.StrEnum):
    """Policy of a ring when its consumer is too slow.

    DROP_OLDEST: the oldest waiting block makes room; the next delivered one says how many are missing.
    FAIL: the stream ends for this consumer with CaptureOverrun, after every block before the loss.
    BLOCK: the producer waits, up to a deadline, then CaptureOverrun is raised in it (for replays and
        simulations at the pace of their reader: a receiver cannot wait).
    """

    DROP_OLDEST = "drop_oldest"
    FAIL = "fail"
    BLOCK = "block"
