"""What the simulated radio knows of each board: channels, chips, converter, ranges, phase behaviour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Board:
    """One kind of receiver board.

    Attributes
    ----------
    n_channels : receive channels C. chips : channels of each chip; the channels of a chip share one LO.
    adc_bits : converter bits including sign. nominal_gain_db : gain at which `peak_dbfs` of a scene holds,
    and the gain after power-up. gain_db : (minimum, maximum) over all carriers.
    fc_hz : (minimum, maximum). fs_hz : (minimum, maximum). fs_fixed_hz : the only rates, if not empty.
    default_fs_hz : rate where a scene names none.
    relock_phase : True if an LO or rate write leaves a new random phase per chip (AD936x); False where
    the chips' LOs are phase-synchronised (ADRV9009).
    one_lo : True if a chip receives and transmits with one LO (ADRV9009).
    """

    name: str
    n_channels: int
    chips: tuple[tuple[int, ...], ...]
    adc_bits: int
    nominal_gain_db: float
    gain_db: tuple[float, float]
    fc_hz: tuple[float, float]
    fs_hz: tuple[float, float]
    fs_fixed_hz: tuple[float, ...]
    default_fs_hz: float
    relock_phase: bool
    one_lo: bool = False

    def chip_of(self, channel: int) -> int:
        """Chip that carries this channel."""
        return next(k for k, channels in enumerate(self.chips) if channel in channels)


# ADRV9009: rates of the stock profiles, and one eighth of them (the FPGA's decimator).
_ADRV9009_FS_HZ = (3.84e6, 7.68e6, 15.36e6, 30.72e6, 61.44e6, 122.88e6, 245.76e6)
_AD936X_FC_HZ = (70e6, 6e9)
_AD936X_FS_HZ = (520_834.0, 61.44e6)
_ADRV9009_FC_HZ = (75e6, 6e9)


def _ad936x(name: str, chips: tuple[tuple[int, ...], ...]) -> Board:
    n_channels = sum(len(chip) for chip in chips)
    return Board(
        name, n_channels, chips, adc_bits=12, nominal_gain_db=40.0, gain_db=(-10.0, 73.0),
        fc_hz=_AD936X_FC_HZ, fs_hz=_AD936X_FS_HZ, fs_fixed_hz=(), default_fs_hz=2.5e6, relock_phase=True,
    )  # fmt: skip


def _adrv9009(name: str, chips: tuple[tuple[int, ...], ...]) -> Board:
    n_channels = sum(len(chip) for chip in chips)
    return Board(
        name, n_channels, chips, adc_bits=16, nominal_gain_db=20.0, gain_db=(0.0, 30.0),
        fc_hz=_ADRV9009_FC_HZ, fs_hz=(_ADRV9009_FS_HZ[0], _ADRV9009_FS_HZ[-1]),
        fs_fixed_hz=_ADRV9009_FS_HZ, default_fs_hz=3.84e6, relock_phase=False,
        one_lo=True,
    )  # fmt: skip


#: Boards by the names that scene files use.
BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        _ad936x("pluto", ((0, 1),)),
        _ad936x("fmcomms5", ((0, 1), (2, 3))),
        _adrv9009("adrv9009", ((0, 1),)),
        _adrv9009("adrv9009-zu11eg", ((0, 1), (2, 3))),
    )
}
