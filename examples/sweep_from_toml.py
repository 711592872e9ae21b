"""Carry out a turntable campaign that one TOML file describes; started again, it goes on where it was stopped.

python examples/sweep_from_toml.py examples/campaign.toml night        (the same as: hil sweep --plan ... --out ...)
"""

import argparse
from pathlib import Path

from hil.campaign.folder import is_campaign
from hil.jobs.sweep import SweepRequest, run_sweep
from hil.sweep.progress import SweepProgress


def tell(progress: SweepProgress) -> None:
    """Say what went wrong, and every finished point."""
    if progress.words:
        print(progress.words, flush=True)
    elif progress.stage == "recording":
        print(f"{progress.done}/{progress.total}: recording at {progress.table_deg:.2f} degrees", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", nargs="?", type=Path, default=Path(__file__).with_name("campaign.toml"))
    parser.add_argument("folder", nargs="?", type=Path, default=Path("night"))
    options = parser.parse_args()
    request = SweepRequest(
        out=options.folder, plan_file=options.plan, resume=is_campaign(options.folder), bad_again=False, angles=None,
        connect={}, change={},
    )  # fmt: skip
    outcome = run_sweep(request, tell)
    campaign = outcome.campaign
    print(f"{len(campaign.points)} points in {campaign.folder}, {len(campaign.bad)} bad")
    raise SystemExit(outcome.exit_code)


if __name__ == "__main__":
    main()
