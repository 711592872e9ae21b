"""Waveforms: levels, layouts, sequences of 38.211, seams, files that are damaged or hostile."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from hil.core.errors import ConfigError, ShapeError
from hil.core.waveform import (
    OfdmLayout,
    Waveform,
    base_sequence,
    chirp,
    cw,
    load_waveform,
    make,
    ofdm,
    save_waveform,
    srs,
)

EXAMPLES = {
    "ofdm": ofdm(),
    "wide": ofdm(600, 30e3, 72, n_fft=1024, modulation="16qam", seed=2**62 + 1, n_symbols=3),
    "comb": ofdm(200, pilots="comb", pilot_spacing=5, dc=True),
    "odd": ofdm(7, 1e3, 3, n_fft=15, n_symbols=2),
    "srs": srs(),
    "srs4": srs(144, 30e3, comb=4, comb_offset=3, cyclic_shift=11, n_ports=2, port=1, n_id=1023, n_symbols=4),
    "srs8": srs(576, comb=8, cyclic_shift=5, v=1),
    "cw": cw(2.5e6, -1.1e5),
    "chirp": chirp(30.72e6, -12e6, 5000),
}


def demodulated(wave: Waveform) -> np.ndarray:
    """Unitary DFT of every symbol without prefix at the layout's subcarriers, divided by the symbols."""
    assert wave.layout is not None
    lay = wave.layout
    rows = wave.samples.astype(np.complex128).reshape(-1, lay.symbol_samples)
    prefix = rows[:, : lay.cp_samples]
    np.testing.assert_array_equal(prefix, rows[:, lay.n_fft :] if lay.cp_samples <= lay.n_fft else prefix)
    body = np.fft.fft(rows[:, lay.cp_samples :], axis=1, norm="ortho")
    return body[:, lay.subcarriers % lay.n_fft] / lay.grid


@pytest.mark.parametrize("name", [n for n, w in EXAMPLES.items() if w.layout])
def test_the_layout_reads_the_samples(name):
    gain = demodulated(EXAMPLES[name])
    np.testing.assert_allclose(gain, np.mean(gain), rtol=3e-3)  # the grid of int16 is 2^-15
    assert np.mean(gain).real > 0
    assert abs(np.mean(gain).imag) < 1e-4


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_samples_fit_the_converter(name):
    wave = EXAMPLES[name]
    steps = wave.samples.view(np.float32) * 32768
    assert np.array_equal(steps, np.rint(steps))
    assert np.max(np.abs(steps)) <= 32767
    assert np.max(np.abs(steps)) / 32767 == pytest.approx(10 ** (-1 / 20), abs=1e-4)  # backoff of 1 dB
    peak, rms = np.max(np.abs(wave.samples)), np.sqrt(np.mean(np.abs(wave.samples) ** 2))
    assert wave.crest_factor_db == pytest.approx(20 * np.log10(peak / rms), abs=1e-3)
    assert wave.rms_dbfs == pytest.approx(20 * np.log10(rms), abs=1e-3)


def test_no_backoff_still_does_not_wrap():
    wave = ofdm(backoff_db=0.0)
    assert np.max(np.abs(wave.samples.view(np.float32))) == np.float32(32767 / 32768)


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_settings_make_the_same_samples_again(name):
    wave = EXAMPLES[name]
    again = make(wave.kind, json.loads(json.dumps(wave.settings)))
    assert np.array_equal(again.samples, wave.samples)
    assert again.settings == wave.settings


def test_samples_are_the_same_on_every_machine():
    digest = hashlib.sha256(
        (EXAMPLES["ofdm"].samples.view(np.float32) * 32768).astype("<i2").tobytes()
    ).hexdigest()
    assert digest == "442d6a2072f74563b3a570f9badc999c0207eec75c7ac88dc8abb8d49498f3d0"


def test_subcarriers_and_columns():
    lay = ofdm(8, n_fft=16).layout
    assert lay is not None
    assert lay.subcarriers.tolist() == [-4, -3, -2, -1, 1, 2, 3, 4]
    assert lay.columns.tolist() == list(range(-4, 5))
    whole = ofdm(8, n_fft=16, dc=True).layout
    assert whole is not None
    assert whole.subcarriers.tolist() == whole.columns.tolist() == list(range(-4, 4))
    comb = ofdm(32, n_fft=64, pilots="comb", pilot_spacing=4).layout
    assert comb is not None
    assert comb.subcarriers.tolist() == [-14, -10, -6, -2, 2, 6, 10, 14]
    assert (comb.step, comb.column_spacing_hz) == (4, 60e3)
    sounding = srs(96, 30e3).layout
    assert sounding is not None
    assert sounding.subcarriers.tolist() == list(range(-47, 48, 2))
    assert sounding.column_spacing_hz == 60e3


def test_rates_and_prefixes():
    assert ofdm(600, 30e3, n_fft=1024).fs_hz == 30.72e6
    assert ofdm(64).fs_hz == 128 * 15e3
    assert ofdm(64).duration_s == pytest.approx(10 * 144 / 1.92e6)
    assert ofdm(64, n_fft=100).fs_hz == 1.5e6  # any number of samples a symbol
    long = ofdm(8, 1e3, 16, n_fft=16, n_symbols=1)  # a prefix as long as a symbol
    assert np.array_equal(long.samples[:16], long.samples[16:])
    with pytest.raises(
        ConfigError, match=r"cp_samples: a prefix of 17 samples is longer than the symbol of 16"
    ):
        ofdm(8, 1e3, 17, n_fft=16, n_symbols=1)


@pytest.mark.parametrize("length", [30, 36, 48, 72, 144, 600, 1632])
def test_base_sequences_have_constant_amplitude(length):
    for u in range(0, 30, 7):
        assert np.abs(base_sequence(length, u)) == pytest.approx(np.ones(length))


@pytest.mark.parametrize(("length", "prime"), [(36, 31), (48, 47), (72, 71), (96, 89), (600, 599)])
def test_the_zadoff_chu_part_has_no_autocorrelation(length, prime):
    for u in (0, 13, 29):
        part = base_sequence(length, u)[:prime]
        np.testing.assert_array_equal(base_sequence(length, u)[prime:], part[: length - prime])
        lags = np.fft.ifft(np.abs(np.fft.fft(part)) ** 2)
        assert np.max(np.abs(lags[1:])) < 1e-9 * prime
        other = np.fft.ifft(
            np.fft.fft(part) * np.conj(np.fft.fft(base_sequence(length, (u + 1) % 30)[:prime]))
        )
        assert np.abs(other) == pytest.approx(np.full(prime, np.sqrt(prime)))  # any two roots: sqrt(N)


@pytest.mark.parametrize(("comb", "shifts"), [(2, 8), (4, 12), (8, 6)])
def test_cyclic_shifts_are_orthogonal(comb, shifts):
    rows = [srs(comb * 48, comb=comb, comb_offset=0, cyclic_shift=k).layout.grid[0] for k in range(shifts)]
    gram = np.array(rows) @ np.conj(np.array(rows)).T / 48
    np.testing.assert_allclose(gram, np.eye(shifts), atol=1e-12)
    with pytest.raises(ConfigError, match="cyclic_shift"):
        srs(comb * 48, comb=comb, comb_offset=0, cyclic_shift=shifts)


@pytest.mark.parametrize("comb", [2, 4, 8])
@pytest.mark.parametrize("ports", [2, 4])
def test_antenna_ports_do_not_disturb_each_other(comb, ports):
    for shift in (0, 5):
        lays = [
            srs(comb * 48, comb=comb, cyclic_shift=shift, n_ports=ports, port=p, n_fft=1024).layout
            for p in range(ports)
        ]
        rows = np.zeros((ports, 1024), complex)
        for row, lay in zip(rows, lays, strict=True):
            row[lay.subcarriers % 1024] = lay.grid[0]
        np.testing.assert_allclose(np.abs(rows @ np.conj(rows).T) / 48, np.eye(ports), atol=1e-12)


def test_ports_of_the_standard():
    # 38.211, 6.4.1.4.2: comb 2, n_cs = 0, four ports: shifts 0, 2, 4, 6 on one comb
    from hil.core.waveform_srs import port_shift

    def of(comb, shift, port):
        return port_shift({"comb": comb, "n_ports": 4, "port": port, "cyclic_shift": shift, "comb_offset": 0})

    assert [of(2, 0, p) for p in range(4)] == [(0, 0), (2, 0), (4, 0), (6, 0)]
    # 6.4.1.4.3: n_cs >= n_max / 2: ports 1 and 3 on the other half of the comb
    assert [of(2, 5, p) for p in range(4)] == [(5, 0), (7, 1), (1, 0), (3, 1)]
    assert [of(4, 6, p) for p in range(4)] == [(6, 0), (9, 2), (0, 0), (3, 2)]
    # comb 8 has six shifts: two for each pair of ports
    assert [of(8, 1, p) for p in range(4)] == [(1, 0), (1, 4), (4, 0), (4, 4)]


def test_sounding_has_a_lower_crest_factor_than_data():
    sounding = [srs(288, n_id=u, n_fft=1024).crest_factor_db for u in range(30)]
    data = [ofdm(144, n_symbols=1, n_fft=1024, seed=s).crest_factor_db for s in range(10)]
    assert max(sounding) < 6.7  # QPSK data of as many subcarriers: 7 to 10
    assert np.mean(sounding) + 2 < np.mean(data)


def test_a_carrier_has_no_seam():
    wave = cw(30.72e6, 1.2345e6)
    x = np.tile(wave.samples, 2).astype(complex)
    turn = x[1:] * np.conj(x[:-1])
    np.testing.assert_allclose(turn / np.abs(turn), np.exp(2j * np.pi * 1.2345e6 / 30.72e6), atol=1e-4)
    assert wave.crest_factor_db == pytest.approx(0, abs=1e-3)
    assert 4096 <= len(wave.samples) <= 131072
    assert np.all(cw(1e6).samples == cw(1e6).samples[0])


@pytest.mark.parametrize("band", [12e6, -12e6, 30.72e6, 1e5 / 3])
def test_a_chirp_is_linear_and_has_no_seam(band):
    wave = chirp(30.72e6, band, 5000)
    x = np.append(wave.samples, wave.samples[0]).astype(complex)
    turns = np.angle(x[1:] * np.conj(x[:-1])) / (2 * np.pi) * 30.72e6
    want = band * ((np.arange(5000) + 0.5) / 5000 - 0.5)
    np.testing.assert_allclose((turns - want + 15.36e6) % 30.72e6 - 15.36e6, 0, atol=1e3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: ofdm(0), "n_subcarriers"),
        (lambda: ofdm(64, n_fft=64), "fit"),
        (lambda: ofdm(True), "n_subcarriers"),
        (lambda: ofdm(64, float("nan")), "spacing_hz"),
        (lambda: ofdm(64, -15e3), "spacing_hz"),
        (lambda: ofdm(64, "fast"), "not a number"),
        (lambda: ofdm(modulation="64qam"), "modulation"),
        (lambda: ofdm(4000, n_fft=65536, n_symbols=4096), "at most"),
        (lambda: ofdm(2, pilots="comb", pilot_spacing=256), "pilot"),
        (lambda: ofdm(seed=-1), "seed"),
        (lambda: ofdm(backoff_db=100.0), "backoff_db"),
        (lambda: srs(48), "length 24"),
        (lambda: srs(97), "multiple of the comb"),
        (lambda: srs(comb=3), "comb"),
        (lambda: srs(comb_offset=2), "comb_offset"),
        (lambda: srs(96, v=1), "one base sequence"),
        (lambda: srs(n_ports=2, port=2), "port"),
        (lambda: cw(1e6, 6e5), "offset_hz"),
        (lambda: chirp(1e6, 2e6), "bandwidth_hz"),
        (lambda: make("ofdm", {"n_symbol": 3}), "unknown key"),
        (lambda: make("fm", {}), "not one of"),
        (lambda: make("cw", {}), "needs it"),
    ],
)
def test_wrong_settings_are_named(call, text):
    with pytest.raises(ConfigError, match=text):
        call()


def test_a_waveform_checks_its_samples():
    for samples in (np.zeros(4), np.full(4, np.nan), np.full(4, 1.5), np.zeros(0)):
        with pytest.raises(ShapeError):
            Waveform("file", 1e6, samples.astype(np.complex64), None, {})
    with pytest.raises(ShapeError, match="grid"):
        OfdmLayout(16, 1e3, 0, np.array([1, 2]), np.array([[1, 0]], complex))
    with pytest.raises(ShapeError, match="ascend"):
        OfdmLayout(16, 1e3, 0, np.array([2, 1]), np.ones((1, 2), complex))


@pytest.mark.parametrize("suffix", [".toml", ".sigmf-meta"])
@pytest.mark.parametrize("name", list(EXAMPLES))
def test_files_hold_the_waveform(name, suffix, tmp_path):
    wave = EXAMPLES[name]
    save_waveform(wave, tmp_path / f"w{suffix}")
    back = load_waveform(tmp_path / f"w{suffix}")
    assert np.array_equal(back.samples, wave.samples)
    assert (back.kind, back.fs_hz, back.settings) == (wave.kind, wave.fs_hz, wave.settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["w.toml"] if suffix == ".toml" else ["w.sigmf-data", "w.sigmf-meta"]
    )


def test_sigmf_is_valid_and_its_samples_are_those_of_numpy(tmp_path):
    import sigmf

    save_waveform(EXAMPLES["ofdm"], tmp_path / "w.sigmf-meta")
    opened = sigmf.sigmffile.fromfile(str(tmp_path / "w.sigmf-meta"))
    opened.validate()
    np.testing.assert_allclose(opened.read_samples(), EXAMPLES["ofdm"].samples, atol=1e-7)


def test_a_foreign_recording_is_a_waveform_of_its_own(tmp_path):
    rng = np.random.default_rng(0)
    data = (rng.random((500, 2)) - 0.5).astype("<f4")
    data.tofile(tmp_path / "x.sigmf-data")
    meta = {"global": {"core:datatype": "cf32_le", "core:sample_rate": 1e6, "core:version": "1.0.0"}}
    (tmp_path / "x.sigmf-meta").write_text(json.dumps(meta))
    wave = load_waveform(tmp_path / "x.sigmf-meta")
    assert (wave.kind, wave.layout, wave.fs_hz) == ("file", None, 1e6)
    np.testing.assert_array_equal(wave.samples, data[:, 0] + 1j * data[:, 1])
    save_waveform(wave, tmp_path / "y.sigmf-meta")
    np.testing.assert_array_equal(load_waveform(tmp_path / "y.sigmf-meta").samples, wave.samples)
    with pytest.raises(ConfigError, match="no settings"):
        save_waveform(wave, tmp_path / "y.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "schema"),
        ("schema = 2\nkind = 'ofdm'", "schema"),
        ("schema = true\nkind = 'ofdm'", "schema"),
        ("schema = 1", "kind"),
        ("schema = 1\nkind = 'morse'", "not one of"),
        ("schema = 1\nkind = ['ofdm']", "kind"),
        ("schema = 1\nkind = 'ofdm'\nsubcarriers = 3", "did you mean|unknown key"),
        ("schema = 1\nkind = 'ofdm'\nn_subcarriers = 3.5", "integer"),
        ("schema = 1\nkind = 'ofdm'\nseed = " + "9" * 400, "seed"),
        ("schema = 1\nkind = 'ofdm'\nspacing_hz = inf", "spacing_hz"),
        ("schema = 1\nkind = 'ofdm'\nspacing_hz = " + "9" * 400, "spacing_hz"),
        ("schema = 1\nkind = 'ofdm'\ndc = 1", "true or false"),
        ("schema = 1\nkind = 'ofdm'\nn_subcarriers = 60000\nn_symbols = 4096", "n_fft|at most"),
        ("schema = 1\nkind = 'srs'\nn_subcarriers = 48", "w.toml.*length 24"),
        ("schema = 1\nkind = 'ofdm", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("x = '" + "y" * 70_000 + "'", "more than"),
    ],
)
def test_hostile_toml(text, words, tmp_path):
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_waveform(tmp_path / "w.toml")
    assert "w.toml" in str(caught.value)


def test_every_byte_of_a_sigmf_file_may_be_cut_off_or_flipped(tmp_path):
    save_waveform(EXAMPLES["odd"], tmp_path / "w.sigmf-meta")
    meta, data = (tmp_path / "w.sigmf-meta").read_bytes(), (tmp_path / "w.sigmf-data").read_bytes()
    rng = np.random.default_rng(3)
    for cut in range(0, len(meta) - 2, 7):
        (tmp_path / "w.sigmf-meta").write_bytes(meta[:cut])
        with pytest.raises(ConfigError):
            load_waveform(tmp_path / "w.sigmf-meta")
    for _ in range(300):
        bad = bytearray(meta)
        bad[rng.integers(len(bad))] = rng.integers(256)
        (tmp_path / "w.sigmf-meta").write_bytes(bytes(bad))
        with contextlib.suppress(ConfigError):  # anything else fails the test
            load_waveform(tmp_path / "w.sigmf-meta")
    (tmp_path / "w.sigmf-meta").write_bytes(meta)
    for broken in (data[:-1], data[:-4], data + data, b"", bytes(len(data))):
        (tmp_path / "w.sigmf-data").write_bytes(broken)
        with pytest.raises(ConfigError):
            load_waveform(tmp_path / "w.sigmf-meta")


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    for name in ("pipe.toml", "folder.toml", "missing.toml", "w.txt", "nul\0.toml"):
        with pytest.raises(ConfigError):
            load_waveform(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot write"):
        save_waveform(EXAMPLES["ofdm"], tmp_path / "nowhere" / "w.toml")
    with pytest.raises(ConfigError, match="not the name"):
        save_waveform(EXAMPLES["ofdm"], tmp_path / "w.txt")


def test_toml_is_for_people(tmp_path: Path):
    save_waveform(EXAMPLES["ofdm"], tmp_path / "w.toml")
    data = tomllib.loads((tmp_path / "w.toml").read_text())
    assert (data["schema"], data["kind"], data["n_subcarriers"]) == (1, "ofdm", 64)
    (tmp_path / "w.toml").write_text('schema = 1\nkind = "ofdm"\n')  # every key has a default
    assert np.array_equal(load_waveform(tmp_path / "w.toml").samples, EXAMPLES["ofdm"].samples)
