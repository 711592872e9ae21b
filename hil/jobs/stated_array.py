"""Which array a recording was made with: what the user states, else what the recording says."""

from __future__ import annotations

from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry, parse_array


def stated_array(array: str | None, stream: StreamInfo) -> ArrayGeometry:
    """The geometry of `--array` (ula:8:0.5, a TOML file; None: that of the recording) at the stream's carrier.

    Raises ConfigError if nobody states it, or it does not have one element per channel.
    """
    geometry = stream.geometry if array is None else parse_array(array, stream.fc_hz)
    if geometry is None:
        raise ConfigError(
            "the recording does not say what the array is", where="--array", hint="--array ula:8:0.5"
        )
    if geometry.n_elements != stream.n_channels:
        raise ConfigError(
            f"{geometry.n_elements} elements, the recording has {stream.n_channels} channels", where="--array",
            hint="give an array with as many elements as channels",
        )  # fmt: skip
    return geometry
