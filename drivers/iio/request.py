"""A request for all boards of an array: checked first, then written board by board, then read back."""

from __future__ import annotations

from drivers.iio.board import Board
from drivers.settings import check_block_samples, check_in_range, gains_per_channel
from drivers.state import default_block_samples
from hil.core.device import DeviceCaps, GainMode, RxConfig
from hil.core.epoch import EpochEvent
from hil.core.errors import ConfigError, UnsupportedSetting

Ports = list[tuple[int, int]]


def check_request(want: RxConfig, caps: DeviceCaps, n_channels: int, uri: str) -> None:
    """Raise UnsupportedSetting for what can be refused without asking the hardware."""
    check_in_range("fc_hz", want.fc_hz, caps.fc_hz, uri)
    if not caps.fs_fixed_hz:
        check_in_range("fs_hz", want.fs_hz, caps.fs_hz, uri)
    check_block_samples(want.block_samples, uri)
    for gain in gains_per_channel(want.gain_db, n_channels, uri) or ():
        if want.fc_hz is None:  # with a new carrier the range may change
            check_in_range("gain_db", gain, caps.gain_db, uri)
    if want.gain_mode is not GainMode.MANUAL and want.gain_db is not None:
        raise UnsupportedSetting("gain_db", want.gain_db, f"no gain in mode {want.gain_mode}", uri=uri)


def apply_settings(
    boards: list[Board], ports: Ports, want: RxConfig, channels: tuple[int, ...], events: list[EpochEvent]
) -> None:
    """Write what differs; what was written is noted in `events`, also when a later setting fails.

    The rate comes first (its filter sequence touches the analogue filter), the gain last (its range depends
    on the carrier, and pyadi-iio ignores it unless the mode is manual).
    """

    def note(event: EpochEvent, wrote: bool) -> None:
        if wrote and event not in events:
            events.append(event)

    for board in boards:
        if want.fs_hz is not None:
            note(EpochEvent.RATE, board.set_fs(want.fs_hz))
        if want.bandwidth_hz is not None:
            note(EpochEvent.RATE, board.set_bandwidth(want.bandwidth_hz))
        if want.fc_hz is not None:
            note(EpochEvent.LO, board.set_fc(want.fc_hz))
    for board, channel in (ports[c] for c in channels):
        changed = boards[board].set_gain_mode(want.gain_mode, [channel])
        note(EpochEvent.AGC if want.gain_mode is not GainMode.MANUAL else EpochEvent.GAIN, changed)
    gains = gains_per_channel(want.gain_db, len(channels), "") or ()
    for (board, channel), gain in zip((ports[c] for c in channels), gains, strict=False):
        note(EpochEvent.GAIN, boards[board].set_gain(channel, gain))


def read_settings(
    boards: list[Board], ports: Ports, channels: tuple[int, ...], want: RxConfig, before: RxConfig | None
) -> RxConfig:
    """What the hardware took. Raises ConfigError if the boards of an array differ in rate or carrier."""
    fs_hz = [b.fs_hz() for b in boards]
    fc_hz = [b.fc_hz() for b in boards]
    for name, values, tolerance in (("rate", fs_hz, 0.5), ("carrier", fc_hz, 10.0)):
        if max(values) - min(values) > tolerance:
            raise ConfigError(
                f"the boards of the array differ in {name}: {', '.join(f'{v:.10g}' for v in values)} Hz",
                hint="set it for all of them with this request",
            )
    block = want.block_samples or (
        before.block_samples if before and before.fs_hz == fs_hz[0] else default_block_samples(fs_hz[0])
    )
    return RxConfig(
        fc_hz=fc_hz[0],
        fs_hz=fs_hz[0],
        bandwidth_hz=boards[0].bandwidth_hz(),
        gain_db=tuple(boards[b].gain_db(c) for b, c in (ports[k] for k in channels)),
        gain_mode=want.gain_mode,
        channels=channels,
        block_samples=block,
    )
