"""Hostile and broken clients: the server answers or drops them, stays small, and nobody else notices."""

from __future__ import annotations

import errno
import random
import socket
import threading

import psutil
import pytest

from sim_backend.iiod import server as server_module
from sim_backend.iiod import wire as wire_module

RX, PHY, TX = "iio:device6", "iio:device1", "iio:device4"


@pytest.fixture
def served(serve):
    servers, _ = serve("fmcomms5")
    return servers


def healthy(servers, connect):
    """Another client works: an attribute and samples."""
    client = connect(servers)
    assert client.value(f"READ {PHY} ensm_mode") == "fdd"
    assert client.ask(f"OPEN {RX} 64 00000003") == 0
    client.readbuf(RX, 256)
    assert client.ask(f"CLOSE {RX}") == 0
    client.close()


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_do_no_harm(served, connect, eventually, seed):
    rng = random.Random(seed)
    client = connect(served, timeout_s=2)
    with_lines = rng.randbytes(20_000).replace(b"\x00", b"\n")
    try:
        for at in range(0, len(with_lines), 997):
            client.send(with_lines[at : at + 997])
    except OSError:
        pass
    client.close()
    healthy(served, connect)
    eventually(lambda: served.servers[0].n_connections <= 1)


def test_mangled_commands_are_answered_and_never_change_anything(served, connect):
    rng = random.Random(1)
    words = [
        "READ",
        "WRITE",
        "OPEN",
        "READBUF",
        "WRITEBUF",
        "SET",
        "CLOSE",
        "GETTRIG",
        "INPUT",
        "OUTPUT",
        "DEBUG",
    ]
    words += [
        "BUFFER",
        RX,
        PHY,
        TX,
        "voltage0",
        "-5",
        "0",
        "99999999999999999999",
        "\x7f",
        "é",
        "%s%n",
        "../../x",
        "1e9",
    ]
    client = connect(served)
    for _ in range(400):
        line = " ".join(rng.choice(words) for _ in range(rng.randint(1, 6)))
        if "WRITE" in line:
            continue  # may swallow what follows as its payload, as it has to
        client.send(line + "\n")
        client.send("TIMEOUT 7\n")
        replies = [client.line()]
        while replies[-1] != "0\n" or len(replies) < 2:
            replies.append(client.line())
            assert replies[-1], f"dropped after {line!r}"
            assert len(replies) < 30, line
    healthy(served, connect)


def test_line_without_an_end_is_dropped_after_a_bounded_length(served, connect):
    client = connect(served)
    with pytest.raises(OSError):  # noqa: PT012 - the kernel's buffers take a while to fill
        for _ in range(5000):
            client.send(b"A" * 10_000)
        raise AssertionError("the server keeps on reading")
    healthy(served, connect)


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 30, 1 << 61])
def test_gigabyte_write_is_refused_and_the_connection_dropped(served, connect, length):
    client = connect(served)
    assert client.ask(f"WRITE {PHY} ensm_mode {length}") == -errno.ENOMEM
    assert client.ended()
    healthy(served, connect)


def test_senseless_numbers_are_einval(served, connect):
    client = connect(served)
    for line in (
        f"WRITE {PHY} ensm_mode -1",
        f"WRITE {PHY} ensm_mode 1e3",
        f"WRITE {PHY} ensm_mode {10**30}",
        f"READBUF {RX} -4096",
        f"READBUF {RX} {1 << 40}",
        f"OPEN {RX} -1 000000ff",
        f"OPEN {RX} 64 zzzzzzzz",
        f"OPEN {RX} 64 -0000001",
        f"OPEN {RX} 64 +0000001",
        f"OPEN {RX} 64 0x000001",
        "TIMEOUT -5",
        "TIMEOUT ten",
        f"SET {RX} BUFFERS_COUNT 1000000000",
    ):
        assert client.ask(line) == -errno.EINVAL, line


@pytest.mark.parametrize(
    "sent",
    [
        b"PRINT\r\n",
        f"OPEN {RX} 65536 000000ff\r\nREADBUF {RX} 1048576\r\n".encode(),
        f"OPEN {TX} 64 00000003\r\nWRITEBUF {TX} 256\r\nabc".encode(),
        f"WRITE {PHY} ensm_mode 50\r\nfd".encode(),
        f"READ {PHY} ens".encode(),
    ],
)
def test_client_may_vanish_at_any_byte(served, connect, eventually, sent):
    for cut in sorted({1, len(sent) // 3, len(sent) // 2, len(sent) - 1, len(sent)}):
        client = connect(served)
        client.send(sent[:cut])
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # reset instead of a polite end
        if cut % 2:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.close()
    eventually(lambda: served.servers[0].n_connections == 0)
    assert not served.boards[0].rx[RX].is_open
    assert not served.boards[0].tx[TX].is_open
    healthy(served, connect)


def test_two_hundred_connections_at_once(served, connect, eventually):
    clients = [connect(served) for _ in range(200)]
    for client in clients:
        client.send(f"READ {PHY} ensm_mode\r\n")
    assert all(client.line() == "4\n" for client in clients)
    for client in clients:
        client.close()
    eventually(lambda: served.servers[0].n_connections == 0)
    healthy(served, connect)


def test_idle_connections_beyond_the_limit_make_room_for_working_ones(served, connect, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 8)
    threads = threading.active_count()
    loris = [connect(served) for _ in range(40)]
    for client in loris:
        client.send("REA")
    healthy(served, connect)
    assert served.servers[0].n_connections <= 8
    assert threading.active_count() - threads <= 9 + 40  # those being dropped may still be ending


def test_full_house_of_working_clients_refuses_one_more(served, connect, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 4)
    clients = [connect(served) for _ in range(4)]
    assert all(client.ask("TIMEOUT 100") == 0 for client in clients)
    assert connect(served).ended()
    assert all(client.ask("TIMEOUT 100") == 0 for client in clients)


def test_slow_loris_is_dropped_and_an_idle_client_is_not(served, connect, monkeypatch):
    monkeypatch.setattr(wire_module, "UNFINISHED_TIMEOUT_S", 0.3)
    idle, loris, payload = connect(served), connect(served), connect(served)
    assert idle.ask("TIMEOUT 100") == 0
    loris.send("READ iio:dev")
    payload.send(f"WRITE {PHY} ensm_mode 40\r\nabc")
    assert loris.ended()
    assert payload.ended()
    assert idle.ask("TIMEOUT 100") == 0


def test_reader_that_stops_reading_blocks_nobody_else(served, connect):
    lazy = connect(served)
    lazy.ask(f"OPEN {RX} 1000000 000000ff")
    lazy.send(f"READBUF {RX} 1600000000\r\n")
    healthy(served, connect)


def test_memory_does_not_grow_under_attack(served, connect, eventually):
    def attack():
        for _ in range(60):
            client = connect(served)
            client.send(b"A" * 4000 + b"\n" + b"\xff" * 30_000)
            client.close()
        eventually(lambda: served.servers[0].n_connections == 0)

    attack()
    before = psutil.Process().memory_info().rss
    for _ in range(5):
        attack()
    assert psutil.Process().memory_info().rss - before < 20e6


def test_openers_of_huge_blocks_are_limited_and_cannot_hoard_them(served, connect):
    clients = [connect(served) for _ in range(12)]
    statuses = [client.ask(f"OPEN {RX} 4194304 000000ff") for client in clients]
    assert statuses[0] == 0
    assert statuses.count(-errno.ENOMEM) >= 4, "64 MiB each"
    for client, status in zip(clients, statuses, strict=True):
        assert client.ask(f"CLOSE {RX}") == (0 if status == 0 else -errno.ENXIO)
    healthy(served, connect)


def test_register_file_is_bounded(served, connect):
    client = connect(served)
    for address in range(0, 0x400):
        client.write(f"{RX} DEBUG direct_reg_access", f"{0x80000000 | (address << 14):#x} 1")
    assert len(served.boards[0].registers[RX]._values) <= 0x10000 // 4 + 0x1000
