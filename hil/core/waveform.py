"""Waveforms that transmitter and receiver share: CP-OFDM, 5G SRS, carrier, chirp, and files of them.

w = ofdm(n_subcarriers=600, spacing_hz=30e3, n_fft=1024)
save_waveform(w, "w.toml")
"""

from __future__ import annotations

from hil.core.waveform_files import load_waveform, make, save_waveform
from hil.core.waveform_ofdm import ofdm
from hil.core.waveform_srs import base_sequence, srs
from hil.core.waveform_tones import chirp, cw
from hil.core.waveform_types import OfdmLayout, Waveform

__all__ = [
    "OfdmLayout",
    "Waveform",
    "base_sequence",
    "chirp",
    "cw",
    "load_waveform",
    "make",
    "ofdm",
    "save_waveform",
    "srs",
]
