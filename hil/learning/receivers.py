"""What a known waveform shows of the receivers besides gains and phases: delays, responses, IQ images and DC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.channel.fit import ChannelFit, with_channels
from hil.core.calibration import Calibration
from hil.dsp.iq_balance import IqBalance

_SIGMAS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class ReceiverErrors:
    """Beside a flat calibration. Of None nothing is known; left_out : why, one line each.

    centre_hz : from the carrier, where the flat calibration's gains hold.
    """

    fit: ChannelFit | None
    iq: IqBalance | None
    centre_hz: float = 0.0
    left_out: tuple[str, ...] = ()

    def into(self, calibration: Calibration) -> Calibration:
        """The calibration with these errors and their sigmas in it."""
        if self.fit is not None:
            calibration = with_channels(calibration, self.fit, centre_hz=self.centre_hz)
        if self.iq is not None:
            imp = replace(calibration.impairments, iq_image=self.iq.iq_image, dc_offset=self.iq.dc_offset)
            sigma = replace(calibration.sigma, iq_image=self.iq.iq_sigma, dc_offset=self.iq.dc_sigma)
            calibration = replace(calibration, impairments=imp, sigma=sigma)
        return calibration

    def as_dict(self) -> dict[str, Any]:
        """JSON: delays in ps relative to the reference element, images in dB, DC in dBFS; None where not learned."""
        fit, iq = self.fit, self.iq
        return {
            "delay_ps": None if fit is None else fit.delay_s * 1e12,
            "sigma_delay_ps": None if fit is None else fit.delay_sigma_s * 1e12,
            "flat": None if fit is None else fit.flat,
            "frequency_response_max_db": None if fit is None else _swing_db(fit),
            "iq_image_db": None if iq is None else level_db(iq.iq_image),
            "sigma_iq_image": None if iq is None else iq.iq_sigma,
            "dc_dbfs": None if iq is None else level_db(iq.dc_offset),
            "sigma_dc": None if iq is None else iq.dc_sigma,
            "iq_chi_square": None if iq is None else iq.chi_square,
            "left_out": list(self.left_out),
        }

    def notes(self) -> list[str]:
        """What stands out, in words."""
        out = [f"not learned: {why}" for why in self.left_out]
        fit, iq = self.fit, self.iq
        if fit is not None:
            sigmas = np.abs(fit.delay_s) / np.where(fit.delay_sigma_s > 0, fit.delay_sigma_s, np.inf)
            m = int(np.argmax(sigmas))
            if sigmas[m] > _SIGMAS:
                out.append(
                    f"channel delays of up to {1e12 * np.abs(fit.delay_s).max():.4g} ps (element {m}: "
                    f"{1e12 * fit.delay_s[m]:.4g} +- {1e12 * fit.delay_sigma_s[m]:.2g} ps) were learned"
                )
            if not fit.flat:
                out.append(
                    f"the channels are not flat over the band (up to {_swing_db(fit):.2g} dB): their "
                    "frequency responses were learned"
                )
        if iq is not None and stands_out(iq):
            out.append(
                f"IQ images of up to {level_db(iq.iq_image).max():.1f} dB and DC of up to "
                f"{level_db(iq.dc_offset).max():.1f} dBFS were learned and taken out first"
            )
        return out


def stands_out(iq: IqBalance) -> bool:
    """Whether image or DC differ from none by more than chance."""
    m = len(iq.iq_image)
    limit = 1 + _SIGMAS / np.sqrt(m)
    image = float(np.mean(np.abs(iq.iq_image / iq.iq_sigma) ** 2)) / 2
    dc = float(np.mean(np.abs(iq.dc_offset / iq.dc_sigma) ** 2)) / 2
    return image > limit or dc > limit


def level_db(ratio: NDArray[np.complex128]) -> NDArray[np.float64]:
    """20 log10 |ratio|."""
    return 20 * np.log10(np.maximum(np.abs(ratio), 1e-30))


def _swing_db(fit: ChannelFit) -> float:
    """Greatest deviation of a response from its mean, either way."""
    return float(np.max(np.abs(level_db(fit.response))))
