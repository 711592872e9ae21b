"""Work through a campaign with all cores and print how far the directions are off at every angle of the table.

python examples/process_campaign.py night results --calibration array.h5      (examples/sweep_from_toml.py makes `night`)
"""

import argparse
from pathlib import Path

import h5py
import numpy as np

from hil.campaign.folder import open_campaign
from hil.processing.calibrations import CalibrationWanted
from hil.processing.process import Where, process_campaign
from hil.processing.settings import ProcessSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", nargs="?", type=Path, default=Path("night"))
    parser.add_argument("out", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--calibration", type=Path, help="taken out of the samples first")
    parser.add_argument("--workers", type=int, help="processes; default: one a core, 0: none")
    parser.add_argument("--scheduler", help="of a Dask cluster instead, tcp://HOST:PORT")
    options = parser.parse_args()
    campaign = open_campaign(options.campaign)
    found = process_campaign(
        campaign,
        options.out,
        ProcessSettings("report-data"),
        calibration=None if options.calibration is None else CalibrationWanted(options.calibration),
        where=Where(options.workers, None, options.scheduler),
        progress=lambda done, total, bad: print(f"{done} of {total} points, {bad} bad", flush=True),
    )
    print("table_deg,truth_deg,doa_deg,spread_deg,snr_db")
    for point in campaign.points:
        if point.index not in found.files:
            print(f"# {point.table_deg:.2f}: {found.bad[point.index]}")
            continue
        with h5py.File(found.files[point.index]) as file:
            doa_deg = file["doa_deg"][:, 0]
        truth_deg = point.truth_deg[0] if point.truth_deg else np.nan
        middle, spread = np.nanmedian(doa_deg), np.nanstd(doa_deg)
        print(f"{point.table_deg:.2f},{truth_deg:.2f},{middle:.2f},{spread:.2f},{point.snr_db:.1f}")


if __name__ == "__main__":  # worker processes load this file too
    main()
