"""What the drivers of the boards accept, refuse and do to the scene."""

from __future__ import annotations

import errno

import pytest

FIR = "RX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 4\n" + "1,1\n" * 128 + "\n"
A, B, RX = "iio:device1", "iio:device2", "iio:device6"
ADRV, ADRV_RX = "iio:device3", "iio:device6"


@pytest.fixture
def ad936x(serve, connect):
    servers, source = serve("fmcomms5")
    return connect(servers), source


@pytest.fixture
def adrv9009(serve, connect):
    servers, source = serve("adrv9009", fs_hz=122.88e6)
    return connect(servers), source


@pytest.mark.parametrize(
    "text", ["2400000000.0", "2.4e9", "69999999", "6000000001", "-1", "", "True", "9" * 30]
)
def test_lo_takes_whole_hertz_within_the_range_of_the_chip(ad936x, text):
    client, source = ad936x
    assert client.write(f"{A} OUTPUT altvoltage0 frequency", text) == -errno.EINVAL
    assert source.of("lo") == []


def test_lo_write_tunes_its_own_chip_only(ad936x):
    client, source = ad936x
    client.write(f"{B} OUTPUT altvoltage0 frequency", "3000000000")
    client.write(f"{B} OUTPUT altvoltage1 frequency", "3100000000")
    assert source.of("lo") == [("lo", 0, 1, 3e9)]
    assert client.value(f"READ {A} OUTPUT altvoltage0 frequency") == "2450000000"


def test_pluto_has_the_narrower_range_of_its_chip(serve, connect):
    servers, _ = serve("pluto")
    client = connect(servers)
    for text, good in (("325000000", True), ("3800000000", True), ("5000000000", False)):
        status = client.write("iio:device0 OUTPUT altvoltage0 frequency", text)
        assert (status > 0) == good


def test_gain_written_in_an_automatic_mode_is_ignored_as_the_driver_does(ad936x):
    client, source = ad936x
    gain = f"{A} INPUT voltage0 hardwaregain"
    assert client.value(f"READ {A} INPUT voltage0 gain_control_mode") == "slow_attack"
    assert client.write(gain, "33.0") > 0
    assert client.value(f"READ {gain}") == "20.000000 dB"
    assert source.of("gain") == []


def test_manual_gain_reaches_the_right_channel_and_reads_back_with_unit(ad936x):
    client, source = ad936x
    client.write(f"{B} INPUT voltage1 gain_control_mode", "manual")
    assert client.write(f"{B} INPUT voltage1 hardwaregain", "33.7") > 0
    assert source.of("gain") == [("gain", 0, 3, 33.0)]
    assert client.value(f"READ {B} INPUT voltage1 hardwaregain") == "33.000000 dB"
    assert client.value(f"READ {B} INPUT voltage0 hardwaregain") == "20.000000 dB"


@pytest.mark.parametrize(
    ("lo_hz", "low", "high"), [(900_000_000, -1, 73), (2_000_000_000, -3, 71), (5_000_000_000, -10, 62)]
)
def test_gain_table_depends_on_the_lo(ad936x, lo_hz, low, high):
    client, _ = ad936x
    gain = f"{A} INPUT voltage0 hardwaregain"
    client.write(f"{A} INPUT voltage0 gain_control_mode", "manual")
    client.write(f"{A} OUTPUT altvoltage0 frequency", str(lo_hz))
    assert client.value(f"READ {gain}_available") == f"[{low} 1 {high}]"
    assert client.write(gain, str(low)) > 0
    assert client.write(gain, str(high)) > 0
    assert client.write(gain, str(high + 1)) == -errno.EINVAL
    assert client.write(gain, str(low - 1)) == -errno.EINVAL
    assert client.value(f"READ {gain}") == f"{high}.000000 dB"


def test_gain_that_the_new_table_lacks_is_moved_to_its_edge(ad936x):
    client, source = ad936x
    client.write(f"{A} INPUT voltage0 gain_control_mode", "manual")
    client.write(f"{A} INPUT voltage0 hardwaregain", "71")
    client.write(f"{A} OUTPUT altvoltage0 frequency", "5000000000")
    assert client.value(f"READ {A} INPUT voltage0 hardwaregain") == "62.000000 dB"
    assert source.of("gain")[-1] == ("gain", 0, 0, 62.0)


@pytest.mark.parametrize("text", ["1e1", "nan", "inf", "dB", "ten", "--3"])
def test_gain_is_a_plain_number(ad936x, text):
    client, _ = ad936x
    client.write(f"{A} INPUT voltage0 gain_control_mode", "manual")
    assert client.write(f"{A} INPUT voltage0 hardwaregain", text) == -errno.EINVAL


def test_attenuation_of_the_transmitter_has_steps_and_limits(ad936x):
    client, _ = ad936x
    gain = f"{A} OUTPUT voltage0 hardwaregain"
    assert client.write(gain, "-10.3") > 0
    assert client.value(f"READ {gain}") == "-10.250000 dB"
    assert client.write(gain, "0.25") == -errno.EINVAL
    assert client.write(gain, "-89.75") > 0
    assert client.write(gain, "-90") == -errno.EINVAL


def test_shared_files_show_one_value_and_other_files_do_not(ad936x):
    client, _ = ad936x
    client.write(f"{A} INPUT voltage1 rf_bandwidth", "5000000")
    assert client.value(f"READ {A} INPUT voltage0 rf_bandwidth") == "5000000"
    assert client.value(f"READ {A} OUTPUT voltage0 rf_bandwidth") == "18000000"
    assert client.value(f"READ {B} INPUT voltage0 rf_bandwidth") == "18000000"
    client.write(f"{A} INPUT voltage1 gain_control_mode", "manual")
    assert client.value(f"READ {A} INPUT voltage0 gain_control_mode") == "slow_attack"


def test_read_only_and_choices(ad936x):
    client, _ = ad936x
    assert client.write(f"{A} INPUT voltage0 rssi", "1") == -errno.EACCES
    assert client.write(f"{A} ensm_mode_available", "fdd") == -errno.EACCES
    assert client.write(f"{A} ensm_mode", "flying") == -errno.EINVAL
    assert client.write(f"{A} INPUT voltage0 gain_control_mode", "automatic") == -errno.EINVAL
    assert client.write(f"{A} INPUT voltage0 quadrature_tracking_en", "True") == -errno.EINVAL
    assert client.write(f"{A} INPUT voltage0 quadrature_tracking_en", "off") > 0
    assert client.value(f"READ {A} INPUT voltage1 quadrature_tracking_en") == "0"


def test_slow_rates_need_the_filter(ad936x):
    client, source = ad936x
    rate, fir_on = f"{A} INPUT voltage0 sampling_frequency", f"{A} INPUT out voltage_filter_fir_en"
    assert client.value(f"READ {rate}_available") == "[2083333 1 61440000]"
    assert client.write(rate, "1000000") == -errno.EINVAL
    assert client.write(fir_on, "1") == -errno.EINVAL, "no filter loaded"
    assert client.write(f"{A} filter_fir_config", FIR) > 0
    assert client.write(fir_on, "1") > 0
    assert client.value(f"READ {rate}_available") == "[520833 1 30720000]"
    assert client.write(rate, "1000000") > 0
    assert client.write(fir_on, "0") == -errno.EINVAL, "too slow without"
    assert client.write(rate, "520832") == -errno.EINVAL
    assert client.write(rate, "40000000") == -errno.EINVAL
    assert source.of("rate") == [("rate", 0, 1e6)]
    assert client.value(f"READ {RX} INPUT voltage0 sampling_frequency") == "1000000"


def test_filter_status_is_short_and_a_bad_filter_is_refused(ad936x):
    client, _ = ad936x
    config = f"{A} filter_fir_config"
    for bad in (
        "1,1\n" * 16,
        FIR + "1,1\n",
        FIR.replace("DEC 4", "DEC 3"),
        "hello",
        FIR.replace("1,1", "a,b"),
    ):
        assert client.write(config, bad) == -errno.EINVAL
    client.write(config, FIR)
    assert client.value(f"READ {config}") == "FIR Rx: 128,4 Tx: 128,4"


def test_path_rates_have_the_fields_that_clients_split(ad936x):
    client, _ = ad936x
    text = client.value(f"READ {A} tx_path_rates")
    fields = [field.split(":") for field in text.split(" ")]
    assert [name for name, _ in fields] == ["BBPLL", "DAC", "T2", "T1", "TF", "TXSAMP"]
    assert int(fields[5][1]) == 2_500_000
    assert int(fields[1][1]) % 2_500_000 == 0
    assert client.value(f"READ {A} rx_path_rates").split(" ")[5] == "RXSAMP:2500000"


def test_multichip_sync_of_the_ad9361_is_write_only_with_steps(ad936x):
    client, _ = ad936x
    for step in range(6):
        assert client.write(f"{B} multichip_sync", str(step)) > 0
    assert client.write(f"{B} multichip_sync", "6") == -errno.EINVAL


def test_fpga_rotator_turns_the_phase_of_its_pair_only(serve, connect):
    servers, source = serve("fmcomms5")
    control, data = connect(servers), connect(servers)
    for channel, phase in (("voltage0", -1.0), ("voltage1", 1.0)):  # +90 degrees: I' = -Q, Q' = I
        assert control.write(f"{RX} INPUT {channel} calibscale", "0.0") > 0
        assert control.write(f"{RX} INPUT {channel} calibphase", str(phase)) > 0
    assert data.ask(f"OPEN {RX} 256 000000ff") == 0
    samples = data.frames(RX, 256, 8)
    plain = source.ramp(0, 256)
    assert (samples[:, 0] == -plain[:, 1]).all()
    assert (samples[:, 1] == plain[:, 0]).all()
    assert (samples[:, 2:] == plain[:, 2:]).all()


def test_pluto_decimator_divides_the_data_rate_by_eight(serve, connect):
    servers, source = serve("pluto", fs_hz=30.72e6)
    client = connect(servers)
    rate = "iio:device3 INPUT voltage0 sampling_frequency"
    assert client.value(f"READ {rate}_available") == "30720000 3840000 "
    assert client.write(rate, "3840000") > 0
    assert source.of("rate") == [("rate", 0, 3.84e6)]
    assert client.value("READ iio:device0 INPUT voltage0 sampling_frequency") == "30720000"
    assert client.value(f"READ {rate}_available") == "30720000 3840000 "
    assert client.write(rate, "1000000") == -errno.EINVAL


def test_adrv9009_rates_belong_to_the_profile(adrv9009):
    client, source = adrv9009
    for target in ("INPUT voltage0", "INPUT voltage3", "OUTPUT voltage1"):
        assert client.value(f"READ {ADRV} {target} sampling_frequency") == "122880000"
        assert client.write(f"{ADRV} {target} sampling_frequency", "245760000") == -errno.EACCES
    assert client.write(f"{ADRV_RX} INPUT voltage0_i sampling_frequency", "1") == -errno.EACCES
    assert source.of("rate") == []
    assert client.value(f"READ {ADRV} INPUT voltage0 rf_bandwidth") == "100000000"


def test_adrv9009_gain_has_half_decibel_steps(adrv9009):
    client, source = adrv9009
    gain = f"{ADRV} INPUT voltage1 hardwaregain"
    assert client.write(gain, "12.7") > 0
    assert client.value(f"READ {gain}") == "12.500000 dB"
    assert source.of("gain") == [("gain", 0, 1, 12.5)]
    assert client.write(gain, "30.5") == -errno.EINVAL
    assert client.write(f"{ADRV} OUTPUT voltage0 hardwaregain", "0.05") == -errno.EINVAL
    assert client.write(f"{ADRV} OUTPUT voltage0 hardwaregain", "-41.95") > 0


def test_adrv9009_has_one_gain_mode_behind_two_files(adrv9009):
    client, source = adrv9009
    client.write(f"{ADRV} INPUT voltage0 gain_control_mode", "slow_attack")
    assert client.value(f"READ {ADRV} INPUT voltage1 gain_control_mode") == "slow_attack"
    assert client.write(f"{ADRV} INPUT voltage1 hardwaregain", "10") > 0
    assert source.of("gain") == []
    assert client.write(f"{ADRV} INPUT voltage0 gain_control_mode", "fast_attack") == -errno.EINVAL


def test_observation_receiver_is_down_while_the_receivers_are_up(adrv9009):
    client, _ = adrv9009
    assert client.value(f"READ {ADRV} INPUT voltage2 hardwaregain") == -errno.EPROTO
    assert client.write(f"{ADRV} INPUT voltage2 hardwaregain", "10") == -errno.EPROTO
    assert client.write(f"{ADRV} INPUT voltage2 powerdown", "0") == -errno.EINVAL
    for rx in (0, 1):
        assert client.write(f"{ADRV} INPUT voltage{rx} powerdown", "1") > 0
    assert client.value(f"READ {ADRV} INPUT voltage0 hardwaregain") == -errno.EPROTO
    assert client.write(f"{ADRV} INPUT voltage2 powerdown", "0") > 0
    assert client.write(f"{ADRV} INPUT voltage0 powerdown", "0") == -errno.EINVAL


def test_jesd_link_can_be_stopped_and_brought_up_again(adrv9009):
    client, source = adrv9009
    assert client.value(f"READ {ADRV} jesd204_fsm_state") == "opt_post_running_stage"
    assert client.value(f"READ {ADRV} jesd204_fsm_resume") == -errno.EACCES
    assert client.write(f"{ADRV} jesd204_fsm_ctrl", "0") > 0
    assert client.value(f"READ {ADRV} ensm_mode") == -errno.EBUSY
    assert client.write(f"{ADRV} OUTPUT altvoltage0 frequency", "2000000000") == -errno.EBUSY
    assert client.value(f"READ {ADRV} jesd204_fsm_state") != "opt_post_running_stage"
    assert client.write(f"{ADRV} jesd204_fsm_ctrl", "1") > 0
    assert client.value(f"READ {ADRV} ensm_mode") == "radio_on"
    assert source.of("lo") == [("lo", 0, 0, 2.45e9)], "bringing it up locks the PLL anew"


def test_adrv9009_lo_and_hopping(adrv9009):
    client, source = adrv9009
    lo = f"{ADRV} OUTPUT altvoltage0"
    assert client.write(f"{lo} frequency", "2400000000.0") == -errno.EINVAL
    client.write(f"{lo} frequency_hopping_mode", "2100000000")
    assert source.of("lo") == []
    client.write(f"{lo} frequency_hopping_mode_enable", "1")
    client.write(f"{lo} frequency_hopping_mode", "2200000000")
    assert source.of("lo") == [("lo", 0, 0, 2.2e9)]
    assert client.value(f"READ {lo} frequency") == "2200000000"


def test_adrv9009_multichip_sync_steps_and_calibrate(adrv9009):
    client, _ = adrv9009
    assert client.value(f"READ {ADRV} multichip_sync") == -errno.EACCES
    assert all(client.write(f"{ADRV} multichip_sync", str(step)) > 0 for step in range(12))
    assert client.write(f"{ADRV} multichip_sync", "12") == -errno.EINVAL
    assert client.write(f"{ADRV} calibrate", "1") > 0
    assert client.value(f"READ {ADRV} calibrate") == "0"


def test_zu11eg_second_chip_drives_its_own_lo_and_channels(serve, connect):
    servers, source = serve("adrv9009-zu11eg", fs_hz=122.88e6)
    client = connect(servers)
    client.write("adrv9009-phy-b OUTPUT TRX_LO frequency", "1800000000")
    client.write("adrv9009-phy-b INPUT voltage0 hardwaregain", "7")
    assert source.of("lo") == [("lo", 0, 1, 1.8e9)]
    assert source.of("gain") == [("gain", 0, 2, 7.0)]
    assert client.write("hmc7044 sysref_request", "1") > 0
    assert "Locked" in client.value("READ hmc7044-car DEBUG status")
