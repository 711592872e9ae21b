"""SoapySDR transmitters over which the transmitters' conformance kit runs, seen from outside by a second client."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.conformance_cases import emulator_scene, soapy_emulator
from drivers.conformance_tx import TxCase, TxOutside
from drivers.conformance_tx_cases import TxCaseSpec, open_transceiver, sent_so_far
from drivers.soapy.binding import import_soapy


@contextmanager
def _client(url: str) -> Iterator[tuple[Any, Any]]:
    """The plain client library: its module and a connection of its own."""
    soapy = import_soapy()
    # with the same arguments the library would share the connection of the driver under test
    device = soapy.Device({"driver": "remote", "remote": url, "remote:timeout": "4000000"})
    try:
        yield soapy, device
    finally:
        device.close()


def _look(url: str, truth: Path) -> TxOutside:
    with _client(url) as (soapy, device):
        tx = soapy.SOAPY_SDR_TX
        channels = range(device.getNumChannels(tx))
        levels = tuple(
            round(device.getGainRange(tx, c).maximum() - device.getGain(tx, c), 6) for c in channels
        )
    sending, starts, underflows = sent_so_far(truth)
    return TxOutside(levels, None, sending, starts, underflows)


def _leave_on(url: str) -> None:
    """A program sets full power and dies; what it was sending the server ends by itself."""
    with _client(url) as (soapy, device):
        tx = soapy.SOAPY_SDR_TX
        for c in range(device.getNumChannels(tx)):
            device.setGain(tx, c, device.getGainRange(tx, c).maximum())


@contextmanager
def _served(board: str, options: str) -> Iterator[TxCase]:
    with tempfile.TemporaryDirectory(prefix="hil-tx-") as folder:
        truth = Path(folder, "truth.jsonl")
        with soapy_emulator(emulator_scene(board), "--truth", str(truth)) as (process, url):

            def disconnect() -> None:
                process.kill()
                process.wait(10.0)

            yield TxCase(
                f"soapy {board}{options}",
                lambda: open_transceiver(f"soapy:driver=remote,remote={url}{options}"),
                look=lambda: _look(url, truth),
                leave_on=lambda: _leave_on(url),
                disconnect=disconnect,
            )


def soapy_tx_cases() -> list[TxCaseSpec]:
    """Boards behind a SoapyRemote server; a waveform is repeated by the device, or by a thread of the driver."""
    return [
        TxCaseSpec("soapy fmcomms5", lambda: _served("fmcomms5", "")),
        TxCaseSpec("soapy adrv9009", lambda: _served("adrv9009", "")),
        TxCaseSpec("soapy fmcomms5 fed", lambda: _served("fmcomms5", ",stream:cyclic=false")),
    ]
