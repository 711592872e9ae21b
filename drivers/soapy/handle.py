"""A device of SoapySDR from its opening to its end, also when its driver hangs or others are still inside it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from typing import Any

from drivers.soapy.address import Address
from drivers.soapy.caller import DRIVER_ERRORS, Caller
from drivers.soapy.unstick import connected_to, cut, open_sockets
from hil.core.errors import ConnectionLost

_OPEN_S = 90.0  # some devices load firmware when opened
_CLOSE_S = 5.0
_RETURN_S = 3.0  # after its connection was cut
_FREE_S = 1.0
_REMOTE_PORT = 55132
#: Devices that a thread of their driver still uses: never freed, or the process would crash.
_ABANDONED: list[Any] = []


class Handle:
    """Opens a device; calls go through `run`, streams `hold` it while their threads are inside the driver.

    SoapySDR keeps a table of devices: as long as one is not freed, opening the same one again returns it, dead
    or alive. `end` therefore frees it, at once or when the last stream lets go. A call of SoapyRemote's client
    that hangs is made to return first, by cutting the connection it waits on.

    Parameters
    ----------
    soapy : the SoapySDR module. uri : for messages.

    Raises what SoapySDR raises (DRIVER_ERRORS), ConnectionLost when it does not return.
    """

    def __init__(self, soapy: Any, address: Address, uri: str) -> None:
        self._soapy = soapy
        self._uri = uri
        self._lock = threading.Lock()
        self._holders = 0
        self._over = False
        self._caller = Caller(uri)
        self._sockets: dict[int, int] = {}
        self.device: Any = None
        before = open_sockets() if address.remote else {}
        try:
            self.device = self._caller.run(
                "open", soapy.Device, dict(address.device_args), deadline_s=_OPEN_S
            )
            if self.device is None:
                raise RuntimeError("no match")
        except BaseException:
            self._remember_sockets(address, before)
            if self._caller.hung:  # what it returns after all is freed by its destructor
                cut(self._sockets)
                self._caller.returned(_RETURN_S)
            self._caller.close()
            raise
        self._remember_sockets(address, before)

    def _remember_sockets(self, address: Address, before: dict[int, int]) -> None:
        if address.remote:
            new = {fd: name for fd, name in open_sockets().items() if before.get(fd) != name}
            port = re.search(r":(\d{1,5})/?$", address.device_args.get("remote", ""))
            # another thread may have opened a socket meanwhile: it goes elsewhere
            self._sockets = connected_to(new, int(port[1]) if port else _REMOTE_PORT)

    def run(self, what: str, function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:
        """Call a function on the device's own thread; what it raises, ConnectionLost after the end."""
        if self._over:
            raise self._gone()
        return self._caller.run(what, function, *args, deadline_s=deadline_s)

    def _gone(self) -> ConnectionLost:
        return ConnectionLost(
            f"{self._uri}: the connection was lost", uri=self._uri, hint="configure() connects again"
        )

    def hold(self) -> None:
        """The device must not be freed until `let_go`. Raises ConnectionLost after the end."""
        with self._lock:
            if self._over:
                raise self._gone()
            self._holders += 1

    def let_go(self) -> None:
        """End of a `hold`."""
        with self._lock:
            self._holders -= 1
            last = self._over and self._holders == 0
        if last:
            self._free()

    def end(self, *, lost: bool = False) -> None:
        """No more calls; the device is freed once nobody holds it. Idempotent.

        lost : nobody answers any more; do not wait for the other end.
        """
        with self._lock:
            if self._over:
                return
            self._over = True
            last = self._holders == 0
        if lost:
            cut(self._sockets)
        if last:
            self._free()

    def abandon(self) -> None:
        """Never free it: a thread that cannot be ended is inside its driver."""
        self._keep()
        with self._lock:
            self._over = True
            self._holders += 1
        self._caller.close()

    def _keep(self) -> None:
        self._mark_closed()
        _ABANDONED.append(self.device)

    def _mark_closed(self) -> None:
        with contextlib.suppress(AttributeError):  # the name that SoapySDR's own close() and __del__ look for
            setattr(self.device, "__closed__", True)  # noqa: B010

    def _free(self) -> None:
        caller, closing = self._caller, False
        if not caller.hung:
            closing = True
            with contextlib.suppress(*DRIVER_ERRORS, ConnectionLost):
                caller.run("close", self.device.close, deadline_s=_CLOSE_S, last=True)
        if caller.hung:
            cut(self._sockets)
            if not caller.returned(_RETURN_S):
                self._keep()
            elif not closing:
                self._free_in_the_background()
        self._mark_closed()
        caller.close()

    def _free_in_the_background(self) -> None:
        """The driver may wait for a farewell; the table lets go of the device before that."""
        self._mark_closed()
        device, unmake = self.device, type(self.device).unmake

        def free() -> None:
            with contextlib.suppress(*DRIVER_ERRORS):
                unmake(device)

        thread = threading.Thread(target=free, name=f"soapy-free {self._uri}", daemon=True)
        thread.start()
        thread.join(_FREE_S)
