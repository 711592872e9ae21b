"""Tune to one carrier after the other and learn the array anew at each, without labels, while samples keep coming.

python examples/calibrate_after_retune.py iio:ip:192.168.2.1 --fc 2.4e9 2.45e9 2.5e9 --array ula:4:0.5 --support -60 60
"""

import argparse
import time
from pathlib import Path

from hil import store
from hil.core.device import RxConfig
from hil.core.errors import CalibrationError
from hil.core.geometry import parse_array
from hil.learning.batch import learn_batch, require_good, to_calibration
from hil.learning.observe import CovarianceTap, join
from hil.learning.settings import LearnSettings
from hil.session import open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", nargs="?", default="sim:")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("calibrations"))
    parser.add_argument("--fc", type=float, nargs="+", default=[2.4e9, 2.45e9], help="carriers in Hz")
    parser.add_argument("--array", default="ula:8:0.5")
    parser.add_argument("--support", type=float, nargs=2, default=[-60, 60], help="of the emitters, degrees")
    parser.add_argument("--seconds", type=float, default=4.0, help="of stream for each carrier")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    settings = LearnSettings(support_deg=tuple(options.support))
    tap, blocks = CovarianceTap(), {}  # blocks by coherence epoch: a retune begins a new one

    with open_session(options.device, lambda fc_hz: parse_array(options.array, fc_hz)) as session:
        session.start(
            on_frame=lambda frame, _: blocks.setdefault(frame.stream.epoch.id, []).append(tap.take(frame))
        )
        for fc_hz in options.fc:
            stream = session.configure(RxConfig(fc_hz=fc_hz))
            end = session.samples + options.seconds * stream.fs_hz
            while session.samples < end and not session.wait(timeout_s=0.1):
                pass
            session.raise_error()
            begin, batch = time.monotonic(), join(blocks.pop(stream.epoch.id))
            try:
                result = learn_batch(batch.thinned(6000), stream.geometry, stream.fc_hz, settings)
                calibration = to_calibration(result, stream, settings)
                require_good(result, settings, calibration)
            except CalibrationError as err:
                print(f"{fc_hz / 1e6:.1f} MHz: {err} ({err.hint})", flush=True)
                continue
            path = options.folder / f"{fc_hz / 1e6:.1f}MHz.h5"
            store.save(calibration, path)
            left = f"angles are good to {calibration.gauge.angle_sigma_deg:.2f} degrees"
            print(f"{path}: {len(batch)} blocks, {time.monotonic() - begin:.1f} s, {left}", flush=True)


if __name__ == "__main__":
    main()
