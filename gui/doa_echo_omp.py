"""Differentiable OMP on the channel responses that the echo panel's receiver makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gui.doa_apart import Found
from gui.doa_sources import NOTHING, Look, Setup, relative_db
from gui.echo_map import echoes_alone
from hil.core.errors import ConfigError
from hil.dsp.angle_delay_channel import known_channel
from hil.jobs.doa_echo_omp import LABEL, EchoOmp


class EchoPursuit:
    """Echoes in angle and delay after the reference that the angle-delay map has found; the direct path is no echo."""

    def __init__(self, setup: Setup) -> None:
        geometry = setup.stream.geometry
        assert geometry is not None
        if setup.kept is not None and len(setup.kept) < geometry.n_elements:
            raise ConfigError(
                f"{LABEL} needs every channel, and one delivers nothing",
                hint="mend the channel, or choose MUSIC",
            )
        self._setup, self._geometry = setup, geometry
        self._omp: tuple[object, EchoOmp] | None = None
        self._last: tuple[object, NDArray[np.float64] | None, Found] = None, None, NOTHING

    def spectrum_db(self, look: Look) -> NDArray[np.float64] | None:
        """(G,) dB."""
        return self._at(look)[0]

    def find(self, look: Look) -> Found:
        """Directions, strongest first, and standard deviations, degrees."""
        return self._at(look)[1]

    def _at(self, look: Look) -> tuple[NDArray[np.float64] | None, Found]:
        setup = self._setup
        assert setup.echoes is not None
        heard = setup.echoes.heard()
        capture, estimate = (None, None) if heard is None else heard
        if capture is None or estimate is None:
            reason = setup.echoes.reason
            raise ConfigError(reason.words, hint=reason.remedy)
        if capture.stream.epoch.id != look.frame.stream.epoch.id:
            return None, NOTHING
        if self._last[0] is not capture:
            f, prefix = capture.frequency_hz, capture.prefix
            longest_s = np.inf if prefix is None else prefix.clean_s[1] - estimate.reference_s
            key = f.tobytes(), round(longest_s * 1e9) if np.isfinite(longest_s) else None
            if self._omp is None or self._omp[0] != key:
                array = setup.calibration or self._geometry
                self._omp = key, EchoOmp(array, capture.stream.fc_hz, f, longest_s, setup.grid_deg)
            channel = None if setup.calibration is None else known_channel(setup.calibration, f)
            found = self._omp[1].look(echoes_alone(capture, estimate, channel))
            open_deg = 0.0 if setup.calibration is None else setup.calibration.gauge.angle_sigma_deg
            sigma = np.hypot(found.sigma_deg, open_deg)
            self._last = capture, relative_db(found.spectrum), (found.doa_deg, sigma)
        return self._last[1:]
