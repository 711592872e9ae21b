"""SigMF recordings: crash-safe writing of wire samples with everything needed to use them again."""

from hil.recorder.metadata import Point
from hil.recorder.writer import Recorder, RecordingSummary

__all__ = ["Point", "Recorder", "RecordingSummary"]
