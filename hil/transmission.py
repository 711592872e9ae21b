"""What a session sends: the device's transmitter, used in the reader's thread, silenced whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.core.device import RxDevice, Transceiver, TxConfig, TxDevice
from hil.core.errors import ConfigError, DeviceError, DriverUnavailable, HilError
from hil.core.frame import StreamInfo
from hil.core.waveform_types import Waveform


class Transmission:
    """The transmitter of a receiver, opened with the first `send`."""

    def __init__(self, device: RxDevice) -> None:
        self._device = device
        self._transmitter: TxDevice | None = None

    def send(
        self, signal: Waveform | NDArray[np.complex64], want: TxConfig | None, stream: StreamInfo
    ) -> TxConfig:
        """See Session.transmit."""
        if isinstance(signal, Waveform):
            check_rate(signal, stream.fs_hz)
        if not isinstance(self._device, Transceiver):
            uri = self._device.info.uri
            raise DriverUnavailable(
                f"{uri}: this device only receives",
                uri=uri,
                hint="open one that transmits: iio:, soapy: or sim:",
            )
        asked = want or TxConfig()
        if asked.fc_hz is None:
            asked = replace(asked, fc_hz=stream.fc_hz)
        transmitter = self._transmitter = self._device.transmitter()
        taken = transmitter.configure(asked)
        try:
            if isinstance(signal, Waveform):
                signal = np.repeat(signal.samples[np.newaxis], len(taken.channels or ()), axis=0)
            transmitter.send_cyclic(signal)
        except BaseException:
            transmitter.stop()  # a level that nothing is sent with must not wait for the next signal
            raise
        return taken

    def stop(self) -> None:
        """Silence, greatest attenuation. Idempotent. Raises ConnectionLost if it may go on."""
        if self._transmitter is not None:
            self._transmitter.stop()

    def during(self, work: Callable[[], None]) -> None:
        """Run the reader's work; when it ends, for whatever reason, nothing more is sent."""
        try:
            work()
        finally:
            with contextlib.suppress(DeviceError):  # `silenced` tells
                self.stop()

    def silenced(self, error: Exception | None) -> Exception | None:
        """Stop; what ends the session then: `error`, with the hint of a transmitter that may go on."""
        try:
            self.stop()
        except DeviceError as err:
            if not isinstance(error, HilError):
                return error or err
            join_hints(error, err)
        return error


def check_rate(waveform: Waveform, fs_hz: float) -> None:
    """Raise ConfigError unless the waveform is made for the receiver's rate (as far as its synthesizer goes)."""
    if not abs(waveform.fs_hz - fs_hz) <= max(4.0, 2e-6 * fs_hz):
        raise ConfigError(
            f"the waveform is made for {waveform.fs_hz:.10g} samples/s, the receiver runs at {fs_hz:.10g}",
            hint=f"set the receiver's rate (--fs {waveform.fs_hz:.10g}), or make the waveform for {fs_hz:.10g}",
        )


def join_hints(error: HilError, other: HilError) -> None:
    """Add the other error's hint: the first error tells what happened, and both what to do."""
    if other.hint not in error.hint:
        error.hint = "; ".join(filter(None, [error.hint, other.hint]))
