"""Carries out a campaign: start after start, until every point is finished or given up.

A start opens table and receiver, streams without a break into windows (hil.sweep.window) and writes one recording. When
a device is lost the start ends and the next one goes on with what is open; a program that was killed is the same case.
A point is finished once its samples are on the disk and the journal says so, in this order.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import hil
from drivers.positioner.positioner import Positioner
from hil.campaign.folder import Campaign, open_campaign
from hil.campaign.journal import CampaignJournal
from hil.campaign.plan_file import CampaignFile
from hil.core.errors import (
    CaptureError,
    ConfigError,
    DeviceError,
    HilError,
    RecordingError,
    StreamStopped,
    UnsupportedSetting,
)
from hil.core.frame import Block
from hil.recorder import Recorder
from hil.sweep.point import PointRun
from hil.sweep.preview import check_limits, preview
from hil.sweep.progress import Estimate, Stage, SweepControl, SweepProgress, Tell
from hil.sweep.receiver import Receiver
from hil.sweep.window import Windows

_MOST_STARTS = 6  # in a row without a finished point
_LONGEST_PAUSE_S = 30.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class SweepResult:
    """campaign : as the folder has it now. finished : points of this call. seconds : that it took. aborted : it was
    ended before all points were done."""

    campaign: Campaign
    finished: int
    seconds: float
    aborted: bool


class Sweep:
    """One call of `hil sweep`.

    Parameters
    ----------
    folder : of the campaign, made by `hil.sweep.prepare`. open_receiver, open_table : called at every start; each gives
        what it opened away. tell : gets progress, in the thread of `run`. control : pauses and ends it.
    """

    def __init__(
        self,
        folder: Path,
        open_receiver: Callable[[], Receiver],
        open_table: Callable[[], Positioner],
        *,
        tell: Tell = lambda progress: None,
        control: SweepControl | None = None,
    ) -> None:
        self.folder = folder
        self.control = control or SweepControl()
        self._open_receiver, self._open_table, self._tell = open_receiver, open_table, tell
        self._campaign = open_campaign(folder)
        self._done, self._bad = len(self._campaign.points), len(self._campaign.bad)
        self._estimate = Estimate(0.0)
        self.finished = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    @property
    def file(self) -> CampaignFile:
        """What was asked for."""
        return self._campaign.file

    def run(self, *, bad_again: bool = False) -> SweepResult:
        """Do what is open. bad_again : also what was given up before.

        Raises HilError: a device is gone for good, the disk is full; what is finished stays finished. KeyboardInterrupt
        likewise: the table is stopped first.
        """
        with CampaignJournal(self.folder) as journal:
            if bad_again and self._bad:
                journal.append("again")
                self._bad = 0
            fruitless = 0
            while not self.control.aborted:
                campaign = open_campaign(self.folder)
                if campaign.complete:
                    break
                before = self.finished
                try:
                    self._start(journal, campaign)
                except (DeviceError, CaptureError) as err:
                    if isinstance(err, StreamStopped) and self.control.aborted:
                        break
                    journal.append("lost", why=str(err))
                    fruitless = 0 if self.finished > before else fruitless + 1
                    final = isinstance(err, UnsupportedSetting | RecordingError)
                    if final or fruitless >= _MOST_STARTS:
                        raise _resumable(err, self.folder) from err
                    pause_s = min(2.0**fruitless, _LONGEST_PAUSE_S)
                    self.say("waiting", words=f"{err}; the next try begins in {pause_s:.0f} s")
                    self.control.wait(pause_s)
            if self.control.aborted:
                journal.append("abort")
        self._campaign = open_campaign(self.folder)
        self.say("done")
        return SweepResult(
            self._campaign,
            self.finished,
            self.seconds,
            self.control.aborted and not self._campaign.complete,
        )

    def say(
        self,
        stage: Stage,
        index: int | None = None,
        table_deg: float | None = None,
        attempt: int = 0,
        words: str = "",
    ) -> None:
        """Tell where it is."""
        plan = self.file.plan
        left = len(plan.angles_deg) - self._done - self._bad
        self._tell(
            SweepProgress(
                stage, len(plan.angles_deg), self._done, self._bad, index,
                None if index is None else plan.angles_deg[index], table_deg, attempt,
                self._estimate.of(left), words,
            )
        )  # fmt: skip

    def _start(self, journal: CampaignJournal, campaign: Campaign) -> None:
        """One start: table, receiver, recording, all open points."""
        plan, number = self.file.plan, campaign.runs + 1
        self.say("opening")
        with self._open_table() as table, self._open_receiver() as session:
            check_limits(plan, table.info)
            stream = session.stream
            guess = preview(plan, fs_hz=stream.fs_hz, n_channels=stream.n_channels)
            self._estimate = Estimate(guess.seconds / len(plan.angles_deg))
            kind = "sigmf-collection" if plan.layout == "collection" else "sigmf-meta"
            path = self.folder / f"run-{number:03d}.{kind}"
            windows = Windows(lambda block: self._recorder(path, block, table))
            journal.append(
                "run", run=number, fingerprint=plan.fingerprint, recording=path.name, version=hil.__version__,
                host=platform.node(), device=asdict(stream.device) | {"wire": stream.device.wire.value},
                table={"uri": table.info.uri, "model": table.info.model, "sigma_deg": table.info.sigma_deg},
                fc_hz=stream.fc_hz, fs_hz=stream.fs_hz, gains_db=list(stream.gains_db), epoch=stream.epoch.id,
            )  # fmt: skip
            session.start(recorder=windows)
            try:
                self._points(PointRun(plan, table, session, windows, journal, self), campaign.open_indices)
            except BaseException as err:
                with contextlib.suppress(HilError):
                    table.stop()
                session.stop()
                if isinstance(err, StreamStopped) and not self.control.aborted:
                    session.raise_error()  # the reason, rather than what followed from it
                raise
            session.stop()

    def _points(self, run: PointRun, indices: Sequence[int]) -> None:
        for index in indices:
            self._pause()
            if self.control.aborted:
                raise StreamStopped("the sweep was ended")
            self._estimate.begin()
            if run.do(index):
                self._done += 1
                self.finished += 1
                self._estimate.end()
            self._bad += run.given_up()
        run.end()
        self._bad += run.given_up()

    def _pause(self) -> None:
        if self.control.paused:
            self.say("paused")
        while self.control.paused and not self.control.wait(_POLL_S):
            pass

    def _recorder(self, path: Path, block: Block, table: Positioner) -> Recorder:
        note = self.file.plan.note
        return Recorder(
            path, block.stream, policy="gap",
            description=f"turntable campaign, table {table.info.model}" + (f": {note}" if note else ""),
        )  # fmt: skip


def _resumable(err: HilError, folder: Path) -> HilError:
    """The same error; its hint says how to go on."""
    if isinstance(err, ConfigError):
        return err
    err.hint = "; ".join(
        filter(None, [err.hint, f"then go on with --resume: {folder} keeps what is finished"])
    )
    return err
