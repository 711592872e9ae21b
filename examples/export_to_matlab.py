"""Learn an array and hand it to MATLAB or Octave: calibration, covariances and directions, as files for load().

python examples/export_to_matlab.py iio:ip:192.168.2.1 matlab --array ula:4:0.5 --support -60 60
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.io import savemat

from hil.core.geometry import parse_array
from hil.dsp.doa import DoaFinder
from hil.export import export, guide
from hil.learning.batch import learn_batch, require_good, to_calibration
from hil.learning.observe import CovarianceTap, join
from hil.learning.settings import LearnSettings
from hil.session import open_session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", nargs="?", default="sim:")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("matlab"))
    parser.add_argument("--array", default="ula:8:0.5")
    parser.add_argument("--support", type=float, nargs=2, default=[-60, 60], help="of the emitters, degrees")
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    settings, tap, blocks = LearnSettings(support_deg=tuple(options.support)), CovarianceTap(), []

    with open_session(options.device, lambda fc_hz: parse_array(options.array, fc_hz)) as session:
        stream = session.stream
        n = round(options.seconds * stream.fs_hz)
        session.start(on_frame=lambda frame, clipped: blocks.append(tap.take(frame)), n_samples=n)
        while not session.wait(timeout_s=1.0):
            pass
        session.stop()
        session.raise_error()
    batch = join(blocks).thinned(2000)
    result = learn_batch(batch, stream.geometry, stream.fc_hz, settings)
    calibration = to_calibration(result, stream, settings)
    require_good(result, settings, calibration)

    export(calibration, options.folder / "calibration.mat", "mat")
    found_deg = DoaFinder(calibration).find_many(batch.covariance, 1)
    doa_deg = np.array([one[0] if len(one) else np.nan for one in found_deg])
    values = {"R": batch.covariance.transpose(1, 2, 0), "doa_deg": doa_deg, "t_s": batch.time_s}
    savemat(options.folder / "blocks.mat", values)
    for program, lines in guide("mat", options.folder / "calibration.mat").snippets:
        print(f"% {program}\n{lines}")


if __name__ == "__main__":
    main()
