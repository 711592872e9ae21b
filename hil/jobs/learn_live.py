"""Collects the blocks of a live device for learners that want all of them at once: races and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hil.core.frame import Frame, StreamInfo
from hil.learning.batch import require_learnable
from hil.learning.observe import CovarianceBatch, CovarianceTap, join
from hil.learning.settings import LearnSettings
from hil.session import Session, SessionSummary


@dataclass(slots=True)
class Collected:
    """Blocks of the epoch in which the stream ended: training part and the rest; what the session says."""

    stream: StreamInfo
    training: CovarianceBatch
    kept: list[CovarianceBatch]
    summary: SessionSummary

    @property
    def held_out(self) -> CovarianceBatch:
        """The rest as one batch. Raises ConfigError if there is none."""
        return join(self.kept)


@dataclass(slots=True)
class _Gather:
    """In the DSP thread."""

    learn_samples: int
    tap: CovarianceTap = field(default_factory=CovarianceTap)
    first: int | None = None
    stream: StreamInfo | None = None
    training: list[CovarianceBatch] = field(default_factory=list)
    kept: list[CovarianceBatch] = field(default_factory=list)

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        del clipped
        n = frame.samples.shape[1]
        if self.first is None:
            self.first = frame.first_sample
        early = frame.first_sample + n - self.first <= self.learn_samples
        if self.stream is None or frame.stream.epoch.id != self.stream.epoch.id:
            if not early and self.stream is not None:
                return
            # phases may differ from epoch to epoch: what came before does not belong to it
            self.training.clear()
            self.stream = frame.stream
        (self.training if early else self.kept).append(self.tap.take(frame))


def collect(
    session: Session,
    settings: LearnSettings,
    n_samples: int,
    learn_samples: int,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Collected:
    """Stream `n_samples`; the first `learn_samples` are for learning.

    Raises
    ------
    DeviceError, CaptureError : the stream ended early. ConfigError : no block fits, or too few elements.
    """
    require_learnable(settings, session.stream.n_channels)
    gather = _Gather(learn_samples)
    session.start(on_frame=gather, n_samples=n_samples)
    while not session.wait(0.2):
        pass
    summary = session.stop()
    session.raise_error()
    training = join(gather.training)
    say(f"  {len(training)} blocks collected")
    stream = gather.stream or session.stream
    return Collected(stream, training.thinned(6000), gather.kept, summary)
