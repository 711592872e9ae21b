"""What of a calibration a format leaves out, in the user's words, before the file is relied on."""

from __future__ import annotations

import numpy as np

from hil.core.calibration import Calibration
from hil.core.units import SPEED_OF_LIGHT_M_S

#: Parts that a format module may name in its CARRIES.
PARTS = ("phase", "amplitude", "positions", "coupling", "delay", "frequency", "angle", "converter")


def lost(c: Calibration, carries: tuple[str, ...]) -> list[str]:
    """One line for each part that is not ideal in this calibration and not in `carries`."""
    imp = c.impairments
    wavelength_m = SPEED_OF_LIGHT_M_S / c.fc_hz
    moved = float(np.max(np.linalg.norm(imp.position_error_m, axis=1))) / wavelength_m
    coupled = float(np.max(np.abs(imp.coupling - np.eye(imp.n_elements))))
    spread_db = float(np.ptp(20 * np.log10(np.abs(imp.gain))))
    phases_deg = float(np.max(np.abs(np.degrees(np.angle(imp.gain / imp.gain[0])))))
    skew_s = float(np.ptp(imp.delay_s))
    image, dc = (float(np.max(np.abs(v))) for v in (imp.iq_image, imp.dc_offset))
    found = {
        "phase": f"phases up to {phases_deg:.3g} degrees" if phases_deg else "",
        "amplitude": f"amplitudes over {spread_db:.3g} dB" if spread_db else "",
        "positions": f"position errors up to {moved:.2g} wavelengths" if moved else "",
        "coupling": f"coupling up to {20 * np.log10(coupled):.0f} dB" if coupled else "",
        "delay": f"delays over {1e12 * skew_s:.3g} ps" if skew_s else "",
        "frequency": "the frequency response" if imp.frequency_response is not None else "",
        "angle": "the angle-dependent response" if imp.angle_response is not None else "",
        "converter": "IQ images and DC" if image or dc else "",
    }
    return [found[part] for part in PARTS if found[part] and part not in carries]
