"""The transmitters' kit can fail, and the pure parts that the drivers share."""

from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
import pytest

from drivers import open_device
from drivers.conformance_tx import NonConformance, TxCase, check_tx_device
from drivers.convert import complex_to_wire
from drivers.silence import finish_first
from drivers.tx_checks import check_attenuation, check_tx_samples
from hil.core.device import Range, Transceiver, TxConfig, TxDevice
from hil.core.errors import DriverUnavailable, ShapeError, UnsupportedSetting


class _Careless:
    """A transmitter that passes all on to the simulator's but for one mistake."""

    def __init__(self, inner: TxDevice, mistake: str) -> None:
        self._inner, self._mistake = inner, mistake
        if mistake == "opens loud":
            inner.configure(TxConfig(attenuation_db=10.0))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def configure(self, want: TxConfig) -> TxConfig:
        if self._mistake == "clips" and isinstance(want.attenuation_db, float):
            want = TxConfig(
                want.fc_hz, want.fs_hz, float(np.clip(want.attenuation_db, 0, 89.75)), want.channels
            )
        return self._inner.configure(want)

    def send_cyclic(self, samples: Any) -> None:
        if self._mistake == "saturates":
            samples = np.clip(np.asarray(samples).view(np.float32), -1, 1).view(np.complex64)
        self._inner.send_cyclic(samples)

    def write(self, samples: Any, timeout_s: float) -> None:
        self._inner.write(samples, timeout_s)
        if self._mistake == "never ready":
            self._inner.stop()

    def stop(self) -> None:
        if self._mistake != "stop keeps the level":
            self._inner.stop()

    def close(self) -> None:
        self._inner.close()

    @property
    def caps(self) -> Any:
        return self._inner.caps

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _CarelessDevice:
    def __init__(self, mistake: str) -> None:
        self._inner: Any = open_device("sim:?free")
        self._transmitter = _Careless(self._inner.transmitter(), mistake)

    def transmitter(self) -> Any:
        self._inner.transmitter()  # of a closed device: refused
        return self._transmitter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.close()


# the protocol looks these up on the class
for _name in ("info", "caps"):
    setattr(_CarelessDevice, _name, property(lambda self, name=_name: getattr(self._inner, name)))
for _name in ("configure", "start", "read", "stop", "close"):
    setattr(_CarelessDevice, _name, lambda self, *a, name=_name: getattr(self._inner, name)(*a))


@pytest.mark.parametrize(
    ("mistake", "check"),
    [
        ("opens loud", "opens_quiet"),
        ("clips", "range_edges"),
        ("saturates", "wrong_samples"),
        ("stop keeps the level", "cyclic"),
    ],
)
def test_the_kit_finds_a_careless_transmitter(mistake: str, check: str) -> None:
    case = TxCase("careless", lambda: _CarelessDevice(mistake), real_time=False, n_reopen=1)  # pyright: ignore
    with pytest.raises(NonConformance, match=f"careless: {check}: "):
        check_tx_device(case)


def test_the_kit_passes_the_same_transmitter_without_a_mistake() -> None:
    check_tx_device(TxCase("careful", lambda: _CarelessDevice(""), real_time=False, n_reopen=1))  # pyright: ignore


def test_a_wrapped_device_transmits_and_a_recording_does_not(tmp_path: Any) -> None:
    with open_device("faults:drop_every=5:sim:?free") as device:
        assert isinstance(device, Transceiver)
        device.transmitter().send_cyclic(np.full((1, 64), 0.5, np.complex64))
    (tmp_path / "r.sigmf-data").write_bytes(np.ones(64, "<i2").tobytes())
    (tmp_path / "r.sigmf-meta").write_text(
        '{"global": {"core:datatype": "ci16_le", "core:version": "1.2.5", "core:sample_rate": 1e6,'
        ' "core:num_channels": 2}, "captures": [{"core:sample_start": 0, "core:frequency": 1e9}], "annotations": []}'
    )
    with (
        open_device(f"replay:{tmp_path}/r.sigmf-meta") as device,
        pytest.raises(DriverUnavailable, match="recording cannot transmit"),
    ):
        device.transmitter()  # pyright: ignore[reportAttributeAccessIssue]


def test_words_are_left_justified_rounded_and_never_wrap() -> None:
    step = 2.0**-11
    values = [0.0, 0.49 * step, 0.51 * step, -0.51 * step, 1.0, -1.0, 0.5, -0.5 - 0.3 * step, 1 - 0.4 * step]
    samples = np.array([values, values[::-1]]) * (1 + 0j) + 1j * np.array([values[::-1], values])
    wire = complex_to_wire(samples.astype(np.complex64), 12)
    assert wire.shape == (9, 2, 2)
    assert wire.dtype == np.int16
    expected = [0, 0, 16, -16, 32752, -32768, 16384, -16384, 32752]
    assert wire[:, 0, 0].tolist() == expected
    assert wire[:, 1, 1].tolist() == expected
    assert wire[:, 0, 1].tolist() == expected[::-1]
    full = complex_to_wire(np.array([[1 + 0.25j, -1 - 2.0**-15 * 1j]], np.complex64), 16)
    assert full.tolist() == [[[32767, 8192]], [[-32768, -1]]]


def test_attenuations_between_two_steps_are_refused() -> None:
    allowed = Range(0.0, 41.95, 0.05)
    assert check_attenuation(41.95, 2, allowed, "x") == (41.95, 41.95)
    assert check_attenuation((0.0, 20.05), 2, allowed, "x") == (0.0, 20.05)
    assert check_attenuation(None, 2, allowed, "x") is None
    for bad in (0.02, -0.05, 42.0, float("nan"), (1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(UnsupportedSetting, match="attenuation_db"):
            check_attenuation(bad, 2, allowed, "x")


def test_samples_in_double_precision_are_taken_and_integers_are_not() -> None:
    assert check_tx_samples(np.full((1, 3), 0.25 + 0.5j), 1).dtype == np.complex64
    with pytest.raises(ShapeError, match="int16"):
        check_tx_samples(np.ones((1, 3), np.int16), 1)
    with pytest.raises(ShapeError, match=r"reach 1\.01"):
        check_tx_samples(np.array([[1.01 + 0j]]), 1)


def test_a_signal_waits_for_what_must_be_finished() -> None:
    done = []

    def silence() -> None:
        with finish_first():
            signal.raise_signal(signal.SIGINT)
            done.append("silenced")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        silence()
    assert done == ["silenced"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is before

    def elsewhere() -> None:
        with finish_first():
            done.append("elsewhere")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(5.0)
    assert done == ["silenced", "elsewhere"]
