"""Rows of the cold-start tables: what is drawn, what the learner is told, and which answers are right."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from hil.reproduce.cold_start_arrays import Setting

#: What the verdict ought to say. "accept": the assumptions hold and the data suffice; "refuse": they do not;
#: "either": at the limit, where only a silent failure or a wrong reason is a mistake.
Right = Literal["accept", "refuse", "either"]

ESTIMATED = 0  # in place of a number of sources: the learner finds it

#: Word of a table -> pattern of the learner's reason.
REASONS: dict[str, str] = {
    "other number of sources": r"% of the blocks show \d+ source|number of sources changes",
    "no source": r"no source above the noise",
    "near, but off": r"degrees rms of phase off",
    "nothing fits": r"no array of this kind fits",
    "blocks of another array": r"% of the nulls do not fit",
    "one part of the angles": r"in one part of the angles",
    "few angles": r"different angles were seen",
    "open beyond the lit angles": r"leave the array undetermined",
    "support against positions": r"disagrees with the nominal positions",
    "few blocks": r"usable blocks",
    "same angles": r"all blocks show the same",
}


def word_of(reason: str) -> str:
    """Table word of a reason, empty if accepted."""
    if not reason:
        return ""
    return next((word for word, pattern in REASONS.items() if re.search(pattern, reason)), "other")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its arrays, what the learner is told and what is right.

    said : number of sources told, ESTIMATED (0): none, None: the true one. reasons : words that fit a
    refusal. quick : part of a quick run. seconds : expected for one array, with drawing and comparison.
    """

    name: str
    title: str
    setting: Setting
    said: int | None = None
    right: Right = "accept"
    reasons: tuple[str, ...] = ()
    quick: bool = False
    seconds: float = 0.4

    def arguments(self) -> dict[str, Any]:
        """JSON values of everything that is drawn and told."""
        default = Setting()
        changed = {
            f.name: getattr(self.setting, f.name)
            for f in fields(Setting)
            if getattr(self.setting, f.name) != getattr(default, f.name)
        }
        lists = {name: list(v) if isinstance(v, tuple) else v for name, v in changed.items()}
        return {"setting": lists, "said": self.said}


def setting_of(values: dict[str, Any]) -> Setting:
    """Inverse of `Row.arguments()["setting"]`."""
    changed: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return replace(Setting(), **changed)


def _arrays(blocks: int) -> dict[str, Setting]:
    return {
        "4, 1": Setting(n=4, position_std=0.05, blocks=blocks),
        "8, 1": Setting(blocks=blocks),
        "8, 2": Setting(k=2, blocks=blocks),
        "16, 3": Setting(n=16, k=3, snr_db=15.0, blocks=blocks),
        "8 on a circle, 1": Setting(
            shape="circle", limits_deg=(-120.0, 120.0), position_std=0.05, blocks=blocks
        ),
    }


def bar_rows() -> list[Row]:
    """The arrays that the bar names, with 200, 600 and 2000 blocks."""
    return [
        Row(
            f"bar-{name.replace(' ', '').replace(',', '-')}-{blocks}", name, setting, quick=blocks == 600,
            seconds=(0.15 + blocks / 2500) * (1.8 if setting.n == 16 else 0.7),
        )
        for blocks in (200, 600, 2000)
        for name, setting in _arrays(blocks).items()
    ]  # fmt: skip


def circle_rows() -> list[Row]:
    """Circles of eight elements, all round and with sectors down to one that is too narrow."""

    def row(title: str, half_deg: float, **more: Any) -> Row:
        right: Right = more.pop("right", "accept")
        name = "circle-" + re.sub(r"[^a-z0-9]+", "-", title)
        circle = Setting(shape="circle", limits_deg=(-half_deg, half_deg), position_std=0.05)
        setting = replace(circle, **more)
        return Row(name, title, setting, right=right, reasons=("open beyond the lit angles",))

    return [
        row("all round, 1 source", 180.0),
        row("all round, 2 sources", 180.0, k=2),
        row("all round, 3 sources", 180.0, k=3),
        row("all round, 1 source, 0 db", 180.0, snr_db=0.0),
        row("all round, 1 source, positions 0.1", 180.0, position_std=0.1),
        row("all round, 2 sources, positions 0.1", 180.0, position_std=0.1, k=2),
        row("sector of 240 deg, 2 sources", 120.0, k=2),
        row("sector of 120 deg, 1 source", 60.0, right="either"),
        row("sector of 120 deg, 2 sources", 60.0, k=2, right="either"),
        row("sector of 60 deg, 1 source", 30.0, right="refuse"),
        row("sector of 60 deg, 2 sources", 30.0, k=2, right="refuse"),
    ]


_COUNT = ("other number of sources",)
_MISFIT = ("near, but off", "nothing fits")
_DARK = ("few angles", "open beyond the lit angles", "support against positions")
_BROKEN = ("blocks of another array", "other number of sources", "nothing fits")


def robustness_rows() -> list[Row]:
    """A line of eight, two sources, unless the row says otherwise."""

    def row(title: str, *, right: Right = "accept", reasons: tuple[str, ...] = (), **more: Any) -> Row:
        said, quick, seconds = more.pop("said", None), more.pop("quick", False), more.pop("seconds", 0.4)
        setting = replace(Setting(k=2), **more)
        name = "robust-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        return Row(name, title, setting, said, right, reasons, quick, seconds)

    levels = [row(f"SNR {snr:g} dB", snr_db=snr, quick=snr == -5.0) for snr in (-5.0, 0.0, 10.0, 30.0)]
    levels += [row(f"T = {t}", snapshots=t) for t in (32, 64, 1024)]
    levels += [row(f"{b} blocks", blocks=b) for b in (25, 50, 100, 2000)]
    sources = [
        row("1 source of 3 weaker by 10 dB", k=3, power_db=(0.0, 0.0, -10.0)),
        row("5 sources", k=5),
        row("number of sources not told", said=ESTIMATED),
        row("correlation 0.5", rho=0.5),
        row("correlation 0.9", rho=0.9, quick=True),
        row("coherent", rho=1.0, right="refuse", reasons=_COUNT, quick=True),
        row("coherent, number not told", rho=1.0, said=ESTIMATED, right="refuse", reasons=_MISFIT, seconds=2.0),
        row("coherent, 16 elements, number not told", n=16, rho=1.0, said=ESTIMATED, right="refuse",
            reasons=_MISFIT, seconds=4.0),
        row("2 sources, told 1", said=1, right="refuse", reasons=_COUNT, quick=True),
        row("2 sources, told 1, second 15 dB weaker", said=1, power_db=(0.0, -15.0), right="refuse", reasons=_COUNT),
        row("2 sources, told 3", said=3, right="refuse", reasons=_COUNT, quick=True),
        row("1 source, told 2", k=1, said=2, right="refuse", reasons=_COUNT),
        row("3 sources, told 2", k=3, said=2, right="refuse", reasons=_COUNT),
    ]  # fmt: skip
    model = [
        row("gain errors 0.6", gain_std=0.6),
        row("position errors 0.15", position_std=0.15),
        row(
            "position errors 0.2",
            position_std=0.2,
            right="either",
            reasons=(*_MISFIT, "support against positions"),
        ),
        row("noise of elements 3 dB", noise_db=3.0),
        row("noise of elements 6 dB", noise_db=6.0),
        row("noise of elements 3 dB, SNR 0 dB", noise_db=3.0, snr_db=0.0),
        row("coupling -40 dB", coupling_db=-40.0, right="either", reasons=_MISFIT),
        row("coupling -30 dB", coupling_db=-30.0, right="either", reasons=_MISFIT, seconds=2.0),
        row("coupling -20 dB", coupling_db=-20.0, right="refuse", reasons=_MISFIT, quick=True, seconds=2.0),
        row("coupling -15 dB", coupling_db=-15.0, right="refuse", reasons=_MISFIT, seconds=2.0),
    ]
    light = [
        row("lit 0 to 60 deg", limits_deg=(0.0, 60.0)),
        row("lit -20 to 60 deg", limits_deg=(-20.0, 60.0)),
        row("lit -80 to 80 deg", limits_deg=(-80.0, 80.0)),
        row("6 angles", angles=6, right="either", reasons=_DARK, quick=True),
        row("12 angles", angles=12, right="either", reasons=_DARK),
        row("24 angles", angles=24, right="either", reasons=_DARK),
        row("6 clusters of 3 deg", angles=6, cluster_deg=3.0, right="either", reasons=_DARK),
        row("6 clusters of 3 deg, 1 source", k=1, angles=6, cluster_deg=3.0, right="either", reasons=_DARK),
        row("12 clusters of 3 deg", angles=12, cluster_deg=3.0, right="either", reasons=_DARK),
        row("one angle for 20 blocks", dwell=20, blocks=2000),
    ]
    outliers = [
        row("another emitter in 1 % of blocks", bad=0.01, how="emitter"),
        row("another emitter in 10 % of blocks", bad=0.1, how="emitter", quick=True),
        row("nothing but noise in 10 % of blocks", bad=0.1, how="noise"),
        row("a channel turned in 1 % of blocks", bad=0.01),
        row("a channel turned in 5 % of blocks", bad=0.05),
        row("a channel turned in 10 % of blocks", bad=0.1, quick=True),
        row("1 source, a channel turned in 5 % of blocks", k=1, bad=0.05),
        row("1 source, a channel turned in 10 % of blocks", k=1, bad=0.1),
        row("a channel turned in 40 % of blocks", bad=0.4, right="refuse", reasons=_BROKEN),
    ]
    return levels + sources + model + light + outliers
