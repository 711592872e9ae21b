"""The call table: everything answers, everything written is read back, a refusal leaves the connection usable."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable

import pytest

from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.soapy_remote.calls import CALLS
from sim_backend.soapy_remote.server import SoapyServer
from tests.conformance.soapy_remote.clients import PYTHON, Raw, client, i32, kwargs, text
from tests.conformance.soapy_remote.counter_server import CounterSource

_TWO_BOARDS = 'seed = 5\n[array]\nn_elements = 8\n[receiver]\nboard = "fmcomms5"\n'
#: Every id that a client can send.
_IDS = (
    {
        100,
        101,
        102,
        200,
        201,
        202,
        203,
        204,
        304,
        305,
        306,
        *range(500, 506),
        *range(600, 612),
        *range(700, 710),
    }
    | {*range(800, 808), *range(900, 908), *range(1000, 1012), *range(1100, 1104), *range(1200, 1206)}
    | {*range(1300, 1307), *range(1400, 1406), *range(1500, 1507), 1600, 1601, 1700, 1801, 1802, 1803}
)
_ITEMS = {
    "c": b"\x00\x01",
    "i": i32(0),
    "b": b"\x01\x00",
    "l": b"\x03" + bytes(8),
    "d": b"\x04" + i32(0) + b"\x03" + bytes(8),
    "z": b"\x05" + 2 * (b"\x04" + i32(0) + b"\x03" + bytes(8)),
    "s": text(""),
    "K": kwargs(),
    "N": b"\x10" + i32(0),
}
Serve = Callable[..., SoapyServer]


def _engine(scene: str = _TWO_BOARDS) -> ArrayEngine:
    return ArrayEngine(parse_scene(scene), free_running=True)


def test_the_table_is_complete() -> None:
    assert set(CALLS) == _IDS


def test_every_call_is_answered_and_none_breaks_the_connection(serve: Serve) -> None:
    server = serve(_engine(), free_running=True, seed=5)
    with Raw(server.address) as raw:
        assert raw.ask(1, kwargs()) == b"\x0e"
        for number, entry in sorted(CALLS.items()):
            answer = raw.ask(number, *(_ITEMS[code] for code in entry.args))
            assert answer[0] == 13 or len(answer) >= 1
            # too few arguments, and none of the right type
            if entry.args:
                assert raw.refused(number)
                assert raw.refused(number, *[b"\x0e"] * len(entry.args))
        assert "unknown call 4711" in raw.refused(4711)
        assert "unknown call -1" in raw.refused(-1)
        assert raw.ask(101)[6:] == b"fmcomms5"


def test_calls_before_make_are_refused(serve: Serve) -> None:
    server = serve(_engine(), free_running=True, seed=5)
    with Raw(server.address) as raw:
        assert "make comes first" in raw.refused(100)
        assert "no device matches" in raw.refused(1, kwargs(serial="nobody"))
        assert raw.ask(1, kwargs(serial="SIM00000005-1")) == b"\x0e"
        assert "is open" in raw.refused(1, kwargs())
        assert raw.ask(2) == b"\x0e"
        assert "make comes first" in raw.refused(100)


def test_find_lists_the_array_and_its_boards(serve: Serve) -> None:
    url = serve(_engine(), free_running=True, seed=5).url
    told = client(
        url,
        """
        found = SoapySDR.Device.enumerate(dict(driver="remote", remote=URL))
        tell(found=[dict(f) for f in found])
        tell(found=[dict(f) for f in SoapySDR.Device.enumerate(dict(driver="remote", remote=URL, serial="SIM00000005-1"))])
        tell(n=[make(serial=s).getNumChannels(RX) for s in ("SIM00000005", "SIM00000005-0", "SIM00000005-1")])
        tell(bad=raises(lambda: make(serial="X")))
        """,
    )
    assert [d["serial"] for d in told[0]["found"]] == ["SIM00000005", "SIM00000005-0", "SIM00000005-1"]
    assert [d["serial"] for d in told[1]["found"]] == ["SIM00000005-1"]
    assert told[0]["found"][0]["remote:prot"] == "tcp"
    assert told[2]["n"] == [8, 4, 4]
    assert told[3]["bad"]


def test_settings_are_read_back_and_reach_the_scene(serve: Serve) -> None:
    engine = _engine()
    url = serve(engine, free_running=True, seed=5).url
    told = client(
        url,
        """
        d = make()
        d.setFrequency(RX, 6, 915e6)
        d.setGain(RX, 5, 33.4); d.setGain(RX, 1, "PGA", 12)
        d.setSampleRate(RX, 0, 4e6)
        d.setBandwidth(RX, 0, 3e6)
        d.setFrequency(TX, 0, 5.8e9); d.setGain(TX, 1, 40.2)
        tell(fc=[d.getFrequency(RX, c) for c in range(8)], gain=[d.getGain(RX, c) for c in range(8)],
             fs=[d.getSampleRate(RX, 7), d.getSampleRate(TX, 0)], bw=d.getBandwidth(RX, 3),
             tx=[d.getFrequency(TX, 0), d.getGain(TX, 1), d.getGain(TX, 0)],
             pga=d.getGain(RX, 1, "PGA"), rf=d.getFrequency(RX, 6, "RF"))
        d.setGain(RX, 0, 1000); d.setFrequency(RX, 0, 1.0); d.setSampleRate(RX, 0, 1e12)
        tell(gain=d.getGain(RX, 0), fc=d.getFrequency(RX, 0), fs=d.getSampleRate(RX, 0))
        d.setGainMode(RX, 2, True); d.setGain(RX, 2, 5)
        tell(agc=[d.getGainMode(RX, 2), d.getGainMode(RX, 3)], kept=d.getGain(RX, 2))
        d.setClockSource("external"); d.setTimeSource("external"); d.setFrequencyCorrection(RX, 0, 2.5)
        d.setDCOffset(RX, 3, 0.125 + 0.25j); d.setIQBalance(RX, 4, -0.5j)
        tell(clock=d.getClockSource(), time=d.getTimeSource(), ppm=d.getFrequencyCorrection(RX, 0),
             fc=d.getFrequency(RX, 6), dc=[d.getDCOffset(RX, 3).real, d.getDCOffset(RX, 3).imag],
             iq=[d.getIQBalance(RX, 4).real, d.getIQBalance(RX, 4).imag])
        d.writeRegister("phy1.0", 0x21, 0x5A); d.writeSetting("tx_cyclic", "true")
        d.writeGPIO("GPIO", 0xF0); d.writeGPIO("GPIO", 0x0F, 0x03); d.writeGPIODir("GPIO", 5)
        tell(reg=[d.readRegister("phy1.0", 0x21), d.readRegister("phy0.0", 0x21), d.readRegister("phy0.0", 0x37)],
             setting=d.readSetting("tx_cyclic"), gpio=[d.readGPIO("GPIO"), d.readGPIODir("GPIO")])
        tell(refused=[bool(raises(*c)) for c in (
            (d.setAntenna, RX, 0, "Z"), (d.setClockSource, "moon"), (d.writeSetting, "x", "1"),
            (d.getGain, RX, 8), (d.setFrequency, RX, 99, 1e9), (d.readSensor, "x"), (d.readRegister, "zz", 0),
            (d.setFrontendMapping, RX, "0:1"), (d.readUART, "x"), (d.setMasterClockRate, 1.0),
            (d.setGainMode, TX, 0, True), (d.setDCOffset, TX, 0, 1j), (d.getHardwareTime, "moon"))],
            still=d.getAntenna(RX, 0), lock=d.readSensor(RX, 7, "lo_locked"))
        """,
    )
    first, clipped, agc, clocks, parts, refused = told
    assert first["fc"] == [2.45e9] * 6 + [915e6] * 2  # the two channels of a chip share its LO
    assert first["gain"] == [40, 12, 40, 40, 40, 33, 40, 40]
    assert first["fs"] == [4e6, 4e6]
    assert first["bw"] == 3e6
    assert first["tx"] == [5.8e9, 40.25, 0.0]
    assert (first["pga"], first["rf"]) == (12, 915e6)
    assert clipped == {"gain": 71, "fc": 70e6, "fs": 61.44e6}
    assert agc == {"agc": [True, False], "kept": 40}
    assert clocks == {
        "clock": "external", "time": "external", "ppm": 2.5, "fc": 915e6, "dc": [0.125, 0.25], "iq": [0, -0.5],
    }  # fmt: skip
    assert parts == {"reg": [0x5A, 0, 0x0A], "setting": "true", "gpio": [0xF3, 5]}
    assert all(refused["refused"])
    assert refused["still"] == "A_BALANCED"
    assert refused["lock"] == "true"
    assert engine.fc_hz(1, 1) == pytest.approx(915e6 * (1 + 2.5e-6), abs=1e-3)
    assert engine.epoch(1) > 0
    assert engine.tx_fc_hz(0) == pytest.approx(5.8e9 * (1 + 2.5e-6), abs=1e-3)


def test_hardware_time_is_set_at_once_and_at_the_pulse_of_all_boards(serve: Serve) -> None:
    url = serve(ArrayEngine(parse_scene(_TWO_BOARDS)), seed=5).url
    told = client(
        url,
        """
        a, b = make(serial="SIM00000005-0"), make(serial="SIM00000005-1")
        tell(apart=abs(a.getHardwareTime() - b.getHardwareTime()))
        a.setHardwareTime(7_000_000_000)
        tell(now=a.getHardwareTime())
        last = a.getHardwareTime("PPS")
        while a.getHardwareTime("PPS") == last: time.sleep(0.01)
        for d in (a, b): d.setHardwareTime(100_000_000_000, "PPS")
        while a.getHardwareTime() < 100_000_000_000 or a.getHardwareTime() > 200_000_000_000: time.sleep(0.01)
        tell(apart=[b.getHardwareTime() - a.getHardwareTime() for _ in range(20)], at=a.getHardwareTime(),
             pulse=[d.getHardwareTime("PPS") for d in (a, b)], has=[a.hasHardwareTime(w) for w in ("", "PPS", "x")])
        """,
    )
    assert told[0]["apart"] > 1e6  # boards power up with clocks of their own
    assert 7e9 <= told[1]["now"] < 8e9
    assert min(map(abs, told[2]["apart"])) < 0.05e9
    assert told[2]["pulse"] == [100_000_000_000] * 2
    assert told[2]["has"] == [True, True, False]


def test_logs_are_forwarded(serve: Serve) -> None:
    server = serve(CounterSource(), free_running=True)
    with Raw(server.address) as log, Raw(server.address) as raw:
        assert log.ask(21) == b"\x0e"
        raw.ask(1, kwargs())
        gain = b"\x04" + struct.pack(">BiBq", 2, 7, 3, 1 << 52)  # 64 dB
        assert raw.ask(703, b"\x00\x01", i32(0), gain) == b"\x0e"
        pushed = log.reply()
        assert pushed[:2] == bytes([0, 4])
        assert b"gain 64 is not possible, 30 was taken" in pushed
        assert log.ask(22) == b"\x0e"
        assert log.ask(3) == b"\x0e"


def test_c_programs_see_the_device(serve: Serve) -> None:
    """The C API, through the library that Debian's tools use."""
    url = serve(CounterSource(), free_running=True).url
    code = (
        "import ctypes, sys\n"
        "lib = ctypes.CDLL('libSoapySDR.so.0.8')\n"
        "lib.SoapySDRDevice_makeStrArgs.restype = ctypes.c_void_p\n"
        "d = lib.SoapySDRDevice_makeStrArgs(('driver=remote,remote=' + sys.argv[1]).encode())\n"
        "assert d\n"
        "d = ctypes.c_void_p(d)\n"
        "lib.SoapySDRDevice_getFrequency.restype = ctypes.c_double\n"
        "print(lib.SoapySDRDevice_getNumChannels(d, 1), lib.SoapySDRDevice_getFrequency(d, 1, 2))\n"
        "lib.SoapySDRDevice_unmake(d)\n"
    )
    done = subprocess.run([PYTHON, "-c", code, url], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split() == ["4", "2450000000.0"], done.stderr
