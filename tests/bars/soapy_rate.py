"""What the SoapyRemote emulator sustains towards the stock client: exactness over 100 million samples, and rates.

    python tests/bars/soapy_rate.py        -> docs/reproduced/soapy-remote/soapy-remote.{md,csv}

Server and client are processes of their own on one machine; measure it alone. The client is the stock Python
module; "exact" compares every sample of four channels and every time stamp.
"""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.conformance.soapy_remote.clients import client, counter_process  # noqa: E402
from tests.conformance.soapy_remote.test_soapy_receive import COUNT  # noqa: E402

OUT = ROOT / "docs" / "reproduced" / "soapy-remote"
COLUMNS = (
    "what",
    "wire",
    "samples per channel",
    "MS/s per channel",
    "overflows",
    "wrong samples",
    "time stamps off by, ns",
)
_RATE = """
def rate(fmt, wire, seconds):
    d = make()
    s = d.setupStream(RX, fmt, [0, 1, 2, 3], {"remote:mtu": "262144", "remote:format": wire})
    n = d.getStreamMTU(s)
    out = bufs(fmt, range(4), n)
    d.activateStream(s)
    got = overflows = 0
    begin = None
    while begin is None or time.monotonic() - begin < seconds:
        r = d.readStream(s, out, n, timeoutUs=5_000_000)
        if r.ret == SOAPY_SDR_OVERFLOW:
            overflows += 1
            continue
        assert r.ret > 0, r.ret
        begin = begin or time.monotonic()
        got += r.ret
    took = time.monotonic() - begin
    d.deactivateStream(s); d.closeStream(s)
    tell(n=got, rate=got / took, overflows=overflows)
"""


def main() -> int:
    """Run everything and write the table; exit code 1 if a figure is missed."""
    rows: list[tuple[Any, ...]] = []
    with counter_process(0) as url:
        code = COUNT + 'tell(**count(make(), [0, 1, 2, 3], 100_000_000, CF32, remote_mtu="262144"))'
        told = client(url, code, timeout_s=900)[0]
    rows.append(
        (
            "every sample compared, free-running",
            "CS16",
            told["n"],
            "",
            0,
            told["bad"],
            round(told["late_ns"], 3),
        )
    )
    good = told["bad"] == 0 and told["late_ns"] <= 1.0
    for what, fs_hz, wire in (
        ("paced at 20 MS/s, cached data", 20e6, "CF32"),
        ("free-running, cached data", 0.0, "CF32"),
        ("free-running, cached data", 0.0, "CS16"),
    ):
        with counter_process(fs_hz, "cached") as url:
            told = client(url, _RATE + f'rate(CF32, "{wire}", 10.0)', timeout_s=120)[0]
        rows.append((what, wire, told["n"], round(told["rate"] / 1e6, 1), told["overflows"], "", ""))
        good &= told["rate"] > 19.8e6 and (fs_hz == 0 or told["overflows"] == 0)
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "soapy-remote.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    lines = [
        "# SoapyRemote emulator: exactness and rate", "",
        "Four channels, read as CF32 by the stock Python module through the stock client, server and client on the same "
        f"machine ({os.cpu_count()} cores), `tests/bars/soapy_rate.py`.", "",
        "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in row) + " |" for row in rows), "",
    ]  # fmt: skip
    (OUT / "soapy-remote.md").write_text("\n".join(lines), encoding="utf-8")
    sys.stdout.write("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
