"""The receive core between ADC and DMA: per-channel bias, scale and phase of the FPGA."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim_backend.iiod.tables import Device

_FIELDS = ("calibbias", "calibscale", "calibphase")


class RxCore:
    """Applies calibbias, calibscale and calibphase of a board's receive cores.

    I' = scale_I I + phase_I Q + bias_I and Q' = scale_Q Q + phase_Q I + bias_Q, clipped to the converter's bits.
    `devices` in the order of their columns (FMComms5: core A, then core B).
    """

    def __init__(self, devices: list[Device], n_columns: int, bits: int) -> None:
        self._devices, self._n_columns = devices, n_columns
        self._limit = 1 << (bits - 1)
        self._terms: tuple[NDArray[np.float32], ...] | None = None

    def files(self) -> list[tuple[Device, str]]:
        """The files that this core reads."""
        return [
            (device, channel.attributes[name])
            for device in self._devices
            for channel in device.channels
            for name in _FIELDS
            if name in channel.attributes
        ]

    def update(self) -> None:
        """Take over what is in the files."""
        columns = np.zeros((3, self._n_columns), dtype=np.float32)
        columns[1] = 1.0
        column = 0
        for device in self._devices:
            for channel in device.channels:
                if "calibscale" not in channel.attributes or column >= self._n_columns:
                    continue
                columns[:, column] = [float(device.store[channel.attributes[name]].value) for name in _FIELDS]
                column += 1
        bias, scale, phase = columns
        neutral = not bias.any() and not phase.any() and bool((scale == 1.0).all())
        self._terms = None if neutral else (bias, scale, phase)

    def apply(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """(n, 2 C) int16 -> the same shape; unchanged and not copied while all terms are neutral."""
        terms = self._terms
        if terms is None:
            return samples
        bias, scale, phase = terms
        swapped = samples.reshape(len(samples), -1, 2)[:, :, ::-1].reshape(samples.shape)
        out = np.rint(scale * samples + phase * swapped + bias)
        return np.clip(out, -self._limit, self._limit - 1).astype(np.int16)
