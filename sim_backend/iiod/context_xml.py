"""The context description that PRINT returns, with the full internal DTD that keeps client parsers quiet."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from sim_backend.iiod.tables import BoardTable, Channel, Device

#: element -> (content model, {attribute: required}). Clients validate against it and report what is missing.
_ELEMENTS: dict[str, tuple[str, dict[str, bool]]] = {
    "context": (
        "(device | context-attribute)*",
        {
            "name": True,
            "description": False,
            "version-major": False,
            "version-minor": False,
            "version-git": False,
        },
    ),
    "context-attribute": ("EMPTY", {"name": True, "value": True}),
    "device": (
        "(channel | attribute | debug-attribute | buffer-attribute)*",
        {"id": True, "name": False, "label": False},
    ),
    "channel": ("(scan-element?, attribute*)", {"id": True, "type": True, "name": False}),
    "attribute": ("EMPTY", {"name": True, "filename": False}),
    "scan-element": ("EMPTY", {"index": True, "format": True, "scale": False}),
    "debug-attribute": ("EMPTY", {"name": True}),
    "buffer-attribute": ("EMPTY", {"name": True}),
}


def _doctype() -> str:
    parts = []
    for element, (content, attributes) in _ELEMENTS.items():
        parts.append(f"<!ELEMENT {element} {content}>")
        declared = " ".join(
            f"{name} CDATA {'#REQUIRED' if required else '#IMPLIED'}" for name, required in attributes.items()
        )
        parts.append(f"<!ATTLIST {element} {declared}>")
    return "<!DOCTYPE context [" + "".join(parts) + "]>"


def _tag(element: str, content: str = "", **attributes: str | None) -> str:
    text = "".join(f" {k.replace('_', '-')}={quoteattr(v)}" for k, v in attributes.items() if v is not None)
    return f"<{element}{text} />" if not content else f"<{element}{text}>{content}</{element}>"


def _channel(channel: Channel) -> str:
    content = ""
    if channel.index is not None:
        content = _tag("scan-element", index=str(channel.index), format=channel.format)
    content += "".join(_tag("attribute", name=n, filename=k) for n, k in channel.attributes.items())
    kind = "output" if channel.output else "input"
    return _tag("channel", content, id=channel.id, name=channel.name or None, type=kind)


def _device(device: Device) -> str:
    content = "".join(_channel(channel) for channel in device.channels)
    content += "".join(_tag("attribute", name=name) for name in device.attributes)
    content += "".join(_tag("debug-attribute", name=name) for name in device.debug_attributes)
    content += "".join(_tag("buffer-attribute", name=name) for name in device.buffer_attributes)
    return _tag("device", content, id=device.id, name=device.name)


def context_xml(table: BoardTable, *, free_running: bool = False) -> bytes:
    """The XML document of a board (UTF-8). With version-git the client never asks for VERSION.

    free_running : says so in a context attribute of ours, for clients that compare samples with the clock.
    """
    attributes = table.context_attributes | ({"hil,free-running": "1"} if free_running else {})
    content = "".join(_tag("context-attribute", name=k, value=v) for k, v in attributes.items())
    content += "".join(_device(device) for device in table.devices)
    root = _tag(
        "context",
        content,
        name="network",
        description=table.description,
        version_major="0",
        version_minor="24",
        version_git="v0.24",
    )
    return f'<?xml version="1.0" encoding="utf-8"?>{_doctype()}{root}'.encode()
