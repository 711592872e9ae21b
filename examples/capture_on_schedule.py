"""Record a few seconds again and again: a recording an hour, for as long as wanted.

python examples/capture_on_schedule.py iio:ip:192.168.2.1 captures --every 3600 --seconds 2 --count 24 --array ula:4:0.5
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

from hil.core.errors import HilError
from hil.core.geometry import parse_array
from hil.recorder import Recorder
from hil.session import open_session


def capture(device: str, array: str, seconds: float, folder: Path) -> None:
    """One recording, named by its time; the device is free again afterwards."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.sigmf-meta"
    with open_session(device, lambda fc_hz: parse_array(array, fc_hz)) as session:
        recorder = Recorder(folder / name, session.stream, policy="gap")
        session.start(recorder=recorder, n_samples=round(seconds * session.stream.fs_hz))
        while not session.wait(timeout_s=1.0):
            pass
        summary = session.stop()
        session.raise_error()
    print(f"{name}: {summary.samples} samples, {summary.lost} lost, {summary.gaps} gaps", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", nargs="?", default="sim:")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("captures"))
    parser.add_argument("--array", default="ula:8:0.5")
    parser.add_argument("--every", type=float, default=3600.0, help="seconds from start to start")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a recording")
    parser.add_argument("--count", type=int, default=24)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    for number in range(options.count):
        time.sleep(max(0.0, begin + number * options.every - time.monotonic()))
        try:
            capture(options.device, options.array, options.seconds, options.folder)
        except HilError as err:  # the device is away: perhaps it is back the next time
            print(f"{datetime.now(UTC):%H:%M:%S} {err} ({err.hint})", flush=True)


if __name__ == "__main__":
    main()
