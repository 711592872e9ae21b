"""Whether a calibration may be used: the rules of the coherence epochs, and what does not fit."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.errors import CalibrationMismatch
from hil.core.frame import StreamInfo
from hil.core.gauge import Gauge
from hil.core.geometry import ula
from hil.core.impairments import ideal
from hil.store import check, require_usable

M = 4
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def make_stream(groups=((0, 1), (2, 3))):
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "1", groups, WireFormat.CI16, 12)
    config = RxConfig(2.45e9, 2.5e6, 2e6, (10.0,) * M, GainMode.MANUAL, (0, 1, 2, 3), 1024)
    return StreamInfo(config, device, new_epoch("S1"), ula(M, 0.06))


def make(stream, **more):
    valid = Validity(2.44e9, 2.46e9, (10.0,) * M, "2026-12-01T00:00:00Z")
    return Calibration(ula(M, 0.06), ideal(M), unknown_sigma(M), Gauge(), 2.45e9, valid, "m", epoch=stream.epoch,
                       device_model="fmcomms5", device_serial="S1", created_utc="2026-11-21T00:00:00Z",
                       **({"converged": True} | more))  # fmt: skip


def after(stream, event, scope):
    return replace(stream, epoch=stream.epoch.after(event, scope))


def test_the_epoch_decides():
    stream = make_stream()
    calibration = make(stream)
    status = check(calibration, stream, NOW)
    assert (status.status, status.usable, status.age_s) == ("valid", True, 86400.0)
    assert check(calibration, after(stream, EpochEvent.GAIN, EpochScope.NOTHING), NOW).status == "valid"
    retuned = after(stream, EpochEvent.LO, EpochScope.GROUP_PHASES)
    assert check(calibration, retuned, NOW).status == "phases-expired"
    assert check(calibration, after(stream, EpochEvent.POWER, EpochScope.EVERYTHING), NOW).status == "expired"
    reopened = replace(stream, epoch=new_epoch("S1"))
    assert check(calibration, reopened, NOW).status == "unverified"
    assert check(replace(calibration, epoch=None), stream, NOW).status == "unverified"
    assert check(make(retuned), stream, NOW).status == "phases-expired", "also for an older stream"


def test_one_coherent_group_has_no_group_phases_to_lose():
    stream = make_stream(((0, 1, 2, 3),))
    retuned = after(stream, EpochEvent.LO, EpochScope.GROUP_PHASES)
    assert check(make(stream), retuned, NOW).status == "valid"
    some = make_stream(((0, 1), (2, 3)))
    pair = replace(
        some, config=replace(some.config, channels=(0, 1), gain_db=(10.0, 10.0)), geometry=ula(2, 0.06)
    )
    calibration = replace(make(pair), geometry=ula(2, 0.06), impairments=ideal(2), sigma=unknown_sigma(2),
                          valid=Validity(2.44e9, 2.46e9))  # fmt: skip
    assert check(calibration, after(pair, EpochEvent.LO, EpochScope.GROUP_PHASES), NOW).status == "valid"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("device_serial", lambda s: replace(s, device=replace(s.device, serial="S2"))),
        ("device_model", lambda s: replace(s, device=replace(s.device, model="pluto"))),
        ("fc_hz", lambda s: replace(s, config=replace(s.config, fc_hz=2.47e9))),
        ("geometry", lambda s: replace(s, geometry=ula(M, 0.07))),
        ("gains_db", lambda s: replace(s, config=replace(s.config, gain_db=(10.0, 10.0, 10.0, 12.0)))),
        ("n_elements", lambda s: replace(s, config=replace(s.config, channels=(0, 1)))),
    ],
)
def test_what_does_not_fit_is_named(field, change):
    stream = make_stream()
    status = check(make(stream), change(stream), NOW)
    assert (status.status, status.field, status.usable) == ("mismatch", field, False)
    assert status.reason
    assert status.hint
    with pytest.raises(CalibrationMismatch) as caught:
        require_usable(make(stream), change(stream), NOW)
    assert (caught.value.field, caught.value.exit_code) == (field, 4)


def test_what_is_not_known_is_not_held_against_it():
    stream = replace(make_stream(), geometry=None)
    louder = replace(stream, config=replace(stream.config, gain_db=(16.0,) * M))
    assert check(make(stream), louder, NOW).status == "valid", "a common gain change is the epoch's matter"
    anonymous = replace(make(stream), device_model="", device_serial="")
    assert check(anonymous, stream, NOW).status == "valid"


def test_expiry():
    stream = make_stream()
    calibration = make(stream)
    late = datetime(2026, 12, 1, tzinfo=UTC)
    assert check(calibration, stream, late).status == "expired"
    assert check(calibration, stream, datetime(2026, 11, 30, 23, tzinfo=UTC)).status == "valid"
    forever = replace(calibration, valid=replace(calibration.valid, expires_utc=""))
    assert check(forever, stream, datetime(2050, 1, 1, tzinfo=UTC)).status == "valid"
    broken = replace(calibration, valid=replace(calibration.valid, expires_utc="soon"))
    assert check(broken, stream, NOW).status == "expired", "an unreadable expiry is not eternity"


def test_who_may_use_it_all_the_same():
    stream = make_stream()
    calibration = make(stream)
    retuned = after(stream, EpochEvent.LO, EpochScope.GROUP_PHASES)
    with pytest.raises(CalibrationMismatch, match="phases-expired") as caught:
        require_usable(calibration, retuned, NOW)
    assert "--relearn-phase" in caught.value.hint
    assert require_usable(calibration, retuned, NOW, relearn_phase=True).status == "phases-expired"
    assert require_usable(calibration, retuned, NOW, stale_ok="a test").status == "phases-expired"
    with pytest.raises(CalibrationMismatch):
        require_usable(calibration, retuned, NOW, stale_ok="  ")
    powered = after(stream, EpochEvent.POWER, EpochScope.EVERYTHING)
    with pytest.raises(CalibrationMismatch):
        require_usable(calibration, powered, NOW, relearn_phase=True)
    fewer = replace(stream, config=replace(stream.config, channels=(0, 1)))
    with pytest.raises(CalibrationMismatch):
        require_usable(calibration, fewer, NOW, stale_ok="no reason can help")


def test_what_has_not_converged_is_used_only_for_a_reason():
    stream = make_stream()
    calibration = make(stream, converged=False)
    with pytest.raises(CalibrationMismatch, match="not converged") as caught:
        require_usable(calibration, stream)
    assert caught.value.field == "converged"
    assert require_usable(calibration, stream, stale_ok="to look at it").field == "converged"
