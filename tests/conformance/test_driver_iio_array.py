"""Two boards as one array: they are brought to the same instant, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drivers import open_device
from drivers.alignment import find_offset, samples_needed
from drivers.conformance_cases import emulator, emulator_scene
from hil.core.device import RxConfig
from hil.core.errors import CaptureError
from hil.core.frame import FrameFlag


def _capture(device, n: int):
    stream = device.configure(RxConfig())
    device.start()
    out = np.zeros((stream.config.block_samples, stream.n_channels, 2), np.int16)
    pieces = []
    while sum(map(len, pieces)) < n:
        result = device.read(out, 5.0)
        pieces.append(out[: result.n].copy())
    return np.concatenate(pieces)[:n]


def _opens(truth: Path) -> dict[int, int]:
    """Board -> scene sample of its latest "open"."""
    events = [json.loads(line) for line in truth.read_text("utf-8").splitlines()]
    return {e["board"]: e["scene_sample"] for e in events if e.get("event") == "open"}


@pytest.mark.parametrize("board", ["fmcomms5", "adrv9009-zu11eg"])
@pytest.mark.parametrize("pace", [(), ("--free-running",)], ids=["real-time", "free-running"])
def test_first_samples_of_all_boards_are_the_same_scene_sample(
    board: str, pace: tuple[str, ...], tmp_path: Path
) -> None:
    truth = tmp_path / "truth.jsonl"
    with (
        emulator(emulator_scene(board, 2), "--truth", str(truth), *pace) as (_, uris),
        open_device("iio:" + ",".join(uris)) as device,
    ):
        _capture(device, 1000)
        skipped, alignment = device.skipped_samples, device.alignment
    opened = _opens(truth)
    assert opened[0] + skipped[0] == opened[1] + skipped[1]
    common = board == "adrv9009-zu11eg"
    assert alignment["method"] == ("common start" if common else "correlation")
    if not common:
        assert alignment["boards"][1]["offset_samples"] == opened[1] - opened[0]


def test_boards_without_common_start_refuse_a_tone() -> None:
    scene = emulator_scene("fmcomms5", 2).replace('"qpsk"', '"cw"').replace("symbol_rate_hz = 5.0e5\n", "")
    with emulator(scene) as (_, uris), open_device("iio:" + ",".join(uris)) as device:
        device.configure(RxConfig())
        with pytest.raises(CaptureError, match="repeats or is too weak") as caught:
            device.start()
        assert caught.value.hint
        device.configure(RxConfig())  # the device stays usable


def test_an_array_is_aligned_anew_after_every_loss() -> None:
    scene = emulator_scene("fmcomms5", 2) + "[faults]\noverflow_every_s = 1.5\n"
    with emulator(scene) as (_, uris), open_device("iio:" + ",".join(uris)) as device:
        stream = device.configure(RxConfig())
        device.start()
        out = np.zeros((stream.config.block_samples, stream.n_channels, 2), np.int16)
        gaps, heard, expected, after = 0, [], 0, samples_needed(4096, 2)
        while gaps < 3:
            result = device.read(out, 5.0)
            assert result.first_sample == expected
            expected += result.n
            if result.flags & FrameFlag.GAP_BEFORE:
                assert result.lost_before is None
                gaps += 1
                heard = []
            heard.append(out[: result.n].copy())
            if gaps and sum(map(len, heard)) >= after:
                samples = np.concatenate(heard)[:after] @ np.array([1, 1j], np.complex64)
                found = find_offset(samples[:, :4], samples[:, 4:], 4096, 2)
                assert (found.clear, found.offset) == (True, 0)
                heard = []
        # one more where a loss came while the boards were being aligned
        assert len(device.alignments) >= gaps + 1


def test_channels_of_the_second_board_alone_need_no_alignment() -> None:
    with emulator(emulator_scene("fmcomms5", 2)) as (_, uris):
        joined = "iio:" + ",".join(uris)
        with open_device(joined) as device:
            whole = device.configure(RxConfig())
            assert whole.device.coherent_groups == ((0, 1), (2, 3), (4, 5), (6, 7))
            stream = device.configure(RxConfig(channels=(6, 4)))
            device.start()
            out = np.zeros((1000, 2, 2), np.int16)
            assert device.read(out, 5.0).n > 0
            assert stream.config.channels == (6, 4)
            assert device.alignment["method"] == "single"


def _received(offset: int, n: int, *, snr_db: float, occupied: int, rng: np.random.Generator):
    """Two boards of two channels; `occupied` samples per symbol; a new phase between the boards every 10000."""
    total = n + 2 * abs(offset) + 1
    symbols = rng.choice([1, 1j, -1, -1j], total // occupied + 2)
    signal = np.repeat(symbols, occupied)[:total]
    hop = np.exp(2j * np.pi * rng.random(total // 10_000 + 1))[np.arange(total) // 10_000]
    begin = abs(offset)
    level = 10 ** (snr_db / 20)

    def receive(x):
        gains = np.exp(2j * np.pi * rng.random(2))
        noise = rng.normal(size=(n, 2, 2)) @ np.array([1, 1j]) / np.sqrt(2)
        return (level * x[:, None] * gains + noise).astype(np.complex64)

    return receive(signal[begin : begin + n]), receive((signal * hop)[begin + offset : begin + offset + n])


@pytest.mark.parametrize("offset", [0, 1, -7, 12_345, -19_999])
@pytest.mark.parametrize(("snr_db", "occupied"), [(20.0, 5), (-9.0, 5), (10.0, 60)])
def test_offset_is_found_to_the_sample(offset: int, snr_db: float, occupied: int) -> None:
    reach, segments = 20_000, 8
    n = samples_needed(reach, segments)
    rng = np.random.default_rng([offset + 100_000, occupied])
    reference, other = _received(offset, n, snr_db=snr_db, occupied=occupied, rng=rng)
    estimate = find_offset(reference, other, reach, segments)
    assert estimate.clear
    assert estimate.offset == offset


def test_what_cannot_be_aligned_is_not_called_clear() -> None:
    reach, segments = 20_000, 8
    n = samples_needed(reach, segments)
    rng = np.random.default_rng(3)
    noise = [(rng.normal(size=(n, 2, 2)) @ np.array([1, 1j])).astype(np.complex64) for _ in range(2)]
    tone = np.exp(0.3j * np.arange(n)).astype(np.complex64)[:, None]
    frame = rng.normal(size=(5000, 2)) @ np.array([1, 1j])
    repeating = np.tile(frame, n // 5000 + 1)[:n].astype(np.complex64)[:, None]
    for signal in (0.0, 10 * tone, 10 * repeating):
        assert not find_offset(noise[0] + signal, noise[1] + signal, reach, segments).clear
