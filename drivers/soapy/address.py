"""`soapy:` URIs: what names a device, what goes to its streams, and settings made at opening."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hil.core.errors import ConfigError

_EXAMPLE = "soapy:driver=remote,remote=tcp://127.0.0.1:55132 (hil devices lists what is there)"
#: Arguments that SoapyRemote's client reads when a stream is set up, never when the device is made.
_STREAM_KEYS = frozenset({"remote:mtu", "remote:window", "remote:format", "remote:scale", "remote:prot"})
_NUMBERS = ("rate", "bandwidth", "freq", "gain")
_WORDS = ("antenna", "clock_source", "time_source", "groups", "format")
_GROUPS = re.compile(r"\d+(\+\d+)*(/\d+(\+\d+)*)*")


@dataclass(frozen=True, slots=True)
class Address:
    """One device of a `soapy:` URI.

    Attributes
    ----------
    text : as the user wrote it.
    device_args : for SoapySDR's Device(...).
    stream_args : for setupStream, besides what `stream:KEY=VALUE` says.
    settings : device settings by `setting:KEY=VALUE`.
    numbers : rate, bandwidth, freq in Hz, gain in dB.
    words : antenna (one, or one per channel joined by "+"), clock_source, time_source, groups ("0+1/2+3"),
        format ("CS16" or "CF32").
    """

    text: str
    device_args: dict[str, str]
    stream_args: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def driver(self) -> str:
        """SoapySDR's driver key."""
        return self.device_args["driver"]

    @property
    def remote(self) -> bool:
        """True if a SoapyRemote server is in between."""
        return self.driver == "remote"

    def groups(self) -> tuple[tuple[int, ...], ...] | None:
        """Coherent groups that the user stated, None if he did not."""
        text = self.words.get("groups")
        if text is None:
            return None
        return tuple(tuple(int(c) for c in part.split("+")) for part in text.split("/"))


def parse(rest: str) -> tuple[Address, ...]:
    """The devices of `soapy:REST`, separated by ";". Raises ConfigError."""
    addresses = tuple(_parse_one(part.strip(), rest) for part in rest.split(";"))
    if len({tuple(sorted(a.device_args.items())) for a in addresses}) != len(addresses):
        raise ConfigError(
            f"soapy:{rest}: the same device twice", hint="tell them apart by serial=... or remote=..."
        )
    return addresses


def _parse_one(text: str, rest: str) -> Address:
    address = Address(text, {})
    for item in text.split(","):
        key, equals, value = item.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key or not item.isascii() or not item.isprintable():
            raise ConfigError(f"soapy:{rest}: {item!r} is not KEY=VALUE", hint=_EXAMPLE)
        _sort_in(address, key, value, rest)
    if not address.device_args.get("driver"):
        # without it SoapySDR would ask every driver, the network ones by multicast
        raise ConfigError(f"soapy:{rest}: no driver=... is given", hint=_EXAMPLE)
    if address.remote:
        _prepare_remote(address, rest)
    return address


def _sort_in(address: Address, key: str, value: str, rest: str) -> None:
    if key in _NUMBERS:
        try:
            address.numbers[key] = float(value)
        except ValueError:
            raise ConfigError(f"soapy:{rest}: {key}={value!r} is not a number", hint=_EXAMPLE) from None
    elif key in _WORDS:
        address.words[key] = value
        if key == "groups" and not _GROUPS.fullmatch(value):
            raise ConfigError(
                f"soapy:{rest}: groups={value!r}", hint="channels that share an LO: groups=0+1/2+3"
            )
        if key == "format" and value not in ("CS16", "CF32"):
            raise ConfigError(f"soapy:{rest}: format={value!r}", hint="format=CS16 or format=CF32")
    elif key.startswith("stream:"):
        address.stream_args[key.removeprefix("stream:")] = value
    elif key.startswith("setting:"):
        address.settings[key.removeprefix("setting:")] = value
    elif key in _STREAM_KEYS:
        address.stream_args[key] = value
        if key == "remote:prot":
            address.device_args[key] = value
    else:
        address.device_args[key] = value


def _prepare_remote(address: Address, rest: str) -> None:
    if not address.device_args.get("remote"):
        raise ConfigError(
            f"soapy:{rest}: driver=remote without remote=... would search the network",
            hint="name the server: remote=tcp://HOST:55132; hil devices --discover asks the network",
        )
    # the client's defaults are UDP, which loses samples without a word, in datagrams of 1500 bytes, and
    # deadlines of 0.1 s for a busy server
    address.stream_args.setdefault("remote:prot", "tcp")
    address.device_args.setdefault("remote:timeout", "2000000")
    if address.stream_args["remote:prot"] == "tcp":
        address.stream_args.setdefault("remote:mtu", "65536")
