"""Watch the phases of an array drift for a night: learned anew every minute, without labels, as one line of CSV each.

python examples/watch_drift.py iio:ip:192.168.2.1 drift.csv --every 60 --count 600 --array ula:4:0.5 --support -60 60
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hil.core.errors import CalibrationError
from hil.core.geometry import parse_array
from hil.learning.batch import learn_batch, require_good, to_calibration
from hil.learning.observe import CovarianceTap, join
from hil.learning.settings import LearnSettings
from hil.session import open_session
from hil.store.difference import difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", nargs="?", default="sim:")
    parser.add_argument("out", nargs="?", type=Path, default=Path("drift.csv"))
    parser.add_argument("--array", default="ula:8:0.5")
    parser.add_argument("--support", type=float, nargs=2, default=[-60, 60], help="of the emitters, degrees")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from one to the next")
    parser.add_argument("--seconds", type=float, default=4.0, help="of stream for each")
    parser.add_argument("--count", type=int, default=600)
    options = parser.parse_args()
    settings, tap, first = LearnSettings(support_deg=tuple(options.support)), CovarianceTap(), None
    # one session for the whole night: the phases may only drift, a new start would draw them anew
    with open_session(options.device, lambda fc_hz: parse_array(options.array, fc_hz)) as session:
        stream, blocks = session.stream, []
        session.start(on_frame=lambda frame, clipped: blocks.append(tap.take(frame)))
        with options.out.open("w", encoding="utf-8") as out:
            print("utc", "rms_deg", *(f"phase_{m}_deg" for m in range(stream.n_channels)), sep=",", file=out)
            for _ in range(options.count):
                begin = time.monotonic()
                blocks.clear()
                while time.monotonic() < begin + options.seconds and not session.wait(timeout_s=0.1):
                    pass
                session.raise_error()
                try:
                    result = learn_batch(join(blocks).thinned(6000), stream.geometry, stream.fc_hz, settings)
                    now = to_calibration(result, stream, settings)
                    require_good(result, settings, now)
                    first = first or now
                    drift_deg = difference(first, now).phase_deg
                    values = [f"{d:.2f}" for d in (np.sqrt(np.mean(drift_deg**2)), *drift_deg)]
                except CalibrationError as err:
                    values = [f"# {err}"]
                print(datetime.now(UTC).isoformat(timespec="seconds"), *values, sep=",", file=out, flush=True)
                time.sleep(max(0.0, begin + options.every - time.monotonic()))


if __name__ == "__main__":
    main()
