"""The text protocol byte for byte: lines, replies, attributes and their errors."""

from __future__ import annotations

import errno
import struct
import xml.etree.ElementTree as ElementTree

import pytest

PHY, RX, TX = "iio:device1", "iio:device6", "iio:device4"
LO = f"{PHY} OUTPUT altvoltage0 frequency"


@pytest.fixture
def client(serve, connect):
    servers, _ = serve("fmcomms5")
    return connect(servers)


def test_print_is_length_then_xml_then_newline(client):
    n = client.ask("PRINT")
    document = client.take(n + 1)
    assert document.endswith(b"</context>\n")
    root = ElementTree.fromstring(document)
    assert {"version-major", "version-minor", "version-git"} <= root.attrib.keys()
    assert not root.findall("context-attribute[@name='uri']"), "the client adds uri itself"


def test_dtd_declares_every_element_and_attribute_of_the_document(client):
    document = client.take(client.ask("PRINT") + 1).decode()
    dtd = document[document.index("[") : document.index("]>")]
    for element in ElementTree.fromstring(document).iter():
        assert f"<!ELEMENT {element.tag} " in dtd
        declared = dtd[dtd.index(f"<!ATTLIST {element.tag} ") :].split(">", 1)[0]
        assert all(f"{name} CDATA" in declared for name in element.attrib), element.tag


def test_version_tag_is_padded_to_seven_characters(client):
    client.send("VERSION\r\n")
    assert client.line() == "0.24.v0.24  \n"


@pytest.mark.parametrize(
    "line", ["ZPRINT", "BINARY", "NONSENSE 1 2", "Print", "READ", "OPEN x", "SET iio:device6 X 1"]
)
def test_unknown_or_malformed_line_is_einval_and_the_connection_stays(client, line):
    assert client.ask(line) == -errno.EINVAL
    assert client.ask("TIMEOUT 1000") == 0


def test_lines_may_have_blanks_tabs_lower_case_and_come_empty_or_in_pieces(client):
    client.send("\r\n\n  \r\n")
    client.send("  timeout \t 50")
    client.send("0  \n")
    assert client.line() == "0\n"
    client.send("TIMEOUT 1\r\nTIMEOUT 2\nTIMEOUT 3\r\n")
    assert [client.line() for _ in range(3)] == ["0\n"] * 3


def test_value_counts_its_final_nul(client):
    client.send(f"READ {PHY} ensm_mode\r\n")
    assert client.line() == "4\n"
    assert client.take(5) == b"fdd\0\n"


def test_device_may_be_named_and_channel_is_found_with_its_direction(client):
    assert client.value("READ ad9361-phy ensm_mode") == "fdd"
    assert client.value("READ ad9361-phy OUTPUT RX_LO frequency") == "2450000000"
    assert client.value(f"READ {PHY} INPUT voltage0 hardwaregain") == "20.000000 dB"
    assert client.value(f"READ {PHY} OUTPUT voltage0 hardwaregain") == "-10.000000 dB"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("READ iio:device99 x", errno.ENODEV),
        (f"READ {PHY} INPUT voltage77 raw", errno.ENXIO),
        (f"READ {PHY} nothing", errno.ENOENT),
        (f"READ {PHY} multichip_sync", errno.EACCES),
        (f"READ {PHY} OUTPUT altvoltage0 fastlock_recall", errno.EINVAL),
        (f"READ {PHY} dcxo_tune_fine", errno.ENODEV),
        (f"READ {RX} INPUT voltage0 samples_pps", errno.ENODEV),
        (f"GETTRIG {RX}", errno.ENOENT),
        (f"SET {RX} BUFFERS_COUNT 0", errno.EINVAL),
        (f"SET {PHY} BUFFERS_COUNT 4", errno.EINVAL),
        (f"CLOSE {RX}", errno.ENXIO),
        (f"READBUF {RX} 4096", errno.EBADF),
        (f"WRITEBUF {TX} 4096", errno.EBADF),
        (f"OPEN {PHY} 1024 00000003", errno.EINVAL),
        ("OPEN iio:device7 1024 00000003", errno.EINVAL),
        (f"OPEN {RX} 1024 0000000000000003", errno.EINVAL),
        (f"OPEN {RX} 1024 3", errno.EINVAL),
        (f"OPEN {RX} 1024 00000000", errno.EINVAL),
        (f"OPEN {RX} 1024 00000100", errno.EINVAL),
        (f"OPEN {RX} 0 00000003", errno.EINVAL),
        (f"OPEN {RX} 1024 00000003 CYCLIC", errno.EINVAL),
        ("OPEN iio:device99 1024 00000003", errno.ENODEV),
    ],
)
def test_errno(client, command, code):
    assert client.ask(command) == -code


def test_write_answers_the_number_of_bytes_and_cuts_at_the_nul(client):
    assert client.write(LO, "2400000000") == 11
    assert client.value(f"READ {LO}") == "2400000000"
    client.send(f"WRITE {LO} 12\r\n2300000001\n\0".encode())
    assert client.line() == "12\n"
    assert client.value(f"READ {LO}") == "2300000001"


@pytest.mark.parametrize(
    "target", ["iio:device99 x", f"{PHY} INPUT voltage77 raw", f"{PHY} nothing", LO, PHY]
)
def test_payload_is_consumed_also_when_the_write_fails(client, target):
    assert client.write(target, "TIMEOUT 77\r\nVERSION\r\n") < 0
    assert client.value(f"READ {PHY} ensm_mode") == "fdd"


def test_payload_may_arrive_later_and_in_pieces(client):
    client.send(f"WRITE {LO} 11\r\n")
    client.send("24100")
    client.send(b"00000\0TIMEOUT 5\r\n")
    assert client.line() == "11\n"
    assert client.line() == "0\n"
    assert client.value(f"READ {LO}") == "2410000000"


def test_all_attributes_at_once_are_packed_with_lengths_and_errors(client):
    n = client.ask(f"READ {PHY}")
    blob = client.take(n + 1)[:-1]
    values, errors = [], []
    while blob:
        (length,) = struct.unpack(">i", blob[:4])
        blob = blob[4:]
        if length < 0:
            errors.append(-length)
        else:
            values.append(blob[: length - 1].decode())
            blob = blob[length + -length % 4 :]
    assert "fdd" in values
    assert errno.EACCES in errors


def test_every_readable_attribute_fits_pylibiio_s_1024_bytes(serve, connect):
    for board in ("pluto", "fmcomms5", "adrv9009", "adrv9009-zu11eg"):
        servers, _ = serve(board)
        client = connect(servers)
        for device in servers.boards[0].table.devices:
            for kind, names in (("", device.attributes), ("DEBUG ", device.debug_attributes)):
                for name in names:
                    value = client.value(f"READ {device.id} {kind}{name}")
                    assert isinstance(value, int) or len(value) < 1000


def test_register_is_written_in_hexadecimal_and_read_by_a_decimal_address(client):
    debug = f"{RX} DEBUG direct_reg_access"
    assert client.write(debug, "0x80000048 0x5a") > 0
    assert client.write(debug, str(0x80000048)) > 0
    assert client.value(f"READ {debug}") == "0x5a"
    assert client.write(f"{PHY} DEBUG direct_reg_access", "0x37") > 0
    assert client.value(f"READ {PHY} DEBUG direct_reg_access") == "0xa"
    for wrong in ("0x80000001 1", "0x1000 1", "x", "1 2 3", "-1", ""):
        assert client.write(debug, wrong) == -errno.EINVAL


def test_register_address_is_latched_per_connection(serve, connect):
    servers, _ = serve("fmcomms5")
    one, two = connect(servers), connect(servers)
    debug = f"{RX} DEBUG direct_reg_access"
    one.write(debug, "0x80000048 0x11")
    two.write(debug, "0x8000004c 0x22")
    assert one.value(f"READ {debug}") == "0x11"
    assert two.value(f"READ {debug}") == "0x22"


def test_exit_closes_without_a_reply(client):
    client.send("\r\nEXIT\r\n")
    assert client.take(1) == b""
