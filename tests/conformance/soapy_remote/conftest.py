"""A SoapyRemote server under test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sim_backend.soapy_remote.server import SoapyServer
from tests.conformance.soapy_remote.clients import HOST, wait_until


@pytest.fixture
def serve() -> Iterator[Callable[..., SoapyServer]]:
    """Serves a source; `free_running` as the source is. Everything ends with the test, and no thread is left."""
    servers: list[SoapyServer] = []

    def run(source: Any, **options: Any) -> SoapyServer:
        server = SoapyServer(source, (HOST, 0), **options)
        server.start()
        servers.append(server)
        return server

    yield run
    for server in servers:
        server.stop()
    wait_until(lambda: not [t.name for t in threading.enumerate() if t.name.startswith("soapy-")])
