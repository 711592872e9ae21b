"""`hil sim serve` as its own process: start, stop, addresses, truth, speed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import psutil
import pytest

from hil.core.errors import ConfigError
from sim_backend.scene import load_scene
from sim_backend.serve import parse_address, serve

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import adi
    import iio


def ready(process):
    """The JSON line; fails with what the server said if there is none."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.10.51", 0))
        return sock.getsockname()[1]


def open_receiver(uri, block_samples, blocks=4):
    context = iio.Context(uri)
    rx = context.find_device("cf-ad9361-A")
    for channel in rx.channels:
        channel.enabled = True
    rx.set_kernel_buffers_count(blocks)
    return context, rx, iio.Buffer(rx, block_samples)


def test_default_scene_is_two_boards_on_following_addresses_and_truth_matches(cli, tmp_path):
    port, truth = free_port(), tmp_path / "truth.jsonl"
    process = cli("--iio", f"127.0.10.51:{port}", "--truth", str(truth), "--free-running", cwd=str(tmp_path))
    message = ready(process)
    assert message == {"ready": True, "iio": [f"ip:127.0.10.51:{port}", f"ip:127.0.10.52:{port}"]}
    for k, uri in enumerate(message["iio"]):
        context, _, buffer = open_receiver(uri, 1024)
        buffer.refill()
        samples = np.frombuffer(buffer.read(), "<i2").reshape(-1, 8)
        assert samples.any(axis=0).all()
        assert np.abs(samples).max() <= 2048
        del buffer, context
        events = [json.loads(line) for line in truth.read_text().splitlines()]
        assert events[0]["event"] == "drawn"
        assert [event["board"] for event in events if event["event"] == "open"] == list(range(k + 1))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out == "", "one line on stdout and nothing else"
    assert "Traceback" not in err
    assert all(json.loads(line) for line in truth.read_text().splitlines())


def test_sigint_with_a_client_in_the_middle_of_a_read_ends_with_130(cli):
    process = cli("--iio", f"127.0.10.51:{free_port()}")
    context, _, buffer = open_receiver(ready(process)["iio"][0], 4_000_000)
    errors = []

    def read(waiting):
        try:
            waiting.refill()
        except OSError as err:
            errors.append(err.errno)  # not the error: its traceback would keep the buffer alive

    thread = threading.Thread(target=read, args=(buffer,))
    thread.start()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    thread.join(20)
    assert not thread.is_alive()
    assert len(errors) == 1
    assert process.returncode == 130
    assert "Traceback" not in err
    del buffer, context


def test_address_in_use_is_one_clear_line_and_exit_3(cli):
    with socket.socket() as taken:
        taken.bind(("127.0.10.52", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = cli("--iio", f"127.0.10.51:{port}")
        out, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert out == ""
    assert f"127.0.10.52:{port}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--soapy", "0.0.0.0:55132"], "--soapy"),
        (["--rotator", "0.0.0.0:4533"], "--rotator"),
        (["--iio", "0.0.0.0"], "--allow-remote"),
        (["--iio", "192.0.2.1"], "--allow-remote"),
        (["--iio", "127.0.0.2:99999"], "--iio"),
        (["--iio", "localhost"], "IPv4"),
        (["--scene", "/nowhere/scene.toml"], "/nowhere/scene.toml"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what(cli, arguments, says):
    process = cli(*arguments)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert out == ""
    assert says in err
    assert "Traceback" not in err


def test_server_ends_when_its_parent_has_died(eventually):
    code = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-P', '-m', 'hil.cli.main', 'sim', 'serve', '--iio',"
        f" '127.0.10.51:{free_port()}', '--parent', str(os.getpid())], stdout=subprocess.PIPE)\n"
        "assert p.stdout.readline()\n"
        "print(p.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)

    def gone():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # an orphan that nobody waits for

    eventually(gone, 10.0)


def test_serve_is_importable_and_stops_at_the_event():
    stop, got = threading.Event(), []
    thread = threading.Thread(
        target=serve,
        args=(load_scene(None),),
        kwargs={
            "iio": f"127.0.10.61:{free_port()}",
            "free_running": True,
            "stop_event": stop,
            "on_ready": got.append,
        },
    )
    before = threading.active_count()
    thread.start()
    deadline = time.monotonic() + 20
    while not got and time.monotonic() < deadline:
        thread.join(0.01)
    context = iio.Context(got[0]["iio"][0])
    assert context.find_device("ad9361-phy-B") is not None
    stop.set()
    thread.join(10)
    assert threading.active_count() == before
    del context


@pytest.mark.parametrize(
    ("board", "fs_hz", "make"),
    [
        ("pluto", 2.5e6, adi.ad9361),
        ("fmcomms5", 2.5e6, adi.FMComms5),
        ("adrv9009", 122.88e6, adi.adrv9009),
        ("adrv9009-zu11eg", 122.88e6, adi.adrv9009_zu11eg),
    ],
)
def test_every_board_serves_its_scene(cli, tmp_path, board, fs_hz, make):
    scene, truth = tmp_path / "scene.toml", tmp_path / "truth.jsonl"
    scene.write_text(
        f'[receiver]\nboard = "{board}"\nfs_hz = {fs_hz}\nfc_hz = 2.4e9\n[array]\nn_elements = 6\n'
    )
    arguments = ("--scene", str(scene), "--truth", str(truth), "--iio", f"127.0.10.51:{free_port()}")
    uris = ready(cli(*arguments, "--free-running"))["iio"]
    n_channels = 4 if board in ("fmcomms5", "adrv9009-zu11eg") else 2
    assert len(uris) == -(-6 // n_channels)
    boards = [make(uri=uri) for uri in uris]
    for sdr in boards:
        sdr.rx_buffer_size = 2048
        if board.startswith("adrv"):
            sdr.rx_sync_start = "arm"
            sdr._rx_init_channels()
    if board.startswith("adrv"):
        boards[0].rx_sync_start = "trigger_manual"
    for sdr in boards:
        samples = np.array(sdr.rx())
        assert samples.shape == (n_channels, 2048)
        assert samples.any()
        sdr.rx_destroy_buffer()
    opens = [json.loads(line) for line in truth.read_text().splitlines() if '"open"' in line]
    assert [event["board"] for event in opens] == list(range(len(uris)))
    if board.startswith("adrv"):
        assert len({event["scene_sample"] for event in opens}) == 1
    lo = boards[-1].trx_lo if board.startswith("adrv") else boards[-1].rx_lo
    assert lo == 2_400_000_000


@pytest.mark.parametrize("text", ["", ":5", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:70000"])
def test_bad_addresses(text):
    with pytest.raises(ConfigError):
        parse_address(text)


def test_two_boards_stream_in_real_time_without_a_stall(cli, tmp_path):
    truth = tmp_path / "truth.jsonl"
    process = cli("--iio", f"127.0.10.51:{free_port()}", "--truth", str(truth))
    uris = ready(process)["iio"]
    open_both = [open_receiver(uri, 65536, 40) for uri in uris]  # 26 ms a block, a second in all

    def read(buffer):
        for _ in range(80):
            buffer.refill()

    threads = [threading.Thread(target=read, args=(buffer,)) for _, _, buffer in open_both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    statuses = [rx.reg_read(0x80000088) for _, rx, _ in open_both]
    events = [json.loads(line)["event"] for line in truth.read_text().splitlines()]
    assert events.count("open") == 2
    assert "stall" not in events
    assert statuses == [0, 0]
    del open_both


def test_free_running_throughput_to_one_client(cli):
    """The figure is 100 MB/s and more (see `hil bench`); a tenth guards against a mistake."""
    process = cli("--iio", f"127.0.10.51:{free_port()}", "--free-running")
    context, _, buffer = open_receiver(ready(process)["iio"][0], 65536)
    buffer.refill()
    begin, blocks = time.monotonic(), 40
    for _ in range(blocks):
        buffer.refill()
    rate = blocks * 65536 * 16 / (time.monotonic() - begin)
    print(f"{rate / 1e6:.0f} MB/s")  # noqa: T201
    assert rate > 10e6
    del buffer, context
