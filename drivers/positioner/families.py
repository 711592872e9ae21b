"""What families of controllers say: one row each. docs/chamber.md tells what of it was never tried on hardware."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """One dialect of ASCII lines. Commands are templates of `axis`, `deg` and `el`; a query has a line as its answer.

    Attributes
    ----------
    port : usual one. framed : all commands are answered, up to a line `RPRT n`; else queries, by one line.
    trial : harmless command that tells whether this controller confirms its commands, by one line, too: of the same family
        some do. "": none does. refused : regular expression of a line that does not confirm.
    hello : commands for a new connection. model, low, high : queries; "" where the family has none. low_number,
        high_number, number : regular expressions for what they and `read` answer. move : commands. read : query.
    busy : query, "" without one. busy_yes : regular expression of the answer of a table that moves. late_s : for so long
        after a move has begun `busy` may still say that it does not.
    stop : command. fault : query to make before and after a move; no_fault : regular expression of the good answer.
    axes : regular expression of `?axis=`. axis : default.
    """

    port: int
    model: str
    low: str
    high: str
    move: tuple[str, ...]
    read: str
    stop: str
    framed: bool = False
    hello: tuple[str, ...] = ()
    trial: str = ""
    refused: str = r"(?i)^\s*E(RR|\b)"
    number: str = r"^\s*([-+]?[0-9]+(?:\.[0-9]*)?)\s*$"
    low_number: str = ""
    high_number: str = ""
    busy: str = ""
    busy_yes: str = r"^\s*1\s*$"
    late_s: float = 0.0
    fault: str = ""
    no_fault: str = ""
    axes: str = "[0-9]{1,3}"
    axis: str = "0"
    sigma_deg: float = 0.1


_REAL = r"([-+]?[0-9]+(?:\.[0-9]*)?)"

FAMILIES: dict[str, Family] = {
    # Hamlib 4.5: rotctld(1), extended response protocol. Labelled limits, min_az=, or the bare numbers of old servers:
    # protocol, model, lowest and highest azimuth.
    "rotctld": Family(
        port=4533, framed=True, axes="", axis="",
        model=r"+\get_info",
        low=r"+\dump_state", low_number=rf"(?m)^(?:Minimum Azimuth: |min_az=){_REAL}\s*$|^\d+\s+\d+\s+{_REAL}\s+{_REAL}\s",
        high=r"+\dump_state", high_number=rf"(?m)^(?:Maximum Azimuth: |max_az=){_REAL}\s*$|^\d+\s+\d+\s+{_REAL}\s+{_REAL}\s",
        move=(r"+\set_pos {deg:.2f} {el:.2f}",),
        read=r"+\get_pos", number=rf"(?m)^Azimuth: {_REAL}\s*$",
        busy=r"+\get_status", busy_yes=r"(?m)^Status flags: .*MOVING",
        stop=r"+\stop",
    ),
    # Maturo NCD and innco CO2000/CO3000, of which the last confirms commands. BU rises a while after GO.
    "maturo": Family(
        port=200, model="*IDN?", hello=("LD {axis} DV",), trial="LD {axis} DV", low="CL", high="WL",
        move=("LD {deg:.1f} DG NP", "GO"), read="CP", busy="BU", late_s=1.0, stop="ST",
    ),
    # Franconia FC-02, SCPI.
    "scpi": Family(
        port=5025, model="*IDN?", axes="", axis="", low=":LIM:LOW?", high=":LIM:HIGH?",
        move=("POS:ANGL {deg:.2f}",), read="POS:ANGL?", stop="ABOR", fault="SYST:ERR?", no_fault=r"^\s*[+-]?0\s*(,|$)",
    ),
    # ETS-Lindgren 2090; EMControl 7006, which confirms, with an address such as 1A before every command.
    "ets": Family(
        port=2090, model="{axis}*IDN?", axes="[0-9]?[AB]?", axis="", low="{axis}CL?", high="{axis}WL?",
        move=("{axis}SK {deg:.1f}",), read="{axis}CP?", busy="{axis}*OPC?", busy_yes=r"^\s*0\s*$", stop="{axis}ST", trial="{axis}ST",
        fault="{axis}ERR?", no_fault=r"^\s*0+\s*$",
    ),
}  # fmt: skip
