"""Scene files: defaults, strictness, hints, round trip."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import SceneError
from sim_backend.boards import BOARDS
from sim_backend.scene import Emitter, Hop, Multipath, Scene, Track, load_scene, parse_scene

EVERYTHING = """
seed = 11
duration_s = 12.5
[array]
kind = "positions"
positions_m = [[0, 0, 0], [0.05, 0.0, 0], [0, 0.06, 0.01]]
ports = [2, 0, 1]
[receiver]
board = "adrv9009"
fc_hz = 3.5e9
fs_hz = 30.72e6
snr_db = 12
peak_dbfs = -20.0
adc_bits = 14
[impairments]
gain_std = 0.1
phase_std_deg = 30.0
position_std_wavelengths = 0.02
coupling_db = -15.0
delay_std_s = 1e-9
iq_image_db = -40.0
dc_dbfs = -50.0
relock_phase = true
drift_deg_per_minute = 2.0
angle_dependent_phase_deg = 10.0
[[emitter]]
angle_deg = 10.0
elevation_deg = 5.0
power_db = -3.0
waveform = "ofdm"
rf_hz = 3.5001e9
symbol_rate_hz = 1e6
track = { rate_deg_per_s = 2.0, min_deg = -20.0, max_deg = 40.0 }
paths = [{ angle_deg = 30.0, delay_s = 1e-7, power_db = -6.0, phase_deg = 90.0 }]
[[emitter]]
file = "a \\"b\\".sigmf-meta"
hop = { period_s = 0.5, min_deg = -10.0, max_deg = 10.0 }
[[target]]
angle_deg = 5.0
range_m = 30.0
rcs_db = 3.0
speed_m_s = 1.0
[learn]
support_deg = [-20, 40]
sources = 2
[ofdm]
n_subcarriers = 128
spacing_hz = 30e3
cp_samples = 12
[faults]
overflow_every_s = 1.0
disconnect_at_s = 3.0
stall_at_s = [1.0, 2.0]
stall_s = 0.5
slip_samples_at_s = [2.0]
garbage_after_retune = 100
short_reads = true
[chamber]
positioner = "rotctld"
"""


def test_the_defaults_are_the_default_scene():
    scene = load_scene(None)
    assert (scene.seed, scene.duration_s, scene.n_elements, scene.n_boards) == (7, 60.0, 8, 2)
    assert scene.board is BOARDS["fmcomms5"]
    assert scene.emitters == (Emitter(hop=Hop(0.01, -60.0, 60.0)),)
    assert (scene.support_deg, scene.sources) == ((-60.0, 60.0), 1)
    assert scene.impairments.relock_phase
    assert scene.receiver.adc_bits == 12
    empty = parse_scene("")
    assert (empty.emitters, empty.receiver, empty.support_deg) == (
        scene.emitters,
        scene.receiver,
        (-60.0, 60.0),
    )


def test_defaults_follow_the_board():
    scene = parse_scene("receiver = {board = 'adrv9009-zu11eg'}")
    assert scene.receiver.adc_bits == 16
    assert not scene.impairments.relock_phase
    assert scene.receiver.fs_hz in scene.board.fs_fixed_hz


def test_an_emitter_of_ones_own_stands_still_unless_told():
    scene = parse_scene("[[emitter]]\nangle_deg = 20.0\n")
    assert scene.emitters[0].hop is None
    assert scene.support_deg is None
    assert parse_scene("emitter = []").emitters == ()


def test_every_key_is_read():
    scene = parse_scene(EVERYTHING, folder="/somewhere")
    assert scene.array.ports == (2, 0, 1)
    assert scene.emitters[0].track == Track(2.0, -20.0, 40.0)
    assert scene.emitters[0].paths == (Multipath(30.0, 1e-7, -6.0, 0.0, 90.0),)
    assert scene.emitters[1].waveform == "file"
    assert scene.faults.stall_at_s == (1.0, 2.0)
    assert scene.faults.disconnect_at_s == (3.0,)
    assert scene.targets[0].range_m == 30.0
    assert scene.chamber.positioner == "rotctld"
    assert scene.support_deg == (-20.0, 40.0)


@pytest.mark.parametrize(
    "text",
    ["", EVERYTHING, "emitter = []", "learn = {sources = 'auto'}", "array = {kind = 'uca', n_elements = 5}",
     "learn = {sources = 'auto', support_deg = [-30, 30]}", "impairments = {phase_std_deg = 'uniform'}"],
)  # fmt: skip
def test_writing_and_reading_gives_the_same_scene(text):
    scene = parse_scene(text, folder="here")
    assert parse_scene(scene.to_toml(), folder="here") == scene


@pytest.mark.parametrize(
    ("text", "names", "hint"),
    [
        ("sede = 3", "sede", "'seed'"),
        ("[receiver]\nsnr = 3", "receiver.snr", "snr_db"),
        ("[array]\nspacing_wavelenghts = 0.5", "array.spacing_wavelenghts", "spacing_wavelengths"),
        ("[[emitter]]\nangel_deg = 3", "emitter[0].angel_deg", "angle_deg"),
        ("[[emitter]]\nhop = {periods = 3}", "emitter[0].hop.periods", "period_s"),
        ("[[emitter]]\npaths = [{angle = 3}]", "emitter[0].paths[0].angle", "angle_deg"),
        ("[receiver]\nboard = 'fmcoms5'", "receiver.board", "fmcomms5"),
        ("[[emitter]]\nwaveform = 'qspk'", "emitter[0].waveform", "qpsk"),
        ("[nonsense]\n", "nonsense", "known:"),
    ],
)
def test_unknown_keys_and_words_name_the_nearest_known_one(text, names, hint):
    with pytest.raises(SceneError) as caught:
        parse_scene(text, "my.toml")
    assert str(caught.value).startswith(f"my.toml: {names}: ")
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "seed = -1", "seed = 1.5", "seed = true", "duration_s = 0", "duration_s = nan", "duration_s = 'x'",
        "array = {n_elements = 0}", "array = {n_elements = 1000000000}", "array = {n_elements = 2.0}",
        "array = {kind = 'uca', spacing_wavelengths = 1.0}", "array = {spacing_wavelengths = -1.0}",
        "array = {kind = 'positions'}", "array = {positions_m = [[0, 0]]}", "array = {positions_m = [[0, 0, inf]]}",
        "array = {positions_m = [[0, 0, 0]], n_elements = 2}", "array = {n_elements = 2, ports = [0, 2]}",
        "array = {n_elements = 2, ports = [0, 0]}", "array = {n_elements = 2, ports = ['a', 0]}", "array = 3",
        "receiver = {board = 'pluto', fs_hz = 1e3}", "receiver = {board = 'adrv9009', fs_hz = 2.5e6}",
        "receiver = {fc_hz = 1e12}", "receiver = {adc_bits = 64}", "receiver = {snr_db = inf}", "receiver = {board = []}",
        "impairments = {phase_std_deg = 'any'}", "impairments = {coupling_db = 0.0}", "impairments = {gain_std = -1}",
        "impairments = {relock_phase = 1}", "emitter = 3", "emitter = [3]", "emitter = {}",
        "[[emitter]]\nhop = {}\ntrack = {}", "[[emitter]]\noffset_hz = 1.0\nrf_hz = 1.0",
        "[[emitter]]\nfile = 'x.wav'", "[[emitter]]\nfile = 'x.sigmf-meta'\nwaveform = 'cw'",
        "[[emitter]]\nhop = {period_s = 0.0}", "[[emitter]]\nhop = {min_deg = 5.0, max_deg = 5.0}",
        "[[emitter]]\ntrack = {rate_deg_per_s = 9999.0, min_deg = 0.0, max_deg = 0.01}",
        "[[emitter]]\nangle_deg = 70.0\ntrack = {}", "[[emitter]]\nangle_deg = 1e400", "learn = {sources = 0}",
        "learn = {sources = 8}", "learn = {support_deg = [10, -10]}", "learn = {support_deg = [1, 2, 3]}",
        "ofdm = {cp_samples = 100000}", "faults = {overflow_every_s = 1e-9}", "faults = {slip_channel = 9}",
        "faults = {stall_at_s = ['x']}", "chamber = {positioner = 'x'}", "seed = ", "a = 1\na = 2",
        "emitter = [" + "{}, " * 17 + "]", "[[emitter]]\nsymbol_rate_hz = true",
    ],
)  # fmt: skip
def test_bad_values_are_refused(text):
    with pytest.raises(SceneError, match=r"^my\.toml: "):
        parse_scene(text, "my.toml")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SceneError, match="cannot read scene") as caught:
        load_scene(tmp_path / "none.toml")
    assert "hil scene new" in caught.value.hint
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SceneError, match="not UTF-8"):
        load_scene(tmp_path / "binary.toml")
    with pytest.raises(SceneError, match="cannot read scene"):
        load_scene(tmp_path)
    (tmp_path / "huge.toml").write_bytes(b"#" * 4_000_001)
    with pytest.raises(SceneError, match="over 4 MB"):
        load_scene(tmp_path / "huge.toml")
    with pytest.raises(SceneError):
        parse_scene("a = " + "[" * 100_000)


KEYS = st.sampled_from(
    [
        "seed",
        "array",
        "receiver",
        "emitter",
        "learn",
        "faults",
        "n_elements",
        "fs_hz",
        "hop",
        "paths",
        "ports",
        "x",
    ]
)
LEAVES = st.one_of(st.integers(), st.floats(), st.booleans(), st.sampled_from(["", "cw", "uniform"]))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_is_written_gives_a_scene_or_a_scene_error(data):
    def toml(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(toml, value)) + "]"
        return str(value).lower() if isinstance(value, bool | int | float) else f'"{value}"'

    text = "\n".join(f"{k} = {toml(v)}" for k, v in data.items())
    try:
        assert isinstance(parse_scene(text), Scene)
    except SceneError as err:
        assert "\n" not in str(err).strip()  # noqa: PT017 - an error is one of two right answers


def test_faults_fall_due_once():
    faults = parse_scene(
        "faults = {overflow_every_s = 0.25, stall_at_s = [3.0, 1.0], disconnect_at_s = 2.0}"
    ).faults
    assert faults.due("overflow", 0.0, 1.0) == (0.25, 0.5, 0.75)
    assert faults.due("overflow", 1.0, 1.3) == (1.0, 1.25)
    assert faults.due("stall", 0.0, 3.0) == (1.0,)
    assert faults.due("disconnect", 2.0, 2.1) == (2.0,)
    assert parse_scene("").faults.due("overflow", 0.0, 100.0) == ()
    with pytest.raises(ValueError, match="is not one of"):
        faults.due("rain", 0.0, 1.0)


def test_what_has_no_effect_yet_is_said():
    assert parse_scene("").not_simulated == ()
    assert parse_scene('[[target]]\nrange_m = 20.0\n[chamber]\npositioner = "rotctld"\n').not_simulated == ()


def test_a_table_is_commanded_or_has_a_programme():
    chamber = parse_scene(
        '[chamber]\npositioner = "maturo"\nspeed_deg_per_s = 3\nbacklash_deg = 0.2\nmin_deg = 10'
    ).chamber
    assert (chamber.positioner, chamber.table.speed, chamber.table.backlash) == ("maturo", 3.0, 0.2)
    assert (chamber.table.start, chamber.table.low, chamber.table.ramp) == (10.0, 10.0, 6.0)
    for bad in ('positioner = "sim"\nsteps_deg = [1]', 'positioner = "gps"', "acceleration_deg_per_s2 = 0"):
        with pytest.raises(SceneError, match=r"chamber\."):
            parse_scene(f"[chamber]\n{bad}\n")
