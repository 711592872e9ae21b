"""One RPC connection: requests in, replies out, and the streams that the client has set up."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from hil.core.errors import HilError
from sim_backend.soapy_remote import calls, wire
from sim_backend.soapy_remote.board import RX, RadioBoard
from sim_backend.soapy_remote.datagram import Layout
from sim_backend.soapy_remote.device import SoapyDevice
from sim_backend.soapy_remote.errors import NOT_SUPPORTED, LinkClosed, SoapyRefusal
from sim_backend.soapy_remote.peripherals import truth
from sim_backend.soapy_remote.rx_stream import RxStream
from sim_backend.soapy_remote.stream_sockets import Sockets, number
from sim_backend.soapy_remote.tx_stream import TxStream

if TYPE_CHECKING:
    from sim_backend.soapy_remote.server import SoapyServer

#: A client that begins a frame must end it within this time, and take a reply within it.
UNFINISHED_TIMEOUT_S = 30.0
MAX_STREAMS = 64
_LAST_WORDS_S = 3.0
_log = logging.getLogger(__name__)


class Session:
    """Serves one connection to the server port until it ends."""

    def __init__(self, server: SoapyServer, sock: socket.socket) -> None:
        self.server, self._sock = server, sock
        self.device: SoapyDevice | None = None
        self.requests = 0
        self._lock = threading.Lock()  # of what is written to the socket
        self._state = threading.Lock()  # of the streams
        self._streams: dict[int, RxStream | TxStream] = {}
        self._serial = 0
        self._done = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- frames ------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Read and answer requests; returns when the connection ended. What was open is closed."""
        try:
            while not self._done:
                header = self._receive(wire.HEADER.size, first=True)
                body = wire.strip_trailer(self._receive(wire.payload_bytes(header)))
                self.requests += 1
                self._reply(self._answer(wire.Reader(body)))
        except LinkClosed:
            return
        finally:
            self.end()

    def _receive(self, n: int, *, first: bool = False) -> bytes:
        """Exactly n bytes; the first one may take for ever."""
        out = bytearray()
        deadline = None if first else time.monotonic() + UNFINISHED_TIMEOUT_S
        while len(out) < n:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise LinkClosed("a frame was not completed in time")
            try:
                if not select.select([self._sock], [], [], left)[0]:
                    continue
                data = self._sock.recv(min(n - len(out), 65536))
            except (OSError, ValueError) as err:
                raise LinkClosed(str(err)) from err
            if not data:
                raise LinkClosed("the client closed the connection")
            out += data
            deadline = deadline or time.monotonic() + UNFINISHED_TIMEOUT_S
        return bytes(out)

    def _reply(self, payload: bytes) -> None:
        data = wire.frame(payload)
        network = self.server.network
        hang_s = network.half_reply_due(len(data)) if network else None
        if network:
            self._done = self.server.stopping.wait(network.latency_s()) or self._done
        with self._lock:
            try:
                self._sock.settimeout(UNFINISHED_TIMEOUT_S)
                self._sock.sendall(data if hang_s is None else data[: len(data) // 2])
            except (OSError, ValueError) as err:
                raise LinkClosed(str(err)) from err
        if hang_s is not None:
            self.server.stopping.wait(hang_s)
            raise LinkClosed("the link breaks, as the scene orders")

    def push_log(self, level: int, text: str) -> None:
        """Forward a log line, unless the client does not take it at once."""
        data = wire.frame(wire.encode("cs", level, text))
        with self._lock:
            try:
                if select.select([], [self._sock], [], 0)[1]:
                    self._sock.settimeout(1.0)
                    self._sock.sendall(data)
            except (OSError, ValueError):
                self.server.unsubscribe(self)

    # -- dispatch ----------------------------------------------------------------------------------------------
    def _answer(self, reader: wire.Reader) -> bytes:
        """Reply items of one request. Refusals and faults of the scene become exceptions of the client."""
        call = -1
        try:
            call = reader.call()
            return self._dispatch(call, reader)
        except SoapyRefusal as err:
            return wire.exception(str(err))
        except HilError as err:  # the scene cannot do what was asked
            return wire.exception(f"{err} {err.hint}".strip())
        except (ArithmeticError, ValueError, TypeError, struct.error) as err:
            _log.exception("call %d", call)
            return wire.exception(f"call {call}: {err}")

    def _dispatch(self, call: int, reader: wire.Reader) -> bytes:
        void = wire.encode("V", None)
        if call == calls.GET_SERVER_ID:
            return wire.encode("s", self.server.server_id)
        if call == calls.START_LOG:
            self.server.subscribe(self)
            return void
        if call == calls.STOP_LOG:
            self.server.unsubscribe(self)
            return void
        if call == calls.HANGUP:
            self._done = True
            return void
        if call == calls.FIND:
            return wire.encode("L", [d.found for d in self.server.find(*reader.take("K"))])
        if call == calls.MAKE:
            self._make(*reader.take("K"))
            return void
        if self.device is None:
            raise SoapyRefusal(f"call {call}: no device is open on this connection; make comes first")
        if call == calls.UNMAKE:
            self._unmake()
            return void
        if calls.SETUP_STREAM <= call <= calls.DEACTIVATE_STREAM or call == calls.SETUP_STREAM_BYPASS:
            return self._stream_call(call, reader, self.device)
        if call not in calls.CALLS:
            raise SoapyRefusal(f"unknown call {call}")
        entry = calls.CALLS[call]
        result = entry.run(self.device, *reader.take(entry.args))
        return wire.encode(entry.reply, *(result if len(entry.reply) > 1 else (result,)))

    def _make(self, args: dict[str, str]) -> None:
        if self.device is not None:
            raise SoapyRefusal("a device is open on this connection already")
        found = self.server.find(args)
        if not found:
            wanted = ", ".join(
                f"{k}={v}" for k, v in args.items() if k in ("serial", "label", "driver", "type")
            )
            raise SoapyRefusal(f"no device matches {wanted}; the server has {self.server.serials()}")
        self.device = found[0]
        self.device.opened()

    def _unmake(self) -> None:
        device, self.device = self.device, None
        self._close_streams(poison=True, in_background=True)
        if device is not None:
            device.closed()

    # -- streams -----------------------------------------------------------------------------------------------
    def _stream_call(self, call: int, reader: wire.Reader, device: SoapyDevice) -> bytes:
        if call == calls.SETUP_STREAM_BYPASS:
            raise SoapyRefusal("remote:prot=none is not supported; use tcp or udp")
        if call == calls.SETUP_STREAM:
            direction, fmt, channels, args, client_port, status_port = reader.take("csNKss")
            return self._setup(device, direction, fmt, channels, args, client_port, status_port)
        stream_id = reader.take("i")[0]
        stream = self._streams.get(stream_id)
        if stream is None:
            raise SoapyRefusal(f"there is no stream {stream_id} on this connection")
        if call == calls.CLOSE_STREAM:
            with self._state:
                self._streams.pop(stream_id, None)
            stream.close(poison=True)
            self.server.dispose_later(stream)
            return wire.encode("V", None)
        flags, time_ns = reader.take("il")
        if call == calls.ACTIVATE_STREAM:
            return wire.encode("i", stream.activate(flags, time_ns, *reader.take("i")))
        return wire.encode("i", NOT_SUPPORTED if flags & 2 else stream.deactivate())

    def _setup(
        self,
        device: SoapyDevice,
        direction: int,
        fmt: str,
        channels: list[int],
        args: dict[str, str],
        client_port: str,
        status_port: str,
    ) -> bytes:
        """Claim the channels, make the sockets, start the thread. The reply is the last of one or two frames."""
        if not channels or len(set(channels)) < len(channels):
            raise SoapyRefusal(f"channels {channels}: name each one once, and at least one")
        for channel in channels:
            device.check(direction, channel)
        if len(self._streams) >= MAX_STREAMS:
            raise SoapyRefusal(f"a connection may have {MAX_STREAMS} streams")
        tcp = args.get("remote:prot", "udp" if client_port else "tcp") == "tcp"
        layout = Layout.of(fmt, len(channels), number(args, "remote:mtu", 4096 if tcp else 1500))
        cyclic = truth(args.get("cyclic", "true" if device.peripherals.tx_cyclic else "false"))
        window_bytes = number(args, "remote:window", 1 << 20)
        owner = object()
        self._claim(device, direction, channels, owner)
        sockets: Sockets | None = None
        try:
            sockets = Sockets.listen(self._sock) if tcp else Sockets.udp(self._sock, client_port, status_port)
            if tcp:
                self._reply(wire.encode("s", sockets.port))
                if not sockets.accept():
                    self._done = True  # the order of requests and replies is lost
                    raise SoapyRefusal("the client did not connect its stream")
            granted_bytes = sockets.set_window(window_bytes, sending=direction == RX)
            link = sockets.link(self.server.network)
            if direction == RX:
                stream: RxStream | TxStream = self.server.rx_stream(device, channels, layout, link, owner)
            else:
                window = max(2, granted_bytes // layout.n_bytes(layout.buff_elems))
                stream = self.server.tx_stream(device, channels, layout, link, owner, window, cyclic)
            with self._state:
                self._serial += 1
                stream_id = self._serial - 1
                self._streams[stream_id] = stream
            stream.start()
        except BaseException:
            self._unclaim(device, owner)
            if sockets is not None:
                sockets.close()
            raise
        return wire.encode("is", stream_id, sockets.port)

    def _claim(self, device: SoapyDevice, direction: int, channels: list[int], user: object) -> None:
        if direction != RX:
            device.first.claim_tx(user)
            return
        try:
            for board in device.boards:
                mine = [ch for owner, ch in map(device.receiver, channels) if owner is board]
                board.claim_rx(mine, user)
        except SoapyRefusal:
            self._unclaim(device, user)
            raise

    def _unclaim(self, device: SoapyDevice, user: object) -> None:
        for board in device.boards:
            board.release(user)

    def _close_streams(self, *, poison: bool, in_background: bool) -> None:
        with self._state:
            streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.close(poison=poison)
        for stream in streams:
            if in_background:
                self.server.dispose_later(stream)
            else:
                stream.dispose(_LAST_WORDS_S, first=True)

    # -- end ---------------------------------------------------------------------------------------------------
    def uses(self, boards: list[RadioBoard]) -> bool:
        """True if the client has a device open that one of these boards belongs to."""
        device = self.device
        return device is not None and any(board in boards for board in device.boards)

    def poison(self) -> None:
        """End the streams in order, from any thread: their readers get an error instead of a bare end."""
        self._close_streams(poison=True, in_background=False)

    def drop(self) -> None:
        """Shut the connection down, from any thread; a blocked read ends."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close what the client left open, and the socket. Only for the thread that reads."""
        self.server.unsubscribe(self)
        device, self.device = self.device, None
        self._close_streams(poison=True, in_background=True)
        if device is not None:
            device.closed()
        self.drop()
        self._sock.close()
