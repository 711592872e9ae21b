"""Receivers behind one small contract: `open_device(uri)` opens any of them."""

from drivers.registry import list_devices, open_device

__all__ = ["list_devices", "open_device"]
