"""Listener, connections and devices of a SoapyRemote server."""

from __future__ import annotations

import atexit
import contextlib
import logging
import socket
import threading
import uuid
from collections.abc import Callable, Iterable

import numpy as np

from hil.core.errors import DeviceError
from sim_backend.fault_transport import TransportFaults
from sim_backend.faults import Faults
from sim_backend.soapy_remote.board import RadioBoard
from sim_backend.soapy_remote.datagram import Layout
from sim_backend.soapy_remote.device import DRIVER_KEY, SoapyDevice
from sim_backend.soapy_remote.link import StreamLink
from sim_backend.soapy_remote.losses import DeviceLosses
from sim_backend.soapy_remote.rx_stream import RxStream
from sim_backend.soapy_remote.session import Session
from sim_backend.soapy_remote.tx_stream import TxStream
from sim_backend.source import SampleSource

DEFAULT_PORT = 55132
#: Connections at once. Beyond it one that never sent a request has to go, else the new one is refused.
MAX_CONNECTIONS = 256
_ACCEPT_RETRY_S = 0.05
_TICK_S = 0.02
_POISON_TIMEOUT_S = 5.0
_MAX_START_OFFSET_SAMPLES = 4096
_log = logging.getLogger(__name__)


class SoapyServer:
    """Serves a simulated array as Soapy devices: the whole array first, then each board where there are several.

    Parameters
    ----------
    address : (host, port); port 0 takes a free one, see `url`.
    free_running : samples come as fast as the client reads. seed : of serial numbers and start offsets.

    Raises DeviceError if the address is in use.
    """

    def __init__(
        self,
        source: SampleSource,
        address: tuple[str, int],
        *,
        free_running: bool = False,
        faults: Faults | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.free_running = source, free_running
        self.server_id = str(uuid.uuid4())
        boards = [RadioBoard(source, k, seed=seed) for k in range(source.n_boards)]
        self._faults = {board: TransportFaults(source, board.index, faults or Faults()) for board in boards}
        self.network = self._faults[boards[0]] if faults is not None and faults.any else None
        self.devices = self._devices(boards, seed)
        self._rng = np.random.default_rng([seed, 3])
        self._lock = threading.Lock()
        self._sessions: dict[Session, threading.Thread] = {}
        self._subscribers: set[Session] = set()
        self.stopping = threading.Event()
        self._closing: list[threading.Thread] = []
        self._listener = _listen(address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._threads = [
            threading.Thread(target=self._accept, name="soapy-accept", daemon=True),
            threading.Thread(target=self._tick, name="soapy-tick", daemon=True),
        ]

    def _devices(self, boards: list[RadioBoard], seed: int) -> list[SoapyDevice]:
        serial, kind = f"SIM{seed:08x}", boards[0].spec.name
        if len(boards) == 1:
            return [SoapyDevice(boards, serial, f"simulated {kind}", self.log)]
        array = SoapyDevice(boards, serial, f"simulated array of {len(boards)} {kind}", self.log)
        each = [
            SoapyDevice(
                [board], f"{serial}-{board.index}", f"simulated {kind}, board {board.index}", self.log
            )
            for board in boards
        ]
        return [array, *each]

    @property
    def url(self) -> str:
        """What a client gives as `remote`."""
        host, port = self.address
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    @property
    def n_connections(self) -> int:
        """Connections to the server port that are open now."""
        with self._lock:
            return len(self._sessions)

    # -- what sessions ask -------------------------------------------------------------------------------------
    def find(self, args: dict[str, str]) -> list[SoapyDevice]:
        """Devices that match `serial`, `label`, `driver` and `type`, as far as they are given."""
        driver = args.get("driver", DRIVER_KEY)
        if driver not in (DRIVER_KEY, "remote"):
            return []
        keys = [key for key in ("serial", "label", "type") if args.get(key)]
        return [d for d in self.devices if all(args[key] == d.found[key] for key in keys)]

    def serials(self) -> str:
        """Serial numbers of the devices."""
        return ", ".join(device.serial for device in self.devices)

    def subscribe(self, session: Session) -> None:
        """Forward logs to this connection."""
        with self._lock:
            self._subscribers.add(session)

    def unsubscribe(self, session: Session) -> None:
        """End it. Idempotent."""
        with self._lock:
            self._subscribers.discard(session)

    def log(self, level: int, text: str) -> None:
        """Log here and on the clients that forward logs."""
        _log.log(logging.WARNING if level <= 4 else logging.INFO, "%s: %s", self.url, text)
        with self._lock:
            subscribers = list(self._subscribers)
        for session in subscribers:
            session.push_log(level, text)

    def _losses(self, device: SoapyDevice) -> DeviceLosses | None:
        """Losses of the boards of a device, where the scene has faults."""
        return self.network and DeviceLosses([self._faults[board] for board in device.boards])

    def _start_offset(self, device: SoapyDevice) -> int:
        """Samples between activation and the first one of a board that starts by itself beside others."""
        if len(device.boards) == self.source.n_boards:
            return 0
        with self._lock:
            return int(self._rng.integers(0, _MAX_START_OFFSET_SAMPLES))

    def rx_stream(
        self, device: SoapyDevice, channels: list[int], layout: Layout, link: StreamLink, owner: object
    ) -> RxStream:
        """A receive stream of a device."""
        return RxStream(
            device.first,
            [device.receiver(channel) for channel in channels],
            layout,
            device.adc_bits,
            link,
            owner,
            free_running=self.free_running,
            losses=self._losses(device),
            start_offset=lambda: self._start_offset(device),
            log=self.log,
        )

    def tx_stream(
        self,
        device: SoapyDevice,
        channels: list[int],
        layout: Layout,
        link: StreamLink,
        owner: object,
        window: int,
        cyclic: bool,
    ) -> TxStream:
        """A transmit stream of a device."""
        return TxStream(
            device.first,
            channels,
            layout,
            link,
            window,
            owner,
            free_running=self.free_running,
            cyclic=cyclic,
            log=self.log,
        )

    def dispose_later(self, stream: RxStream | TxStream) -> None:
        """Close the sockets of a stream after the client has closed its own."""
        with self._lock:
            self._closing = [thread for thread in self._closing if thread.is_alive()]
        started = _beside([stream.dispose])
        with self._lock:
            self._closing += started

    # -- life --------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Accept clients."""
        atexit.register(self.stop)
        for thread in self._threads:
            thread.start()

    def disconnect(self, boards: list[RadioBoard] | None = None) -> None:
        """Drop the clients of these boards, without: every one; new ones are accepted at once."""
        with self._lock:
            sessions = [s for s in self._sessions if boards is None or s.uses(boards)]
        for thread in _beside(session.poison for session in sessions):
            thread.join(_POISON_TIMEOUT_S)
        for session in sessions:
            session.drop()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the streams in order, drop the clients, join the threads. Idempotent."""
        atexit.unregister(self.stop)
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect()
        with self._lock:
            threads = [*self._threads, *self._sessions.values()]
        threads += self._closing
        for thread in threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(timeout_s)

    def __enter__(self) -> SoapyServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except (
                OSError
            ):  # a client that left at once, or no descriptor is free: not to be retried in a hurry
                self.stopping.wait(_ACCEPT_RETRY_S)
                continue
            self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            session = Session(self, sock)
        except OSError:
            sock.close()
            return
        thread = threading.Thread(target=self._run, args=(session,), name="soapy-client", daemon=True)
        with self._lock:
            full = len(self._sessions) >= MAX_CONNECTIONS and not self._make_room()
            try:
                if full or self.stopping.is_set():
                    raise RuntimeError("refused")
                self._sessions[session] = thread
                thread.start()
            except RuntimeError:  # too many clients, or no more threads: refuse this one, keep the others
                self._sessions.pop(session, None)
                sock.close()

    def _make_room(self) -> bool:
        idle = next((s for s in self._sessions if s.requests == 0), None)
        if idle is None:
            return False
        idle.drop()
        del self._sessions[idle]
        return True

    def _run(self, session: Session) -> None:
        try:
            session.run()
        except Exception:  # noqa: BLE001 - the top of a thread: one client's trouble must not reach the others
            _log.exception("connection to %s ended by an error", self.url)
        finally:
            with self._lock:
                self._sessions.pop(session, None)

    def _tick(self) -> None:
        while not self.stopping.wait(_TICK_S):
            try:
                due = [board for board, faults in self._faults.items() if faults.disconnect_due()]
                for board in due:
                    board.note("disconnect")
                if due:
                    self.disconnect(due)
            except Exception:  # noqa: BLE001 - the top of a thread
                _log.exception("faults of %s", self.url)


def _beside(tasks: Iterable[Callable[[], object]]) -> list[threading.Thread]:
    """Run tasks in threads of their own; here, one after the other, where the interpreter ends."""
    threads: list[threading.Thread] = []
    for task in tasks:
        thread = threading.Thread(target=task, name="soapy-close", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            task()
        else:
            threads.append(thread)
    return threads


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    url = f"tcp://{host}:{port}"
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as err:
        raise DeviceError(f"cannot listen on {host}:{port}: {err.strerror}", uri=url) from err
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(128)
    except OSError as err:
        sock.close()
        raise DeviceError(
            f"cannot listen on {host}:{port}: {err.strerror}",
            uri=url,
            hint="another server runs there? choose another address with --soapy HOST:PORT; port 0 takes a free one",
        ) from err
    return sock
