"""A request for all devices of an array: checked first, then written device by device, then read back."""

from __future__ import annotations

from drivers.settings import check_block_samples, check_in_range, gains_per_channel
from drivers.soapy.radio import Radio
from drivers.soapy.ranges import say, within
from drivers.state import default_block_samples
from hil.core.device import DeviceCaps, GainMode, RxConfig
from hil.core.epoch import EpochEvent
from hil.core.errors import ConfigError, UnsupportedSetting

Ports = list[tuple[int, int]]


def check_request(want: RxConfig, radios: list[Radio], caps: DeviceCaps, n_channels: int, uri: str) -> None:
    """Raise UnsupportedSetting for what can be refused before anything is written."""
    check_in_range("fc_hz", want.fc_hz, caps.fc_hz, uri)
    check_in_range("fs_hz", want.fs_hz, caps.fs_hz, uri)
    check_block_samples(want.block_samples, uri)
    for radio in radios:
        for field, value, what in (
            ("fc_hz", want.fc_hz, "Frequency"),
            ("fs_hz", want.fs_hz, "SampleRate"),
            ("bandwidth_hz", want.bandwidth_hz, "Bandwidth"),
        ):
            if value is not None:
                allowed = radio.ranges(what)
                if allowed and not within(allowed, value):
                    raise UnsupportedSetting(field, f"{value:.10g}", say(allowed), uri=uri)
    for gain in gains_per_channel(want.gain_db, n_channels, uri) or ():
        if want.fc_hz is None:  # with a new carrier the range may change
            check_in_range("gain_db", gain, caps.gain_db, uri)
    if want.gain_mode is GainMode.FAST_ATTACK:
        raise UnsupportedSetting("gain_mode", want.gain_mode, "manual, slow_attack (any AGC)", uri=uri)
    if want.gain_mode is not GainMode.MANUAL and want.gain_db is not None:
        raise UnsupportedSetting("gain_db", want.gain_db, f"no gain in mode {want.gain_mode}", uri=uri)


def apply_settings(
    radios: list[Radio], ports: Ports, want: RxConfig, channels: tuple[int, ...], events: list[EpochEvent]
) -> None:
    """Write what differs; what was written is noted in `events`, also when a later setting fails.

    The rate comes first (drivers derive the filter from it), the gain last, and only in manual mode.
    """

    def note(event: EpochEvent, wrote: bool) -> None:
        if wrote and event not in events:
            events.append(event)

    for radio in radios:
        if want.fs_hz is not None:
            note(EpochEvent.RATE, radio.set_fs(want.fs_hz))
        if want.bandwidth_hz is not None:
            note(EpochEvent.RATE, radio.set_bandwidth(want.bandwidth_hz))
        if want.fc_hz is not None:
            note(EpochEvent.LO, radio.set_fc(want.fc_hz))
    automatic = want.gain_mode is not GainMode.MANUAL
    for radio, channel in (ports[c] for c in channels):
        note(
            EpochEvent.AGC if automatic else EpochEvent.GAIN, radios[radio].set_automatic(channel, automatic)
        )
    gains = gains_per_channel(want.gain_db, len(channels), "") or ()
    for (radio, channel), gain in zip((ports[c] for c in channels), gains, strict=False):
        note(EpochEvent.GAIN, radios[radio].set_gain(channel, gain))


def read_settings(
    radios: list[Radio], ports: Ports, channels: tuple[int, ...], want: RxConfig, before: RxConfig | None
) -> RxConfig:
    """What the hardware took. Raises ConfigError if the selected channels differ in rate or carrier."""
    selected = [(radios[r], c) for r, c in (ports[k] for k in channels)]
    fs_hz = [radio.fs_hz(c) for radio, c in selected]
    fc_hz = [radio.fc_hz(c) for radio, c in selected]
    for name, values, tolerance in (("rate", fs_hz, 0.5), ("carrier", fc_hz, 10.0)):
        if max(values) - min(values) > tolerance:
            raise ConfigError(
                f"the channels of the array differ in {name}: {', '.join(f'{v:.10g}' for v in values)} Hz",
                hint="set it for all of them with this request",
            )
    block = want.block_samples or (
        before.block_samples if before and before.fs_hz == fs_hz[0] else default_block_samples(fs_hz[0])
    )
    automatic = any(radio.automatic(c) for radio, c in selected)
    return RxConfig(
        fc_hz=fc_hz[0],
        fs_hz=fs_hz[0],
        bandwidth_hz=selected[0][0].bandwidth_hz(selected[0][1]) or fs_hz[0],  # 0: it does not say
        gain_db=tuple(radio.gain_db(c) for radio, c in selected),
        gain_mode=GainMode.SLOW_ATTACK if automatic else GainMode.MANUAL,
        channels=channels,
        block_samples=block,
    )
