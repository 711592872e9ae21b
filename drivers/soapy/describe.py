"""What the devices of an array have in common: identity, sample format, limits."""

from __future__ import annotations

import math

from drivers.soapy.radio import Radio
from hil.core.device import DeviceCaps, DeviceInfo, Range, WireFormat
from hil.core.epoch import EpochScope
from hil.core.errors import UnsupportedSetting


def identity(radios: list[Radio], uri: str, wire: WireFormat, bits: int) -> DeviceInfo:
    """The array as one device; its groups are those of the devices, numbered on."""
    first, groups = 0, []
    for radio in radios:
        groups += [tuple(first + c for c in group) for group in radio.groups]
        first += radio.n_channels
    models = [r.model for r in radios]
    return DeviceInfo(
        uri=uri,
        driver="soapy",
        model=" + ".join(models),
        serial="+".join(r.serial for r in radios),
        firmware=radios[0].firmware,
        coherent_groups=tuple(groups),
        wire=wire,
        full_scale_bits=bits,
    )


def read_limits(radios: list[Radio]) -> tuple[Range, list[Range], Range]:
    """(carriers, rates, gains) that all devices allow."""
    carriers = [radio.ranges("Frequency") for radio in radios]
    rates = [radio.ranges("SampleRate") for radio in radios]
    gains = [radio.gain_range(c) for radio in radios for c in range(radio.n_channels)]
    whole = Range(0.0, math.inf)
    fc = [Range(r[0].minimum, r[-1].maximum, r[0].step) if r else whole for r in carriers]
    return (common_range(fc), min(rates, key=len) or [whole], common_range(gains))


def abilities(radios: list[Radio], limits: tuple[Range, list[Range], Range], bits: int) -> DeviceCaps:
    """What the array can do, from `read_limits`."""
    fc, rates, gain = limits
    fixed = tuple(r.minimum for r in rates) if all(r.minimum == r.maximum for r in rates) else ()
    return DeviceCaps(
        fc_hz=fc,
        fs_hz=Range(rates[0].minimum, rates[-1].maximum, 0.0 if fixed else rates[0].step),
        gain_db=gain,
        n_channels=sum(r.n_channels for r in radios),
        full_scale_bits=bits,
        has_hw_time=all(r.has_time for r in radios),
        reports_overflow=True,
        fs_fixed_hz=fixed,
    )


def wire_of(radio: Radio) -> tuple[WireFormat, int]:
    """(format, bits of full scale): int16 where its full scale is a power of two, else float of full scale 1."""
    wanted = radio.address.words.get("format")
    name, scale = radio.native or ("", 0.0)
    bits = round(math.log2(scale)) + 1 if scale > 1 else 16
    exact = name == "CS16" and scale == 2.0 ** (bits - 1)
    if exact and wanted != "CF32" and "CS16" in radio.formats:
        return WireFormat.CI16, bits
    if wanted == "CS16":
        raise UnsupportedSetting(
            "format", "CS16", f"CF32 (native {name or '?'} of full scale {scale:g})", uri=radio.uri
        )
    if "CF32" not in radio.formats:
        raise UnsupportedSetting("format", "CF32", ", ".join(radio.formats), uri=radio.uri)
    return WireFormat.CF32, min(max(bits, 2), 16)


def common_range(ranges: list[Range]) -> Range:
    """What all devices allow."""
    return Range(max(r.minimum for r in ranges), min(r.maximum for r in ranges), max(r.step for r in ranges))


def worse(a: EpochScope, b: EpochScope) -> EpochScope:
    """The scope that leaves more invalid."""
    order = list(EpochScope)
    return max(a, b, key=order.index)
