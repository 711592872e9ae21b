"""Campaigns without a table: folders as `hil sweep` leaves them, of samples made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.campaign.journal import CampaignJournal
from hil.campaign.plan import Plan
from hil.campaign.plan_file import NAME, CampaignFile
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Block, FrameFlag, StreamInfo
from hil.core.geometry import parse_array
from hil.core.waveform import Waveform
from hil.core.waveform_files import load_waveform
from hil.recorder import Recorder
from hil.recorder.metadata import Point

FS_HZ, FC_HZ, M = 1e6, 2.4e9, 4
SNR_DB = 20.0


def stream_of(name: str) -> StreamInfo:
    """Four channels of a 12-bit device; each name is a coherence epoch of its own."""
    info = DeviceInfo(
        uri="test:", driver="test", model="test", serial="t", firmware="", coherent_groups=((0, 1, 2, 3),),
        wire=WireFormat.CI16, full_scale_bits=12,
    )  # fmt: skip
    config = RxConfig(
        fc_hz=FC_HZ, fs_hz=FS_HZ, bandwidth_hz=FS_HZ, gain_db=(0.0,) * M, channels=tuple(range(M)), block_samples=4096
    )  # fmt: skip
    return StreamInfo(config, info, new_epoch(name), parse_array("ula:4:0.5", FC_HZ))


def wire_at(
    direction_deg: float,
    n: int,
    rng: np.random.Generator,
    errors: NDArray[np.complex128] | None = None,
    wave: Waveform | None = None,
) -> NDArray[np.int16]:
    """Samples (n, M, 2) of one emitter at a direction, noise 20 dB below; errors (M,) multiply the channels. wave : what it
    sends, cyclically; None: noise."""
    element = np.arange(M)[:, None]
    a = np.exp(1j * np.pi * element * np.sin(np.deg2rad(direction_deg)))
    if wave is None:
        s = (rng.standard_normal(n) + 1j * rng.standard_normal(n)) / np.sqrt(2)
    else:
        s = np.resize(wave.samples, n) / np.sqrt(np.mean(np.abs(wave.samples) ** 2))
    noise = (rng.standard_normal((M, n)) + 1j * rng.standard_normal((M, n))) / np.sqrt(2)
    x = a * s + 10 ** (-SNR_DB / 20) * noise
    if errors is not None:
        x = errors[:, None] * x
    scaled = np.round(300 * x).T
    return np.clip(np.stack((scaled.real, scaled.imag), axis=-1), -2047, 2046).astype("<i2")


def make_campaign(
    folder: Path,
    angles_deg: Sequence[float],
    *,
    samples: int = 8192,
    runs: int = 1,
    seed: int = 0,
    emitters_deg: tuple[float, ...] = (0.0,),
    errors: NDArray[np.complex128] | None = None,
    repeat: int = 1,
    name: str = "",
    wave: Path | None = None,
) -> Path:
    """A finished campaign; its angles are shared out to `runs` recordings in turn. repeat : the samples of a point are
    that many times the same piece, so that large ones are quickly made."""
    folder.mkdir(parents=True)
    plan = Plan(tuple(float(a) for a in angles_deg), samples=samples * repeat, emitters_deg=emitters_deg)
    (folder / NAME).write_text(CampaignFile(plan, array="ula:4:0.5").to_toml(), encoding="utf-8")
    rng = np.random.default_rng(seed)
    sent = None if wave is None else load_waveform(wave)
    with CampaignJournal(folder) as journal:
        for run in range(runs):
            stream = stream_of(f"{name or folder.name}{run}")
            path = folder / f"run-{run + 1:03d}.sigmf-collection"
            journal.append("run", run=run + 1, fingerprint=plan.fingerprint, recording=path.name)
            with Recorder(path, stream, policy="gap") as recorder:
                _points(
                    recorder,
                    journal,
                    plan,
                    range(run, len(plan.angles_deg), runs),
                    stream,
                    rng,
                    errors,
                    repeat,
                    sent,
                )
    return folder


def _points(
    recorder: Recorder,
    journal: CampaignJournal,
    plan: Plan,
    indices: Sequence[int],
    stream: StreamInfo,
    rng: np.random.Generator,
    errors: NDArray[np.complex128] | None,
    repeat: int,
    wave: Waveform | None,
) -> None:
    first = 0
    for index in indices:
        set_deg = plan.angles_deg[index]
        table_deg = set_deg + float(rng.uniform(-0.05, 0.05))
        truth = plan.truth_deg(table_deg)
        start = recorder.samples
        recorder.leave_out()
        recorder.note_segment(Point(table_azimuth_deg=table_deg, emitter_angles_deg=truth))
        piece = wire_at(truth[0] if truth else 0.0, plan.samples // repeat, rng, errors, wave)
        for _ in range(repeat):
            t_ns = round((first + len(piece)) / FS_HZ * 1e9)
            recorder.write(Block(piece, first, 0, t_ns, t_ns, FrameFlag.NONE, stream, 0))
            first += len(piece)
        first += 5000  # the table turned
        journal.append(
            "point", index=index, set_deg=set_deg, table_deg=table_deg, table_error_deg=0.02, truth_deg=list(truth),
            recording=recorder.path.name, start=start, n=plan.samples, epoch=stream.epoch.id, attempt=0, snr_db=20.0,
        )  # fmt: skip
