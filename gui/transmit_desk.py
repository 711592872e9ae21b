"""The transmitter behind the window: what is sent, as the device took it, and silence when it ends."""

from __future__ import annotations

from gui.facts import TransmitFacts
from hil.core.device import Transceiver, TxConfig
from hil.core.errors import DeviceError, DriverUnavailable, HilError
from hil.core.waveform import Waveform
from hil.session import Session


class TransmitDesk:
    """Not in the window's thread: devices take their time. `facts` may be read from any."""

    def __init__(self) -> None:
        self.facts: TransmitFacts | None = None

    def opened(self, session: Session) -> None:
        """Another device. Its transmitter is not touched before the user asks for it.

        What may still be on stays told until the user sends again, or presses stop.
        """
        device = session.device
        if self.facts is not None and self.facts.state == "unsure":
            return
        words = "" if isinstance(device, Transceiver) else "This device only receives."
        self.facts = TransmitFacts("off" if not words else "none", device.info.uri, words=words)

    def begin(self, session: Session, waveform: Waveform, name: str, want: TxConfig) -> str:
        """Send; returns what the device took in words. Silent after any error, which is raised."""
        uri = session.device.info.uri
        try:
            taken = session.transmit(waveform, want)
        except DriverUnavailable as err:
            self.facts = TransmitFacts("none", uri, words=f"{err}.")
            raise
        except HilError as err:
            self.end(session, err)
            raise
        levels = taken.attenuation_db
        attenuation = levels if isinstance(levels, tuple) else (levels or 0.0,)
        self.facts = TransmitFacts("on", uri, name, attenuation, taken.channels or (), taken.fc_hz or 0.0)
        return self.facts.sentence

    def end(self, session: Session, why: HilError | None = None) -> None:
        """Silence. Raises what says that it may go on."""
        try:
            session.stop_transmitting()
        except DeviceError as err:
            self._unsure(err)
            if why is None:
                raise
        else:
            self._off()

    def release(self, session: Session) -> None:
        """Close the session, transmitter first."""
        try:
            session.close()
        except DeviceError as err:
            self._unsure(err)
            raise
        self._off()

    def _off(self) -> None:
        f = self.facts
        if f is not None and f.state != "none":
            self.facts = TransmitFacts("off", f.uri)

    def _unsure(self, err: DeviceError) -> None:
        """Only if something was sent: else there is nothing to be unsure about."""
        f = self.facts
        if f is not None and f.state in ("on", "unsure"):
            hint = f" {err.hint}." if err.hint else ""
            self.facts = TransmitFacts(
                "unsure", f.uri, f.name, f.attenuation_db, f.channels, f.fc_hz, f"{err}.{hint}"
            )
