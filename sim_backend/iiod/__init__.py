"""An IIO network daemon (IIOD, text protocol 0.x) in front of the simulated array.

tables.py board tables (TOML) | attributes.py sysfs files | context_xml.py | registers.py | ad936x.py, adrv9009.py
what the drivers do | board.py one context | rx_dma.py, tx_dma.py, dds.py buffers | sync.py common start |
wire.py bytes | session.py commands of one connection | server.py sockets and threads.
Limits, so that no client can make the server grow: 256 connections of a board with one thread each (a new one
replaces one that never sent a command), lines of 4 KiB, attribute payloads of 1 MiB, 64 blocks of 64 MiB and
512 MiB in all for a buffer, 30 s to end a command that was begun, 120 s to take samples that were asked for.
Nothing here is shared with the client side in `drivers`, so that their agreement is evidence.
"""
