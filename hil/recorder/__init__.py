"""SigMF recordings: crash-safe writing of wire samples with everything needed to use them again."""

from hil.recorder.metadata import Point
from hil.recorder.summary import RecordingSummary
from hil.recorder.writer import Recorder

__all__ = ["Point", "Recorder", "RecordingSummary"]
