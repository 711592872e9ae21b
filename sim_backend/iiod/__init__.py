"""An IIO network daemon (IIOD, text protocol 0.x) in front of the simulated array.

tables.py board tables (TOML) | attributes.py sysfs files | context_xml.py | registers.py | ad936x.py, adrv9009.py
what the drivers do | board.py one context | rx_dma.py, tx_dma.py, dds.py buffers | sync.py common start |
wire.py bytes | session.py commands of one connection | server.py sockets and threads.
Nothing here is shared with the client side in `drivers`, so that their agreement is evidence.
"""
