"""The stock client in a process of its own, a counter in another, and a client that speaks raw bytes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HOST = "127.0.5.1"
#: The interpreter that Debian's python3-soapysdr belongs to.
PYTHON = "/usr/bin/python3"
_COUNTER = Path(__file__).with_name("counter_server.py")
_PRELUDE = """
import ctypes, sys, json, time
ctypes.CDLL(None).prctl(1, 9)  # a stock reader spins when its server dies: it must not outlive the test
import numpy as np
import SoapySDR
from SoapySDR import *
SoapySDR.setLogLevel(SOAPY_SDR_ERROR)
RX, TX = SOAPY_SDR_RX, SOAPY_SDR_TX
CS16, CF32 = SOAPY_SDR_CS16, SOAPY_SDR_CF32
URL = sys.argv[1]
def tell(**values):
    print(json.dumps(values, default=float), flush=True)
def make(**args):
    return SoapySDR.Device(dict(driver="remote", remote=URL, **args))
def raises(call, *args):
    try:
        call(*args)
    except RuntimeError as err:
        return str(err)
    return ""
def bufs(fmt, channels, n):
    return [np.zeros(n if fmt == CF32 else 2 * n, np.complex64 if fmt == CF32 else np.int16) for _ in channels]
def expected(channel, first, n):
    return np.arange(first, first + n, dtype=np.int64).astype(np.uint32) ^ np.uint32(channel << 28)
def words(buf, n, fmt):
    if fmt == CF32:
        return (buf[:n].view(np.float32) * 32768).astype(np.int16).view(np.uint32)
    return buf[:2 * n].view(np.uint32)
"""


def client(url: str, code: str, *, timeout_s: float = 60.0) -> list[dict[str, Any]]:
    """Run code in the stock client; returns what it told. Fails with its words where it does not end well."""
    command = [PYTHON, "-c", _PRELUDE + textwrap.dedent(code), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=_env())
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@contextlib.contextmanager
def running_client(url: str, code: str) -> Iterator[subprocess.Popen[str]]:
    """A client that goes on beside the test; killed at the end."""
    command = [PYTHON, "-c", _PRELUDE + textwrap.dedent(code), url]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_env(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20.0)


@contextlib.contextmanager
def counter_process(fs_hz: float, kind: str = "counter") -> Iterator[str]:
    """URL of a counter served by a process of its own (rate 0: free-running)."""
    command = [sys.executable, "-P", str(_COUNTER), HOST, str(fs_hz), kind]
    root = str(Path(__file__).parents[3])
    env = _env() | {"PYTHONPATH": root}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=20.0)


def _env() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        threading.Event().wait(0.01)


# A codec of its own: nothing here comes from the server's.


def i32(value: int) -> bytes:
    return b"\x02" + struct.pack(">i", value)


def text(value: str) -> bytes:
    return b"\x06" + i32(len(value)) + value.encode()


def kwargs(**values: str) -> bytes:
    return b"\x0b" + i32(len(values)) + b"".join(text(k) + text(v) for k, v in values.items())


def call(number: int, *items: bytes) -> bytes:
    payload = b"\x0f" + i32(number) + b"".join(items)
    return struct.pack(">4sII", b"SRPC", 0x400, len(payload) + 16) + payload + b"CPRS"


class Raw:
    """One connection to the server port."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=10.0)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def exact(self, n: int) -> bytes:
        out = b""
        while len(out) < n:
            data = self.sock.recv(n - len(out))
            assert data, "the server closed the connection"
            out += data
        return out

    def reply(self) -> bytes:
        magic, version, length = struct.unpack(">4sII", self.exact(12))
        assert (magic, version) == (b"SRPC", 0x400)
        body = self.exact(length - 12)
        assert body[-4:] == b"CPRS"
        return body[:-4]

    def ask(self, number: int, *items: bytes) -> bytes:
        self.sock.sendall(call(number, *items))
        return self.reply()

    def refused(self, number: int, *items: bytes) -> str:
        """Words of the exception that a call must raise."""
        answer = self.ask(number, *items)
        assert answer[:2] == b"\x0d\x06", answer
        return answer[7:].decode()
