"""The SoapySDR driver without a device: URIs, finding the module, tables, the sample clock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from drivers import list_devices, open_device
from drivers.soapy import binding, finder
from drivers.soapy.address import parse
from drivers.soapy.caller import Caller
from drivers.soapy.device_table import device_tables, find_table
from drivers.soapy.sample_clock import HandedOut, SampleClock
from hil.core.epoch import EpochEvent
from hil.core.errors import ConfigError, ConnectionLost, DeviceNotFound, DriverUnavailable


@pytest.mark.parametrize(
    "rest",
    ["", "driver", "serial=1", "driver=remote", "driver=remote,remote=", "driver=rtlsdr,rate=fast", "driver=",
     "driver=rtlsdr,groups=0+", "driver=rtlsdr,format=CS8", "driver=rtlsdr;driver=rtlsdr", "driver=rtlsdr;",
     "driver=a,=b"],
)  # fmt: skip
def test_a_wrong_soapy_uri_is_a_config_error(rest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_device(f"soapy:{rest}")
    assert caught.value.hint


def test_a_remote_device_streams_over_tcp_in_large_datagrams_unless_told_otherwise() -> None:
    (address,) = parse(
        "driver=remote,remote=tcp://127.0.0.1:1,stream:x=1,setting:bias=on,gain=20,antenna=A+B"
    )
    assert address.stream_args == {"remote:prot": "tcp", "remote:mtu": "65536", "x": "1"}
    assert address.device_args["remote:timeout"] == "2000000"
    assert (address.settings, address.numbers, address.words) == (
        {"bias": "on"},
        {"gain": 20.0},
        {"antenna": "A+B"},
    )
    (chosen,) = parse(
        "driver=remote,remote=tcp://127.0.0.1:1,remote:prot=udp,remote:mtu=1500,remote:timeout=9"
    )
    assert chosen.stream_args == {"remote:prot": "udp", "remote:mtu": "1500"}
    assert (chosen.device_args["remote:prot"], chosen.device_args["remote:timeout"]) == ("udp", "9")
    (local,) = parse("driver=lime,serial=7,groups=1+0/2")
    assert (local.stream_args, local.device_args) == ({}, {"driver": "lime", "serial": "7"})
    assert local.groups() == ((1, 0), (2,))


def test_a_server_that_is_not_there_is_not_found() -> None:
    with pytest.raises(DeviceNotFound) as caught:
        open_device("soapy:driver=remote,remote=tcp://127.0.6.9:9")
    assert caught.value.hint


def test_a_driver_that_is_not_installed_is_not_found() -> None:
    with pytest.raises(DeviceNotFound, match="no match"):
        open_device("soapy:driver=nosuchradio")


# ---- the module -------------------------------------------------------------------------------------------


def test_the_module_is_found_also_where_the_interpreter_does_not_look() -> None:
    script = (
        "import sys\n"
        "sys.path = [p for p in sys.path if 'dist-packages' not in p]\n"
        "from drivers.soapy.binding import import_soapy\n"
        "s = import_soapy(); print(s.getABIVersion(), import_soapy() is s)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["0.8", "True"], done.stderr


def test_a_module_for_another_python_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "SoapySDR.py").write_text("raise RuntimeError('must not be loaded')\n")
    (tmp_path / "_SoapySDR.cpython-39-x86_64-linux-gnu.so").write_bytes(b"")
    (tmp_path / "_SoapySDR.so").write_bytes(b"")  # for whatever Python: this folder is for all of them
    monkeypatch.setattr(binding, "_folders", lambda: iter([(tmp_path, False)]))
    files, misfits = binding.find_files()
    assert files is None
    assert next(m.name for m in misfits).startswith("_SoapySDR")
    monkeypatch.setattr(binding, "_folders", lambda: iter([(tmp_path, True)]))
    found, _ = binding.find_files()
    assert found is not None
    assert found[1].name == "_SoapySDR.so"
    monkeypatch.setattr(binding, "_folders", lambda: iter([(tmp_path, False)]))
    for name in ("SoapySDR", "_SoapySDR"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DriverUnavailable, match="another Python") as caught:
        binding.import_soapy()
    assert "python3-soapysdr" in caught.value.hint


@pytest.mark.parametrize(("abi", "words"), [("0.7", "ABI 0.7"), (None, "is not SoapySDR's")])
def test_a_wrong_module_is_refused(abi: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("SoapySDR")
    if abi is not None:
        fake.__dict__.update(Device=object, SOAPY_SDR_RX=1, getABIVersion=lambda: abi)
    monkeypatch.setitem(sys.modules, "SoapySDR", fake)
    with pytest.raises(DriverUnavailable, match=words) as caught:
        open_device("soapy:driver=lime")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("platform", "word"), [("darwin", "conda"), ("win32", "conda"), ("linux", "apt-get")]
)
def test_every_platform_has_a_command(platform: str, word: str) -> None:
    assert word in binding.install_hint(platform)
    assert "remote" in binding.install_hint(platform)


# ---- lists ------------------------------------------------------------------------------------------------


def test_modules_are_listed_with_their_drivers() -> None:
    modules = finder.list_modules()
    assert any("remote" in m["drivers"] for m in modules)
    assert all(m["error"] == "" and m["version"] for m in modules)


def test_local_devices_are_listed_without_asking_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list_devices()
    assert all({"uri", "driver", "model", "serial", "n_channels"} <= set(row) for row in rows)
    # a run that dies in one driver goes on with the next
    runs: list[list[str]] = []
    answers = [
        [{"begin": "a"}, {"driver": "a", "device": {"serial": "1", "label": "Radio A"}}, {"begin": "b"}],
        [{"begin": "c"}, {"driver": "c", "device": {"label": "C, no serial"}}, {"done": True}],
    ]

    def run(options: list[str], deadline: float) -> list:
        del deadline
        runs.append(options)
        return answers[len(runs) - 1]

    monkeypatch.setattr(finder, "_run", run)
    rows = finder.list_soapy()
    assert runs == [[], ["--skip=a", "--skip=b"]]
    assert [r["uri"] for r in rows] == ["soapy:driver=a,serial=1", "soapy:driver=c"]
    assert [r["model"] for r in rows] == ["Radio A", "C, no serial"]


def test_a_found_device_has_a_uri_that_opens_it() -> None:
    row = finder._row("remote", {"remote": "tcp://10.0.0.1:55132", "remote:driver": "lime", "serial": "9"})
    (address,) = parse(row["uri"].removeprefix("soapy:"))
    assert address.device_args["remote"] == "tcp://10.0.0.1:55132"
    assert address.device_args["serial"] == "9"


# ---- tables -----------------------------------------------------------------------------------------------


def test_every_table_states_a_scope_for_every_event() -> None:
    for table in device_tables():
        assert set(table.epoch) == set(EpochEvent)


def test_an_unknown_device_is_trusted_with_nothing() -> None:
    table = find_table({"newradio"}, "X1")
    assert table.groups(3) == ((0,), (1,), (2,))
    assert table.epoch[EpochEvent.STREAM_RESTART] == "group_phases"
    assert find_table({"uhd"}, "X310").name == table.name
    assert find_table({"uhd"}, "B210").groups(2) == ((0, 1),)
    assert find_table({"remote", "LIME"}, "").name == "lime"


# ---- the sample clock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fs_hz", [2.5e6, 61.44e6, 1e6 / 3])
def test_gaps_are_exact_to_the_sample_and_rounding_of_times_is_none(fs_hz: float) -> None:
    rng = np.random.default_rng(7)
    clock, sample, t0 = SampleClock(fs_hz), 0, 123_456_789_012_345
    for k in range(3000):
        n = int(rng.integers(1, 5000))
        missing = int(rng.choice([0, 1, 2, 4091, 10**7])) if k and rng.random() < 0.1 else 0
        sample += missing
        stamp = t0 + round(sample * 1e9 / fs_hz)
        lost, how_many = clock.arrived(n, stamp, stamp * 1e-9)
        assert (lost, how_many) == ((True, missing) if missing else (False, None))
        sample += n
    assert clock.trusted


def test_fragments_without_a_time_are_counted_on() -> None:
    clock = SampleClock(1e6)
    assert clock.arrived(100, 5_000, 0.0) == (False, None)
    assert clock.arrived(51, None, 0.0) == (False, None)
    assert clock.first_ns == 5_000 + 100_000
    assert clock.arrived(100, 5_000 + 151_000, 0.0) == (False, None)
    assert clock.arrived(100, 5_000 + 258_000, 0.0) == (True, 7)


def test_a_reported_loss_is_exact_with_times_and_open_without() -> None:
    clock = SampleClock(1e6)
    clock.arrived(100, 0, 0.0)
    clock.loss_reported()
    assert clock.arrived(100, 350_000, 0.0) == (True, 250)
    clock.loss_reported()
    assert clock.arrived(100, 450_000, 0.0) == (True, None)  # the times do not show what the driver says
    clock.loss_reported()
    assert clock.arrived(100, None, 0.0) == (True, None)
    assert clock.first_ns is None


def test_a_jump_of_the_hardware_clock_is_no_number_of_samples() -> None:
    clock = SampleClock(1e6)
    clock.arrived(100, 0, 50.0)
    clock.arrived(100, 100_000, 50.0)
    assert clock.arrived(100, 700_200_000, 50.1) == (True, 700_000)  # what was late may come at once
    assert clock.arrived(100, 10**15, 50.2) == (True, None)  # 11 days within 0.1 s
    assert clock.arrived(100, 10**15 + 100_000, 50.2) == (False, None)
    assert clock.arrived(100, 10**15 + 900_000, 51.0) == (True, 700)
    assert clock.trusted
    handed = HandedOut()
    handed.handed(1000, 0.0, 1e6, 7.0)
    assert handed.skipped(501e6, 1e6, 7.5) == 500_000
    assert handed.skipped(1e15, 1e6, 7.5) is None


def test_times_out_of_order_or_absent_are_not_believed() -> None:
    clock = SampleClock(1e6)
    clock.arrived(100, 0, 0.0)
    assert clock.arrived(100, 200_000, 0.0) == (True, 100)
    assert clock.arrived(100, 100_000, 0.0) == (True, None)
    assert not clock.trusted
    clock, n = SampleClock(1e6), 0
    while clock.trusted and n < 10_000:
        clock.arrived(100, None, 0.0)
        n += 1
    assert n == 1000


def test_times_of_the_wall_clock_are_not_believed() -> None:
    rng = np.random.default_rng(3)
    clock, alarms = SampleClock(2.5e6), 0
    for k in range(200):
        alarms += clock.arrived(1000, round(k * 400_000 + 30_000 * rng.random()), k * 4e-4)[0]
    assert not clock.trusted
    assert alarms <= 3
    assert clock.arrived(1000, 10**15, 1.0) == (False, None)


# ---- calls ------------------------------------------------------------------------------------------------


def test_a_call_that_never_returns_is_given_up() -> None:
    release = threading.Event()
    caller = Caller("soapy:test")
    assert caller.run("add", lambda a, b: a + b, 1, 2, deadline_s=5.0) == 3
    with pytest.raises(ZeroDivisionError):
        caller.run("fail", lambda: 1 / 0, deadline_s=5.0)
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match="no answer within"):
        caller.run("hang", release.wait, 60.0, deadline_s=0.1)
    with pytest.raises(ConnectionLost, match="did not return"):
        caller.run("next", int, deadline_s=5.0)
    caller.close()
    assert time.monotonic() - began < 5.0
    release.set()


def test_a_call_after_the_end_or_behind_a_hung_one_does_not_wait() -> None:
    caller = Caller("soapy:test")
    caller.close()
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match="closed"):
        caller.run("late", int, deadline_s=20.0)
    release, caller, errors = threading.Event(), Caller("soapy:test"), []

    def second() -> None:
        try:
            caller.run("second", int, deadline_s=20.0)
        except ConnectionLost as err:
            errors.append(err)

    def first() -> None:
        with pytest.raises(ConnectionLost):
            caller.run("hang", release.wait, 60.0, deadline_s=0.5)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
        threading.Event().wait(0.1)
    for thread in threads:
        thread.join(10.0)
    assert len(errors) == 1
    assert time.monotonic() - began < 10.0
    release.set()
    assert caller.returned(5.0)
    caller.close()
    assert not caller._thread.is_alive()
