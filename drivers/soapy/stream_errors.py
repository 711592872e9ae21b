"""What a driver's refusals and return codes of streams mean to the user."""

from __future__ import annotations

from typing import Any

from drivers.soapy.radio import Radio, Refused
from hil.core.errors import ConnectionLost, DeviceError, DeviceStateError, ProtocolError, UnsupportedSetting


def set_up_refused(radio: Radio, channels: tuple[int, ...], err: Refused) -> DeviceError:
    """A receive stream that could not be set up."""
    uri = radio.uri
    if err.arguments:
        return unreadable_arguments(radio, err)
    if any(word in str(err).lower() for word in ("busy", "in use", "already")):
        return DeviceStateError(
            f"{uri}: the receiver is in use ({err})",
            uri=uri,
            hint="another program receives from this device",
        )
    return UnsupportedSetting("channels", channels, f"what its driver can stream ({err})", uri=uri)


def unreadable_arguments(radio: Radio, err: Refused) -> UnsupportedSetting:
    """Stream arguments of the URI that the driver could not read."""
    given = ",".join(f"{key}={value}" for key, value in radio.address.stream_args.items())
    return UnsupportedSetting("stream arguments", given, f"what its driver can read ({err})", uri=radio.uri)


def receiver_broke(soapy: Any, uri: str, code: int) -> DeviceError:
    """A code of readStream after which nothing more comes."""
    name = soapy.errToStr(code)
    if code == soapy.SOAPY_SDR_TIME_ERROR:
        return DeviceStateError(f"{uri}: the start time had passed when the device got it ({name})", uri=uri)
    if code == soapy.SOAPY_SDR_NOT_SUPPORTED:
        return ProtocolError(f"{uri}: the driver cannot read this stream ({name})", uri=uri)
    return ConnectionLost(
        f"{uri}: the stream broke ({name})",
        uri=uri,
        hint="check the device and its server, then open it again",
    )


def transmitter_broke(soapy: Any, uri: str, code: int) -> ConnectionLost:
    """A code of writeStream or readStreamStatus after which nothing more goes out."""
    return ConnectionLost(
        f"{uri}: the transmit stream broke ({soapy.errToStr(code)})",
        uri=uri,
        hint="check the device and its server, then open it again",
    )
